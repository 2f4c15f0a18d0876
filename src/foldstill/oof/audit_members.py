"""A3 and A4: do members score the rows of the labels, and do some members repeat others?

N samples (rows), M members, C classes.
"""

import hashlib
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import EPS, row_blocks
from foldstill.oof.audit_check import AuditInput, Check, finding
from foldstill.oof.findings import Finding, Severity
from foldstill.oof.table import OOFTable

MISALIGNED = 0.1
"""Below this share of the information that a member claims, its rows are not those of the labels."""
POORLY_ALIGNED = 0.25
FEWEST_ROWS = 100
"""Minimum number of rows of a fold for its alignment to be checked on its own."""
NEAR = 0.9999
"""Correlation of two members' probabilities from which they count as one member."""


def information_ratio(
    target_NC: NDArray[np.float64], proba_NMC: NDArray[np.floating], rows: NDArray[np.intp] | slice = slice(None)
) -> NDArray[np.float64]:
    """Information of each member about some rows, divided by the information it claims; NaN for a constant member.

    Permuting labels between rows at random changes KL(y || p) by the covariance of y and log p, summed over classes.
    For a calibrated member that is the covariance of p and log p. The ratio is therefore about 1 for a calibrated
    member, less for an overconfident one, and 0 for a member whose rows are shuffled.
    """
    target = target_NC[rows]
    target = target - target.mean(axis=0)
    ratio_M = np.full(proba_NMC.shape[1], np.nan)
    # Member by member: the logarithms of a large table would take several times its memory.
    for m in range(len(ratio_M)):
        proba_NC = proba_NMC[rows, m]
        log_NC = np.log(np.maximum(proba_NC, EPS, dtype=np.float64))
        log_NC -= log_NC.mean(axis=0)
        claimed = np.vdot(proba_NC.astype(np.float64), log_NC)
        if claimed > 1e-6 * len(target):
            ratio_M[m] = np.vdot(target, log_NC) / claimed
    return ratio_M


class Alignment(Check):
    """Looks for members whose rows or classes are in another order than the labels.

    A member whose rows or classes are in another order than the labels has no information about its rows.
    """

    id: ClassVar[str] = "A3"
    title: ClassVar[str] = "rows and classes aligned"
    severity: ClassVar[Severity] = "hard"

    def check(self, inputs: AuditInput) -> Finding:
        table = inputs.table
        parts: dict[str, NDArray[np.intp] | slice] = {"the table": slice(None)}
        for fold in table.folds:
            of_fold = np.flatnonzero(table.fold_N == fold)
            if not table.folds_assigned and len(of_fold) >= FEWEST_ROWS:
                parts[f"fold {fold}"] = of_fold
        trained_here = set(table.members) - set(table.made_elsewhere) if table.plan_digest else set()
        lost: list[str] = []
        untrained: list[str] = []
        weak: list[str] = []
        lowest = (np.inf, "", "")
        for part, rows in parts.items():
            ratio_M = information_ratio(table.labels.target_NC, table.proba_NMC, rows)
            for member, ratio in zip(table.members, ratio_M.tolist(), strict=True):
                if ratio < lowest[0]:
                    lowest = (ratio, member, part)
                if ratio < MISALIGNED:
                    # Our own loop matches rows and classes by construction: such a member has learned nothing.
                    (untrained if member in trained_here else lost).append(f"{member} in {part} ({ratio:.2f})")
                elif ratio < POORLY_ALIGNED:
                    weak.append(f"{member} in {part} ({ratio:.2f})")
        if not lowest[1]:
            return finding(
                self, "warn", "Every member gives all rows the same scores.", "drop members that learned nothing"
            )
        if untrained and not lost:
            return finding(self, "warn", _uninformed(untrained), "train them longer or by another recipe, or drop them")
        if lost:
            evidence = _uninformed(lost)
            cure = "match their rows to the labels by id and their classes by name, or drop them"
            return finding(self, "fail", evidence, cure)
        evidence = (
            f"Member {lowest[1]} has the least information, in {lowest[2]}: {lowest[0]:.2f} of what its probabilities "
            "claim (shuffled rows give 0)."
        )
        if weak:
            cure = "check their row order and class order; if both are right, they are far too confident"
            return finding(self, "warn", f"{evidence} Weak: {', '.join(weak[:3])}.", cure)
        return finding(self, "pass", evidence)


def _uninformed(names: list[str]) -> str:
    return f"{len(names)} members or folds have no information about their rows: {', '.join(names[:3])}."


def duplicate_members(table: OOFTable) -> tuple[list[tuple[str, str]], list[tuple[str, str, float]]]:
    """(exact pairs, near pairs with their correlation); a member is paired with the first member that it repeats."""
    n_members, mean_M1 = len(table.members), table.proba_NMC.mean(axis=(0, 2), dtype=np.float64)[:, None]
    contents = [hashlib.sha256() for _ in table.members]
    product_MM = np.zeros((n_members, n_members))
    for part in row_blocks(len(table), table.proba_NMC[0].size):
        block_MF = np.ascontiguousarray(table.proba_NMC[part].swapaxes(0, 1)).reshape(n_members, -1)
        for content, values in zip(contents, block_MF, strict=True):
            content.update(values.data)
        off_MF = (block_MF - mean_M1).astype(np.float32)
        product_MM += off_MF @ off_MF.T
    exact: list[tuple[str, str]] = []
    first: dict[bytes, str] = {}
    for member, content in zip(table.members, contents, strict=True):
        original = first.setdefault(content.digest(), member)
        if original != member:
            exact.append((original, member))
    repeated = {member for _, member in exact}
    length = np.sqrt(np.diag(product_MM))
    correlation = product_MM / np.maximum(np.outer(length, length), EPS)
    near: list[tuple[str, str, float]] = []
    for a, b in np.argwhere(np.triu(correlation > NEAR, k=1)).tolist():
        if table.members[a] not in repeated and table.members[b] not in repeated:
            near.append((table.members[a], table.members[b], float(correlation[a, b])))
    return exact, near


class Duplicates(Check):
    """Looks for members that repeat another member.

    A member that repeats another one votes twice in every average.
    """

    id: ClassVar[str] = "A4"
    title: ClassVar[str] = "duplicate members"

    def check(self, inputs: AuditInput) -> Finding:
        exact, near = duplicate_members(inputs.table)
        if not exact and not near:
            n = len(inputs.table.members)
            return finding(self, "pass", f"No two of {n} members correlate above {NEAR}.")
        pairs = [f"{b} repeats {a} exactly" for a, b in exact] + [f"{b} and {a} correlate {r:.6f}" for a, b, r in near]
        more = f"; and {len(pairs) - 8} more" if len(pairs) > 8 else ""
        cure = "drop one of each pair (--drop-members): a repeated member votes twice in every average"
        return finding(self, "warn", f"{'; '.join(pairs[:8])}{more}.", cure)
