"""One HTML file that answers "should I stack?" in its first screen and holds everything the answer rests on."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldstill.compare import member_plots, plots
from foldstill.compare.arms import with_unit
from foldstill.compare.comparison import Comparison
from foldstill.compare.cost_plot import cost_plot
from foldstill.compare.figure import Figure
from foldstill.compare.member_plots import Records
from foldstill.compare.metrics import METRICS
from foldstill.compare.verdict import answer
from foldstill.files import write_text

if TYPE_CHECKING:
    from markupsafe import Markup

_HEADLINE = {
    "yes": "Yes: stack.",
    "unsure": "Not proven: stay with the plain average.",
    "no": "No: the plain average is enough.",
}

_ROWS = {
    "test": "Locked test rows: no member, combiner or student was fitted, chosen or calibrated on their groups.",
    "oof cross-fitted": (
        "Cross-fitted out-of-fold rows: every combination was fitted without the groups it is scored on. They are nearly "
        "clean, not wholly, because members of other folds saw these labels. A locked test split is the stronger proof."
    ),
}

_COMBINATIONS = {
    "average": "The plain average of the members' probabilities: what everything else is measured against.",
    "geometric": "The average of the logarithms of the members' probabilities.",
    "recalibrated": "The plain average with a temperature and a bias a class, fitted to the votes.",
    "best_member": "The one member with the lowest KL on the rows it is chosen on.",
    "convex": "A weighted average: weights of 0 or more that sum to one, with the least KL.",
    "greedy": "A weighted average: the member that helps most is added, again and again.",
    "pruned": "The plain average of few members, added while the KL falls.",
    "log_pool": "A weighted geometric average: a power for each member and a bias a class.",
    "mlp": "A small network on the least, largest, mean and median score of each class and their spread, added to an average.",
    "lightgbm": "Boosted trees on the same statistics, added to an average.",
    "auto": "Chosen among the others by cross-fitting; the plain average unless the gain is sure.",
    "super": "A weighted average of other combinations, its weights fitted to their cross-fitted scores.",
}
"""What the combinations that go by their usual names are."""


def write_report(
    comparison: Comparison,
    path: Path | str,
    *,
    curves: Records | None = None,
    weights: Records | None = None,
    audit: Records | None = None,
    context: Mapping[str, Any] | None = None,
    validated: Comparison | None = None,
) -> None:
    """The comparison as one self-contained HTML file: no script, font or picture is fetched from anywhere.

    `curves` are records of member, fold, epoch, loss, kl; `weights` of arm, member, weight and perhaps low, high (without
    them the arms' own weights are shown); `audit` of check, verdict, evidence, cure; `context` names and values for the
    provenance table (versions, digests, what was fitted where); `validated` is the comparison of cross-validated students.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    pages = Environment(
        loader=PackageLoader("foldstill.compare", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters |= {
        "code": _code,
        "number": _number,
        "signed": _signed,
        "percent": _percent,
        "count": with_unit,
        "p": _p_value,
    }
    sections: list[tuple[str, str, list[Figure | None]]] = [
        ("strata", "By stratum", [plots.strata_plot(comparison)]),
        ("calibration", "Calibration and classes", [plots.reliability_plot(comparison), plots.class_plot(comparison)]),
        (
            "members",
            "Members",
            [
                member_plots.weights_plot(_own_weights(comparison) if weights is None else weights),
                member_plots.size_plot(comparison),
                member_plots.correlation_plot(comparison),
            ],
        ),
        ("curves", "Training", [member_plots.curves_plot(curves or ())]),
        ("cost", "Cost", [cost_plot(comparison)]),
    ]
    html = pages.get_template("report.html.j2").render(
        c=comparison,
        base=comparison[comparison.baseline],
        headline=_HEADLINE[answer(comparison.arms, level=comparison.level)],
        rows_meaning=_ROWS[comparison.rows],
        arms=sorted(comparison.arms, key=lambda arm: arm.kl),
        best=_best(comparison),
        gains=comparison.teacher_gains(),
        validated=validated,
        combinations={arm.name: _COMBINATIONS[arm.name] for arm in comparison.ranked() if arm.name in _COMBINATIONS},
        metrics=METRICS,
        kinds=plots.KIND_COLOUR,
        arms_figure=plots.arms_plot(comparison) if len(comparison.arms) > 1 else None,
        sections=[
            (key, title, [f for f in figures if f is not None]) for key, title, figures in sections if any(figures)
        ],
        audit=list(audit or ()),
        context=dict(context or {}),
    )
    write_text(Path(path), html)


def _own_weights(comparison: Comparison) -> list[dict[str, Any]]:
    """Records of the weights that arms carry themselves, best arm first; equal weights have nothing to show."""
    return [
        {
            "arm": arm.name,
            "member": comparison.members[m] if comparison.members else f"member {m + 1}",
            "weight": weight,
        }
        for arm in sorted(comparison.arms, key=lambda arm: arm.kl)
        if arm.weights and max(arm.weights) - min(arm.weights) > 1e-9
        for m, weight in enumerate(arm.weights)
    ]


def _best(comparison: Comparison) -> dict[str, float]:
    """The best value of each score that has a better side."""
    best = {}
    for key, metric in METRICS.items():
        values = [float(v) for arm in comparison.arms if (v := arm.scores[key]) is not None]
        if values:
            aim = {"low": lambda v: v, "high": lambda v: -v, "one": lambda v: abs(v - 1), "zero": abs}[metric.better]
            best[key] = min(values, key=aim)
    return best


def _code(text: str) -> "Markup":
    """Text as HTML; what stands between backticks is code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "−")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %".replace("-", "−")


def _p_value(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"
