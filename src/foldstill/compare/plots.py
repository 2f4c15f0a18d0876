"""Figures of the arms: differences, strata, calibration, classes; each with its numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from foldstill.compare.comparison import Comparison
from foldstill.compare.figure import COLOURS, Figure, drawing, drawn_of, grid_shape, numbers, short
from foldstill.compare.intervals import Interval
from foldstill.compare.results import ArmScore, MetricFacts, StratumScore

KIND_COLOUR = {
    "member": "muted",
    "average": "ink",
    "combination": "blue",
    "student": "orange",
    "student_without_teacher": "orange",
    "ablation": "purple",
    "prior": "muted",
}
KIND_COLOURS = (
    "Black: averages; blue: combinations; grey: members and the class prior; orange: students; purple: ablations."
)
_SERIES = ("ink", "blue", "orange", "green", "purple", "sky")
WIDTH = 9.0
"""Inches of every figure."""


def colour(arm: ArmScore) -> str:
    return COLOURS[KIND_COLOUR[arm.kind]]


def _plain(baseline: str) -> str:
    return "plain average" if baseline == "average" else baseline


def key_arms(comparison: Comparison, limit: int = 6) -> list[ArmScore]:
    """The baseline, the best combination, the student and the best member first, then the others by score."""
    by_loss = sorted(comparison.arms, key=lambda arm: arm.loss)
    wanted = [comparison[comparison.baseline]]
    for kinds in (("combination", "average"), ("student",), ("student_without_teacher",), ("member",)):
        wanted += [arm for arm in by_loss if arm.kind in kinds and arm not in wanted][:1]
    wanted += [arm for arm in by_loss if arm not in wanted]
    return wanted[:limit]


def _mean_of(metric: MetricFacts) -> str:
    return f"mean {metric.title}" if metric.per_row else metric.title


def _key_arms_drawn(drawn: int, comparison: Comparison) -> str:
    """A sentence that says which arms `key_arms` chose; empty when all are drawn."""
    which = f"the {_plain(comparison.baseline)}, the best combination, student and member, then the best others"
    return drawn_of(drawn, len(comparison.arms), "arms", which)


def forest(axes: Any, lines: Sequence[tuple[ArmScore, Interval]], *, labels: bool, corrected: bool) -> None:
    """Differences with intervals, one line per arm; a filled point excludes zero, after correction if `corrected`."""
    largest = max(
        (max(abs(i.low), abs(i.high)) for arm, i in lines if arm.kind in ("combination", "average")),
        default=max(max(abs(i.low), abs(i.high)) for _, i in lines),
    )
    # One very bad arm must not squeeze all others into a point at zero.
    edge = 5 * largest if largest > 0 else 1.0
    axes.axvline(0, color=COLOURS["ink"], linewidth=1)
    for y, (arm, interval) in enumerate(lines):
        shade = colour(arm)
        if abs(interval.estimate) > edge:
            # Of a metric whose high values are better, bad arms lie at the left.
            right = interval.estimate > 0
            beyond = axes.annotate(
                f"{interval.estimate:+z.3f} →" if right else f"← {interval.estimate:+z.3f}".replace("-", "−"),
                (1 if right else 0, y),
                xycoords=("axes fraction", "data"),
                color=shade,
                ha="right" if right else "left",
                va="center",
            )
            beyond.set_in_layout(False)
            continue
        axes.plot(
            [max(interval.low, -edge), min(interval.high, edge)],
            [y, y],
            color=shade,
            linewidth=2,
            solid_capstyle="round",
        )
        for end, cut, mark in ((-edge, interval.low < -edge, "<"), (edge, interval.high > edge, ">")):
            if cut:
                # An arrow shows that an interval continues beyond the edge.
                axes.plot(end, y, mark, markersize=6, color=shade, clip_on=False)
        joint = arm.simultaneous if corrected else None
        if joint is not None:
            axes.plot([max(joint.low, -edge), min(joint.high, edge)], [y, y], color=shade, linewidth=0.8)
        filled = interval.significant if joint is None else joint.significant
        axes.plot(
            interval.estimate, y, "o", markersize=7, color=shade, markerfacecolor=shade if filled else COLOURS["card"],
            markeredgewidth=1.6,
        )  # fmt: skip
    axes.set_yticks(range(len(lines)), [short(arm.label) for arm, _ in lines] if labels else [""] * len(lines))
    axes.set_ylim(len(lines) - 0.4, -0.6)
    axes.tick_params(length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def arms_plot(comparison: Comparison) -> Figure:
    """The metric of every arm minus that of the baseline, best on top."""
    comparison, metric = comparison.shown, comparison.metric
    lines = sorted(
        ((arm, arm.difference) for arm in comparison.arms if arm.difference is not None),
        key=lambda line: metric.shown(line[1].estimate),
    )
    base = comparison[comparison.baseline]
    shown = {arm.name for arm in comparison.ranked()}
    drawn = [line for line in lines if line[0].name in shown]
    with drawing("arms", WIDTH, 0.9 + 0.31 * len(drawn)) as page:
        [axes] = page.axes
        forest(axes, drawn, labels=True, corrected=True)
        side = "left" if metric.better == "low" else "right"
        axes.set_xlabel(f"{metric.title} minus the {base.name}'s ({metric.shown(base.loss):z.4f}); {side} is better")
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(drawn)), [f"{metric.shown(arm.loss):z.4f}" for arm, _ in drawn])
        right.tick_params(length=0)
        right.spines["right"].set_visible(False)
    rows = [
        (
            arm.name,
            metric.shown(arm.loss),
            i.estimate,
            i.low,
            i.high,
            *((arm.simultaneous.low, arm.simultaneous.high, arm.simultaneous.p) if arm.simultaneous else (None,) * 3),
            arm.improved,
            arm.design_effect,
            arm.reducible,
            arm.worth,
            *(end for other in arm.bootstrap for end in (other.low, other.high)),
        )
        for arm, i in lines
    ]
    header = (
        "arm", metric.title, "difference", "low", "high", "simultaneous low", "simultaneous high", "corrected p",
        "groups improved", "design effect", "share of reducible KL", "worth members", "bootstrap-t low",
        "bootstrap-t high", "percentile low", "percentile high",
    )  # fmt: skip
    return Figure(
        "arms",
        f"Each candidate compared with the {_plain(base.name)}, with {100 * comparison.level:g} % confidence intervals",
        f"Points are differences in {_mean_of(metric)}, thick bars their confidence intervals over groups. Thin bars "
        "are intervals that hold for all candidates of a kind at once, from which the best may be chosen; a filled "
        f"point means that they exclude zero. The number at the right is the {metric.title}. "
        + KIND_COLOURS
        + (
            f" {len(lines) - len(drawn)} weaker members are listed in the numbers only."
            if len(drawn) < len(lines)
            else ""
        ),
        page.svg,
        **numbers(header, rows),
    )


def strata_plot(comparison: Comparison) -> Figure | None:
    """Differences per stratum; None with fewer than two strata, or when no stratum has a difference."""
    comparison, metric = comparison.shown, comparison.metric
    chosen = key_arms(comparison, 10)
    arms = [arm for arm in chosen if arm.difference is not None]
    strata = [s for s in comparison.strata if any(_in(arm, s.name).difference is not None for arm in arms)]
    if len(comparison.strata) < 2 or not strata:
        return None
    arms.sort(key=lambda arm: arm.loss)
    with drawing("strata", WIDTH, 1.1 + 0.3 * len(arms), columns=len(strata)) as page:
        for i, (axes, stratum) in enumerate(zip(page.axes, strata, strict=True)):
            parts = [(arm, _in(arm, stratum.name).difference) for arm in arms]
            lines = [(arm, interval) for arm, interval in parts if interval is not None]
            forest(axes, lines, labels=i == 0, corrected=False)
            axes.set_title(f"{short(stratum.name, 14)} ({stratum.n_rows:,} rows)")
            axes.locator_params(axis="x", nbins=5)
        page.canvas.supxlabel(f"{metric.title} minus the {comparison.baseline}'s", color=COLOURS["muted"], fontsize=9.5)
    rows = []
    for stratum in comparison.strata:
        for arm in comparison.arms:
            part = _in(arm, stratum.name)
            d = part.difference
            span = (None, None, None) if d is None else (d.estimate, d.low, d.high)
            rows.append(
                (
                    stratum.name,
                    stratum.n_rows,
                    stratum.n_groups,
                    stratum.floor,
                    arm.name,
                    part.scores[metric.name],
                    *span,
                )
            )
    header = ("stratum", "rows", "groups", "vote-noise floor", "arm", metric.title, "difference", "low", "high")
    return Figure(
        "strata",
        "Differences per stratum of the rows",
        "The same differences per stratum (by number of votes, unless strata were given), each on its own scale. A "
        "filled point excludes zero in that stratum." + _key_arms_drawn(len(chosen), comparison),
        page.svg,
        **numbers(header, rows),
    )


def _in(arm: ArmScore, stratum: str) -> StratumScore:
    return next(part for part in arm.strata if part.stratum == stratum)


def reliability_plot(comparison: Comparison) -> Figure:
    """Probability of the predicted class against its vote share."""
    arms = key_arms(comparison, 4)
    rows, columns = grid_shape(len(arms), 4)
    with drawing("reliability", WIDTH, 3.0 * rows, rows=rows, columns=columns, sharex=True, sharey=True) as page:
        for axes, arm in zip(page.axes, arms, strict=False):
            axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
            axes.plot(
                [b.predicted for b in arm.reliability],
                [b.observed for b in arm.reliability],
                "o-",
                markersize=4,
                color=colour(arm),
                clip_on=False,
            )
            axes.set(aspect="equal", xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
            axes.set_title(f"{short(arm.name, 24)}\nECE {arm.scores['ece']:.3f}, slope {arm.scores['slope']:.2f}")
        page.canvas.supxlabel("probability of the predicted class", color=COLOURS["muted"], fontsize=9.5)
        page.axes[0].set_ylabel("vote share")
    # 15 lines per arm: those of all members are in comparison.json.
    table = [(arm.name, b.predicted, b.observed, b.share) for arm in comparison.ranked() for b in arm.reliability]
    return Figure(
        "reliability",
        "Calibration of the predicted class",
        "15 bins of equal mass. Below the dashed line the prediction is overconfident: vote shares are lower."
        + _key_arms_drawn(len(arms), comparison),
        page.svg,
        **numbers(("arm", "predicted", "vote share", "share of rows"), table),
    )


def class_plot(comparison: Comparison) -> Figure:
    """What each class adds to the KL."""
    arms = key_arms(comparison, len(_SERIES))
    classes = comparison.classes
    base = np.asarray(comparison[comparison.baseline].class_kl_C)
    order = np.argsort(-base)[:20]
    with drawing("classes", WIDTH, 1.2 + 0.34 * len(order)) as page:
        [axes] = page.axes
        points = []
        for i, arm in enumerate(arms):
            offset = (i - (len(arms) - 1) / 2) * 0.11
            points += axes.plot(
                np.asarray(arm.class_kl_C)[order],
                np.arange(len(order)) + offset,
                "o",
                markersize=5.5,
                color=COLOURS[_SERIES[i]],
            )
        axes.set_yticks(range(len(order)), [short(classes[c]) for c in order])
        axes.set_ylim(len(order) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.tick_params(length=0)
        axes.set_xlabel("part of the KL; left is better")
        # Names are passed here, because a label that begins with _ is left out of a legend.
        names = [short(arm.name) for arm in arms]
        page.canvas.legend(points, names, loc="outside upper left", ncols=min(3, len(arms)))
    table = [(arm.name, *arm.class_kl_C) for arm in comparison.arms]
    return Figure(
        "classes",
        "What each class adds to the KL",
        "Parts are never negative, and their sum is the KL."
        + _key_arms_drawn(len(arms), comparison)
        + drawn_of(len(order), len(classes), "classes", "the largest"),
        page.svg,
        **numbers(("arm", *classes), table),
    )
