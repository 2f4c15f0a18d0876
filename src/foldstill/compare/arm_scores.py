"""The scores of one arm, without any other. N rows, C classes, S seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.arms import Arm
from foldstill.compare.calibration import reliability
from foldstill.compare.left_out import row_losses
from foldstill.compare.metrics import KL, Metric, scores_of
from foldstill.compare.predictions import Predictions, by_class
from foldstill.compare.results import ArmScore, Fidelity, Scores, StratumScore
from foldstill.compare.row_losses import row_class_kl
from foldstill.compare.rows import ComparedRows
from foldstill.data.simplex import row_kl, row_sum
from foldstill.errors import CompareError

Floats = NDArray[np.float64]


def normalised(proba_NC: NDArray[Any]) -> Floats:
    """Rows that sum to one exactly: the rounding of float16 files would count as a negative KL."""
    proba = by_class(proba_NC)
    np.maximum(proba, 0, out=proba)
    proba /= row_sum(proba)[:, None]
    return proba


@dataclass(frozen=True)
class ScoredArm:
    """The scores of an arm, and its loss per row by the metric that decides; means over its seeds."""

    score: ArmScore
    loss_N: Floats
    loss_by_stratum: tuple[Floats | None, ...] | None = None
    """The losses of the rows of each stratum, whose mean is the loss of the stratum; None where it is not defined. None
    altogether where the losses of all rows serve."""

    def loss_of_stratum(self, position: int, held_N: NDArray[np.bool_]) -> Floats | None:
        """The losses of the rows of the stratum at a position, which `held_N` marks."""
        return self.loss_N[held_N] if self.loss_by_stratum is None else self.loss_by_stratum[position]


def score_arm(arm: Arm, rows: ComparedRows, teacher: Arm | None, metric: Metric) -> ScoredArm:
    """Score an arm on all rows and per stratum."""
    target_NC, weight_N = rows.target_NC, rows.weight_N
    by_seed = [
        Predictions(target_NC, normalised(proba_NC), weight_N).with_halves(rows.halves) for proba_NC in arm.by_seed
    ]
    n_seeds = len(by_seed)
    class_kl = [
        np.average(row_class_kl(target=target_NC, proba=one.proba_NC), axis=0, weights=weight_N) for one in by_seed
    ]
    score = ArmScore(
        name=arm.name,
        kind=arm.kind,
        scores=_mean_scores(by_seed),
        class_kl_C=tuple(np.mean(class_kl, axis=0).tolist()),
        strata=tuple(
            StratumScore(
                name,
                _mean_scores([one.take(rows.of_stratum(name)).with_halves(halves) for one in by_seed]),
                None,
            )
            for name, halves in rows.halves_of.items()
        ),
        reliability=reliability(
            predicted_N=np.concatenate([one.top[0] for one in by_seed]),
            observed_N=np.concatenate([one.top[1] for one in by_seed]),
            weight=np.tile(weight_N, n_seeds),
        ),
        kl_by_seed=tuple(float(kl_C.sum()) for kl_C in class_kl) if n_seeds > 1 else (),
        cost=arm.cost,
        note=arm.note,
        chosen=arm.chosen,
        weights=None if arm.weight_M is None else tuple(np.asarray(arm.weight_M, dtype=np.float64).tolist()),
        fidelity=None if teacher is None else _fidelity(by_seed, teacher, weight_N),
    )
    if metric.name == KL.name:
        return ScoredArm(score, np.mean([one.kl_N for one in by_seed], axis=0))
    return _decided_by(metric, score, by_seed, rows)


def _decided_by(metric: Metric, score: ArmScore, by_seed: Sequence[Predictions], rows: ComparedRows) -> ScoredArm:
    """The scores with the losses of a metric other than KL."""
    loss_SN = [row_losses(metric, one, rows.group_N) for one in by_seed]
    loss_of_seed = [one.mean(loss_N) for one, loss_N in zip(by_seed, loss_SN, strict=True)]
    by_stratum: list[Floats | None] = []
    strata: list[StratumScore] = []
    for stratum in score.strata:
        held_N = rows.of_stratum(stratum.stratum)
        parts = [one.take(held_N) for one in by_seed]
        strata.append(replace(stratum, scores={**stratum.scores, metric.name: _mean_score(metric, parts)}))
        by_stratum.append(_losses_of_stratum(metric, parts, rows.group_N[held_N]))
    scored = replace(
        score,
        scores={**score.scores, metric.name: _mean_score(metric, by_seed)},
        strata=tuple(strata),
        metric_loss=float(np.mean(loss_of_seed)),
        metric_loss_by_seed=tuple(loss_of_seed) if len(loss_of_seed) > 1 else (),
    )
    return ScoredArm(scored, np.mean(loss_SN, axis=0), tuple(by_stratum))


def _mean_score(metric: Metric, by_seed: Sequence[Predictions]) -> float | None:
    """The metric as a mean over seeds; None where it is not defined."""
    values = [value for one in by_seed if (value := metric.score(one)) is not None]
    return float(np.mean(values)) if len(values) == len(by_seed) else None


def _losses_of_stratum(metric: Metric, parts: Sequence[Predictions], group_N: NDArray[np.intp]) -> Floats | None:
    """The same for the rows of a stratum, as a mean over seeds; None where the metric is not defined."""
    names, renumbered_N = np.unique(group_N, return_inverse=True)
    if len(names) < 2:
        return None
    try:
        losses: Floats = np.mean([row_losses(metric, part, renumbered_N) for part in parts], axis=0)
    except CompareError:
        return None
    return losses


def _mean_scores(by_seed: Sequence[Predictions]) -> Scores:
    """Every score as the mean over seeds: what one training gives on average."""
    first, *others = (scores_of(predictions) for predictions in by_seed)
    return {
        name: None if value is None else float(np.mean([value, *(other[name] for other in others)]))
        for name, value in first.items()
    }


def _fidelity(by_seed: Sequence[Predictions], teacher: Arm, weight_N: Floats) -> Fidelity:
    """How closely an arm follows its teacher, where the teacher is compared as well."""
    wanted_NC = normalised(teacher.proba_NC)
    wanted_class_N = wanted_NC.argmax(axis=1)
    kl_N = np.mean([row_kl(target=wanted_NC, proba=one.proba_NC) for one in by_seed], axis=0)
    same_N = np.mean([one.proba_NC.argmax(axis=1) == wanted_class_N for one in by_seed], axis=0)
    return Fidelity(
        teacher.name, float(np.average(kl_N, weights=weight_N)), float(np.average(same_N, weights=weight_N))
    )
