"""A8, A11 and A12: checks that need a combiner, which the caller brings.

N rows, C classes.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import row_kl
from foldstill.oof.audit_leaks import clustered_mean
from foldstill.oof.findings import Finding
from foldstill.oof.table import OOFTable

Combine = Callable[[OOFTable, NDArray[np.int16] | None], NDArray[Any]]
"""Cross-fitted probabilities (N, C) of a combiner by the folds given; fitted and applied to all rows where None."""

NEEDS_COMBINER = "It needs a combiner, which `foldstill oof audit --deep` brings."


def _kl(table: OOFTable, proba_NC: NDArray[Any]) -> NDArray[np.float64]:
    return row_kl(target=table.labels.target_NC, proba=proba_NC)


def row_folds(table: OOFTable, combine: Combine | None) -> Finding:
    """How much better a combiner looks when rows of a group are split between fitting and scoring."""
    name = "row folds against group folds"
    if combine is None:
        return Finding("A8", name, "not applicable", NEEDS_COMBINER)
    by_group = float(_kl(table, combine(table, table.fold_N)).mean())
    fold_N = (np.random.default_rng(0).permutation(len(table)) % len(table.folds)).astype(np.int16)
    rows_apart = replace(table, labels=replace(table.labels, groups=table.labels.ids))
    by_row = float(_kl(table, combine(rows_apart, fold_N)).mean())
    gap = by_group - by_row
    evidence = (
        f"Cross-fitted KL {by_row:.4f} by rows, {by_group:.4f} by groups: a promise of {gap:.4f} that is not kept."
    )
    if gap <= 0.1 * by_group:
        return Finding("A8", name, "pass", evidence)
    return Finding("A8", name, "warn", evidence, "members remember groups: believe scores cross-fitted by group only")


def optimism(table: OOFTable, combine: Combine | None) -> Finding:
    """How much better a combiner scores the rows it was fitted to."""
    name = "optimism of the fit"
    if combine is None:
        return Finding("A11", name, "not applicable", NEEDS_COMBINER)
    held = float(_kl(table, combine(table, table.fold_N)).mean())
    fitted = float(_kl(table, combine(table, None)).mean())
    share = (held - fitted) / max(held, 1e-12)
    evidence = f"KL {fitted:.4f} on the rows fitted to, {held:.4f} cross-fitted: {share:.1%} optimism."
    if share <= 0.05:
        return Finding("A11", name, "pass", evidence)
    return Finding(
        "A11", name, "warn", evidence, "the combiner overfits: tie its weights by family, or use a simpler one"
    )


def fresh_labels(table: OOFTable, combine: Combine | None, *, deep: bool) -> Finding:
    """A combiner must learn nothing from labels dealt to other rows: what beats the base rate then is a leak."""
    name = "labels of other rows"
    if combine is None or not deep:
        return Finding("A12", name, "not applicable", NEEDS_COMBINER)
    order = np.random.default_rng(0).permutation(len(table))
    labels = table.labels
    dealt = replace(
        labels,
        votes_NC=labels.votes_NC[order],
        stratum_N=labels.stratum_N[order],
        sample_weight_N=labels.sample_weight_N[order],
    )
    canary = replace(table, labels=dealt)
    base = np.empty_like(dealt.target_NC)
    for fold in table.folds:
        held = table.fold_N == fold
        base[held] = dealt.target_NC[~held].mean(axis=0)
    gain, error = clustered_mean(
        (_kl(canary, base) - _kl(canary, combine(canary, table.fold_N)))[:, None], labels.groups
    )
    evidence = (
        f"On labels dealt to other rows the combiner gains {gain[0]:.4f} over the base rate (error {error[0]:.4f})."
    )
    if gain[0] > 3 * error[0]:
        return Finding("A12", name, "fail", evidence, "its cross-fit sees labels of the rows it scores: do not use it")
    return Finding("A12", name, "pass", evidence)
