"""The page of the leaderboard: ranks, intervals and verdicts of what leaderboard.py measured. N rows, C classes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from foldstill.compare import Arm, Comparison, compare
from foldstill.compare.arms import Kind
from foldstill.frames import markdown_table
from foldstill.oof import OOFTable
from foldstill.pipeline.arms import member_arms, prior_arm
from foldstill.stacking import default_combiners
from foldstill.stacking.best_member import BestMember

AVERAGE = "foldstill average"
PACKAGES = {
    "autogluon": "autogluon.core",
    "hillclimbers": "hillclimbers",
    "mlxtend": "mlxtend",
    "phem": "phem",
    "sklearn": "scikit-learn",
}
"""The package of each peer."""

UNSURE = (
    "Documents of commit b796f1c: `auto` kept the average, and nothing beats it. The predictions are the same; the "
    'verdict is "cannot tell" because the interval of some combination still reaches gains above the margin of 1 %.'
)
EARLIER: Mapping[str, str] = {
    "hms": (
        "Documents of commit b796f1c: stack, by LightGBM with -0.0281 [-0.0377, -0.0185] or `auto`. The predictions "
        "are the same; strata of opposite signs now come first, the interval is made for skewed differences and holds "
        "for all combinations at once, and a simpler arm that is not surely worse is recommended."
    ),
    "hms_many": (
        "Documents of commit b796f1c: stack, by `auto` with -0.0374 [-0.0442, -0.0307]. The predictions are the same; "
        "the interval now holds for all combinations at once, and convex weights are recommended as simpler."
    ),
    "cifar10h": (
        "Documents of commit b796f1c: stack, by `auto` with -0.0628 [-0.0656, -0.0599]. The predictions are the same; "
        "the interval now holds for all combinations at once, and of equals the simpler is named, the log-linear pool."
    ),
    "sleep": (
        "Documents of commit b796f1c: `auto` gains 0.0379 to 0.0423 over three draws of folds, every interval below "
        "zero. Stacking still gains; the interval now holds for all combinations at once, few groups are named as a "
        "doubt, and convex weights are recommended as simpler and not surely worse."
    ),
    "rsna_kidney": UNSURE,
    "rsna_liver": UNSURE,
    "rsna_spleen": UNSURE,
}
"""What the documents of an earlier commit said of a table, and why it has changed."""


@dataclass(frozen=True)
class Entry:
    """One method on one table: held-out predictions, and CPU seconds of one fit."""

    library: str
    method: str
    proba_NC: NDArray[np.float64]
    seconds: float
    soft: bool
    notes: tuple[str, ...]
    """What was chosen in each fold."""

    @property
    def name(self) -> str:
        return f"{self.library} {self.method}"

    @property
    def kind(self) -> Kind:
        """Its kind in a comparison."""
        return {"average": "average", "best_member": "member"}.get(self.method, "combination")  # type: ignore[return-value]

    @property
    def chosen(self) -> str | None:
        """What `auto` chose."""
        return ", ".join(dict.fromkeys(note.split(" ")[0] for note in self.notes)) if self.method == "auto" else None


@dataclass(frozen=True)
class Board:
    """All methods on one table, and the libraries that refused it with their reasons."""

    key: str
    title: str
    table: OOFTable
    entries: tuple[Entry, ...]
    refused: Mapping[str, str]

    @cached_property
    def comparison(self) -> Comparison:
        """Every method compared with the plain average."""
        arms = [Arm(one.name, one.kind, one.proba_NC) for one in self.entries]
        return compare([*arms, prior_arm(self.table)], self.table.labels, rows="oof cross-fitted", baseline=AVERAGE)

    @cached_property
    def verdict(self) -> str:
        """What `stack` and `compare` say of the table with the default combiners."""
        of_name = {one.method: one for one in self.entries if one.library == "foldstill"}
        defaults = [of_name[combiner.name] for combiner in default_combiners()]
        best = self.table.members[int(BestMember().fit(self.table).weight_M.argmax())]
        arms = [
            Arm(one.method, one.kind, one.proba_NC, chosen=best if one.method == "best_member" else one.chosen)
            for one in defaults
        ]
        arms = [prior_arm(self.table), *member_arms(self.table.scores), *arms]
        return compare(arms, self.table.labels, rows="oof cross-fitted").verdict

    @cached_property
    def ranks(self) -> dict[str, float]:
        """Rank of each method by KL; methods that are equal to six digits share one."""
        kl = [round(self.comparison[one.name].kl, 6) for one in self.entries]
        return {one.name: float(rank) for one, rank in zip(self.entries, rankdata(kl), strict=True)}

    def lines(self) -> list[dict[str, str]]:
        """One line per method, best first, and one for the class prior."""
        lines = []
        by_name = {one.name: one for one in self.entries}
        for arm in sorted(self.comparison.arms, key=lambda arm: arm.kl):
            entry, gap = by_name.get(arm.name), arm.difference
            lines.append(
                {
                    "rank": f"{self.ranks[arm.name]:g}" if entry else "",
                    "method": shown(entry) if entry else "class prior",
                    "KL": f"{arm.kl:.4f}",
                    "difference": f"{gap.estimate:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]" if gap else "",
                    "CPU-s": f"{entry.seconds:.3f}" if entry else "",
                }
            )
        return lines

    def section(self) -> str:
        table = self.table
        n_groups = len(np.unique(table.labels.groups))
        size = f"{len(table):,} rows, {n_groups:,} groups, {len(table.members)} members, {len(table.classes)} classes"
        lines = [f"## {self.title}", f"{size}, {len(table.folds)} folds.", markdown_table(self.lines())]
        lines += [f"{library} refused this table: `{reason}`." for library, reason in self.refused.items()]
        lines.append(f"Verdict: {self.verdict}")
        if self.key in EARLIER:
            lines.append(EARLIER[self.key])
        return "\n\n".join(lines)


def shown(entry: Entry) -> str:
    chosen = f" ({entry.chosen})" if entry.chosen else ""
    return f"{entry.name.replace('_', ' ')}{chosen}" + ("" if entry.soft else ", hard labels")


def overall(boards: Sequence[Board]) -> str:
    """Mean rank of each method, and its KL relative to the plain average."""
    names = list(dict.fromkeys(one.name for board in boards for one in board.entries))
    entries = {name: [(b, one) for b in boards for one in b.entries if one.name == name] for name in names}
    lines = []
    for name, found in entries.items():
        relative = [np.log(b.comparison[name].kl / b.comparison[AVERAGE].kl) for b, _ in found]
        surely = [b.comparison[name].difference for b, _ in found]
        lines.append(
            {
                "method": name.replace("_", " ") + ("" if found[0][1].soft else ", hard labels"),
                "tables": str(len(found)),
                "mean rank": f"{np.mean([b.ranks[name] for b, _ in found]):.1f}",
                "KL relative to the average": f"{np.exp(np.mean(relative)):.3f}",
                "better / worse": f"{sum(d is not None and d.high < 0 for d in surely)} / "
                f"{sum(d is not None and d.low > 0 for d in surely)}",
                "CPU-s": f"{sum(one.seconds for _, one in found):.3f}",
            }
        )
    return markdown_table(sorted(lines, key=lambda line: float(line["mean rank"])))


def versions() -> str:
    """The packages that the figures depend on."""
    here = ("numpy", "scipy", "scikit-learn", "lightgbm", "torch")
    ours = ", ".join(f"{name} {version(name).split('+')[0]}" for name in here)
    pinned = []
    for peer, package in PACKAGES.items():
        text = (Path(__file__).parent / "peers" / f"{peer}.txt").read_text(encoding="utf-8")
        [number] = re.findall(rf"^{re.escape(package)}==(\S+)$", text, re.MULTILINE)
        pinned.append(f"{package} {number}")
    return f"foldstill {version('foldstill')} with {ours}. Other libraries: {', '.join(pinned)}."


HEAD = """\
# Leaderboard: ways to combine predictions on real tables

