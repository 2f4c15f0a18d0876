"""One experiment, one TOML file, one strict frozen value.

The settings of each stage live beside what they configure; this module only composes them and says, all at once and each
with its place, what is wrong in a file.
"""

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from foldstill.base_models.joined import resolve
from foldstill.base_models.specs import Member, TimmMember
from foldstill.base_models.tuning import TuneSettings
from foldstill.data.folds import FoldPlan, Strategy, make_plan
from foldstill.data.labels import Labels
from foldstill.distill.settings import StudentSettings
from foldstill.errors import ExperimentError
from foldstill.pipeline.overrides import with_changes
from foldstill.pipeline.rundir import RunDir
from foldstill.pipeline.sources import DataSettings
from foldstill.settings import ByKind, Settings
from foldstill.stacking.settings import CombinerSettings, default_combiners

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


@dataclass(frozen=True)
class FoldSettings(Settings):
    """How rows are held out."""

    n_folds: int = 5
    """Number of folds K."""
    test_share: float = 0.15
    """Share of the rows locked away until the comparison; 0 for none."""
    strategy: Strategy = "stratified_grouped"
    """Whether folds balance the most voted class or only the number of rows."""
    path: str = ""
    """A parquet file with columns id, group, fold to use instead, relative to the experiment file."""

    def plan(self, labels: Labels, seed: int, root: Path) -> FoldPlan:
        """The plan these settings ask for."""
        if not self.path:
            return make_plan(
                labels, n_folds=self.n_folds, test_share=self.test_share, strategy=self.strategy, seed=seed
            )
        plan = FoldPlan.read(root / self.path)
        if plan.ids.tolist() != labels.ids.tolist() or plan.groups.tolist() != labels.groups.tolist():
            raise ExperimentError(
                f"{self.path} has other ids or groups than the data, or another order: make it from this data"
            )
        return plan


@dataclass(frozen=True)
class StackingSettings(Settings):
    """Which combiners are fitted."""

    combiner: tuple[Annotated[CombinerSettings, ByKind()], ...] = field(default_factory=default_combiners)  # type: ignore[arg-type]
    """The combiners, each with its `kind`; all the usual ones when none is named."""

    def __post_init__(self) -> None:
        names = [c.name for c in self.combiner]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ExperimentError(f"combiners must have different names, {twice} appear twice: set `name`")


@dataclass(frozen=True)
class Experiment(Settings):
    """Everything a run depends on."""

    name: str
    """The name of the run folder."""
    data: Annotated[DataSettings, ByKind()]
    """Where inputs and labels come from."""
    member: tuple[Annotated[Member, ByKind()], ...]
    """The base models, each trained once a fold."""
    seed: int = 0
    """Every random number of the run derives from it."""
    folds: FoldSettings = FoldSettings()
    """How rows are held out."""
    thin_votes: int | None = None
    """Keep at most so many votes of each row that is not locked: what fewer annotators would have given, scored
    against all votes of the locked rows. Unset keeps every vote."""
    stacking: StackingSettings = field(default_factory=StackingSettings)
    """Which combiners are fitted."""
    student: StudentSettings | None = None
    """The compact network that is taught; none when absent."""
    ablation: tuple[StudentSettings, ...] = ()
    """Further students for comparison only, each [student] with what is said here instead; `name` tells them apart."""
    tune: TuneSettings | None = None
    """Which fields `foldstill tune` searches; a run ignores it."""

    def __post_init__(self) -> None:
        if not self.name or any(c in self.name for c in "/\\"):
            raise ExperimentError(f"name must be usable as a folder name, got {self.name!r}")
        if self.thin_votes is not None and self.thin_votes < 1:
            raise ExperimentError(
                f"thin_votes must be 1 or more, got {self.thin_votes}: leave it out to keep all votes"
            )
        names = [m.name for m in self.member]
        if not names:
            raise ExperimentError("an experiment needs at least one [[member]]")
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ExperimentError(f"members must have different names, {twice} appear twice")
        resolve(self.member)
        if self.ablation and self.student is None:
            raise ExperimentError("an [[ablation]] is of a [student], and there is none: add [student]")
        if any(one.control_arms for one in self.ablation):
            raise ExperimentError("control_arms are of the [student]: leave them out of [[ablation]]")
        if self.student is not None and self.student.control_arms and not (self.folds.test_share or self.folds.path):
            raise ExperimentError(
                "student.control_arms are scored on locked rows, there are none: set folds.test_share"
            )
        taught = [s.name for s in self.students()]
        twice = sorted({n for n in taught if taught.count(n) > 1})
        if twice:
            raise ExperimentError(f"students must have different names, {twice} appear twice: set `name`")

    def students(self) -> tuple[StudentSettings, ...]:
        """Every student of the experiment: the one that is asked for, its twin without a teacher, controls and ablations."""
        if self.student is None:
            return ()
        controls = self.student.controls([c.name for c in self.stacking.combiner])
        asked = (self.student, *controls, *self.ablation)
        return tuple(one for s in asked for one in ((s, s.untaught()) if s.without_teacher else (s,)))


def read_experiment(path: Path, changes: Sequence[str] = ()) -> Experiment:
    """The experiment in a TOML file, some fields changed as FIELD=VALUE says.

    A top-level [recipe] table holds defaults for the recipe of every member and of the student, [student] those of every
    [[ablation]]. Raises ExperimentError that lists every mistake with its place.
    """
    return parse_experiment(experiment_text(path, changes), told(path, changes))


