"""Score against cost: members, ensembles and students in one picture, with its numbers."""

import numpy as np

from foldstill.compare.comparison import Comparison
from foldstill.compare.figure import COLOURS, Figure, drawing, numbers, short
from foldstill.compare.plots import KIND_COLOURS_SAID, WIDTH, colour


def cost_plot(comparison: Comparison) -> Figure | None:
    """KL against what a prediction costs; the line joins arms that nothing cheaper beats."""
    titles = {
        "macs": "multiply-accumulates a row",
        "latency_1_ms": "milliseconds for one row",
        "parameters": "parameters",
    }
    priced = {
        what: [(arm, value) for arm in comparison.arms if arm.cost and (value := getattr(arm.cost, what))]
        for what in titles
    }
    panels = [what for what, points in priced.items() if len(points) > 1]
    if not panels:
        return None
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter, StrMethodFormatter

    with drawing("cost", WIDTH, 3.3, columns=len(panels), sharey=True) as page:
        for axes, what in zip(page.axes, panels, strict=True):
            points = sorted(priced[what], key=lambda point: (point[1], point[0].kl))
            front, best = [], np.inf
            for arm, value in points:
                # Ablations of the student cost what it costs, and must not hide it.
                on_top = arm.kind == "student" or arm.name == comparison.baseline
                axes.plot(value, arm.kl, "o", markersize=6.5, color=colour(arm), zorder=4 if on_top else 2)
                if arm.kl < best:
                    front.append((arm, value))
                    best = arm.kl
            axes.plot(
                [v for _, v in front],
                [a.kl for a, _ in front],
                color=COLOURS["muted"],
                linewidth=1,
                drawstyle="steps-post",
                zorder=1,
            )
            middle = np.sqrt(points[0][1] * points[-1][1])
            front_names = [arm.name for arm, _ in front]
            named = [
                (arm, value)
                for arm, value in points
                if arm.name in front_names or arm.kind == "student" or arm.name == comparison.baseline
            ]
            for place, (arm, value) in enumerate(named):
                left = value > middle
                axes.annotate(
                    short(arm.name, 24),
                    (value, arm.kl),
                    # Neighbours on two lines, so that names that meet do not lie on each other.
                    xytext=(-7 if left else 7, -10 - 9 * (place % 2)),
                    textcoords="offset points",
                    fontsize=8,
                    color=COLOURS["ink"],
                    ha="right" if left else "left",
                )
            axes.set(xscale="log", xlabel=titles[what])
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=6))
            axes.xaxis.set_major_formatter(
                StrMethodFormatter("{x:g}") if what == "latency_1_ms" else EngFormatter(sep="")
            )
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.margins(x=0.18, y=0.15)
        page.axes[0].set_ylabel("KL")
    rows = [
        (
            a.name,
            a.kl,
            c.parameters,
            c.macs,
            c.latency_1_ms,
            c.latency_1_p95_ms,
            c.latency_batch_ms,
            c.latency_batch_p95_ms,
            c.batch,
            c.threads,
            c.processor,
            c.bytes,
            c.activation_bytes,
        )
        for a in comparison.arms
        if (c := a.cost)
    ]
    header = (
        "arm", "KL", "parameters", "MACs", "ms, one row", "95th percentile", "ms, one batch", "95th percentile of batches",
        "batch", "threads", "processor", "bytes of weights", "bytes computed for one row",
    )  # fmt: skip
    return Figure(
        "cost",
        "Score against cost",
        "Lower and further left is better. The line joins the arms that nothing cheaper beats; they are named, as are the "
        f"{comparison.baseline} and the student. {KIND_COLOURS_SAID}",
        page.svg,
        **numbers(header, rows),
    )
