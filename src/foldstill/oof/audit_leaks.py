"""A5 to A7: traces that a member saw the labels of the rows it scored.

N rows, M members, C classes, G groups.
"""

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


def noise_slopes(table: OOFTable) -> tuple[float, float, Array, Array]:
    """(slope of vote noise on 1/votes, its error, each member's slope over it, their errors).

    KL(y || p) = sum y log y - sum y log p. For a prediction made without the votes only the first term depends on how
    many there are, hence the slope of its KL on 1/votes is that of the first term and the ratio 1. A prediction that
    follows the votes takes the noise along: its ratio is below 1. Rows with more votes may be easier or harder; that
    shifts all members alike, so each is also held against the median.
    """
    labels = table.labels
    inverse_N = 1 / labels.total_N
    centred_N = inverse_N - inverse_N.mean()
    share = labels.target_NC
    noise_N = (share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
    values_NF = np.column_stack([noise_N, member_kl(labels, table.proba_NMC)])
    slope_F = centred_N @ values_NF / (centred_N**2).sum()
    residual_NF = values_NF - values_NF.mean(axis=0) - centred_N[:, None] * slope_F
    sums_GF = _group_sums(centred_N[:, None] * residual_NF, labels.groups)
    error_F = np.sqrt((sums_GF**2).sum(axis=0)) / (centred_N**2).sum()
    # Errors of the ratios: the residual of member minus ratio times noise.
    ratio_M = slope_F[1:] / slope_F[0]
    paired_GM = (sums_GF[:, 1:] - ratio_M * sums_GF[:, :1]) / (centred_N**2).sum()
    return float(slope_F[0]), float(error_F[0]), ratio_M, np.sqrt((paired_GM**2).sum(axis=0)) / abs(slope_F[0])


ALONE_BELOW = 0.65
"""Of the members' median: a leaked member measured 0.41 to 0.52 times it, honest ones 0.71 and more, within 2 errors."""
ALL_BELOW = 0.8
ALL_FAR_BELOW = 0.68
"""Of 1: tables whose members all leak measured 0.37 to 0.60, honest ones 0.73 to 1.33 at 2,000 rows."""
ERRORS = 4.5
"""Standard errors from which a slope is not chance; honest tables stayed within 2.6, leaks began at 7."""


def vote_noise_slope(table: OOFTable, *, held_out_agrees: bool = False) -> Finding:
    """A member whose score depends less on the noise of votes than the others, or than the noise itself, follows it.

    When all members do, a warning is all that is said if scores on held-out groups agree: rows with more votes are harder.
    """
    name = "vote-noise slope"
    if why := _counted(table):
        return Finding("A6", name, "not applicable", why)
    if np.ptp(1 / table.labels.total_N) == 0:
        return Finding("A6", name, "not applicable", "Every row has the same number of votes.")
    noise, noise_error, ratio_M, error_M = noise_slopes(table)
    if noise < 5 * noise_error:
        why = f"Votes a row differ too little to tell: slope of their noise {noise:.2f} with error {noise_error:.2f}."
        return Finding("A6", name, "not applicable", why)
    median = float(np.median(ratio_M))
    alone = (ratio_M < ALONE_BELOW * median) & (median - ratio_M > ERRORS * error_M)
    error = float(np.median(error_M))
    evidence = f"An honest member's slope is 1 times that of the noise; the median is {median:.2f} (error {error:.2f})"
    cure = "train them so that no fold model sees the group of a row it scores"
    if alone.any():
        named = [f"{table.members[m]} {ratio_M[m]:.2f}" for m in np.flatnonzero(alone)]
        evidence = f"{evidence}, far below it: {', '.join(named[:4])}."
        return Finding("A6", name, "fail", evidence, f"drop these members, or {cure}")
    if median < ALL_BELOW and 1 - median > ERRORS * error:
        far = median < ALL_FAR_BELOW and not held_out_agrees
        evidence = f"{evidence}: all follow the votes, or rows with more votes are harder."
        return Finding("A6", name, "fail" if far else "warn", evidence, f"score groups no model saw (A7), or {cure}")
    low = int(ratio_M.argmin())
    return Finding("A6", name, "pass", f"{evidence}, the lowest {ratio_M[low]:.2f} ({table.members[low]}).")


def holdout_gap(table: OOFTable, test: FoldScores | None, test_labels: Labels | None) -> Finding:
    """Members that score much better on their out-of-fold rows than on groups they cannot have seen."""
    name = "out-of-fold against held-out score"
    if test is None or test_labels is None:
        return Finding("A7", name, "not applicable", "It needs scores and labels of groups that no model saw (--test).")
    inside, inside_error = clustered_mean(member_kl(table.labels, table.proba_NMC), table.labels.groups)
    # Each out-of-fold row was scored by one model, hence the mean over models of their scores, not the score of their mean.
    held = np.mean(
        [member_kl(test_labels, test.of_model(k).select(table.members).proba_NMC) for k in range(test.n_models)], axis=0
    )
    outside, outside_error = clustered_mean(held, test_labels.groups)
    z_M = (inside - outside) / np.sqrt(inside_error**2 + outside_error**2)
    low, high = int(z_M.argmin()), int(z_M.argmax())
    evidence = (
        f"Out of fold minus held out, in standard errors: {z_M[low]:.1f} ({table.members[low]}, "
        f"{inside[low]:.4f} against "
        f"{outside[low]:.4f}) to {z_M[high]:.1f} ({table.members[high]})."
    )
    if z_M[low] < -4:
        named = [table.members[m] for m in np.flatnonzero(z_M < -4)]
        return Finding(
            "A7",
            name,
            "fail",
            f"{evidence} Too good out of fold: {len(named)} members, {', '.join(named[:4])}.",
            "these members saw labels of rows they scored, or the test rows are another population: find out which",
        )
    if z_M[high] > 4:
        cure = "the test rows are easier, or out-of-fold rows are misaligned: compare strata and ids"
        return Finding("A7", name, "warn", evidence, cure)
    return Finding("A7", name, "pass", evidence)
