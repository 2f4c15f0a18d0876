"""What foldstill expects of a metric, checked on small synthetic data."""

from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

from foldstill.testing.requirements import require

if TYPE_CHECKING:
    from foldstill.compare.metrics import Metric
    from foldstill.compare.predictions import Predictions

Floats = NDArray[np.float64]


def check_metric(metric: "Metric", *, tolerance: float = 1e-9) -> None:
    """Check that an object is a metric that foldstill can report and compare.

    A metric has a name, a title and a summary; a perfect prediction scores best; the order of rows does not matter; a
    weight of 2 counts like a repeated row; scores are finite, and None only where the metric is not defined; scores
    without a group, where the metric has a faster way to them, are those of the other rows.

    Parameters
    ----------
    metric : Metric
        The metric to check.
    tolerance : float, default 1e-9
        How far the score may move when rows are reordered or repeated. Metrics that bin rows or split them by position
        need more than the default.

    Raises
    ------
    AssertionError
        With a sentence that says what the metric does wrong.

    Examples
    --------
    >>> from foldstill.compare.metrics import KL
    >>> check_metric(KL())
    >>> class Reversed(KL):
    ...     better = "high"
    >>> check_metric(Reversed())
    Traceback (most recent call last):
    AssertionError: metric 'kl': a perfect prediction must score best, got 0 against 0.05088 of another prediction
    """
    from foldstill.compare.metrics import Better

    for field in ("name", "title", "summary"):
        value = getattr(metric, field, None)
        require(
            isinstance(value, str) and bool(value),
            f"{metric!r} needs a {field}, a string that is not empty, got {value!r}",
        )
    require(
        metric.better in get_args(Better),
        f"metric {metric.name!r}: better must be one of {get_args(Better)}, got {metric.better!r}",
    )
    target_NC, others = _small_table()
    _check_a_perfect_prediction_is_best(metric, target_NC, others)
    _check_rows_are_exchangeable(metric, target_NC, others, tolerance)
    _check_scores_are_finite(metric, target_NC, others)
    _check_scores_without_groups(metric, target_NC, others)


def _small_table() -> tuple[Floats, list[Floats]]:
    """Vote shares of 200 rows and 3 classes without ties or zeros, and predictions from good to useless."""
    rng = np.random.default_rng(0)
    target_NC = 0.97 * rng.dirichlet(np.ones(3), 200) + 0.01
    noise_NC = rng.dirichlet(np.ones(3), 200)
    blurred = [share * target_NC + (1 - share) * noise_NC for share in (0.7, 0.3, 0.0)]
    sharpened = target_NC**3 / (target_NC**3).sum(axis=1, keepdims=True)
    return target_NC, [*blurred, sharpened, np.full_like(target_NC, 1 / 3)]


def _check_a_perfect_prediction_is_best(metric: "Metric", target_NC: Floats, others: list[Floats]) -> None:
    from foldstill.compare.metrics import badness

    best = metric.score(_predictions(target_NC, target_NC))
    if best is None:
        return
    for proba_NC in others:
        score = metric.score(_predictions(target_NC, proba_NC))
        if score is not None and badness(metric.better, best) > badness(metric.better, score) + 1e-9:
            raise AssertionError(
                f"metric {metric.name!r}: a perfect prediction must score best, got {best:.4g} against {score:.4g} of "
                "another prediction"
            )


def _check_rows_are_exchangeable(metric: "Metric", target_NC: Floats, others: list[Floats], tolerance: float) -> None:
    order = np.random.default_rng(1).permutation(len(target_NC))
    weight_N = np.where(np.arange(len(target_NC)) % 3 == 0, 2.0, 1.0)
    repeated = np.repeat(np.arange(len(target_NC)), weight_N.astype(int))
    for proba_NC in others:
        plain = _score(metric, _predictions(target_NC, proba_NC))
        reordered = _score(metric, _predictions(target_NC[order], proba_NC[order]))
        require(
            abs(plain - reordered) <= tolerance,
            f"metric {metric.name!r}: the order of rows must not matter, got {plain:.6g} and {reordered:.6g}",
        )
        weighted = _score(metric, _predictions(target_NC, proba_NC, weight_N))
        twice = _score(metric, _predictions(target_NC[repeated], proba_NC[repeated]))
        require(
            abs(weighted - twice) <= tolerance,
            f"metric {metric.name!r}: a weight of 2 must count like a repeated row, got {weighted:.6g} and {twice:.6g}",
        )


def _check_scores_are_finite(metric: "Metric", target_NC: Floats, others: list[Floats]) -> None:
    """Also for certain predictions that are wrong, for rows of one class, and for one row, where None is allowed."""
    certain_NC = np.eye(target_NC.shape[1])[target_NC.argmin(axis=1)]
    first_class_NC = np.eye(target_NC.shape[1])[np.zeros(len(target_NC), dtype=np.intp)]
    for target, proba, case in (
        (target_NC, certain_NC, "predictions of 0 and 1"),
        (first_class_NC, others[0], "rows of one class"),
        (target_NC[:1], others[0][:1], "one row"),
    ):
        score = metric.score(_predictions(target, proba))
        require(
            score is None or bool(np.isfinite(score)),
            f"metric {metric.name!r}: a score must be finite, or None where it is not defined, got {score} for {case}",
        )


def _check_scores_without_groups(metric: "Metric", target_NC: Floats, others: list[Floats]) -> None:
    from foldstill.compare.left_out import scores_without_groups

    if not (hasattr(metric, "without_groups") or hasattr(metric, "rows")):
        return
    group_N = np.arange(len(target_NC)) % 7
    weight_N = np.where(np.arange(len(target_NC)) % 3 == 0, 2.0, 1.0)
    for proba_NC in others:
        left_out_G = scores_without_groups(metric, _predictions(target_NC, proba_NC, weight_N), group_N)
        for g, score in enumerate(left_out_G.tolist()):
            kept = group_N != g
            expected = _score(metric, _predictions(target_NC[kept], proba_NC[kept], weight_N[kept]))
            require(
                abs(score - expected) <= 1e-9,
                f"metric {metric.name!r}: without group {g} the score must be {expected:.6g}, that of the other rows, "
                f"got {score:.6g}",
            )


def _score(metric: "Metric", predictions: "Predictions") -> float:
    """The score of ordinary predictions, which every metric must be able to give."""
    score = metric.score(predictions)
    if score is None or not np.isfinite(score):
        raise AssertionError(
            f"metric {metric.name!r}: a score of {len(predictions)} ordinary rows must be a finite number, got {score}"
        )
    return score


def _predictions(target_NC: Floats, proba_NC: Floats, weight_N: Floats | None = None) -> "Predictions":
    from foldstill.compare.predictions import Predictions

    return Predictions.checked(target=target_NC, proba=proba_NC, weight=weight_N)
