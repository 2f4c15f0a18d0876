"""The result: every arm on the same rows, each minus the baseline, and the losses to pair any two later.

N rows, A arms, C classes, M members.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.arms import Kind
from foldstill.compare.bootstrap import Interval, paired_intervals
from foldstill.compare.calibration import Bin
from foldstill.cost import Cost
from foldstill.data.labels import Strings
from foldstill.errors import CompareError
from foldstill.files import atomic_write, digest, read_json, write_json, write_text

Rows = Literal["test", "oof cross-fitted"]

Scores = Mapping[str, float | None]

WITHOUT_TEACHER = " without teacher"
"""Ends the name of a student's twin that learned from the votes alone."""


@dataclass(frozen=True)
class StratumScore:
    """One arm on the rows of one stratum; no difference for the baseline, nor where the stratum has one group."""

    stratum: str
    scores: Scores
    difference: Interval | None


@dataclass(frozen=True)
class Fidelity:
    """How closely a student follows the arm that taught it, on rows neither was fitted to; the mean over its seeds."""

    teacher: str
    kl: float
    """KL(teacher || student), nats a row."""
    agreement: float
    """Share of rows for which both name the same class."""


@dataclass(frozen=True)
class ArmScore:
    """One arm's scores; what compares it with the baseline is None for the baseline itself."""

    name: str
    kind: Kind
    scores: Scores
    class_kl_C: tuple[float, ...]
    """What each class adds to the KL; never negative, sums to it."""
    strata: tuple[StratumScore, ...]
    reliability: tuple[Bin, ...]
    difference: Interval | None = None
    """KL minus the baseline's; negative is better."""
    bootstrap: tuple[Interval, ...] = ()
    """The same difference with bootstrap-t and percentile intervals, the same draws of groups for every arm."""
    holm_p: float | None = None
    """The difference's p after Holm's correction over all arms."""
    improved: float | None = None
    """Share of groups whose mean KL is lower than the baseline's; a tie counts one half."""
    design_effect: float | None = None
    """Variance of the difference with whole groups over that with independent rows."""
    reducible: float | None = None
    """Part of the baseline's KL above the vote-noise floor that this arm removes."""
    worth: float | None = None
    """Number of plainly averaged members with the same calibrated KL; None when no number reaches it, or no members were
    given."""
    cost: Cost | None = None
    note: str = ""
    chosen: str | None = None
    weights: tuple[float, ...] | None = None
    fidelity: Fidelity | None = None
    kl_by_seed: tuple[float, ...] = ()
    """KL of each of several seeds, of which every score here is the mean; empty for one seed."""

    @property
    def kl_deviation(self) -> float | None:
        """Standard deviation of the KL over seeds."""
        return float(np.std(self.kl_by_seed, ddof=1)) if self.kl_by_seed else None

    @property
    def kl(self) -> float:
        return float(self.scores["kl"] or 0.0)


@dataclass(frozen=True)
class Stratum:
    name: str
    n_rows: int
    n_groups: int
    floor: float | None


@dataclass(frozen=True)
class SizePoint:
    """KL of plain averages of `n` members: mean and range over random subsets, and of the `n` best.

    `calibrated` is the mean over subsets once each is at a temperature fitted on the other half of the rows; None for
    fewer than two rows.
    """

    n: int
    mean: float
    low: float
    high: float
    best_first: float
    calibrated: float | None = None


@dataclass(frozen=True)
class RowLosses:
    """KL of every row under every arm."""

    ids: Strings
    groups: Strings
    stratum_N: Strings
    weight_N: NDArray[np.float64]
    kl_NA: NDArray[np.float64]

    @property
    def digest(self) -> str:
        return digest(self.ids, self.groups, self.stratum_N, self.weight_N, self.kl_NA)


