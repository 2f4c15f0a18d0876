"""The HTML report of several heads: the mean over heads, and each head with a link to its own report."""

from collections.abc import Mapping
from pathlib import Path

from foldstill.compare.comparison import shown_arm
from foldstill.compare.figure import Figure, drawing, numbers
from foldstill.compare.heads import ALL, HeadsComparison
from foldstill.compare.plots import KIND_COLOUR, KIND_COLOURS, WIDTH, forest
from foldstill.compare.report import environment
from foldstill.compare.verdict import headline
from foldstill.files import write_text


def write_heads_page(summary: HeadsComparison, path: Path, links: Mapping[str, str] | None = None) -> None:
    """Write one self-contained HTML file; `links` holds where the report of a head lies."""
    first = next(iter(summary.heads.values()))
    html = environment().get_template("heads.html.j2").render(
        headline=headline(summary.judgement, first.baseline),
        summary=summary,
        all_heads=ALL,
        metric=summary.metric,
        level=int(100 * first.level),
        arms=[shown_arm(arm, summary.metric) for arm in sorted(summary.arms, key=lambda arm: arm.loss)],
        heads=[(head, one.shown, one[one.judgement.recommended]) for head, one in summary.heads.items()],
        links=links or {},
        kinds=KIND_COLOUR,
        drawn=heads_plot(summary),
    )  # fmt: skip
    write_text(path, html)


def heads_plot(summary: HeadsComparison) -> Figure:
    """The mean metric over heads of every arm minus that of the baseline, best on top."""
    metric, baseline = summary.metric, next(iter(summary.heads.values())).baseline
    arms = [shown_arm(arm, metric) for arm in sorted(summary.arms, key=lambda arm: arm.loss)]
    lines = [(arm, arm.difference) for arm in arms if arm.difference is not None]
    with drawing("heads", WIDTH, 0.9 + 0.31 * len(lines)) as page:
        [axes] = page.axes
        forest(axes, lines, labels=True, corrected=True)
        side = "left" if metric.better == "low" else "right"
        axes.set_xlabel(f"{metric.title} over {len(summary.heads)} heads minus the {baseline}'s; {side} is better")
    rows = [(arm.name, metric.shown(arm.loss), i.estimate, i.low, i.high) for arm, i in lines]
    return Figure(
        "heads",
        f"The mean over {len(summary.heads)} heads, with confidence intervals over groups",
        "Points are differences, thick bars their intervals, and thin bars intervals that hold for all candidates of a "
        f"kind at once. {KIND_COLOURS}",
        page.svg,
        **numbers(("arm", metric.title, "difference", "low", "high"), rows),
    )