<!-- Written by benchmarks/leaderboard.py: change that script, not this page. -->

Every combiner of foldstill with its default settings, and the methods of five other libraries, on the same real tables
of held-out predictions. Each fold is predicted by a fit to the other folds; no group is in two folds, and every method
has the same folds. This command runs everything and writes this page; the data are not part of the project:

```sh
PYTHONPATH=src python benchmarks/leaderboard.py FOLDER
```

{versions}

- **KL** is the mean KL divergence from the vote shares, in nats per row, with the sample weights of the table; for hard
  labels it is the log loss. Lower is better. Methods are ranked by it.
- **difference** is the KL minus that of the plain average, with its 95 % confidence interval over groups, as `compare`
  computes it. Each interval stands alone: it is not widened for the choice of the best of many, as the verdicts are.
- **CPU-s** is the time of one fit in one thread, as the median over the folds. Conversions to the format of a library
  are not timed.
- **hard labels**: the library takes no vote shares, and gets the class with the most votes per row.
- The **verdict** is what `foldstill compare` says after `foldstill stack` with the default combiners.

Members of HMS and RSNA were trained in these folds, and some of their epochs were chosen on the held-out fold; this
favours all methods alike. The folds of CIFAR-10H and of the sleep stages are drawn here. The members of the sleep
stages predict only a class, which gets a probability of 0.9. Second inference runs of HMS are left out.
The seconds were measured on two busy cores: compare them with each other. Sample weights (RSNA) are given to every
method. The greedy selection of foldstill averages 20 bags and the others use one. `thresholded` is made for predicted
classes; its probabilities are not calibrated.

## All tables

The mean rank is over the tables. The next column is the geometric mean over tables of KL divided by that of the plain
average. "better / worse" counts the tables whose interval against the average excludes zero. The tables are not
independent: three are heads of RSNA, and one contains part of the rows of another. CPU-s is the sum over tables.
"""


def page(boards: Sequence[Board], left_out: Sequence[str]) -> str:
    """The whole page; `left_out` holds the titles of tables that were not measured."""
    parts = [HEAD.format(versions=versions()), overall(boards) + "\n"]
    if left_out:
        parts.append(f"Not measured in this run: {'; '.join(left_out)}.\n")
    return "\n".join(parts) + "\n" + "\n\n".join(board.section() for board in boards) + "\n"
