"""A5 to A7: traces that a member saw the labels of the rows it scored.

N samples (rows), M members, C classes, G groups, F columns.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foldstill.data.simplex import finite_log
from foldstill.oof.audit_check import AuditInput, Check, finding, member_kl
from foldstill.oof.audit_statistics import Array, clustered_means, errors_of_four
from foldstill.oof.findings import Finding, Severity, Verdict
from foldstill.oof.table import OOFTable

SAME_AS_LABELS = 0.02
"""Share of the median member's misses below which a member is suspected to be a copy of the labels."""
FEWEST_MISSES = 20
"""Misses of the median member below which another member may miss hardly any by chance."""
FEW_VOTES = 2.0
"""With fewer votes per row on average, vote noise shows nothing of leaks: one vote has no spread."""


def _why_no_vote_noise(table: OOFTable) -> str:
    """Why vote noise cannot be used on this table; empty when it can."""
    labels = table.labels
    if not labels.counted:
        return "The number of votes behind the shares is uncertain."
    if labels.total_N.mean() < FEW_VOTES:
        return "Rows have one label each: the noise of votes cannot be seen."
    if (labels.votes_NC % 1 != 0).any():
        return "Votes are not whole numbers."
    return ""


class VoteNoiseFloor(Check):
    """Looks for members that score better than the noise of the votes allows.

    A member that scores below what a perfect member would score on so few votes has seen the votes. The score of a
    perfect prediction is estimated by the correction of Miller and Madow (1955): (number of classes with a vote - 1) /
    (2 votes) per row. It is low for few votes, so that the check is on the safe side. Without counted votes there is no
    such floor; a member that misses hardly any label, among members that miss many, is then a warning.
    """

    id: ClassVar[str] = "A5"
    title: ClassVar[str] = "vote-noise floor"
    severity: ClassVar[Severity] = "hard"

    def check(self, inputs: AuditInput) -> Finding:
        table, labels = inputs.table, inputs.table.labels
        if why := _why_no_vote_noise(table):
            if copies := copies_of_labels(table):
                evidence = f"Hardly any label is missed by {', '.join(copies[:4])}, among members that miss many."
                return finding(self, "warn", evidence, "make sure that they are no copy of the labels, or drop them")
            return finding(self, "not applicable", why)
        floor_N = ((labels.votes_NC > 0).sum(axis=1) - 1) / (2 * labels.total_N)
        gap_M, error_M = clustered_means((kl_N - floor_N for kl_N in inputs.kl_NM.T), labels.groups)
        below = [m for m in range(len(table.members)) if gap_M[m] < -3 * error_M[m]]
        lowest = int(gap_M.argmin())
        evidence = (
            f"A perfect prediction would score {floor_N.mean():.4f} or more, the lowest member "
            f"({table.members[lowest]}) scores {floor_N.mean() + gap_M[lowest]:.4f}."
        )
        if not below:
            return finding(self, "pass", evidence)
        names = [table.members[m] for m in below]
        return finding(
            self,
            "fail",
            f"{evidence} Below it: {', '.join(names[:4])}.",
            "drop these members, or train them so that no fold model sees the group of a row it scores",
        )


def copies_of_labels(table: OOFTable) -> list[str]:
    """Members that predict the most voted class of almost every row, while the median member often does not."""
    voted_N = table.labels.target_NC.argmax(axis=1)
    miss_M = np.array([(table.proba_NMC[:, m].argmax(axis=1) != voted_N).sum() for m in range(len(table.members))])
    usual = float(np.median(miss_M))
    if usual < FEWEST_MISSES:
        return []
    return [table.members[m] for m in np.flatnonzero(miss_M < SAME_AS_LABELS * usual)]


