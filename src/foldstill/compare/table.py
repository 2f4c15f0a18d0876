"""The comparison as tables for a terminal of 80 columns: long names wrap, numbers do not."""

from typing import TYPE_CHECKING

from foldstill.compare.comparison import Comparison

if TYPE_CHECKING:
    from rich.table import Table


def arms_table(comparison: Comparison) -> "Table":
    """All arms, best first; `*` marks a difference whose simultaneous interval excludes zero."""
    from rich.table import Table

    comparison = comparison.shown
    metric, shown = comparison.metric, comparison.ranked()
    weaker = len(comparison.arms) - len(shown)
    caption = f"* excludes zero with all intervals at once; {comparison.n_groups} groups"
    if comparison.n_unscored:
        n_all = comparison.n_rows + comparison.n_unscored
        caption += f"\n{comparison.n_rows:,} of {n_all:,} rows have a held-out prediction and are compared"
    if metric.name != "kl":
        caption += f"\ndecided by {metric.title}, {metric.better} values are better"
    if metric.ordered:
        caption += f"; order of the classes: {' < '.join(comparison.classes)}"
    caption += f"\n{weaker} weaker members are in comparison.csv" if weaker else ""
    by_seed = any(arm.kl_by_seed for arm in shown)
    caption += "\n± is the standard deviation over seeds; scores are means over seeds" if by_seed else ""
    table = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    table.add_column("arm", max_width=28)
    spread = ["±"] if by_seed else []
    others = [] if metric.name == "accuracy" else ["accuracy"]
    for title in (metric.title, *spread, "difference", f"{100 * comparison.level:g} % interval", "", *others):
        table.add_column(title, justify="left" if title == "" else "right", no_wrap=True)
    for arm in shown:
        d = arm.difference
        proved = arm.simultaneous is not None and arm.simultaneous.significant
        table.add_row(
            arm.label,
            f"{metric.shown(arm.loss):z.4f}",
            *(["" if arm.loss_deviation is None else f"{arm.loss_deviation:.4f}"] if by_seed else []),
            "" if d is None else f"{d.estimate:+z.4f}",
            "baseline" if d is None else f"{d.low:+z.4f} to {d.high:+z.4f}",
            "*" if proved else "",
            *[f"{arm.scores[name]:.3f}" for name in others],
            style="dim" if d is None else "green" if proved and metric.shown(d.estimate) < 0 else None,
        )
    return table


def strata_table(comparison: Comparison) -> "Table | None":
    """The average and the best combination per stratum; None where there is one stratum.

    The best combination of a stratum is chosen on the rows it is shown for, so its interval is slightly optimistic.
    """
    from rich.table import Table

    if len(comparison.strata) < 2:
        return None
    table = Table(box=None, pad_edge=False, header_style="bold")
    comparison, metric = comparison.shown, comparison.metric
    titles = ("stratum", "rows", comparison.baseline, "best\ncombination", metric.title, "difference", "interval")
    for title in titles:
        name = title in ("stratum", "best\ncombination")
        table.add_column(title, justify="left" if name else "right", no_wrap=not name)
    combined = [arm for arm in comparison.arms if arm.kind in ("average", "combination") and arm.difference]
    for s, stratum in enumerate(comparison.strata):
        average = comparison[comparison.baseline].strata[s].scores[metric.name]
        row = [stratum.name, str(stratum.n_rows), "–" if average is None else f"{average:.4f}"]
        if combined and average is not None:
            best = min(combined, key=lambda arm: metric.shown(float(arm.strata[s].scores[metric.name] or 0.0)))
            best_score = best.strata[s]
            row += [best.label, f"{best_score.scores[metric.name]:.4f}"]
            d = best_score.difference
            row += ["", "one group"] if d is None else [f"{d.estimate:+z.4f}", f"{d.low:+z.4f} to {d.high:+z.4f}"]
        table.add_row(*row)
    return table


def students_table(comparison: Comparison) -> "Table | None":
    """Every student minus the same student without a teacher; None for a single student, which the verdict covers."""
    from rich.table import Table

    gains = comparison.teacher_gains()
    if len(gains) < 2:
        return None
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("student", max_width=34)
    metric = comparison.metric
    for title in (
        metric.title,
        "±",
        "minus without\nteacher",
        f"{100 * comparison.level:g} % interval",
        "seeds\nbetter",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for name, gain in gains.items():
        arm, shown = comparison[name], metric.shown_interval(gain)
        table.add_row(
            name,
            f"{metric.shown(arm.loss):z.4f}",
            "" if arm.loss_deviation is None else f"{arm.loss_deviation:.4f}",
            f"{shown.estimate:+z.4f} ({shown.estimate / metric.shown(arm.loss - gain.estimate):+z.1%})",
            f"{shown.low:+z.4f} to {shown.high:+z.4f}",
            comparison.seeds_improved(name),
            style="green" if gain.high < 0 else None,
        )
    return table
