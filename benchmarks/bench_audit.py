"""What the audit reports for tables with and without planted leaks: the figures behind its thresholds.

    python benchmarks/bench_audit.py [seeds] [rows]

Exits with 1 if a clean table is flagged, a leaked one is not, or is not refused with held-out groups.
"""

import sys
from collections import Counter

import numpy as np

from foldstill.oof.audit import audit
from foldstill.oof.audit_check import AuditInput
from foldstill.oof.audit_leaks import noise_slopes
from synthetic_tables import Kind, synthetic

KINDS: tuple[Kind, ...] = ("homog", "hetero", "one_leak", "all_leak")


def main(seeds: int = 20, rows: int = 2000) -> None:
    wrong = 0
    for kind in KINDS:
        findings: Counter[str] = Counter()
        medians, lowest, missed = [], [], 0
        for seed in range(seeds):
            made = synthetic(kind, rows=rows, holdout_rows=rows // 2, seed=seed)
            report_alone = audit(made.table)
            report = audit(made.table, test=made.holdout, test_labels=made.holdout_labels)
            findings.update(f"{f.id} {f.verdict}" for f in report.flagged)
            findings.update(["flagged without held-out groups"] if report_alone.flagged else [])
            findings.update(["refused"] if report.failed_hard else [])
            slopes = noise_slopes(AuditInput(made.table))
            medians.append(float(np.median(slopes.ratio_M)))
            lowest.append(float(slopes.alone_M.min()))
            leaked = kind in ("one_leak", "all_leak")
            missed += leaked and not (report_alone.flagged and report.failed_hard)
            missed += not leaked and bool(report_alone.flagged or report.flagged)
        wrong += missed
        print(
            f"{kind}: {seeds} tables of {rows} rows, {missed} judged incorrectly; slope ratio median "
            f"{min(medians):.2f} to {max(medians):.2f}, lowest minus median {min(lowest):.2f} "
            f"to {max(lowest):.2f}; {dict(findings)}"
        )
    if wrong:
        sys.exit(f"{wrong} tables were judged incorrectly")


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
