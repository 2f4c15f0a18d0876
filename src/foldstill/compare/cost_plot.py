"""Score against cost: members, ensembles and students in one picture, with its numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from foldstill.compare.comparison import Comparison
from foldstill.compare.figure import COLOURS, Figure, drawing, numbers, short
from foldstill.compare.plots import KIND_COLOURS, WIDTH, colour
from foldstill.compare.results import ArmScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = {
    "macs": "multiply-accumulates per row",
    "latency_1_ms": "milliseconds for one row",
    "latency_batch_ms": "milliseconds for one batch",
    "parameters": "parameters or leaves",
}
"""Fields of a cost that can get a panel, the most telling first, with its label."""

_MOST_PANELS = 3

_COLUMNS = {
    "parameters": "parameters or leaves",
    "macs": "MACs",
    "latency_1_ms": "ms, one row",
    "latency_1_p95_ms": "95th percentile",
    "latency_batch_ms": "ms, one batch",
    "latency_batch_p95_ms": "95th percentile of batches",
    "batch": "batch",
    "threads": "threads",
    "processor": "processor",
    "bytes": "bytes of weights",
    "activation_bytes": "bytes computed for one row",
}
"""Columns of the numbers."""

_Priced = tuple[ArmScore, float]
"""An arm with its cost on the panel's scale."""


def cost_plot(comparison: Comparison) -> Figure | None:
    """The metric against the cost of a prediction; a line joins the arms that nothing cheaper beats.

    None without costs.
    """
    metric = comparison.metric
    priced = {
        field: [(arm, value) for arm in comparison.arms if arm.cost and (value := getattr(arm.cost, field))]
        for field in _PANELS
    }
    # A panel without some of the arms, as one of multiply-accumulates is without trees, would name the wrong ones best.
    most = max(map(len, priced.values()))
    panels = [field for field, points in priced.items() if len(points) == most][:_MOST_PANELS]
    if most < 2:
        return None
    with drawing("cost", WIDTH, 3.3, columns=len(panels), sharey=True) as page:
        for axes, field in zip(page.axes, panels, strict=True):
            points = sorted(priced[field], key=lambda point: (point[1], point[0].loss))
            _draw_points(axes, points, comparison)
            _scale(axes, field)
        page.axes[0].set_ylabel(metric.title)
    rows = [
        (arm.name, metric.shown(arm.loss), *(getattr(arm.cost, field) for field in _COLUMNS))
        for arm in comparison.arms
        if arm.cost
    ]
    return Figure(
        "cost",
        "Score against cost",
        f"{'Lower' if metric.better == 'low' else 'Higher'} and further left is better. The line joins the arms that "
        f"nothing cheaper beats; these are named, and so are the {comparison.baseline} and the student. {KIND_COLOURS}",
        page.svg,
        **numbers(("arm", metric.title, *_COLUMNS.values()), rows),
    )


def _draw_points(axes: "Axes", points: Sequence[_Priced], comparison: Comparison) -> None:
    """The arms from cheap to costly, the line that joins the best of them, and the names of those that matter."""

    def key(arm: ArmScore) -> bool:
        return arm.kind == "student" or arm.name == comparison.baseline

    shown = comparison.metric.shown
    front: list[_Priced] = []
    for arm, value in points:
        # Ablations cost the same as the student and must not hide it.
        axes.plot(value, shown(arm.loss), "o", markersize=6.5, color=colour(arm), zorder=4 if key(arm) else 2)
        if not front or arm.loss < front[-1][0].loss:
            front.append((arm, value))
    x, y = [value for _, value in front], [shown(arm.loss) for arm, _ in front]
    axes.plot(x, y, color=COLOURS["muted"], linewidth=1, drawstyle="steps-post", zorder=1)
    middle = np.sqrt(points[0][1] * points[-1][1])
    front_names = [arm.name for arm, _ in front]
    named = [(arm, value) for arm, value in points if arm.name in front_names or key(arm)]
    for i, (arm, value) in enumerate(named):
        left = value > middle
        axes.annotate(
            short(arm.name, 24),
            (value, shown(arm.loss)),
            # Neighbours on two lines, so that names that meet do not overlap.
            xytext=(-7 if left else 7, -10 - 9 * (i % 2)),
            textcoords="offset points",
            fontsize=8,
            color=COLOURS["ink"],
            ha="right" if left else "left",
        )


def _scale(axes: "Axes", field: str) -> None:
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

    axes.set(xscale="log", xlabel=_PANELS[field])
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}") if field.endswith("_ms") else EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.18, y=0.15)
