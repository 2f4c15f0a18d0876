"""The figures of the report by name, for notebooks."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from foldstill.compare import member_plots, plots
from foldstill.compare.comparison import Comparison
from foldstill.compare.cost_plot import cost_plot
from foldstill.compare.figure import Figure, drawn_with_pyplot
from foldstill.errors import CompareError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FIGURES: dict[str, Callable[[Comparison], Figure | None]] = {
    "arms": plots.arms_plot,
    "strata": plots.strata_plot,
    "reliability": plots.reliability_plot,
    "classes": plots.class_plot,
    "weights": lambda comparison: member_plots.weights_plot(member_plots.own_weights(comparison), comparison),
    "size": member_plots.size_plot,
    "correlation": member_plots.correlation_plot,
    "cost": cost_plot,
}


def draw(comparison: Comparison, kind: str) -> "Axes | list[Axes]":
    """Draw one figure of the report on axes of pyplot, as `Comparison.plot` documents."""
    if kind not in FIGURES:
        raise CompareError(f"no figure {kind!r}: name one of {list(FIGURES)}")
    with drawn_with_pyplot() as axes:
        FIGURES[kind](comparison)
    if not axes:
        raise CompareError(f"this comparison has nothing to draw as {kind!r}: the report leaves that figure out too")
    return axes[0] if len(axes) == 1 else axes
