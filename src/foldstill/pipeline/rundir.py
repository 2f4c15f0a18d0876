"""Every path of a run folder."""

from dataclasses import dataclass
from pathlib import Path

from foldstill.errors import ExperimentError
from foldstill.files import Inside
from foldstill.manifest import DONE

COMBINATION = "combination.json"
"""The file that marks the folder of a fitted combination."""


@dataclass(frozen=True)
class RunDir:
    """The folder of one run; no other file of foldstill joins these names.

    >>> RunDir(Path("runs/demo")).combiner("auto").as_posix()
    'runs/demo/stacking/auto'
    """

    root: Path

    experiment = Inside("experiment.toml")
    provenance = Inside("provenance.json")
    folds = Inside("folds.parquet")
    members = Inside("members")
    oof = Inside("oof.parquet")
    test = Inside("test.parquet")
    audit = Inside("audit.json")
    stacking = Inside("stacking")
    # Of a multi-label run: one run per head, and their names in order.
    heads = Inside("heads")
    head_names = Inside("heads.json")
    student = Inside("student")
    student_without_teacher = Inside("student-without-teacher")
    ablations = Inside("ablations")
    # Scores of members for recurring augmented inputs, shared by all students that are shown the same ones.
    teacher_banks = Inside("teacher-banks")
    card = Inside("student/card.md")
    comparison = Inside("comparison.json")
    report = Inside("report.html")
    # How long the stages took. No result depends on it.
    durations = Inside("durations.json")
    # What a tracker of experiments has got. No result depends on it.
    tracking = Inside("tracking.json")
    # The comparison of cross-validated students, beside that of the locked samples.
    cross_validation = Inside("cross-validation")

    def member_cost(self, name: str) -> Path:
        return self.members / name / "cost.json"

    def combiner(self, name: str) -> Path:
        return self.stacking / name

    def weights(self, name: str) -> Path:
        """Weights of the members in a combination, with their bootstrap intervals."""
        return self.combiner(name) / "weights.json"

    def ensemble_file(self, name: str) -> Path:
        """The ONNX file of a combination with all fold models of its members."""
        return self.combiner(name) / "ensemble.onnx"

    def teacher(self, name: str, *, calibrated: bool, without: int | None = None) -> Path:
        """Folder of the held-out scores of a combination as a teacher.

        `calibrated`: the members were calibrated first. `without`: a fold that no fit has seen.
        """
        folder = self.combiner(name) / "calibrated-members" if calibrated else self.combiner(name)
        return folder if without is None else folder / f"without-fold-{without}"

    def head(self, name: str) -> "RunDir":
        return RunDir(self.heads / name)

    def ablation(self, name: str) -> Path:
        return self.ablations / name

    def seed(self, student: Path, seed: int) -> Path:
        """The folder of one seed of a student: the first is the student's own folder, the others lie inside it."""
        return student if seed == 0 else student / f"seed-{seed}"

    def cross_validated(self, student: Path) -> Path:
        """The cross-validated copies of a student, one per fold, and their held-out scores."""
        return student / "cross-validation"

    def require(self, path: Path, command: str) -> Path:
        """`path` if it exists; otherwise raises ExperimentError that names the command which makes it."""
        if not path.exists():
            if self.head_names.exists():
                raise ExperimentError(
                    f"{self.root} is a multi-label run, and each of its heads is a run of its own: name one of them, "
                    f"in {self.heads}"
                )
            raise ExperimentError(f"{path} is not there: run `foldstill {command}` on {self.root} first")
        return path


OWN_FILES = {each.path for each in vars(RunDir).values() if isinstance(each, Inside)} | {
    "comparison.csv",
    "comparison-rows.parquet",
}
"""What a run calls the files of its folder. Other files there, such as a submission, are the user's."""


def refuse_run_file(path: Path) -> None:
    """Raise ExperimentError where `path` is a file of a run: only the stages of the run write it."""
    folder = RunDir(path.parent)
    is_run = folder.provenance.exists() or (folder.stacking / DONE).exists()
    is_own = (is_run and path.name in OWN_FILES) or (folder.root / DONE).exists()
    if path.exists() and is_own:
        raise ExperimentError(f"{path} belongs to the run or stage in {folder.root}: choose another output")


def remove_ensemble_files(folder: RunDir) -> None:
    """Remove the ONNX files of combinations: they hold members or combinations that are made again."""
    for path in folder.stacking.glob("*/ensemble.onnx"):
        path.unlink()


def remove_exports(student: Path) -> None:
    """Remove the exported files of a student that was trained again, and their card."""
    for pattern in ("student.onnx", "student.*.onnx", "student.pt2", "card.md"):
        for path in student.glob(pattern):
            path.unlink()


def remove_combination(folder: Path) -> None:
    """Remove the files that foldstill wrote for a combination, and its folder if nothing else is in it."""
    for pattern in (COMBINATION, "combination.npz", "*.txt", "*.parquet", "weights.json", "ensemble.onnx", DONE):
        for path in folder.glob(pattern):
            path.unlink()
    for part in folder.glob("*"):
        if part.is_dir() and (part / DONE).exists():
            remove_combination(part)
    if folder.exists() and not any(folder.iterdir()):
        folder.rmdir()


def combination_folder(path: Path) -> Path:
    """The folder of a fitted combination, from `RUN/NAME` or from its full path."""
    for candidate in (path, RunDir(path.parent).combiner(path.name)):
        if (candidate / COMBINATION).exists():
            return candidate
    names = sorted(p.name for p in RunDir(path.parent).stacking.glob("*") if p.is_dir())
    raise ExperimentError(f"no combination at {path}: {path.parent} has {names or 'none'}; name one as RUN/NAME")
