"""One HTML file that answers "should I stack?" on its first screen and holds everything the answer rests on."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldstill.arguments import require_types
from foldstill.compare import member_plots, plots
from foldstill.compare.comparison import Comparison
from foldstill.compare.cost_plot import cost_plot
from foldstill.compare.figure import Figure
from foldstill.compare.intervals import Interval
from foldstill.compare.member_plots import Records
from foldstill.compare.metrics import KL, METRICS, LogLoss, Metric, badness
from foldstill.compare.results import MetricFacts
from foldstill.compare.verdict import headline
from foldstill.cost import with_unit
from foldstill.files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_ROWS = {
    "test": "Locked test rows: no member, combiner or student was fitted, chosen or calibrated on their groups.",
    "oof cross-fitted": (
        "Cross-fitted out-of-fold rows: every combination was fitted without the groups it is scored on. They are "
        "nearly clean, not entirely, because the members of other folds have seen these labels. A locked test split "
        "gives stronger evidence."
    ),
}


# Its documentation is longer than its code.
def write_report(
    comparison: Comparison,
    path: Path | str,
    *,
    curves: Records | None = None,
    weights: Records | None = None,
    audit: Records | None = None,
    context: Mapping[str, Any] | None = None,
    validated: Comparison | None = None,
    summaries: Mapping[str, str] | None = None,
) -> None:
    """Write a comparison as one self-contained HTML file, which loads no script, font or picture from the network.

    Parameters
    ----------
    comparison : Comparison
        What the report shows.
    path : str or Path
        The file to write.
    curves : sequence of mappings, optional
        Training histories, as records of member, fold, epoch, loss, kl.
    weights : sequence of mappings, optional
        Member weights, as records of arm, member, weight and perhaps low, high; the arms' own weights by default.
    audit : sequence of mappings, optional
        Findings of the audit, as records of check, verdict, evidence, cure.
    context : mapping, optional
        Names and values of the provenance table, such as versions and digests. `command`, which uses the recommended
        arm, stands under the verdict instead.
    validated : Comparison, optional
        Comparison of cross-validated students.
    summaries : mapping, optional
        One sentence on each combination, by name.

    Examples
    --------
    >>> import numpy as np
    >>> from foldstill.compare import Arm, compare
    >>> from foldstill.data import Labels
    >>> truth = np.random.default_rng(0).dirichlet(np.ones(3), 60)
    >>> labels = Labels.from_votes(np.rint(9 * truth) + 1)
    >>> arms = [Arm("average", "average", 0.5 * truth + 0.5 / 3), Arm("sharper", "combination", 0.7 * truth + 0.1)]
    >>> folder = getfixture("tmp_path")
    >>> write_report(compare(arms, labels), folder / "report.html")
    >>> print((folder / "report.html").read_text(encoding="utf-8").count("<figure"))
    3
    """
    require_types(write_report, locals())
    html = environment().get_template("report.html.j2").render(
        c=comparison.shown,
        metric=comparison.metric,
        base=comparison[comparison.baseline],
        use=comparison[comparison.judgement.recommended],
        command=(context or {}).get("command"),
        headline=headline(comparison.judgement, comparison.baseline),
        rows_meaning=_ROWS[comparison.rows],
        arms=sorted(comparison.shown.arms, key=lambda arm: arm.loss),
        best=_best(comparison),
        gains=_shown_gains(comparison),
        validated=None if validated is None else validated.shown,
        validated_gains={} if validated is None else _shown_gains(validated),
        combinations={
            arm.name: summaries[arm.name] for arm in comparison.ranked() if summaries and arm.name in summaries
        },
        metrics=_metrics(comparison),
        kinds=plots.KIND_COLOUR,
        arms_figure=plots.arms_plot(comparison) if len(comparison.arms) > 1 else None,
        sections=_sections(
            comparison, member_plots.own_weights(comparison) if weights is None else weights, curves or ()
        ),
        audit=list(audit or ()),
        context={name: value for name, value in (context or {}).items() if name != "command"},
    )  # fmt: skip
    write_text(Path(path), html)


def environment() -> "Environment":
    """The templates of reports, and the forms in which they show values."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("foldstill.compare", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "code": _code,
        "number": _number,
        "signed": _signed,
        "percent": _percent,
        "count": with_unit,
        "p": _p_value,
    }
    return environment


def _sections(comparison: Comparison, weights: Records, curves: Records) -> list[tuple[str, str, list[Figure]]]:
    """Key, heading and figures of every section that has a figure."""
    sections: list[tuple[str, str, list[Figure | None]]] = [
        ("strata", "By stratum", [plots.strata_plot(comparison)]),
        ("calibration", "Calibration and classes", [plots.reliability_plot(comparison), plots.class_plot(comparison)]),
        (
            "members",
            "Members",
            [
                member_plots.weights_plot(weights, comparison),
                member_plots.size_plot(comparison),
                member_plots.correlation_plot(comparison),
            ],
        ),
        ("curves", "Training", [member_plots.curves_plot(curves, comparison)]),
        ("cost", "Cost", [cost_plot(comparison)]),
    ]
    return [(key, title, [f for f in figures if f is not None]) for key, title, figures in sections if any(figures)]


def _metrics(comparison: Comparison) -> tuple[type[Metric] | MetricFacts, ...]:
    """The metrics of the table of arms: the one that decides, where it is not among those of every table, first.

    On hard labels KL and log loss are one number; the one that does not decide is left out.
    """
    extra = () if comparison.metric.name in {metric.name for metric in METRICS} else (comparison.metric,)
    twice = {KL.name, LogLoss.name} if _equal(comparison, KL.name, LogLoss.name) else set()
    left_out = twice - {comparison.metric.name if comparison.metric.name in twice else KL.name}
    return (*extra, *(metric for metric in METRICS if metric.name not in left_out))


def _equal(comparison: Comparison, first: str, second: str) -> bool:
    """Whether two metrics have the same value for every arm."""
    pairs = [(arm.scores[first], arm.scores[second]) for arm in comparison.arms]
    return all(a is not None and b is not None and abs(a - b) < 1e-9 for a, b in pairs)


def _shown_gains(comparison: Comparison) -> dict[str, Interval]:
    """What the teacher of each student adds, in the direction of the metric."""
    return {name: comparison.metric.shown_interval(gain) for name, gain in comparison.teacher_gains().items()}


def _best(comparison: Comparison) -> dict[str, float]:
    """The best value per metric."""
    best = {}
    for metric in _metrics(comparison):
        values = [float(value) for arm in comparison.arms if (value := arm.scores[metric.name]) is not None]
        if values:
            best[metric.name] = min(values, key=lambda value: badness(metric.better, value))
    return best


def _code(text: str) -> "Markup":
    """Text as HTML; text between backticks is code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:z.{digits}f}".replace("-", "−")


def _signed(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:+z.{digits}f}".replace("-", "−")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %".replace("-", "−")


def _p_value(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