@dataclass(frozen=True)
class NoiseSlopes:
    """Slopes on 1/votes, as multiples of the slope of vote noise, each with its standard error over groups."""

    noise: float
    noise_error: float
    ratio_M: Array
    """Slope of each member's KL divergence: 1 for a member that has not seen the votes."""
    error_M: Array
    alone_M: Array
    """Slope of each member's KL divergence minus that of the median member per row: 0 when the member follows the votes
    no more than the others."""
    alone_error_M: Array


def noise_slopes(inputs: AuditInput) -> NoiseSlopes:
    """How much each member's KL divergence depends on the noise of votes.

    KL(y || p) = sum y log y - sum y log p. For a prediction made without the votes only the first term depends on the
    number of votes. The slope of its KL divergence on 1/votes is then that of the first term, and their ratio is 1. A
    prediction that follows the votes follows their noise: its ratio is below 1. Rows with more votes may be easier or
    harder; that shifts all members alike, so each member is also compared with the median member.
    """
    labels = inputs.table.labels
    centred_N = 1 / labels.total_N - (1 / labels.total_N).mean()
    share = labels.target_NC
    noise_N = (share * finite_log(share)).sum(axis=1)
    kl_NM, median_N = inputs.kl_NM, inputs.median_kl_N
    _, group_N = np.unique(labels.groups, return_inverse=True)
    scale = (centred_N**2).sum()

    def slope(values_N: Array) -> tuple[float, Array]:
        """The slope of a column, and what each group adds to it."""
        value = float(centred_N @ values_N / scale)
        residual_N = values_N - values_N.mean() - centred_N * value
        return value, np.bincount(group_N, weights=centred_N * residual_N) / scale

    noise, influence_G = slope(noise_N)

    def ratios(columns: Iterable[Array]) -> tuple[Array, Array]:
        """Slopes as multiples of that of the noise, and their errors, group by group."""
        found = [(each / noise, own_G) for each, own_G in map(slope, columns)]
        # The error of a ratio is the error of its numerator minus ratio times denominator.
        errors = [np.sqrt(((own_G - ratio * influence_G) ** 2).sum()) / abs(noise) for ratio, own_G in found]
        return np.asarray([ratio for ratio, _ in found]), np.asarray(errors)

    ratio_M, error_M = ratios(kl_NM.T)
    alone_M, alone_error_M = ratios(kl_N - median_N for kl_N in kl_NM.T)
    noise_error = float(np.sqrt((influence_G**2).sum()))
    return NoiseSlopes(noise, noise_error, ratio_M, error_M, alone_M, alone_error_M)


ALONE = 0.3
"""A member's slope below the median's: leaked members measured 0.40 to 0.61 at 2,000 rows, honest ones 0.23 at most."""
ALL_BELOW = 0.8
"""The median member's ratio: tables whose members all leak measured 0.41 to 0.60, honest ones 0.73 and more."""
ERRORS = 4.0
"""Standard errors from which a slope is not chance: honest tables stayed within 2.7, leaks began at 5.2."""


