"""A8, A11 and A12: checks that need a combiner, which the caller of `audit` passes.

N samples (rows), C classes.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import ClassVar

import numpy as np

from foldstill.data.folds import torn_groups
from foldstill.data.simplex import row_kl
from foldstill.oof.audit_check import AuditInput, Check, Combine, combined_kl, finding
from foldstill.oof.audit_statistics import clustered_means
from foldstill.oof.findings import Finding

SMALLEST_GAIN = 0.001
"""Share of the base rate's KL divergence below which a gain on other labels is no sign of a leak."""
NEEDS_COMBINER = "It needs a combiner, which `foldstill oof audit --deep` brings."


class CombinerCheck(Check, ABC):
    """Base of the checks here: each is not applicable without a combiner."""

    id: ClassVar[str]
    only_deep: ClassVar[bool] = False
    """Whether the check is run for `--deep` only."""

    def check(self, inputs: AuditInput) -> Finding:
        if inputs.combine is None or (self.only_deep and not inputs.deep):
            return finding(self, "not applicable", NEEDS_COMBINER)
        if len(torn_groups(inputs.table.labels.groups, inputs.table.fold_N)):
            return finding(
                self, "not applicable", "Groups are split between folds (A1): no combiner can be cross-fitted."
            )
        return self.judge(inputs, inputs.combine)

    @abstractmethod
    def judge(self, inputs: AuditInput, combine: Combine) -> Finding:
        """The finding when there is a combiner."""
        ...


class RowFolds(CombinerCheck):
    """Compares a combiner cross-fitted by rows with the same combiner cross-fitted by groups.

    A combiner that remembers groups looks better when rows of a group are split between fitting and scoring.
    """

    id: ClassVar[str] = "A8"
    title: ClassVar[str] = "row folds against group folds"

    def judge(self, inputs: AuditInput, combine: Combine) -> Finding:
        table = inputs.table
        by_group = inputs.cross_fitted_kl
        fold_N = (np.random.default_rng(0).permutation(len(table)) % len(table.folds)).astype(np.int16)
        each_row_a_group = replace(table, labels=replace(table.labels, groups=table.labels.ids))
        by_row = combined_kl(table, combine(each_row_a_group, fold_N))
        gap = by_group - by_row
        evidence = (
            f"The cross-fitted KL divergence is {by_row:.4f} by rows and {by_group:.4f} by groups: row folds promise "
            f"a gain of {gap:.4f} that new groups do not give."
        )
        if gap <= 0.1 * by_group:
            return finding(self, "pass", evidence)
        return finding(self, "warn", evidence, "members remember groups: believe scores cross-fitted by group only")


class Optimism(CombinerCheck):
    """Compares a combiner on the rows it was fitted on with the same combiner cross-fitted.

    A combiner that overfits scores the rows it was fitted on much better than held-out rows.
    """

    id: ClassVar[str] = "A11"
    title: ClassVar[str] = "optimism of the fit"

    def judge(self, inputs: AuditInput, combine: Combine) -> Finding:
        held_out = inputs.cross_fitted_kl
        in_sample = combined_kl(inputs.table, combine(inputs.table, None))
        share = (held_out - in_sample) / max(held_out, 1e-12)
        evidence = (
            f"The KL divergence is {in_sample:.4f} in-sample and {held_out:.4f} cross-fitted: {share:.1%} optimism."
        )
        if share <= 0.05:
            return finding(self, "pass", evidence)
        cure = "the combiner overfits: tie its weights by family, or use a simpler one"
        return finding(self, "warn", evidence, cure)


class FreshLabels(CombinerCheck):
    """Cross-fits a combiner on permuted labels, from which nothing can be learned.

    A combiner must learn nothing from the labels of other rows: a gain over the base rate is then a leak.
    """

    id: ClassVar[str] = "A12"
    title: ClassVar[str] = "labels of other rows"
    only_deep: ClassVar[bool] = True

    def judge(self, inputs: AuditInput, combine: Combine) -> Finding:
        table = inputs.table
        order = np.random.default_rng(0).permutation(len(table))
        labels = table.labels
        permuted = replace(
            labels,
            votes_NC=labels.votes_NC[order],
            stratum_N=labels.stratum_N[order],
            sample_weight_N=labels.sample_weight_N[order],
        )
        base_rate_NC = np.empty_like(permuted.target_NC)
        for fold in table.folds:
            held = table.fold_N == fold
            base_rate_NC[held] = permuted.target_NC[~held].mean(axis=0)
        combined_NC = combine(replace(table, labels=permuted), table.fold_N)
        target_NC = permuted.target_NC
        gain_N = row_kl(target=target_NC, proba=base_rate_NC) - row_kl(target=target_NC, proba=combined_NC)
        [gain], [error] = clustered_means([gain_N], labels.groups)
        evidence = (
            f"On the labels of other rows the combiner gains {gain:.4f} over the base rate "
            f"(standard error {error:.4f})."
        )
        base_rate = row_kl(target=target_NC, proba=base_rate_NC).mean()
        if gain > max(3 * error, SMALLEST_GAIN * base_rate):
            cure = "its cross-fit sees labels of the rows it scores: do not use it"
            return finding(self, "fail", evidence, cure)
        return finding(self, "pass", evidence)
