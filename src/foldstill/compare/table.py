"""The comparison as tables for a terminal of 80 columns: long names wrap, numbers do not."""

from typing import TYPE_CHECKING

from foldstill.compare.comparison import Comparison

if TYPE_CHECKING:
    from rich.table import Table


def arms_table(comparison: Comparison) -> "Table":
    """All arms, best first; `*` marks a difference whose simultaneous interval excludes zero."""
    from rich.table import Table

    shown = comparison.ranked()
    weaker = len(comparison.arms) - len(shown)
    caption = f"* excludes zero with all intervals at once; {comparison.n_groups} groups"
    if comparison.n_unscored:
        n_all = comparison.n_rows + comparison.n_unscored
        caption += f"\n{comparison.n_rows:,} of {n_all:,} rows have a held-out prediction and are compared"
    caption += f"\n{weaker} weaker members are in comparison.csv" if weaker else ""
    by_seed = any(arm.kl_by_seed for arm in shown)
    caption += "\n± is the standard deviation over seeds; scores are means over seeds" if by_seed else ""
    table = Table(box=None, pad_edge=False, header_style="bold", caption=caption, caption_justify="left")
    table.add_column("arm", max_width=28)
    spread = ["±"] if by_seed else []
    for title in ("KL", *spread, "difference", f"{100 * comparison.level:g} % interval", "", "accuracy"):
        table.add_column(title, justify="left" if title == "" else "right", no_wrap=True)
    for arm in shown:
        d = arm.difference
        proved = arm.simultaneous is not None and arm.simultaneous.significant
        table.add_row(
            arm.label,
            f"{arm.kl:.4f}",
            *(["" if arm.kl_deviation is None else f"{arm.kl_deviation:.4f}"] if by_seed else []),
            "" if d is None else f"{d.estimate:+.4f}",
            "baseline" if d is None else f"{d.low:+.4f} to {d.high:+.4f}",
            "*" if proved else "",
            f"{arm.scores['accuracy']:.3f}",
            style="dim" if d is None else "green" if proved and d.estimate < 0 else None,
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
    for title in ("stratum", "rows", comparison.baseline, "best\ncombination", "KL", "difference", "interval"):
        name = title in ("stratum", "best\ncombination")
        table.add_column(title, justify="left" if name else "right", no_wrap=not name)
    combined = [arm for arm in comparison.arms if arm.kind in ("average", "combination") and arm.difference]
    for s, stratum in enumerate(comparison.strata):
        average = comparison[comparison.baseline].strata[s].scores["kl"]
        row = [stratum.name, str(stratum.n_rows), f"{average:.4f}"]
        if combined:
            best = min(combined, key=lambda arm: float(arm.strata[s].scores["kl"] or 0.0))
            best_score = best.strata[s]
            row += [best.name, f"{best_score.scores['kl']:.4f}"]
            d = best_score.difference
            row += ["", "one group"] if d is None else [f"{d.estimate:+.4f}", f"{d.low:+.4f} to {d.high:+.4f}"]
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
    for title in ("KL", "±", "minus without\nteacher", f"{100 * comparison.level:g} % interval", "seeds\nbetter"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, gain in gains.items():
        arm = comparison[name]
        table.add_row(
            name,
            f"{arm.kl:.4f}",
            "" if arm.kl_deviation is None else f"{arm.kl_deviation:.4f}",
            f"{gain.estimate:+.4f} ({gain.estimate / (arm.kl - gain.estimate):+.1%})",
            f"{gain.low:+.4f} to {gain.high:+.4f}",
            comparison.seeds_improved(name),
            style="green" if gain.high < 0 else None,
        )
    return table
