"""Figures of the members: weights, similarity, number, training; each with its numbers. M members."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.comparison import Comparison
from foldstill.compare.figure import COLOURS, Figure, drawing, drawn_of, grid_shape, numbers, short
from foldstill.compare.plots import WIDTH, colour, key_arms

Records = Sequence[Mapping[str, Any]]
"""A plain table: one mapping of column to value per line."""
WEIGHTED_ARMS, WEIGHTED_MEMBERS = 3, 25
"""Number of combinations and of members per combination whose weights are drawn."""
NAMED_MEMBERS = 60
"""Number of names that can be read beside the map of similarities."""
CURVES = 12
"""Number of members whose learning curves are drawn."""


def own_weights(comparison: Comparison) -> list[dict[str, Any]]:
    """Records of the weights that the arms carry, best arm first; equal weights are left out."""
    return [
        {
            "arm": arm.name,
            "member": comparison.members[m] if comparison.members else f"member {m + 1}",
            "weight": weight,
        }
        for arm in sorted(comparison.arms, key=lambda arm: arm.loss)
        if arm.weights and max(arm.weights) - min(arm.weights) > 1e-9
        for m, weight in enumerate(arm.weights)
    ]


def weights_plot(weights: Records, comparison: Comparison) -> Figure | None:
    """Member weights of the best arms that have them; records hold arm, member, weight, and perhaps low and high."""
    arms = _best_first((str(r["arm"]) for r in weights), comparison)
    names = arms[:WEIGHTED_ARMS]
    if not names:
        return None
    all_weights = [sorted((r for r in weights if r["arm"] == name), key=lambda r: -r["weight"]) for name in names]
    most = max(len(part) for part in all_weights)
    parts = [part[:WEIGHTED_MEMBERS] for part in all_weights]
    tallest = max(len(part) for part in parts)
    with drawing("weights", WIDTH, 0.9 + 0.21 * tallest, columns=len(names)) as page:
        for axes, name, part in zip(page.axes, names, parts, strict=True):
            y = np.arange(len(part))
            axes.barh(y, [r["weight"] for r in part], height=0.62, color=COLOURS["blue"])
            for i, r in enumerate(part):
                if r.get("low") is not None and r.get("high") is not None:
                    axes.plot([r["low"], r["high"]], [i, i], color=COLOURS["ink"], linewidth=1.4)
            axes.set_yticks(y, [short(str(r["member"])) for r in part], fontsize=8)
            axes.set_ylim(tallest - 0.4, -0.6)
            axes.tick_params(length=0)
            axes.grid(axis="y", visible=False)
            axes.locator_params(axis="x", nbins=4)
            axes.set_title(short(name, 26))
    table = [(r["arm"], r["member"], r["weight"], r.get("low"), r.get("high")) for part in all_weights for r in part]
    return Figure(
        "weights",
        "Weights of the members",
        "Lines, where drawn, are bootstrap intervals over groups. Members with similar predictions share weight, so a "
        "small weight does not show that a member is poor."
        + drawn_of(len(names), len(arms), "combinations", "the best")
        + drawn_of(tallest, most, "members", "those with the largest weights"),
        page.svg,
        **numbers(("arm", "member", "weight", "low", "high"), table),
    )


def _best_first(names: Iterable[str], comparison: Comparison) -> list[str]:
    """Each name once, by the loss of the arm of that name; names that are no arms come last, in their order."""
    loss = {arm.name: arm.loss for arm in comparison.arms}
    return sorted(dict.fromkeys(names), key=lambda name: loss.get(name, np.inf))


def similar_together(correlation_MM: NDArray[np.float64]) -> list[int]:
    """An order in which similar members are side by side: the leaves of a tree by average linkage.

    >>> similar_together(np.array([[1, 0.1, 0.9, 0.2], [0.1, 1, 0.2, 0.8], [0.9, 0.2, 1, 0.1], [0.2, 0.8, 0.1, 1]]))
    [0, 2, 1, 3]
    """
    leaves = {m: [m] for m in range(len(correlation_MM))}
    distance = np.where(np.eye(len(leaves), dtype=bool), np.inf, 1 - correlation_MM)
    names = list(leaves)
    for new in range(len(leaves), 2 * len(leaves) - 1):
        a, b = sorted(np.unravel_index(int(distance.argmin()), distance.shape))
        size_a, size_b = len(leaves[names[a]]), len(leaves[names[b]])
        joined = (size_a * distance[a] + size_b * distance[b]) / (size_a + size_b)
        first, second = sorted((names[a], names[b]))
        leaves[new], names[a] = leaves[first] + leaves[second], new
        distance[a], distance[:, a], distance[a, a] = joined, joined, np.inf
        distance = np.delete(np.delete(distance, b, axis=0), b, axis=1)
        del names[b]
    return leaves[max(leaves)]


def correlation_plot(comparison: Comparison) -> Figure | None:
    """Correlation of the members' errors, similar members side by side."""
    m = len(comparison.members)
    if m < 3:
        return None
    matrix = np.asarray(comparison.correlation)
    order = similar_together(matrix)
    shown, names = matrix[np.ix_(order, order)], [comparison.members[i] for i in order]
    low = float(matrix.min())
    from matplotlib.colors import to_rgb

    step = -(-m // NAMED_MEMBERS)
    with drawing("correlation", WIDTH, min(8.0, 1.2 + 0.19 * m)) as page:
        [axes] = page.axes
        strength = (shown - low) / max(1 - low, 1e-9)
        shade = np.concatenate([np.broadcast_to(to_rgb(COLOURS["blue"]), (m, m, 3)), strength[..., None]], axis=2)
        # One picture and not one shape per pair: those of 300 members would need 50 MB.
        axes.imshow(shade, interpolation="none", aspect="auto")
        axes.set(xticks=[])
        axes.set_yticks(np.arange(0, m, step), [short(name) for name in names[::step]], fontsize=7.5 if m > 15 else 9)
        axes.grid(visible=False)
        axes.tick_params(length=0)
        for side in ("left", "bottom"):
            axes.spines[side].set_visible(False)
    return Figure(
        "correlation",
        "Similarity of the members' errors",
        f"Correlation of prediction minus vote share, from {low:.2f} (no colour) to 1 (full colour); columns are in "
        "the order of the lines. Members in one block make nearly the same errors, so one of them may be enough."
        + (f" Every {step}th of {m} members is named; the numbers name all, in the same order." if step > 1 else ""),
        page.svg,
        # Three digits: the file grows with the square of the number of members.
        **numbers(("member", *names), [(name, *row) for name, row in zip(names, shown.round(3).tolist(), strict=True)]),
    )


def size_plot(comparison: Comparison) -> Figure | None:
    """KL against the number of members that are averaged."""
    curve = comparison.size_curve
    if len(curve) < 2:
        return None
    n = [p.n for p in curve]
    with drawing("size", WIDTH, 3.4) as page:
        [axes] = page.axes
        axes.fill_between(
            n, [p.low for p in curve], [p.high for p in curve], color=COLOURS["blue"], alpha=0.15, linewidth=0
        )
        axes.plot(n, [p.mean for p in curve], color=COLOURS["blue"], label="random members, averaged (band: range)")
        axes.plot(
            n, [p.best_first for p in curve], color=COLOURS["muted"], linestyle=(0, (4, 3)), label="best members first"
        )
        worst = max(p.high for p in curve)
        marked = [arm for arm in key_arms(comparison) if arm.kind in ("combination", "student") and arm.kl < worst]
        marked.sort(key=lambda arm: arm.kl)
        top = axes.get_ylim()[1]
        at = _apart([arm.kl for arm in marked], 0.055 * (top - min(p.low for p in curve)))
        for arm, y in zip(marked, at, strict=True):
            axes.axhline(arm.kl, color=colour(arm), linewidth=1)
            axes.annotate(
                short(arm.name, 24), (1, y), xycoords=("axes fraction", "data"), xytext=(4, 0),
                textcoords="offset points", color=colour(arm), va="center", fontsize=8.5,
            )  # fmt: skip
        axes.set(xlabel="members", ylabel="KL")
        axes.locator_params(axis="x", integer=True)
        axes.legend(loc="upper right")
    rows = [(p.n, p.mean, p.low, p.high, p.best_first, p.calibrated) for p in curve]
    return Figure(
        "size",
        "How many members the ensemble needs",
        "The band shows random subsets. The dashed line adds the best members first, ranked on the same rows, so it is "
        "optimistic; the combiner `pruned` is scored on rows that it did not choose on.",
        page.svg,
        **numbers(("members", "mean KL", "low", "high", "best first", "mean calibrated KL"), rows),
    )


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Rising positions of labels, moved up where two would overlap."""
    positions: list[float] = []
    for value in values:
        positions.append(max(value, positions[-1] + gap) if positions else value)
    return positions


def curves_plot(curves: Records, comparison: Comparison) -> Figure | None:
    """Training loss and held-out KL per epoch of the best members; records hold member, fold, epoch, loss, kl."""
    trained = _best_first((str(r["member"]) for r in curves), comparison)
    members = trained[:CURVES]
    if not members:
        return None
    rows, columns = grid_shape(len(members), 3)
    with drawing("curves", WIDTH, 0.4 + 2.2 * rows, rows=rows, columns=columns, sharey=True) as page:
        for axes in page.axes[len(members) :]:
            axes.set_axis_off()
        for axes, member in zip(page.axes, members, strict=False):
            mine = [r for r in curves if r["member"] == member]
            for fold in sorted({r["fold"] for r in mine}):
                part = sorted((r for r in mine if r["fold"] == fold), key=lambda r: r["epoch"])
                axes.plot([r["epoch"] for r in part], [r["loss"] for r in part], color=COLOURS["muted"], linewidth=1)
                held = [r for r in part if r.get("kl") is not None]
                axes.plot([r["epoch"] for r in held], [r["kl"] for r in held], color=COLOURS["blue"], linewidth=1.3)
            axes.set_title(short(member, 30))
            axes.set_xlabel("epoch")
            axes.locator_params(axis="x", integer=True)
    table = [(r["member"], r["fold"], r["epoch"], r["loss"], r.get("kl")) for r in curves if r["member"] in members]
    return Figure(
        "curves",
        "Learning curves",
        "Grey: training loss. Blue, with early stopping: KL on the inner split that decides. One line per fold."
        + drawn_of(len(members), len(trained), "members", "the best; history.csv of a fold has all its epochs"),
        page.svg,
        **numbers(("member", "fold", "epoch", "training loss", "KL on the inner split"), table),
    )
