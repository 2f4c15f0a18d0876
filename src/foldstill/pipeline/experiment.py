"""The settings of one experiment, composed of the settings that live beside what they configure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.imported_member import ImportedMember
from foldstill.base_models.joined_member import AnyMember, resolve
from foldstill.base_models.kinds import MEMBERS
from foldstill.base_models.member import Member, blind_to
from foldstill.base_models.tuning import TuneSettings
from foldstill.compare.settings import CompareSettings
from foldstill.data.folds import FoldPlan, Strategy, make_plan
from foldstill.data.labels import Labels
from foldstill.data.source import DataSource
from foldstill.distill.mixes import VotesOnly
from foldstill.distill.settings import StudentSettings
from foldstill.errors import ExperimentError
from foldstill.files import name_problems
from foldstill.pipeline.sources import SOURCES
from foldstill.pipeline.tracker import Tracker
from foldstill.pipeline.trackers import TRACKERS
from foldstill.settings import ByKind, Kinds, Settings, with_root
from foldstill.stacking.combiner import AnyCombiner
from foldstill.stacking.kinds import COMBINERS, default_combiners

KINDS: Kinds = {"source": SOURCES, "member": MEMBERS, "combiner": COMBINERS, "tracker": TRACKERS}
"""The classes that a table with a `kind` can select, by the name in the `ByKind` annotation of its field."""


@dataclass(frozen=True)
class FoldSettings(Settings):
    """How samples are divided into folds and a locked test split.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np, foldstill as fs
    >>> labels = fs.Labels.from_hard(np.arange(20) % 2, groups=np.arange(20) // 2)
    >>> plan = fs.FoldSettings(n_folds=3, test_share=0.2).plan(labels, seed=0, root=Path())
    >>> plan.n_folds, len(plan.test_rows)
    (3, 4)
    """

    n_folds: int = 5
    """Number of folds K."""
    test_share: float = 0.15
    """Share of the samples that are locked away until the comparison; 0 locks none."""
    strategy: Strategy = "stratified_grouped"
    """Whether folds balance the most voted class or only the number of samples."""
    path: str = ""
    """A parquet file with the columns id, group and fold to use instead, relative to the experiment file."""

    def plan(self, labels: Labels, seed: int, root: Path, fold_N: NDArray[np.integer[Any]] | None = None) -> FoldPlan:
        """The fold plan of these settings, or of folds that come with the data; `path` is relative to `root`."""
        if fold_N is not None:
            return FoldPlan.from_folds(labels, fold_N)
        if not self.path:
            return make_plan(
                labels, n_folds=self.n_folds, test_share=self.test_share, strategy=self.strategy, seed=seed
            )
        plan = FoldPlan.read(root / self.path)
        if plan.ids.tolist() != labels.ids.tolist() or plan.groups.tolist() != labels.groups.tolist():
            raise ExperimentError(
                f"folds.path {self.path} must have the ids and groups of the data, in order: make it from this data"
            )
        return plan


NO_LOCKED_ROWS = (
    "a student is scored on locked samples, and there are none: its teachers saw the labels of each other's samples, "
    'so out-of-fold samples would flatter it; set folds.test_share, or student.cross_validate = "pairs"'
)


@dataclass(frozen=True)
class StackingSettings(Settings):
    """Which combiners are fitted."""

    combiner: tuple[AnyCombiner, ...] = field(default_factory=default_combiners)
    """The combiners, each with its `kind`; the default combiners when none is named."""

    def __post_init__(self) -> None:
        _refuse_repeated("combiners", (c.name for c in self.combiner))
        if not any(c.kind == "average" for c in self.combiner):
            raise ExperimentError(
                "everything is compared with the plain average, and the combiners are "
                f'{[c.name for c in self.combiner]}: add one of kind = "average"'
            )


@dataclass(frozen=True)
class Experiment(Settings):
    """Everything that decides the result of a run."""

    name: str
    """Name of the run folder."""
    data: Annotated[DataSource, ByKind("source")]
    """Where inputs and labels come from."""
    member: tuple[Annotated[AnyMember, ByKind("member")], ...]
    """The base models, each trained once per fold."""
    seed: int = 0
    """Seed from which every random number of the run is derived."""
    folds: FoldSettings = FoldSettings()
    """How samples are divided into folds and a locked test split."""
    thin_votes: int | None = None
    """Maximum number of votes to keep per sample that is not locked, as if fewer annotators had voted. Locked samples
    keep all their votes. Unset keeps every vote."""
    stacking: StackingSettings = field(default_factory=StackingSettings)
    """Which combiners are fitted."""
    compare: CompareSettings = field(default_factory=CompareSettings)
    """What counts as a gain."""
    student: StudentSettings | None = None
    """The compact network that learns from the ensemble; no student when absent."""
    ablation: tuple[StudentSettings, ...] = ()
    """Further students for comparison only, each the [student] with some keys changed and a `name` of its own."""
    tune: TuneSettings | None = None
    """Which fields `foldstill tune` searches; a run ignores it."""
    track: Annotated[Tracker, ByKind("tracker")] | None = None
    """Where curves, comparison and report are sent besides the run's folder; nowhere when absent. It changes no result,
    and finished stages stay finished when it is changed."""

    def __post_init__(self) -> None:
        if problems := name_problems("experiment", [self.name]):
            raise ExperimentError(problems[0])
        if self.seed < 0:
            raise ExperimentError(f"seed must be 0 or more, got {self.seed}")
        if self.thin_votes is not None and self.thin_votes < 1:
            raise ExperimentError(
                f"thin_votes must be 1 or more, got {self.thin_votes}: leave it out to keep all votes"
            )
        if (column := getattr(self.data, "fold", "")) and self.folds != FoldSettings():
            raise ExperimentError(
                f"data.fold takes the folds from the column {column!r}, and [folds] would have no effect: leave one of "
                "them out"
            )
        if not self.member:
            raise ExperimentError("an experiment needs at least one [[member]], got none")
        members = resolve(self.member)
        object.__setattr__(self, "student", None if self.student is None else _with_views(self.student, members))
        object.__setattr__(self, "ablation", tuple(_with_views(one, members) for one in self.ablation))
        self._check_students()
        self._check_names()

    def at(self, root: Path) -> "Experiment":
        """The experiment with the files of its members and students found from `root`."""
        return replace(
            self,
            member=tuple(with_root(one, root) for one in self.member),
            student=None if self.student is None else with_root(self.student, root),
            ablation=tuple(with_root(one, root) for one in self.ablation),
        )

    def _check_names(self) -> None:
        """Members, combiners and students share tables and charts, so that each needs a name of its own."""
        owners = {
            "member": [m.name for m in self.member],
            "combiner": [c.name for c in self.stacking.combiner],
            "student": [s.name for s in self.students()],
        }
        for kind, names in owners.items():
            _refuse_repeated(f"{kind}s", names)
            if problems := name_problems(kind, names):
                raise ExperimentError("; ".join(problems))
        for one, other in combinations(owners, 2):
            if shared := sorted(set(owners[one]) & set(owners[other])):
                raise ExperimentError(f"{shared[0]!r} names a {one} and a {other}: rename one of them")

    def _check_students(self) -> None:
        if self.ablation and self.student is None:
            raise ExperimentError("[[ablation]] changes the [student], and there is no [student]: add one")
        if any(one.control_arms for one in self.ablation):
            raise ExperimentError(
                "control_arms belongs to [student], and an [[ablation]] sets it: leave it out of [[ablation]]"
            )
        if self.student is not None and getattr(self.data, "heads", None):
            raise ExperimentError(
                "[student] learns one distribution over classes per row, and data.heads are labels with a probability "
                "each: leave [student] out"
            )
        locked = self.folds.test_share or self.folds.path
        if self.student is not None and self.student.control_arms and not locked:
            raise ExperimentError(
                "student.control_arms are scored on locked samples, and folds.test_share is 0: set folds.test_share"
            )
        students = self.students()
        if not locked and any(one.cross_validate != "pairs" for one in students):
            raise ExperimentError(NO_LOCKED_ROWS)
        combiners, members = [c.name for c in self.stacking.combiner], [m.name for m in self.member]
        for one in students:
            if one.teacher not in combiners and not isinstance(one.mix, VotesOnly):
                raise ExperimentError(
                    f"student {one.name!r}: teacher {one.teacher!r} is no combiner of this experiment, which has "
                    f"{combiners}: set `teacher` to one of them, or add it to stacking.combiner"
                )
            if one.features is not None and one.features.member not in members:
                raise ExperimentError(
                    f"student {one.name!r}: features.member {one.features.member!r} is none of the members {members}: "
                    "name one of them"
                )
            self._check_imported(one)

    def _check_imported(self, student: StudentSettings) -> None:
        """Imported members have no model, so a student cannot be taught by what they would predict for other rows."""
        imported = [m.name for m in self.member if isinstance(m, ImportedMember)]
        named = student.features is not None and student.features.member in imported
        asked = {
            f"views = {student.views!r} asks every member about augmented inputs": student.teachers_see_views,
            "the in-sample teacher (control_arms) asks every member about rows that it saw": student.ablation
            == "in_sample",
            "`unlabelled` asks every member about further rows": bool(student.unlabelled),
            "features.member asks a member for its features": named,
            'cross_validate = "pairs" needs every member trained without two folds': student.cross_validate == "pairs",
        }
        for reason in (reason for reason, holds in asked.items() if holds and imported):
            raise ExperimentError(
                f"student {student.name!r}: {reason}, and members {imported} are imported, which have predictions and "
                "no model: leave that out"
            )

    def students(self) -> tuple[StudentSettings, ...]:
        """Every student of the experiment: the [student], its twin without a teacher, control arms and ablations."""
        if self.student is None:
            return ()
        controls = self.student.controls([c.name for c in self.stacking.combiner])
        taught = (self.student, *controls, *self.ablation)
        return tuple(one for s in taught for one in ((s, s.untaught()) if s.without_teacher else (s,)))


def _with_views(student: StudentSettings, members: Sequence[Member]) -> StudentSettings:
    """The student, with a bank where views = "auto" means one beside these members."""
    if student.views != "auto" or student.learner is not None or not student.recipe.augment:
        return student
    shown = not blind_to(members, student.view) and all(one.uses_device for one in members)
    of_rows = isinstance(student.mix, VotesOnly) or student.ablation != "none" or student.cross_validate != "none"
    return replace(student, views="bank") if shown and not of_rows else student


def _refuse_repeated(kind: str, names: Iterable[str]) -> None:
    names = list(names)
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise ExperimentError(f"{kind} must have different names, {repeated} appear twice: set `name`")
