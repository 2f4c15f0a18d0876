"""A5 to A7: traces that a member saw the labels of the rows it scored.

N rows, M members, C classes, G groups.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import Labels
from foldstill.data.simplex import row_kl
from foldstill.oof.findings import Finding
from foldstill.oof.table import FoldScores, OOFTable

Array = NDArray[np.float64]

FEW_VOTES = 2.0
"""Mean votes a row below which vote noise tells nothing of leaks: one vote has no spread."""


def member_kl(labels: Labels, proba_NMC: NDArray[np.floating]) -> Array:
    """KL of each row and member, (N, M), in nats."""
    return np.stack([row_kl(target=labels.target_NC, proba=proba_NMC[:, m]) for m in range(proba_NMC.shape[1])], axis=1)


def _group_sums(values_NF: Array, groups: NDArray[np.str_]) -> Array:
    _, index = np.unique(groups, return_inverse=True)
    return np.stack([np.bincount(index, weights=column) for column in values_NF.T], axis=1)


def clustered_mean(values_NF: Array, groups: NDArray[np.str_]) -> tuple[Array, Array]:
    """Mean of each column and its standard error, rows of a group counted as one draw."""
    mean = values_NF.mean(axis=0)
    sums_GF = _group_sums(values_NF - mean, groups)
    n_groups = len(sums_GF)
    error = np.sqrt((sums_GF**2).sum(axis=0) * n_groups / max(n_groups - 1, 1)) / len(values_NF)
    return mean, error


def errors_of_four(n_groups: int) -> float:
    """How many standard errors are as rare over this many groups as four are of a normal: few groups estimate them badly."""
    from scipy.stats import norm, t

    return float(t.isf(norm.sf(4.0), max(n_groups - 1, 1)))


def _counted(table: OOFTable) -> str:
    """Why vote noise cannot be used on this table, or nothing when it can."""
    labels = table.labels
    if not labels.counted:
        return "The number of votes behind the shares is not known for sure."
    if labels.total_N.mean() < FEW_VOTES:
        return "Rows have one label each: the noise of votes cannot be seen."
    if (labels.votes_NC % 1 != 0).any():
        return "Votes are not whole numbers."
    return ""


def vote_noise_floor(table: OOFTable) -> Finding:
    """A member below what a perfect one would score on as few votes has seen them.

    The score of a perfect prediction is estimated by the correction of Miller and Madow (1955), (classes voted for - 1)
    / (2 votes) a row, which is low for few votes: the check is on the safe side.
    """
    name = "vote-noise floor"
    if why := _counted(table):
        return Finding("A5", name, "not applicable", why)
    labels = table.labels
    floor_N = ((labels.votes_NC > 0).sum(axis=1) - 1) / (2 * labels.total_N)
    gap_M, error_M = clustered_mean(member_kl(labels, table.proba_NMC) - floor_N[:, None], labels.groups)
    below = [m for m in range(len(table.members)) if gap_M[m] < -3 * error_M[m]]
    lowest = int(gap_M.argmin())
    evidence = (
        f"A perfect prediction would score {floor_N.mean():.4f} or more, the lowest member ({table.members[lowest]}) "
        f"scores {floor_N.mean() + gap_M[lowest]:.4f}."
    )
    if not below:
        return Finding("A5", name, "pass", evidence)
    named = [table.members[m] for m in below]
    return Finding(
        "A5",
        name,
        "fail",
        f"{evidence} Below it: {', '.join(named[:4])}.",
        "drop these members, or train them so that no fold model sees the group of a row it scores",
    )


@dataclass(frozen=True)
class NoiseSlopes:
    """Slopes on 1/votes, as multiples of the slope of vote noise, each with its standard error over groups."""

    noise: float
    noise_error: float
    ratio_M: Array
    """Of each member's KL: 1 for one that has not seen the votes."""
    error_M: Array
    alone_M: Array
    """Of each member's KL minus the median member's, row by row: 0 when it follows the votes no more than the others."""
    alone_error_M: Array