@dataclass(frozen=True)
class Comparison:
    """All arms on the same rows. Make one with `compare`."""

    verdict: str
    rows: Rows
    baseline: str
    classes: tuple[str, ...]
    arms: tuple[ArmScore, ...]
    strata: tuple[Stratum, ...]
    n_rows: int
    n_groups: int
    effective_groups: float
    """(sum n)^2 / sum n^2 over group sizes: how many groups of equal size would be as good."""
    floor: float | None
    """Expected KL of a perfect model, from vote noise alone; None where votes are too few to tell."""
    level: float
    resamples: int
    seed: int
    losses: RowLosses
    members: tuple[str, ...] = ()
    """Whose weights, sizes and correlations are shown."""
    size_curve: tuple[SizePoint, ...] = ()
    correlation: tuple[tuple[float, ...], ...] = ()
    """Between members, of prediction minus vote share, over all rows and classes."""

    @property
    def row_kl_NA(self) -> NDArray[np.float64]:
        """KL of every row (ids in `losses.ids`) under every arm, in the order of `arms`."""
        return self.losses.kl_NA

    def __getitem__(self, name: str) -> ArmScore:
        return self.arms[self._place(name)]

    def _place(self, name: str) -> int:
        names = [arm.name for arm in self.arms]
        if name not in names:
            raise CompareError(f"no arm {name!r} in this comparison, there is {names}: name one of these")
        return names.index(name)

    def ranked(self) -> list[ArmScore]:
        """Arms by KL, best first; of more than 16 only the three best members, which must not crowd out the answer."""
        ranked = sorted(self.arms, key=lambda arm: arm.kl)
        crowd = [arm.name for arm in ranked if arm.kind == "member"][3:] if len(ranked) > 16 else []
        return [arm for arm in ranked if arm.name not in crowd]

    def pair(self, a: str, b: str, *, stratum: str | None = None) -> Interval:
        """KL of `a` minus KL of `b` with its interval over groups; negative when `a` is better."""
        difference_N = self.row_kl_NA[:, self._place(a)] - self.row_kl_NA[:, self._place(b)]
        rows = np.ones(self.n_rows, bool) if stratum is None else self.losses.stratum_N == stratum
        if not rows.any():
            raise CompareError(
                f"no row of stratum {stratum!r}, there is {[s.name for s in self.strata]}: name one of these"
            )
        [interval] = paired_intervals(
            difference_N[rows, None],
            self.losses.groups[rows],
            weight_N=self.losses.weight_N[rows],
            level=self.level,
            resamples=self.resamples,
            seed=self.seed,
        )
        return interval

    def twin(self, name: str) -> ArmScore | None:
        """The same student without a teacher: one of its own where its budget differs, else the run's; None for other arms."""
        arm, names = self[name], [a.name for a in self.arms]
        if arm.kind not in ("student", "ablation") or name.endswith(WITHOUT_TEACHER):
            return None
        if name + WITHOUT_TEACHER in names:
            return self[name + WITHOUT_TEACHER]
        return next((a for a in self.arms if a.kind == "student_without_teacher"), None)

    def teacher_gain(self, name: str) -> Interval | None:
        """KL of a student minus that of the same student without a teacher; None where that was not trained."""
        alone = self.twin(name)
        return None if alone is None else self.pair(name, alone.name)

    def teacher_gains(self) -> dict[str, Interval]:
        """What a teacher is worth to every student, where that is known, best first."""
        ranked = sorted(self.arms, key=lambda arm: arm.kl)
        return {arm.name: gain for arm in ranked if (gain := self.teacher_gain(arm.name)) is not None}

    def seeds_improved(self, name: str) -> str:
        """In how many seeds, each beside the twin of the same seed, a student's teacher helped: "2 of 3"."""
        arm, alone = self[name], self.twin(name)
        if alone is None or not arm.kl_by_seed or len(arm.kl_by_seed) != len(alone.kl_by_seed):
            return ""
        return f"{sum(a < b for a, b in zip(arm.kl_by_seed, alone.kl_by_seed, strict=True))} of {len(arm.kl_by_seed)}"

    def table(self) -> list[dict[str, Any]]:
        """One flat record an arm and set of rows (all, then each stratum): what comparison.csv holds."""
        records = []
        for arm in self.arms:
            parts = [("all", arm.scores, arm.difference)] + [(s.stratum, s.scores, s.difference) for s in arm.strata]
            for rows, scores, difference in parts:
                whole_table = rows == "all"
                record: dict[str, Any] = {"arm": arm.name, "kind": arm.kind, "rows": rows} | dict(scores)
                record |= {
                    "difference": difference and difference.estimate,
                    "low": difference and difference.low,
                    "high": difference and difference.high,
                    "holm_p": arm.holm_p if whole_table else None,
                    "groups_improved": arm.improved if whole_table else None,
                    "reducible": arm.reducible if whole_table else None,
                    "worth_members": arm.worth if whole_table else None,
                    "kl_from_teacher": arm.fidelity.kl if arm.fidelity and whole_table else None,
                    "agrees_with_teacher": arm.fidelity.agreement if arm.fidelity and whole_table else None,
                }
                record |= asdict(arm.cost or Cost()) if whole_table else asdict(Cost())
                records.append(record)
        return records

    def write(self, folder: Path) -> None:
        """comparison.csv, comparison-rows.parquet and, last, comparison.json, each whole or absent."""
        import csv
        import io

        import pyarrow as pa
        import pyarrow.parquet as pq

        records = self.table()
        text = io.StringIO()
        sheet = csv.DictWriter(text, fieldnames=list(records[0]), lineterminator="\n")
        sheet.writeheader()
        sheet.writerows(records)
        write_text(folder / "comparison.csv", text.getvalue())
        losses = self.losses
        columns = {"id": losses.ids.tolist(), "group": losses.groups.tolist(), "stratum": losses.stratum_N.tolist()}
        columns |= {"weight": losses.weight_N} | {
            f"kl:{arm.name}": losses.kl_NA[:, i] for i, arm in enumerate(self.arms)
        }
        with atomic_write(folder / "comparison-rows.parquet") as part:
            pq.write_table(pa.table(columns), part)
        facts = asdict(replace(self, losses=None))  # type: ignore[arg-type]
        write_json(folder / "comparison.json", facts | {"losses": losses.digest, "format": 1})

    @classmethod
    def read(cls, folder: Path) -> "Comparison":
        """What `write` left in the folder; raises CompareError when it is not there or its parts do not agree."""
        import pyarrow.parquet as pq
        from pydantic import TypeAdapter, ValidationError

        try:
            facts = read_json(folder / "comparison.json")
            table = pq.read_table(folder / "comparison-rows.parquet", use_threads=False)
        except FileNotFoundError as error:
            raise CompareError(
                f"no comparison in {folder} ({Path(error.filename or '').name} is missing): run compare"
            ) from None
        if facts.pop("format", None) != 1:
            raise CompareError(f"{folder / 'comparison.json'} was written by another version: run compare again")
        names = [arm["name"] for arm in facts["arms"]]
        losses = RowLosses(
            ids=np.asarray(table["id"].to_pylist(), dtype=np.str_),
            groups=np.asarray(table["group"].to_pylist(), dtype=np.str_),
            stratum_N=np.asarray(table["stratum"].to_pylist(), dtype=np.str_),
            weight_N=table["weight"].to_numpy(),
            kl_NA=np.column_stack([table[f"kl:{name}"].to_numpy() for name in names]),
        )
        if facts.pop("losses") != losses.digest:
            raise CompareError(
                f"comparison.json and comparison-rows.parquet in {folder} are of two runs: run compare again"
            )
        try:
            return TypeAdapter(cls).validate_python(facts | {"losses": losses})
        except ValidationError as error:
            raise CompareError(f"{folder / 'comparison.json'} does not hold a comparison: {error}") from error


# Arrays go through unchecked; everything else is checked when a file is read.
RowLosses.__pydantic_config__ = {"arbitrary_types_allowed": True}  # type: ignore[attr-defined]
