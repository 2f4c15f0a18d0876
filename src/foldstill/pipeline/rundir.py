"""Every path of a run, in one place."""

from dataclasses import dataclass
from pathlib import Path

from foldstill.errors import ExperimentError


@dataclass(frozen=True)
class RunDir:
    """The folder of one run; nothing else in foldstill joins these names."""

    root: Path

    @property
    def experiment(self) -> Path:
        return self.root / "experiment.toml"

    @property
    def provenance(self) -> Path:
        return self.root / "provenance.json"

    @property
    def folds(self) -> Path:
        return self.root / "folds.parquet"

    @property
    def members(self) -> Path:
        return self.root / "members"

    def member_cost(self, name: str) -> Path:
        return self.members / name / "cost.json"

    @property
    def oof(self) -> Path:
        return self.root / "oof.parquet"

    @property
    def test(self) -> Path:
        return self.root / "test.parquet"

    @property
    def stacking(self) -> Path:
        return self.root / "stacking"

    def combiner(self, name: str) -> Path:
        return self.stacking / name

    def teacher(self, name: str, *, calibrated: bool, without: int | None = None) -> Path:
        """What a combiner says to students: of members calibrated first or as they are, knowing nothing of a fold or of none."""
        place = self.combiner(name) / "calibrated-members" if calibrated else self.combiner(name)
        return place if without is None else place / f"without-fold-{without}"

    def weights(self, name: str) -> Path:
        """Member weights of a combination with their bootstrap intervals."""
        return self.combiner(name) / "weights.json"

    @property
    def student(self) -> Path:
        return self.root / "student"

    @property
    def student_without_teacher(self) -> Path:
        return self.root / "student-without-teacher"

    @property
    def ablations(self) -> Path:
        return self.root / "ablations"

    def ablation(self, name: str) -> Path:
        """A student that differs from the run's in what its [[ablation]] says."""
        return self.ablations / name

    @property
    def card(self) -> Path:
        return self.student / "card.md"

    def teacher_bank(self, student: Path) -> Path:
        """Teacher scores on recurring views, shared by the seeds of one student."""
        return student / "bank"

    def seed(self, student: Path, seed: int) -> Path:
        """Where the student of one seed is: the first in the student's own folder, others beside its files."""
        return student if seed == 0 else student / f"seed-{seed}"

    def cross_validated(self, student: Path) -> Path:
        """Students like this one, one a fold, and what each said of its fold."""
        return student / "cross-validation"

    @property
    def cross_validation(self) -> Path:
        """The comparison of cross-validated students, beside that of the locked rows."""
        return self.root / "cross-validation"

    @property
    def comparison(self) -> Path:
        return self.root / "comparison.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    def require(self, path: Path, stage: str) -> Path:
        """`path` if it is there; otherwise an error that names the stage that makes it."""
        if not path.exists():
            raise ExperimentError(f"{path} is not there: run `foldstill {stage}` on {self.root} first")
        return path


def combination_folder(path: Path) -> Path:
    """The folder of a fitted combination, from `RUN/NAME` or the whole path."""
    for candidate in (path, RunDir(path.parent).combiner(path.name)):
        if (candidate / "combination.json").exists():
            return candidate
    made = sorted(p.name for p in RunDir(path.parent).stacking.glob("*") if p.is_dir())
    raise ExperimentError(f"no combination at {path}: {path.parent} has {made or 'none'}; name one as RUN/NAME")
