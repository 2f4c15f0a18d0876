"""A run as one value: its experiment, and what its stages have left on disk.

Each part is read once, and only when it is asked for.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property, wraps
from pathlib import Path
from shlex import quote
from types import NoneType
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, TypeVar, get_args

from foldstill.compare import Comparison
from foldstill.compare.arms import Kind
from foldstill.compare.choices import located
from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan
from foldstill.data.labels import Labels
from foldstill.data.thinning import thin_votes
from foldstill.digests import digest
from foldstill.errors import ExperimentError
from foldstill.files import write_text
from foldstill.json_files import Shape, read_json, write_json
from foldstill.lock import sole_writer
from foldstill.machine import versions
from foldstill.manifest import DONE, Stage
from foldstill.oof.audit import audit
from foldstill.oof.findings import AuditReport, Finding
from foldstill.oof.store import read_labelled_scores, read_table, write_scores, write_table
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.pipeline.results import CombinationResult, StudentResult
from foldstill.pipeline.rundir import COMBINATION, RunDir, combination_folder, remove_combination
from foldstill.stacking import Combiner
from foldstill.stacking.kinds import default_combiners
from foldstill.workers import Work

if TYPE_CHECKING:
    from foldstill.distill.settings import StudentSettings
    from foldstill.pipeline.experiment import Experiment

AUDIT: Shape = {"table": str, "test": (str, NoneType), "findings": list}
"""Keys of audit.json and their types."""
HEADS: Shape = {"heads": list}
"""Keys of heads.json and their types."""
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Part = Literal["table", "table_digest", "test_file", "test_digest", "audit", "combinations", "students", "comparison"]
"""The parts of a run that stages write, in the order in which they depend on each other."""


@dataclass(frozen=True)
class Run:
    """One run of an experiment or of an imported table: its folder, how it is worked on, and what it holds."""

    dir: RunDir
    settings: "Experiment | None" = None
    """The experiment; None for a run of an imported table."""
    root: Path = Path()
    """Folder from which relative paths of the experiment start."""
    work: Work = Work()
    text: str = ""
    """Text of the experiment file, which `keep` writes; empty for a run that is only read."""
    imported: OOFTable | None = None
    """A table on its own, which `keep` writes; None for a table that is in the folder already."""
    imported_test: tuple[FoldScores, Labels] | None = None
    """Scores and labels of locked rows that came with the table on its own; `keep` writes them beside it."""

    def keep(self) -> None:
        """Write what the run starts from: its experiment, or its table. A stage calls this after its last check."""
        if self.text and (self.text != self.kept_text or not self.dir.provenance.exists()):
            # The experiment last: whoever finds it finds where its paths start as well.
            write_json(self.dir.provenance, {"versions": versions(), "root": str(self.root.resolve())})
            write_text(self.dir.experiment, self.text)
        if "plan" in vars(self) and (self.kept_plan is None or self.kept_plan.digest != self.plan.digest):
            self.plan.write(self.dir.folds)
        if self.imported is not None:
            stage = Stage(self.dir.stacking, self.table_inputs)
            if not stage.finished(force=self.work.force):
                # Combinations of another table must not stand beside those of this one.
                for mark in [*self.dir.stacking.glob(f"*/{DONE}"), *self.dir.stacking.glob(f"*/{COMBINATION}")]:
                    remove_combination(mark.parent)
                write_table(self.imported, self.dir.oof)
                if self.imported_test is not None:
                    scores, labels = self.imported_test
                    write_scores(scores, self.dir.test, labels)
                stage.finish()

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads of a multi-label run, each with a run of its own; none before `oof build`, and for other runs."""
        if not self.dir.head_names.exists():
            return ()
        cure = f"run `foldstill oof build {quote(str(self.dir.root))}` again"
        return tuple(read_json(self.dir.head_names, HEADS, error=ExperimentError, cure=cure)["heads"])

    @property
    def table_inputs(self) -> dict[str, str]:
        """What combinations of a table on its own are made from."""
        test = {} if self.test_file is None else {"test": str(self.test_digest)}
        return {"table": self.table_digest} | test

    @cached_property
    def kept_text(self) -> str | None:
        """Text of the experiment file in the run's folder."""
        return self.dir.experiment.read_text(encoding="utf-8") if self.dir.experiment.exists() else None

    @cached_property
    def kept_plan(self) -> FoldPlan | None:
        """The fold plan in the run's folder."""
        return FoldPlan.read(self.dir.folds) if self.dir.folds.exists() else None

    @property
    def experiment(self) -> "Experiment":
        """The experiment; raises ExperimentError for a run of an imported table, which has none."""
        if self.settings is None:
            raise ExperimentError(f"{self.dir.root} holds no experiment.toml: it was made from an imported table")
        return self.settings

    @property
    def combiners(self) -> tuple[Combiner, ...]:
        """The combiners of the experiment, or the default ones."""
        return self.settings.stacking.combiner if self.settings else default_combiners()

    @property
    def metric(self) -> Any:
        """What the experiment decides by; a relative path of a file starts at the experiment's folder."""
        return located(self.settings.compare.metric, self.root) if self.settings else "kl"

    @cached_property
    def _loaded(self) -> Dataset:
        data = self.experiment.data
        if not data.is_prepared(self.root):
            data.prepare(self.root, self.work)
        return data.load(self.root)

    @cached_property
    def dataset(self) -> Dataset:
        """The data as the run learns from it: with `thin_votes`, rows that are not locked have fewer votes."""
        votes, loaded = self.experiment.thin_votes, self._loaded
        if votes is None:
            return loaded
        labels = thin_votes(loaded.labels, self.plan.oof_rows, votes, seed=self.experiment.seed)
        return replace(loaded, labels=labels)

    @cached_property
    def plan(self) -> FoldPlan:
        """The fold plan of the experiment, which must be the one on disk if there is one."""
        plan = self.experiment.folds.plan(self._loaded.labels, self.experiment.seed, self.root, self._loaded.fold_N)
        before = self.kept_plan
        if before is not None and before.digest != plan.digest and not self.work.force:
            raise ExperimentError(
                f"{self.dir.folds} holds another fold plan (digest {before.digest}) than the experiment asks for "
                f"({plan.digest}): data, groups, folds or seed changed; name another run folder, or use --force"
            )
        return plan

    @cached_property
    def table(self) -> OOFTable:
        """The OOF table."""
        if self.imported is not None:
            return self.imported
        return read_table(self.dir.require(self.dir.oof, "oof build"))

    @cached_property
    def table_digest(self) -> str:
        return table_digest(self.table)

    @cached_property
    def test_file(self) -> tuple[FoldScores, Labels] | None:
        """Scores of the locked test rows by every fold model, with their labels; None for a run without locked rows."""
        if self.imported is not None:
            return self.imported_test
        if not self.dir.test.exists():
            if self.settings is not None and self.kept_plan is not None and len(self.kept_plan.test_rows):
                raise ExperimentError(
                    f"{self.dir.test} is missing and the fold plan locks {len(self.kept_plan.test_rows)} rows: "
                    f"run `foldstill oof build {quote(str(self.dir.root))}`"
                )
            return None
        scores, labels = read_labelled_scores(self.dir.test)
        if not isinstance(scores, FoldScores) or labels is None:
            raise ExperimentError(
                f"{self.dir.test} holds no fold models or no labels: make it again with `foldstill oof build`"
            )
        return scores, labels

    @cached_property
    def test_digest(self) -> str | None:
        """Digest of the scores and labels of the locked test rows; None for a run without locked rows."""
        return test_digest(*self.test_file) if self.test_file else None

    @property
    def test(self) -> FoldScores | None:
        """Scores of the locked test rows by every fold model."""
        return self.test_file[0] if self.test_file else None

    @property
    def test_labels(self) -> Labels | None:
        """Labels of the locked test rows."""
        return self.test_file[1] if self.test_file else None

    @cached_property
    def audit(self) -> AuditReport:
        """Every check of the table and of the test scores, read where `keep_audit` wrote it for the same two."""
        if self.dir.audit.exists():
            cure = "remove it to have the table audited again"
            kept = read_json(self.dir.audit, AUDIT, error=ExperimentError, cure=cure)
            if (kept["table"], kept["test"]) == (self.table_digest, self.test_digest):
                return AuditReport(tuple(Finding(**finding) for finding in kept["findings"]))
        return audit(self.table, test=self.test, test_labels=self.test_labels)

    def keep_audit(self, report: AuditReport) -> None:
        """Write the audit of the table and of the test scores, with the digests of both, and take it as the run's."""
        findings = [asdict(finding) for finding in report.findings]
        facts = {"table": self.table_digest, "test": self.test_digest, "findings": findings}
        write_json(self.dir.audit, facts, sealed=True)
        vars(self)["audit"] = report

    @cached_property
    def combinations(self) -> tuple[CombinationResult, ...]:
        """The finished combinations, by name."""
        folders = sorted(self.dir.require(self.dir.stacking, "stack").glob(f"*/{DONE}"))
        return tuple(CombinationResult(path.parent) for path in folders)

    def combination(self, name: str) -> CombinationResult:
        """One combination of the run's table by its name, or by its path relative to the run's folder."""
        if not name:
            names = [one.fitted.name for one in self.combinations]
            raise ExperimentError(f"the name of a combination is empty: name one of {names}")
        folder = combination_folder(self.dir.root / name)
        one = next((one for one in self.combinations if one.folder == folder), CombinationResult(folder))
        if (folder / DONE).exists():  # a combination that Python saved has none
            self.check_fitted(one)
        return one

    def check_fitted(self, one: CombinationResult) -> None:
        """Raise ExperimentError unless a combination was fitted to the run's table."""
        if one.table_digest != self.table_digest:
            raise ExperimentError(
                f"{one.folder} was fitted to another table than {self.dir.oof}: run `foldstill stack "
                f"{quote(str(self.dir.root))} --force`"
            )

    def check_taught(self, one: StudentResult) -> None:
        """Raise ExperimentError for a student that learned from another table than the run's."""
        if one.table_digest not in (None, self.table_digest):
            raise ExperimentError(
                f"{one.folder} learned from another table than {self.dir.oof}: run `foldstill distill "
                f"{quote(str(self.dir.root))} --force`"
            )

    def student_folder(self, student: "StudentSettings") -> Path:
        """The folder of a student of the experiment."""
        main = self.experiment.student
        if student == main:
            return self.dir.student
        if main is not None and student == main.untaught():
            return self.dir.student_without_teacher
        return self.dir.ablation(student.name)

    @cached_property
    def students(self) -> tuple[StudentResult, ...]:
        """The students that the experiment asks for, without those that an earlier version of it left behind."""
        kinds: dict[Path, Kind] = {
            self.dir.student: "student",
            self.dir.student_without_teacher: "student_without_teacher",
        }
        results = []
        for one in self.settings.students() if self.settings else ():
            folder, seeds = self.student_folder(one), range(one.seeds)
            validated = self.dir.cross_validated(folder)
            test_files = tuple(self.dir.seed(folder, seed) / "test.parquet" for seed in seeds)
            oof_files = tuple(self.dir.seed(validated, seed) / "oof.parquet" for seed in seeds)
            results.append(StudentResult(one, kinds.get(folder, "ablation"), folder, test_files, oof_files))
        return tuple(results)

    @cached_property
    def comparison(self) -> Comparison:
        """The comparison that `compare_stage` wrote."""
        self.dir.require(self.dir.comparison, "compare")
        return Comparison.read(self.dir.root)

    def refresh(self, part: Part) -> None:
        """Forget one part and all that depend on it: a stage calls this when it has written the part."""
        parts = get_args(Part)
        for name in parts[parts.index(part) :]:
            self.__dict__.pop(name, None)


def one_writer(
    stage: Callable[Concatenate[Run, Arguments], Result],
) -> Callable[Concatenate[Run, Arguments], Result]:
    """The same stage, refused while another process writes into the folder of the run."""

    @wraps(stage)
    def locked(run: Run, /, *arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        with sole_writer(run.dir.root):
            return stage(run, *arguments, **options)

    return locked


def table_digest(table: OOFTable) -> str:
    """Digest of everything that a fit to the table depends on."""
    return digest(table.labels.digest, list(table.members), list(table.scores.families), table.proba_NMC, table.fold_N)


def test_digest(scores: FoldScores, labels: Labels) -> str:
    """Digest of the scores of locked test rows and their labels."""
    return digest(labels.digest, list(scores.members), list(scores.families), scores.proba_KNMC)
