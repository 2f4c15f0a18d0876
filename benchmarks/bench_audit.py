"""What the audits say of tables with and without planted leaks: the figures behind their thresholds.

    python benchmarks/bench_audit.py [seeds] [rows]

Exits with 1 when a clean table is flagged or a leaked one is not.
"""

import sys
from collections import Counter

import numpy as np

from foldstill.oof.audit import audit
from foldstill.oof.audit_leaks import noise_slopes
from synthetic_tables import Kind, synthetic

KINDS: tuple[Kind, ...] = ("homog", "hetero", "one_leak", "all_leak")


def main(seeds: int = 20, rows: int = 2000) -> None:
    wrong = 0
    for kind in KINDS:
        said: Counter[str] = Counter()
        medians, lowest, missed = [], [], 0
        for seed in range(seeds):
            made = synthetic(kind, rows=rows, holdout_rows=rows // 2, seed=seed)
            alone = audit(made.table)
            report = audit(made.table, test=made.holdout, test_labels=made.holdout_labels)
            said.update(f"{f.id} {f.verdict}" for f in report.flagged)
            said.update(["refused without a holdout"] if alone.failed_hard else [])
            slopes = noise_slopes(made.table)
            medians.append(float(np.median(slopes.ratio_M)))
            lowest.append(float(slopes.alone_M.min()))
            leaked = kind in ("one_leak", "all_leak")
            missed += leaked and not (alone.failed_hard and report.failed_hard)
            missed += not leaked and bool(alone.flagged or report.flagged)
        wrong += missed
        print(
            f"{kind}: {seeds} tables of {rows} rows, {missed} wrong; slope ratio median {min(medians):.2f} to "
            f"{max(medians):.2f}, lowest minus median {min(lowest):.2f} to {max(lowest):.2f}; {dict(said)}"
        )
    if wrong:
        sys.exit(f"{wrong} tables judged wrong")


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
