"""The result of a comparison: every arm on the same rows, each against the baseline. N rows, A arms, M members."""

import importlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.intervals import Interval, IntervalSettings, paired_intervals
from foldstill.compare.judgement import Judgement
from foldstill.compare.results import ArmScore, MetricFacts, RowLosses, SizePoint, Stratum
from foldstill.cost import Cost
from foldstill.csv_files import no_formula, write_csv
from foldstill.digests import digest
from foldstill.errors import CompareError
from foldstill.files import write_parquet
from foldstill.frames import FrameLibrary, html_table, make_frame, markdown_table
from foldstill.json_files import read_json, write_json
from foldstill.seals import check_seal

EvaluationRows = Literal["test", "oof cross-fitted"]
"""The rows that are scored: locked test rows, or out-of-fold rows with cross-fitted combinations."""

_PART_ROWS = 2**14
"""Number of rows whose losses are written together."""

WITHOUT_TEACHER = " without teacher"
"""Ends the name of the same student trained on the votes alone."""


@dataclass(frozen=True)
class Comparison:
    """All arms on the same rows, and the loss per row to compare any two of them. `compare` makes one.

    Parameters
    ----------
    verdict : str
        The answer in one or two sentences.
    rows : {"test", "oof cross-fitted"}
        The rows that are scored.
    baseline : str
        Name of the arm that the others are compared with.
    classes : tuple of str
        Class names.
    arms : tuple of ArmScore
        Scores per arm; `comparison[name]` gives one.
    strata : tuple of Stratum
        Strata of the rows, by number of votes unless others were given.
    n_rows, n_groups : int
        Number of rows and of groups.
    effective_groups : float
        (sum n)^2 / sum n^2 over group sizes: the number of groups of equal size that would be as informative.
    floor : float or None
        Expected KL of a perfect model, from vote noise alone; None where it cannot be estimated.
    margin : float
        Smallest gain that matters, in units of the metric; see `CompareSettings`.
    judgement : Judgement
        What the numbers prove about combinations, and which arm to use.
    level, resamples, seed
        How intervals are computed; see `IntervalSettings`.
    losses : RowLosses
        Loss per row and arm, KL by default.
    members : tuple of str
        Names of the members that weights, sizes and correlations are about.
    size_curve : tuple of SizePoint
        Score against the number of averaged members.
    correlation : tuple of tuples of float, of shape (M, M)
        Correlation between members of prediction minus vote share, over all rows and classes.
    n_unscored : int
        Number of further rows that no member has a held-out prediction of.
    metric : MetricFacts
        The metric that decides.
    floor_bounds : tuple of float, optional
        Bounds of `floor`: of votes it is known in part, and the rest is a model that errs to one side.

    Examples
    --------
    >>> from foldstill.compare import Arm, compare
    >>> from foldstill.data import Labels
    >>> labels = Labels.from_votes([[9, 1], [2, 8], [7, 3], [1, 9]])
    >>> average, sharper = np.array([[0.6, 0.4], [0.4, 0.6]] * 2), np.array([[0.8, 0.2], [0.2, 0.8]] * 2)
    >>> comparison = compare([Arm("average", "average", average), Arm("sharper", "combination", sharper)], labels)
    >>> print([f"{arm.name} {arm.kl:.3f}" for arm in comparison.ranked()])
    ['sharper 0.025', 'average 0.141']
    >>> print(f"{comparison.pair('average', 'sharper').estimate:.3f}")
    0.116
    """

    verdict: str
    rows: EvaluationRows
    baseline: str
    classes: tuple[str, ...]
    arms: tuple[ArmScore, ...]
    strata: tuple[Stratum, ...]
    n_rows: int
    n_groups: int
    effective_groups: float
    floor: float | None
    margin: float
    judgement: Judgement
    level: float
    resamples: int
    seed: int
    losses: RowLosses
    members: tuple[str, ...] = ()
    size_curve: tuple[SizePoint, ...] = ()
    correlation: tuple[tuple[float, ...], ...] = ()
    n_unscored: int = 0
    metric: MetricFacts = MetricFacts()
    floor_bounds: tuple[float, float] | None = None

    @property
    def intervals(self) -> IntervalSettings:
        """How confidence intervals are computed."""
        return IntervalSettings(level=self.level, resamples=self.resamples, seed=self.seed)

    @property
    def row_loss_NA(self) -> NDArray[np.float64]:
        """Loss per row and arm, KL by default, (N, A): rows as in `losses.ids`, arms as in `arms`."""
        return self.losses.loss_NA

    @property
    def shown(self) -> "Comparison":
        """The comparison as tables and figures show it: differences in the direction of the metric.

        Where high values are better, differences are those of the metric and not of losses, so that positive is better.
        """
        if self.metric.better == "low":
            return self
        return replace(self, arms=tuple(shown_arm(arm, self.metric) for arm in self.arms))

    def reducible_bounds(self, name: str) -> tuple[float, float] | None:
        """Bounds of the share of the KL above that of a perfect model that an arm removes; None without a floor."""
        if self.floor_bounds is None or self[name].reducible is None:
            return None
        base, gained = self[self.baseline].kl, self[self.baseline].kl - self[name].kl
        low, high = sorted(min(gained / (base - floor), 1.0) if base > floor else 1.0 for floor in self.floor_bounds)
        return low, high

    def __getitem__(self, name: str) -> ArmScore:
        return self.arms[self._index(name)]

    def _index(self, name: str) -> int:
        names = [arm.name for arm in self.arms]
        if name not in names:
            raise CompareError(f"no arm {name!r} in this comparison: name one of {names}")
        return names.index(name)

    def ranked(self) -> list[ArmScore]:
        """Arms by loss, best first; with more than 16 arms, only the three best members."""
        ranked = sorted(self.arms, key=lambda arm: arm.loss)
        crowd = [arm.name for arm in ranked if arm.kind == "member"][3:] if len(ranked) > 16 else []
        return [arm for arm in ranked if arm.name not in crowd]

    def pair(self, a: str, b: str, *, stratum: str | None = None) -> Interval:
        """Loss of `a` minus loss of `b` with its interval over groups; negative when `a` is better.

        The loss is the KL by default, and a metric of which high values are better counts negatively. The default
        interval asks for a stronger proof that `a` is better than that it is worse; see `IntervalSettings`.
        """
        if stratum is not None and not self.metric.per_row:
            raise CompareError(
                f"{self.metric.title} is no mean over rows, so a stratum of all rows has no difference of two arms: "
                "compare the rows of the stratum on their own"
            )
        difference_N = self.row_loss_NA[:, self._index(a)] - self.row_loss_NA[:, self._index(b)]
        rows = np.ones(self.n_rows, bool) if stratum is None else self.losses.stratum_N == stratum
        if not rows.any():
            raise CompareError(f"no row belongs to stratum {stratum!r}: name one of {[s.name for s in self.strata]}")
        [interval] = paired_intervals(
            difference_N[rows, None],
            self.losses.groups[rows],
            weight_N=self.losses.weight_N[rows],
            settings=self.intervals,
        )
        return interval

    def twin(self, name: str) -> ArmScore | None:
        """The same student without a teacher: its own where one was trained at the same budget, else the run's.

        None for arms that are not students.
        """
        arm, names = self[name], [a.name for a in self.arms]
        if arm.kind not in ("student", "ablation") or name.endswith(WITHOUT_TEACHER):
            return None
        if name + WITHOUT_TEACHER in names:
            return self[name + WITHOUT_TEACHER]
        return next((a for a in self.arms if a.kind == "student_without_teacher"), None)

    def teacher_gain(self, name: str) -> Interval | None:
        """Loss of a student minus that of the same student without a teacher; None where that was not trained."""
        untaught = self.twin(name)
        return None if untaught is None else self.pair(name, untaught.name)

    def teacher_gains(self) -> dict[str, Interval]:
        """Loss of each student minus that of the same student without a teacher, where there is one, best first."""
        ranked = sorted(self.arms, key=lambda arm: arm.loss)
        return {arm.name: gain for arm in ranked if (gain := self.teacher_gain(arm.name)) is not None}

    def seeds_improved(self, name: str) -> str:
        """Number of seeds in which the teacher helped, as "2 of 3"; empty where there is no twin or one seed."""
        arm, untaught = self[name], self.twin(name)
        if untaught is None or not arm.loss_by_seed or len(arm.loss_by_seed) != len(untaught.loss_by_seed):
            return ""
        lower = sum(a < b for a, b in zip(arm.loss_by_seed, untaught.loss_by_seed, strict=True))
        return f"{lower} of {len(arm.loss_by_seed)}"

    def table(self) -> list[dict[str, Any]]:
        """One flat record per arm and set of rows (all rows, then each stratum): the lines of comparison.csv."""
        records = []
        for arm in self.shown.arms:
            parts = [("all", arm.scores, arm.difference)] + [(s.stratum, s.scores, s.difference) for s in arm.strata]
            for rows, scores, difference in parts:
                all_rows = rows == "all"
                record: dict[str, Any] = {"arm": arm.name, "kind": arm.kind, "rows": rows} | dict(scores)
                record |= {
                    "difference": difference and difference.estimate,
                    "low": difference and difference.low,
                    "high": difference and difference.high,
                    "simultaneous_low": arm.simultaneous.low if arm.simultaneous and all_rows else None,
                    "simultaneous_high": arm.simultaneous.high if arm.simultaneous and all_rows else None,
                    "corrected_p": arm.simultaneous.p if arm.simultaneous and all_rows else None,
                    "groups_improved": arm.improved if all_rows else None,
                    "reducible": arm.reducible if all_rows else None,
                    "worth_members": arm.worth if all_rows else None,
                    "kl_from_teacher": arm.fidelity.kl if arm.fidelity and all_rows else None,
                    "agrees_with_teacher": arm.fidelity.agreement if arm.fidelity and all_rows else None,
                }
                record |= asdict(arm.cost or Cost()) if all_rows else asdict(Cost())
                records.append(record)
        return records

    def to_frame(self, library: FrameLibrary = "pandas") -> Any:
        """One row per arm and set of rows (all rows, then each stratum), with the columns of comparison.csv.

        Parameters
        ----------
        library : {"pandas", "polars"}, default "pandas"
            Library of the frame.
        """
        records = self.table()
        return make_frame({name: [record[name] for record in records] for name in records[0]}, library)

    def to_markdown(self) -> str:
        """The arms, best first, as a Markdown table.

        Examples
        --------
        >>> from foldstill.compare import Arm, compare
        >>> from foldstill.data import Labels
        >>> labels = Labels.from_votes([[9, 1], [2, 8], [7, 3], [1, 9]])
        >>> average = np.array([[0.6, 0.4], [0.4, 0.6]] * 2)
        >>> print(compare([Arm("average", "average", average)], labels).to_markdown())
        | arm | KL | difference | 95 % interval |
        | --- | --- | --- | --- |
        | average | 0.1414 |  |  |
        """
        return markdown_table(self._summary())

    def to_latex(self) -> str:
        """The arms, best first, as a LaTeX tabular."""
        import pandas as pd

        return str(pd.DataFrame(self._summary()).to_latex(index=False, escape=True))

    def plot(self, kind: str = "arms") -> Any:
        """Draw a figure of the report, so that a notebook shows it.

        Parameters
        ----------
        kind : {"arms", "strata", "reliability", "classes", "weights", "size", "correlation", "cost"}, default "arms"
            Which figure.

        Returns
        -------
        matplotlib.axes.Axes or list of them
            One, or one per panel; `axes.figure.savefig(path)` saves the figure.

        Raises
        ------
        CompareError
            If there is no figure of that name, or this comparison has nothing to draw there.
        """
        # Figures know comparisons; by its name, so that the two files do not import each other.
        return importlib.import_module("foldstill.compare.gallery").draw(self, kind)

    def _summary(self) -> list[dict[str, str]]:
        """The arms as text, best first: name, metric, difference from the baseline, interval."""
        lines = []
        for arm in self.shown.ranked():
            d = arm.difference
            lines.append(
                {
                    "arm": arm.label,
                    self.metric.title: f"{self.metric.shown(arm.loss):z.4f}",
                    "difference": "" if d is None else f"{d.estimate:+z.4f}",
                    f"{100 * self.level:g} % interval": "" if d is None else f"{d.low:+z.4f} to {d.high:+z.4f}",
                }
            )
        return lines

    def _repr_html_(self) -> str:
        where = "locked test rows" if self.rows == "test" else "cross-fitted out-of-fold rows"
        baseline = "the plain average" if self.baseline == "average" else self.baseline
        note = f"{self.n_rows} {where} in {self.n_groups} groups; compared with {baseline}."
        return html_table(self.verdict, self._summary(), note)

    def write(self, folder: Path | str) -> None:
        """Write comparison.csv, comparison-rows.parquet and, last, comparison.json; a file is complete or absent."""
        import pyarrow as pa

        folder = Path(folder)
        records = [{name: no_formula(value) for name, value in record.items()} for record in self.table()]
        write_csv(folder / "comparison.csv", records)
        losses = self.losses
        facts = asdict(replace(self, losses=None))  # type: ignore[arg-type]
        facts |= {"losses": losses.digest, "format": 3}
        # The rows are sealed, and know the digest of the facts.
        metadata = {"comparison.json": digest(facts)}

        def part(rows: slice) -> Any:
            texts = {"id": losses.ids, "group": losses.groups, "stratum": losses.stratum_N}
            columns = {name: values[rows].tolist() for name, values in texts.items()}
            columns |= {"weight": losses.weight_N[rows]} | {
                f"{self.metric.name}:{arm.name}": losses.loss_NA[rows, i] for i, arm in enumerate(self.arms)
            }
            return pa.table(columns).replace_schema_metadata(metadata)

        # Part by part: losses of a large table are not copied as a whole, and few names are Python objects at a time.
        first, *further = (slice(start, start + _PART_ROWS) for start in range(0, self.n_rows, _PART_ROWS))
        write_parquet(folder / "comparison-rows.parquet", part(first), further=map(part, further))
        write_json(folder / "comparison.json", facts)

    @classmethod
    def read(cls, folder: Path | str) -> "Comparison":
        """Read what `write` left in a folder; raises CompareError when files are missing or come from two runs."""
        import pyarrow.parquet as pq
        from pydantic import TypeAdapter, ValidationError

        folder = Path(folder)
        try:
            # Not sealed: the rows, which are, know its digest.
            shape, cure = {"format": int, "losses": str, "arms": list, "metric": dict}, "run compare again"
            facts = read_json(folder / "comparison.json", shape, sealed=False, error=CompareError, cure=cure)
            check_seal(folder / "comparison-rows.parquet", error=CompareError, cure="run compare again")
            table = pq.read_table(folder / "comparison-rows.parquet", use_threads=False)
        except FileNotFoundError as error:
            raise CompareError(
                f"no comparison in {folder} ({Path(error.filename or '').name} is missing): run compare"
            ) from None
        if facts["format"] != 3:
            raise CompareError(f"{folder / 'comparison.json'} was written by another version: run compare again")
        if digest(facts).encode() != (table.schema.metadata or {}).get(b"comparison.json"):
            raise CompareError(
                f"comparison.json and comparison-rows.parquet in {folder} come from two runs, or one was changed: "
                "run compare again"
            )
        del facts["format"], facts["losses"]
        names = [arm["name"] for arm in facts["arms"]]
        losses = RowLosses(
            ids=np.asarray(table["id"].to_pylist(), dtype=np.str_),
            groups=np.asarray(table["group"].to_pylist(), dtype=np.str_),
            stratum_N=np.asarray(table["stratum"].to_pylist(), dtype=np.str_),
            weight_N=table["weight"].to_numpy(),
            loss_NA=np.column_stack([table[f"{facts['metric']['name']}:{name}"].to_numpy() for name in names]),
        )
        try:
            return TypeAdapter(cls).validate_python(facts | {"losses": losses})
        except ValidationError as error:
            raise CompareError(f"{folder / 'comparison.json'} does not hold a comparison: {error}") from error


def shown_arm(arm: ArmScore, metric: MetricFacts) -> ArmScore:
    """The arm with differences of the metric in place of differences of losses."""

    def flipped(difference: Interval | None) -> Interval | None:
        return None if difference is None else metric.shown_interval(difference)

    return replace(
        arm,
        difference=flipped(arm.difference),
        simultaneous=flipped(arm.simultaneous),
        bootstrap=tuple(metric.shown_interval(one) for one in arm.bootstrap),
        strata=tuple(replace(part, difference=flipped(part.difference)) for part in arm.strata),
    )