def told(path: Path, changes: Sequence[str]) -> str:
    """How errors name a file of which some fields are changed."""
    return f"{path}{' with ' if changes else ''}{', '.join(changes)}"


def experiment_text(path: Path, changes: Sequence[str] = ()) -> str:
    """The text of an experiment file, some fields changed as FIELD=VALUE says."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ExperimentError(
            f"nothing is at {path}: give the folder of a run, or an experiment file, which `foldstill init` writes"
        ) from None
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise ExperimentError(f"{path} is not a TOML file ({error}): give an experiment file") from error
    if not changes:
        return text
    _toml(text, str(path))  # a mistake of the file itself is told as such
    return with_changes(text, changes)


def parse_experiment(text: str, where: str) -> Experiment:
    """The experiment in a TOML text; `where` names it in errors."""
    from pydantic import TypeAdapter, ValidationError

    raw, written = _toml(text, where), _toml(text, where)
    _share_recipe(raw)
    _fill_ablations(raw)
    _default_kind(raw)
    try:
        # By way of JSON, where strictness still lets an array be a tuple.
        experiment: Experiment = TypeAdapter(Experiment).validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        # A mistake in what several tables share is one mistake.
        mistakes = list(dict.fromkeys(_sentence(detail, raw, written) for detail in error.errors()))
        raise ExperimentError(
            f"{where} has {len(mistakes)} mistake{'s'[: len(mistakes) > 1]}:\n  " + "\n  ".join(mistakes)
        ) from error
    return experiment


def _toml(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ExperimentError(f"{where} is not valid TOML: {error}") from error


def _share_recipe(raw: dict[str, Any]) -> None:
    shared = raw.pop("recipe", None)
    if not isinstance(shared, dict):
        return
    members, student = raw.get("member"), raw.get("student")
    takers = [*(members if isinstance(members, list) else []), *([student] if isinstance(student, dict) else [])]
    for taker in takers:
        if isinstance(taker, dict) and isinstance(taker.get("recipe", {}), dict):
            taker["recipe"] = {**shared, **taker.get("recipe", {})}


def _fill_ablations(raw: dict[str, Any]) -> None:
    """An ablation is the student but for what it says; its twin without a teacher is the student's unless it asks."""
    student, ablations = raw.get("student"), raw.get("ablation")
    if not isinstance(student, dict) or not isinstance(ablations, list):
        return
    for each in ablations:
        if isinstance(each, dict):
            recipe = {**student.get("recipe", {}), **each.get("recipe", {})}
            each.update({**student, "without_teacher": False, "control_arms": False, **each, "recipe": recipe})


def _default_kind(raw: dict[str, Any]) -> None:
    """A member without a kind is a timm network."""
    members = raw.get("member")
    for member in members if isinstance(members, list) else []:
        if isinstance(member, dict):
            member.setdefault("kind", TimmMember.kind)


def _sentence(detail: "ErrorDetails", raw: Any, written: Any) -> str:
    """One mistake: its place as a dotted path into the file, and what is wrong there."""
    place, value = [], raw
    for step in detail["loc"]:
        # pydantic puts the tag of a union into the place; the file has no such key.
        if isinstance(value, Mapping) and step not in value and value.get("kind") == step:
            continue
        place.append(str(step))
        value = value[step] if _holds(value, step) else None
    dotted = ".".join(_as_written(place, written))
    match detail["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            near = difflib.get_close_matches(place[-1], sorted(_known_keys(Experiment)), n=1)
            return f"{dotted}: no such key" + (f"; did you mean {near[0]}?" if near else "")
        case "missing" | "missing_argument":
            return f"{dotted}: is required and missing"
        case "value_error":
            return f"{dotted}: {detail['msg'].removeprefix('Value error, ')}"
        case _:
            got = json.dumps(detail["input"], default=str)
            return f"{dotted}: {detail['msg'][0].lower()}{detail['msg'][1:]}, got {got if len(got) < 60 else got[:57] + '...'}"


def _as_written(place: list[str], written: Any) -> list[str]:
    """Where the file says what lies at a place: there, in the [student] of an ablation, or in the shared [recipe]."""
    candidates = [place]
    if place[:1] == ["ablation"]:
        candidates.append(["student", *place[2:]])
    if "recipe" in place:
        candidates.append(place[place.index("recipe") :])
    return next((candidate for candidate in candidates if _leads(written, candidate)), place)


def _leads(value: Any, place: list[str]) -> bool:
    """Whether there is something at a place."""
    for step in place:
        key: Any = int(step) if isinstance(value, list) and step.isdigit() else step
        if not _holds(value, key):
            return False
        value = value[key]
    return True


def _holds(value: Any, step: Any) -> bool:
    if isinstance(value, Mapping):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _known_keys(kind: Any) -> Iterator[str]:
    """Every key of the settings reachable from a type, for suggestions."""
    if get_origin(kind) in (Union, UnionType, Annotated, tuple):
        for part in get_args(kind):
            yield from _known_keys(part)
    elif is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        for each in fields(kind):
            yield each.name
            if get_origin(hints[each.name]) is not Literal:
                yield from _known_keys(hints[each.name])


def run_folder(experiment: Experiment, out: Path | None) -> RunDir:
    """Where a run lives: `out`, or runs/<name> under the current folder."""
    return RunDir(out if out is not None else Path("runs") / experiment.name)