def noise_slopes(table: OOFTable) -> NoiseSlopes:
    """How much each member's KL depends on the noise of votes.

    KL(y || p) = sum y log y - sum y log p. For a prediction made without the votes only the first term depends on how
    many there are, hence the slope of its KL on 1/votes is that of the first term and the ratio 1. A prediction that
    follows the votes takes the noise along: its ratio is below 1. Rows with more votes may be easier or harder; that
    shifts all members alike, so each is also held against the median of them.
    """
    labels = table.labels
    centred_N = 1 / labels.total_N - (1 / labels.total_N).mean()
    share = labels.target_NC
    noise_N = (share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
    kl_NM = member_kl(labels, table.proba_NMC)
    values_NF = np.column_stack([noise_N, kl_NM, kl_NM - np.median(kl_NM, axis=1, keepdims=True)])
    scale = (centred_N**2).sum()
    slope_F = centred_N @ values_NF / scale
    residual_NF = values_NF - values_NF.mean(axis=0) - centred_N[:, None] * slope_F
    moved_GF = _group_sums(centred_N[:, None] * residual_NF, labels.groups) / scale
    ratio_F = slope_F / slope_F[0]
    # The error of a ratio is that of its numerator minus ratio times denominator, group by group.
    error_F = np.sqrt(((moved_GF - ratio_F * moved_GF[:, :1]) ** 2).sum(axis=0)) / abs(slope_F[0])
    m = len(table.members)
    return NoiseSlopes(
        noise=float(slope_F[0]),
        noise_error=float(np.sqrt((moved_GF[:, 0] ** 2).sum())),
        ratio_M=ratio_F[1 : m + 1],
        error_M=error_F[1 : m + 1],
        alone_M=ratio_F[m + 1 :],
        alone_error_M=error_F[m + 1 :],
    )


ALONE = 0.3
"""A member's slope below the median's: leaked ones measured 0.40 to 0.61 at 2,000 rows, honest ones 0.23 at most."""
ALL_BELOW = 0.8
ALL_FAR_BELOW = 0.68
"""The median member's ratio: tables whose members all leak measured 0.41 to 0.60, honest ones 0.73 and more."""
ERRORS = 4.0
"""Standard errors from which a slope is not chance: honest tables stayed within 2.7, leaks began at 5.2."""


def vote_noise_slope(table: OOFTable, *, held_out_agrees: bool = False) -> Finding:
    """A member whose score depends less on the noise of votes than the others, or than the noise itself, follows it.

    Where scores on held-out groups agree it is a warning only: then rows with more votes are harder.
    """
    name = "vote-noise slope"
    if why := _counted(table):
        return Finding("A6", name, "not applicable", why)
    if np.ptp(1 / table.labels.total_N) == 0:
        return Finding("A6", name, "not applicable", "Every row has the same number of votes.")
    if (table.labels.votes_NC > 0).sum(axis=1).max() == 1:
        return Finding("A6", name, "not applicable", "No two votes of a row disagree, so votes have no noise.")
    slopes = noise_slopes(table)
    if slopes.noise < 4 * slopes.noise_error:
        why = (
            f"Too few rows, or votes too alike: slope of their noise {slopes.noise:.2f}, "
            f"error {slopes.noise_error:.2f}."
        )
        return Finding("A6", name, "not applicable", why)
    median, error = float(np.median(slopes.ratio_M)), float(np.median(slopes.error_M))
    evidence = f"An honest member's slope is 1 times that of the noise; the median is {median:.2f} (error {error:.2f})"
    cure = "train them so that no fold model sees the group of a row it scores"
    # Where rows with few votes are hard, honest members have slopes of several times the noise, far apart from each other.
    alone = (slopes.ratio_M < ALL_BELOW) & (slopes.alone_M < -np.maximum(ALONE, ERRORS * slopes.alone_error_M))
    if alone.any() and len(table.members) > 2:
        named = [f"{table.members[m]} {slopes.ratio_M[m]:.2f}" for m in np.flatnonzero(alone)]
        evidence = f"{evidence}, far below it: {', '.join(named[:4])}."
        return Finding("A6", name, "warn" if held_out_agrees else "fail", evidence, f"drop these members, or {cure}")
    if median < ALL_BELOW and 1 - median > ERRORS * error:
        far = median < ALL_FAR_BELOW and not held_out_agrees
        evidence = f"{evidence}: all follow the votes, or rows with more votes are harder."
        return Finding("A6", name, "fail" if far else "warn", evidence, f"score groups no model saw (A7), or {cure}")
    low = int(slopes.ratio_M.argmin())
    return Finding("A6", name, "pass", f"{evidence}, the lowest {slopes.ratio_M[low]:.2f} ({table.members[low]}).")


def holdout_gap(table: OOFTable, test: FoldScores | None, test_labels: Labels | None) -> Finding:
    """Members that score much better on their out-of-fold rows than on groups they cannot have seen."""
    name = "out-of-fold against held-out score"
    if test is None or test_labels is None:
        return Finding("A7", name, "not applicable", "It needs scores and labels of groups that no model saw (--test).")
    inside, inside_error = clustered_mean(member_kl(table.labels, table.proba_NMC), table.labels.groups)
    # Each out-of-fold row was scored by one model, hence the mean over models of their scores, not the score of their mean.
    held = np.mean(
        [member_kl(test_labels, test.fold_model(k).select(table.members).proba_NMC) for k in range(test.n_models)],
        axis=0,
    )
    outside, outside_error = clustered_mean(held, test_labels.groups)
    z_M = (inside - outside) / np.sqrt(inside_error**2 + outside_error**2)
    fewest = min(len(np.unique(table.labels.groups)), len(np.unique(test_labels.groups)))
    limit = errors_of_four(fewest)
    low, high = int(z_M.argmin()), int(z_M.argmax())
    evidence = (
        f"Out of fold minus held out, in standard errors: {z_M[low]:.1f} ({table.members[low]}, "
        f"{inside[low]:.4f} against "
        f"{outside[low]:.4f}) to {z_M[high]:.1f} ({table.members[high]})."
    )
    if z_M[low] < -limit:
        named = [table.members[m] for m in np.flatnonzero(z_M < -limit)]
        return Finding(
            "A7",
            name,
            "fail",
            f"{evidence} Too good out of fold: {len(named)} members, {', '.join(named[:4])}.",
            "these members saw labels of rows they scored, or the test rows are another population: find out which",
        )
    if z_M[high] > limit:
        cure = "the test rows are easier, or out-of-fold rows are misaligned: compare strata and ids"
        return Finding("A7", name, "warn", evidence, cure)
    return Finding("A7", name, "pass", evidence)