class VoteNoiseSlope(Check):
    """Looks for members whose scores follow the noise of the votes.

    A member follows the votes if its score depends less on vote noise than the others' scores or the noise itself. The
    same happens on honest tables whose number of votes depends on how hard a row is, so it is a warning; only where
    scores on held-out groups are worse as well (A7) it is a failure.
    """

    id: ClassVar[str] = "A6"
    title: ClassVar[str] = "vote-noise slope"
    severity: ClassVar[Severity] = "hard"

    def check(self, inputs: AuditInput) -> Finding:
        table = inputs.table
        if why := _why_no_slope(table):
            return finding(self, "not applicable", why)
        slopes = noise_slopes(inputs)
        if slopes.noise < 4 * slopes.noise_error:
            why = (
                f"Too few rows, or votes too alike: slope of their noise {slopes.noise:.2f}, "
                f"error {slopes.noise_error:.2f}."
            )
            return finding(self, "not applicable", why)
        verdict: Verdict = "fail" if HoldoutGap().check(inputs).verdict == "fail" else "warn"
        median, error = float(np.median(slopes.ratio_M)), float(np.median(slopes.error_M))
        evidence = (
            f"An honest member's slope is 1 times that of the noise; the median is {median:.2f} (error {error:.2f})"
        )
        cure = (
            "score groups that no model saw (--test, A7); if they score worse there, train them so that no fold model "
            "sees the group of a row it scores"
        )
        # Where rows with few votes are hard, slopes of honest members are several times the noise and differ widely.
        alone = (slopes.ratio_M < ALL_BELOW) & (slopes.alone_M < -np.maximum(ALONE, ERRORS * slopes.alone_error_M))
        if alone.any() and len(table.members) > 2:
            names = [f"{table.members[m]} {slopes.ratio_M[m]:.2f}" for m in np.flatnonzero(alone)]
            evidence = f"{evidence}, far below it: {', '.join(names[:4])}."
            return finding(self, verdict, evidence, f"drop these members, or {cure}")
        if median < ALL_BELOW and 1 - median > ERRORS * error:
            evidence = f"{evidence}: all follow the votes, or rows with more votes are harder."
            return finding(self, verdict, evidence, cure)
        low = int(slopes.ratio_M.argmin())
        evidence = f"{evidence}, the lowest {slopes.ratio_M[low]:.2f} ({table.members[low]})."
        return finding(self, "pass", evidence)


def _why_no_slope(table: OOFTable) -> str:
    """Why the slope on 1/votes cannot be measured on this table; empty when it can."""
    if why := _why_no_vote_noise(table):
        return why
    if np.ptp(1 / table.labels.total_N) == 0:
        return "Every row has the same number of votes."
    if (table.labels.votes_NC > 0).sum(axis=1).max() == 1:
        return "No two votes of a row disagree, so votes have no noise."
    return ""


class HoldoutGap(Check):
    """Compares each member's score out of fold with its score on groups that no model saw.

    A member that scores much better on its out-of-fold rows than on new groups has seen the out-of-fold rows.
    """

    id: ClassVar[str] = "A7"
    title: ClassVar[str] = "out-of-fold against held-out score"
    severity: ClassVar[Severity] = "hard"

    def check(self, inputs: AuditInput) -> Finding:
        table, test, test_labels = inputs.table, inputs.test, inputs.test_labels
        if test is None or test_labels is None:
            why = "It needs scores and labels of groups that no model saw (--test)."
            return finding(self, "not applicable", why)
        inside, inside_error = clustered_means(inputs.kl_NM.T, table.labels.groups)
        # One model scored each out-of-fold row: comparable is the mean over models of their scores, not the score of
        # their mean.
        by_model = [test.fold_model(k).select(table.members).proba_NMC for k in range(test.n_models)]
        held_NM = np.mean([member_kl(test_labels, proba_NMC) for proba_NMC in by_model], axis=0)
        outside, outside_error = clustered_means(held_NM.T, test_labels.groups)
        z_M = (inside - outside) / np.sqrt(inside_error**2 + outside_error**2)
        limit = errors_of_four(min(len(np.unique(table.labels.groups)), len(np.unique(test_labels.groups))))
        low, high = int(z_M.argmin()), int(z_M.argmax())
        evidence = (
            f"Out of fold minus held out, in standard errors: {z_M[low]:.1f} ({table.members[low]}, "
            f"{inside[low]:.4f} against {outside[low]:.4f}) to {z_M[high]:.1f} ({table.members[high]})."
        )
        if z_M[low] < -limit:
            names = [table.members[m] for m in np.flatnonzero(z_M < -limit)]
            return finding(
                self,
                "fail",
                f"{evidence} Too good out of fold: {len(names)} members, {', '.join(names[:4])}.",
                "these members saw labels of rows they scored, or the test rows are another population: find out which",
            )
        if z_M[high] > limit:
            cure = "the test rows are easier, or out-of-fold rows are misaligned: compare strata and ids"
            return finding(self, "warn", evidence, cure)
        return finding(self, "pass", evidence)
