"""Contract suites for kinds that users write: what foldstill expects of a metric, an audit check or a data source."""

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from foldstill.compare.metrics import Metric
    from foldstill.compare.predictions import Predictions
    from foldstill.data.source import DataSource
    from foldstill.oof import AuditCheck, AuditInput

Floats = NDArray[np.float64]


def check_metric(metric: "Metric", *, tolerance: float = 1e-9) -> None:
    """Check that an object is a metric that foldstill can report and compare.

    A metric names itself; a perfect prediction scores best; the order of rows does not matter; a weight of 2 counts like a
    repeated row; scores are finite, and None only where the metric is not defined.

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
        _require(
            isinstance(value, str) and bool(value),
            f"{metric!r} needs a {field}, a string that is not empty, got {value!r}",
        )
    _require(
        metric.better in get_args(Better),
        f"metric {metric.name!r}: better must be one of {get_args(Better)}, got {metric.better!r}",
    )
    target_NC, others = _small_table()
    _check_a_perfect_prediction_is_best(metric, target_NC, others)
    _check_rows_are_exchangeable(metric, target_NC, others, tolerance)
    _check_scores_are_finite(metric, target_NC, others)


def check_audit(check: "type[AuditCheck]") -> None:
    """Check that a class is an audit check that `foldstill.audit` can run.

    A check answers for every table, names itself in its finding, says the same twice, and does not change the table. A warning or
    a failure comes with a cure.

    Parameters
    ----------
    check : AuditCheck class
        The class as it is passed to `audit(table, checks=...)`.

    Raises
    ------
    AssertionError
        With a sentence that says what the check does wrong.

    Examples
    --------
    >>> from foldstill.oof import CHECKS
    >>> for check in CHECKS:
    ...     check_audit(check)
    >>> class Nameless(CHECKS[0]):
    ...     id = ""
    >>> check_audit(Nameless)
    Traceback (most recent call last):
    AssertionError: Nameless needs an id, a string that is not empty, got ''
    """
    for field in ("id", "title", "summary"):
        value = getattr(check, field, None)
        article = "an" if field == "id" else "a"
        _require(
            isinstance(value, str) and bool(value),
            f"{check.__name__} needs {article} {field}, a string that is not empty, got {value!r}",
        )
    severity = getattr(check, "severity", None)
    _require(severity in ("hard", "soft"), f"{check.__name__}: severity must be hard or soft, got {severity!r}")
    for case, inputs in _audit_inputs().items():
        where = f"{check.__name__} for {case}"
        before = inputs.table.proba_NMC.tobytes(), inputs.table.labels.digest
        finding = check().check(inputs)
        names = (finding.id, finding.name, finding.severity)
        expected = (check.id, check.title, check.severity)
        _require(names == expected, f"{where}: the finding must carry {expected} of the check, got {names}")
        verdicts = ("pass", "warn", "fail", "not applicable")
        _require(finding.verdict in verdicts, f"{where}: verdict must be one of {verdicts}, got {finding.verdict!r}")
        _require(bool(finding.evidence), f"{where}: the finding needs evidence")
        _require(
            bool(finding.cure) == (finding.verdict in ("warn", "fail")),
            f"{where}: a warning or failure needs a cure, and nothing else has one, got {finding.cure!r}",
        )
        _require(check().check(inputs) == finding, f"{where}: the finding must be the same the second time")
        after = inputs.table.proba_NMC.tobytes(), inputs.table.labels.digest
        _require(after == before, f"{where}: the check must not change the table")


def _audit_inputs() -> "dict[str, AuditInput]":
    """Tables that differ in what a check may need: members, votes, test rows, a combiner."""
    from foldstill.data.labels import Labels
    from foldstill.oof import AuditInput, FoldScores, oof_table

    rng = np.random.default_rng(0)
    truth_NC = rng.dirichlet(np.ones(3), 120)
    scores_NMC = np.stack([0.8 * truth_NC + 0.2 * rng.dirichlet(np.ones(3), 120) for _ in range(3)], axis=1)
    groups = np.arange(120) // 4
    labels = Labels.from_votes(rng.multinomial(6, truth_NC), groups=groups)
    table = oof_table(scores_NMC, labels, folds=groups % 3)
    hard = oof_table(scores_NMC, truth_NC.argmax(axis=1), groups=groups, folds=groups % 3)
    held_out, rest = np.flatnonzero(groups % 3 == 0), np.flatnonzero(groups % 3)
    test = FoldScores(labels.ids[held_out], table.members, table.classes, table.proba_NMC[None, held_out])
    return {
        "a table alone": AuditInput(table),
        "one member": AuditInput(table.select(table.members[:1])),
        "hard labels": AuditInput(hard),
        "a table with test scores": AuditInput(table.take(rest), test, labels.take(held_out[::-1])),
        "a combiner": AuditInput(table, combine=lambda part, _: part.proba_NMC.mean(axis=1), deep=True),
    }


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
        _require(
            abs(plain - reordered) <= tolerance,
            f"metric {metric.name!r}: the order of rows must not matter, got {plain:.6g} and {reordered:.6g}",
        )
        weighted = _score(metric, _predictions(target_NC, proba_NC, weight_N))
        twice = _score(metric, _predictions(target_NC[repeated], proba_NC[repeated]))
        _require(
            abs(weighted - twice) <= tolerance,
            f"metric {metric.name!r}: a weight of 2 must count like a repeated row, got {weighted:.6g} and {twice:.6g}",
        )


def _check_scores_are_finite(metric: "Metric", target_NC: Floats, others: list[Floats]) -> None:
    """Also for certain predictions that are wrong, for rows of one class, and for one row, where None is allowed."""
    certain_NC = np.eye(target_NC.shape[1])[target_NC.argmin(axis=1)]
    first_class_NC = np.eye(target_NC.shape[1])[np.zeros(len(target_NC), dtype=np.intp)]
    for target, proba, what in (
        (target_NC, certain_NC, "predictions of 0 and 1"),
        (first_class_NC, others[0], "rows of one class"),
        (target_NC[:1], others[0][:1], "one row"),
    ):
        score = metric.score(_predictions(target, proba))
        _require(
            score is None or bool(np.isfinite(score)),
            f"metric {metric.name!r}: a score must be finite, or None where it is not defined, got {score} for {what}",
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


def check_source(source: "DataSource", root: Path, new_rows: Path | None = None) -> None:
    """Check that a data source keeps the promises of `DataSource`.

    Parameters
    ----------
    source : DataSource
        The source to check.
    root : Path
        Folder at which relative paths of the source start.
    new_rows : Path or None, default None
        Rows for `inputs`, in the form of the data set; None skips the checks of new rows.

    Raises
    ------
    AssertionError
        With the promise that is broken.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from foldstill.data import DigitsData
    >>> with TemporaryDirectory() as folder:
    ...     check_source(DigitsData(rows=20, size=8), Path(folder))
    """
    from foldstill.errors import FoldstillError
    from foldstill.workers import Work

    name = type(source).__name__
    _require(bool(source.title and source.summary), f"{name} must have a title and a summary")
    source.prepare(root, Work(workers=1))
    source.prepare(root, Work(workers=1))
    data, again = source.load(root), source.load(root)
    ids = data.labels.ids.tolist()
    _require(len(set(ids)) == len(ids), f"{name}.load must give each row an id of its own")
    _require(data.digest == again.digest, f"{name}.load must give the same data set twice")
    missing = root / "there is no such file"
    try:
        source.inputs(missing)
    except FoldstillError as error:
        _require(bool(str(error)), f"{name}.inputs must name what is missing")
    else:
        raise AssertionError(f"{name}.inputs must raise FoldstillError for a missing file, it read {missing}")
    if new_rows is None:
        return
    rows, rows_again = source.inputs(new_rows), source.inputs(new_rows)
    _require(len(set(rows.ids.tolist())) == len(rows.ids), f"{name}.inputs must give each row an id of its own")
    _require(rows.ids.tolist() == rows_again.ids.tolist(), f"{name}.inputs must give the same ids twice")
    _require(set(rows.views) == set(data.views), f"{name}.inputs must give the views of load: {sorted(data.views)}")
    for view, array in rows.views.items():
        stored = data.view(view)
        _require(len(array) == len(rows.ids), f"{name}.inputs: view {view!r} must have one row per id")
        _require(
            (array.shape[1:], array.dtype) == (stored.shape[1:], stored.dtype),
            f"{name}.inputs: view {view!r} must have the shape and type that load gives, {stored.dtype} "
            f"{stored.shape[1:]}, got {array.dtype} {array.shape[1:]}",
        )
        _require(
            array.tobytes() == rows_again.views[view].tobytes(), f"{name}.inputs: view {view!r} must be the same twice"
        )


def _require(condition: bool, message: str) -> None:
    """Raise AssertionError unless the condition holds; unlike an assert statement also under `python -O`."""
    if not condition:
        raise AssertionError(message)
