"""The long campaign: 200 kills, and a table of what became of the folders.

python tests/chaos/chaos_campaign.py [--kills N] [--only SCENARIO] [--seed N]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np  # noqa: E402
from chaos_kills import Campaign, Tally, import_everything, make_world, scenarios  # noqa: E402


def table(tallies: dict[str, Tally]) -> str:
    """One line per scenario: folders, kills by time and before file operations, and faults."""
    lines = [f"{'scenario':24}{'folders':>8}{'by time':>9}{'by file':>9}{'faults':>8}"]
    for name, tally in tallies.items():
        lines.append(f"{name:24}{tally.folders:8}{tally.by_time:9}{tally.by_operation:9}{len(tally.faults):8}")
    kills, faults = (sum(values) for values in zip(*((t.kills, len(t.faults)) for t in tallies.values()), strict=True))
    return "\n".join([*lines, f"{kills} kills, {faults} faults"])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200, help="number of kills over all scenarios")
    parser.add_argument("--only", default="", help="run the scenario of this name")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start, tallies = time.monotonic(), dict[str, Tally]()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        import_everything()
        chosen = [one for one in scenarios(folder) if options.only in ("", one.name)]
        make_world(folder, chosen)
        total = sum(one.share for one in chosen)
        for scenario in chosen:
            rng = np.random.default_rng([options.seed, *scenario.name.encode()])
            campaign = Campaign.of(scenario, folder, rng)
            campaign.kill(max(1, round(options.kills * scenario.share / total)))
            tallies[scenario.name] = campaign.tally
            for fault in campaign.tally.faults:
                print(fault, flush=True)
            print(f"{scenario.name}: {campaign.tally.kills} kills, {time.monotonic() - start:.0f} s", flush=True)
    print(table(tallies))
    return int(any(tally.faults for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
