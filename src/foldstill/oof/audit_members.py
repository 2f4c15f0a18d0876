"""A3 and A4: are members aligned with the labels, and are some of them the same?

N rows, M members, C classes.
"""

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import EPS
from foldstill.oof.findings import Finding
from foldstill.oof.table import OOFTable

MISALIGNED = 0.1
"""Below this share of the information a member claims, its rows are not those of the labels; shuffled rows give 0."""
POORLY_ALIGNED = 0.25
FEWEST_ROWS = 100
"""Of a fold, for its alignment to be judged on its own."""
NEAR = 0.9999
"""Correlation of two members' probabilities from which they are one."""


def information_ratio(target_NC: NDArray[np.float64], proba_NMC: NDArray[np.floating]) -> NDArray[np.float64]:
    """For each member, what it tells of its rows over what it claims to tell; NaN for one that says the same of all.

    Swapping labels between rows at random changes KL(y || p) by the covariance of y and log p, summed over classes. Were
    the member calibrated, that would be the covariance of p and log p: the ratio is about 1 for a calibrated member,
    less for an overconfident one, and 0 for one whose rows are shuffled.
    """
    log_p = np.log(np.maximum(proba_NMC, EPS, dtype=np.float64))
    log_p -= log_p.mean(axis=0)
    told = np.einsum("nc,nmc->m", target_NC - target_NC.mean(axis=0), log_p)
    claimed = np.einsum("nmc,nmc->m", proba_NMC, log_p)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(claimed > 1e-6 * len(target_NC), told / claimed, np.nan)


def alignment(table: OOFTable) -> Finding:
    name = "rows and classes aligned"
    parts = {"the table": np.arange(len(table))}
    for fold in table.folds:
        rows = np.flatnonzero(table.fold_N == fold)
        if not table.folds_assigned and len(rows) >= FEWEST_ROWS:
            parts[f"fold {fold}"] = rows
    lost: list[str] = []
    weak: list[str] = []
    lowest = (np.inf, "", "")
    for where, rows in parts.items():
        ratio_M = information_ratio(table.labels.target_NC[rows], table.proba_NMC[rows])
        for member, ratio in zip(table.members, ratio_M.tolist(), strict=True):
            if ratio < lowest[0]:
                lowest = (ratio, member, where)
            if ratio < MISALIGNED:
                lost.append(f"{member} in {where} ({ratio:.2f})")
            elif ratio < POORLY_ALIGNED:
                weak.append(f"{member} in {where} ({ratio:.2f})")
    evidence = f"Least is told by {lowest[1]} in {lowest[2]}: {lowest[0]:.2f} of what it claims (shuffled rows give 0)."
    if not lowest[1]:
        return Finding(
            "A3", name, "warn", "Every member says the same of all rows.", "drop members that learnt nothing"
        )
    if lost:
        told = f"{len(lost)} members or folds tell nothing of their rows: {', '.join(lost[:3])}."
        if table.plan_digest:
            # Our own loop matched rows and classes by construction: such a member is not misplaced, it learnt nothing.
            return Finding("A3", name, "warn", told, "train them longer or by another recipe, or drop them")
        cure = "match their rows to the labels by id and their classes by name, or drop them"
        return Finding("A3", name, "fail", told, cure)
    if weak:
        cure = "check their row order and class order; if both are right, they are far too confident"
        return Finding("A3", name, "warn", f"{evidence} Weak: {', '.join(weak[:3])}.", cure)
    return Finding("A3", name, "pass", evidence)


def duplicate_members(table: OOFTable) -> tuple[list[tuple[str, str]], list[tuple[str, str, float]]]:
    """(exact pairs, near pairs with their correlation); each member is named after the first it repeats."""
    flat_MF = np.ascontiguousarray(table.proba_NMC.swapaxes(0, 1)).reshape(len(table.members), -1)
    exact: list[tuple[str, str]] = []
    first: dict[bytes, str] = {}
    for member, values in zip(table.members, flat_MF, strict=True):
        content = values.tobytes()
        if content in first:
            exact.append((first[content], member))
        else:
            first[content] = member
    repeated = {member for _, member in exact}
    centred = flat_MF - flat_MF.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1)
    correlation = (centred @ centred.T) / np.maximum(np.outer(length, length), EPS)
    near: list[tuple[str, str, float]] = []
    for a, b in np.argwhere(np.triu(correlation > NEAR, k=1)).tolist():
        if table.members[a] not in repeated and table.members[b] not in repeated:
            near.append((table.members[a], table.members[b], float(correlation[a, b])))
    return exact, near


def duplicates(table: OOFTable) -> Finding:
    name = "duplicate members"
    exact, near = duplicate_members(table)
    if not exact and not near:
        return Finding("A4", name, "pass", f"No two of {len(table.members)} members correlate above {NEAR}.")
    said = [f"{b} repeats {a} exactly" for a, b in exact] + [f"{b} and {a} correlate {r:.6f}" for a, b, r in near]
    cure = "drop one of each pair (--drop-members): a repeated member votes twice in every average"
    return Finding(
        "A4", name, "warn", f"{'; '.join(said[:8])}{f'; and {len(said) - 8} more' if len(said) > 8 else ''}.", cure
    )
