"""The long campaign: every case, with its faults and the table of figures.

python tests/fuzz/campaign.py [--only WORD] [--out FILE]
"""

import argparse
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

from fuzz_cases import Outcome, figures, run_case, share_named, without_training  # noqa: E402
from fuzz_kinds import all_cases  # noqa: E402
from fuzz_world import case_folder, make_world  # noqa: E402

WANTED_SHARE = 0.97


def _is_wrong(one: Outcome) -> bool:
    refused_valid = one.case.kind == "valid calls" and one.verdict != "accepted"
    return one.is_fault or not one.place_named or refused_valid


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="run the cases whose name or kind contains this word")
    parser.add_argument("--out", type=Path, help="write every outcome into this file")
    options = parser.parse_args()
    warnings.simplefilter("error")
    cases = [case for case in all_cases() if options.only in f"{case.kind}: {case.name}"]
    start = time.process_time()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory() as scratch:
        world = make_world(Path(scratch))
        with without_training():
            for case in cases:
                outcomes.append(run_case(case, world, case_folder(Path(scratch))))
                one = outcomes[-1]
                if _is_wrong(one):
                    print(f"{one.verdict}: {case.kind}: {case.name}: {one.message[:600]}", flush=True)
    if options.out:
        options.out.write_text("".join(f"{o.verdict}\t{o.case.kind}\t{o.case.name}\t{o.message!r}\n" for o in outcomes))
    print(figures(outcomes))
    print(f"{time.process_time() - start:.0f} CPU-seconds")
    return int(any(one.is_fault for one in outcomes) or share_named(outcomes) < WANTED_SHARE)


if __name__ == "__main__":
    sys.exit(main())
