"""What a stage has left of one combination or one student: each file is read once, when it is asked for.

N samples, C classes.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.arms import Kind
from foldstill.cost import Cost
from foldstill.errors import ExperimentError
from foldstill.json_files import read_json
from foldstill.manifest import CURE, DONE, check_files, has_file, read_done
from foldstill.oof.store import read_scores
from foldstill.oof.table import FoldScores, ScoreTable
from foldstill.pipeline.rundir import COMBINATION
from foldstill.stacking import FittedCombiner, load

if TYPE_CHECKING:
    from foldstill.distill.settings import StudentSettings


@dataclass(frozen=True)
class CombinationResult:
    """One fitted combination of a run, and its scores."""

    folder: Path

    @cached_property
    def fitted(self) -> FittedCombiner:
        if (self.folder / DONE).exists():  # a combination that Python saved has none
            check_files(self.folder, COMBINATION)
        return load(self.folder)

    @cached_property
    def table_digest(self) -> str:
        """Digest of the OOF table that the combination was fitted to."""
        return str(read_done(self.folder)["inputs"]["table"])

    @cached_property
    def oof_proba_NC(self) -> NDArray[np.float32]:
        """Cross-fitted probabilities of the rows of the OOF table."""
        check_files(self.folder, "oof.parquet")
        return read_single(self.folder / "oof.parquet").proba_NMC[:, 0]

    @cached_property
    def test_proba_NC(self) -> NDArray[np.float32]:
        """Probabilities of the locked test rows."""
        check_files(self.folder, "test.parquet")
        return read_single(self.folder / "test.parquet").proba_NMC[:, 0]

    @cached_property
    def weights(self) -> list[dict[str, Any]]:
        """One record per member with its weight and interval; empty for a combination without weights."""
        path = self.folder / "weights.json"
        if not has_file(path):
            return []
        check_files(self.folder, path.name)
        # Listed in done.json, so its bytes are those that were written.
        return read_json(path, list, sealed=False, error=ExperimentError, cure=CURE)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class StudentResult:
    """One student of an experiment, and its results on disk.

    Per seed there is one file with scores of the locked test rows (`test_files`), and one with scores of the rows of
    the OOF table by the cross-validated student (`oof_files`).
    """

    settings: "StudentSettings"
    kind: Kind
    folder: Path
    test_files: tuple[Path, ...]
    oof_files: tuple[Path, ...]

    @cached_property
    def cost(self) -> Cost | None:
        path = self.folder / "cost.json"
        if not has_file(path):
            return None
        check_files(self.folder, path.name)
        return Cost.read(path)

    @cached_property
    def table_digest(self) -> str | None:
        """Digest of the OOF table that the student learned from; None where it learned from votes alone, or was scored
        by a version that did not keep it."""
        if not (self.folder / DONE).exists():
            return None
        digest: str | None = read_done(self.folder).get("scoring", {}).get("inputs", {}).get("taught_from")
        return digest

    @cached_property
    def targets(self) -> dict[str, str]:
        """How the soft targets were made, and the teacher's name; empty for a student of the votes alone."""
        path = self.folder / "targets.json"
        if not path.exists():
            return {}
        found: dict[str, str] = read_json(path, {"made": str, "teacher": str}, error=ExperimentError, cure=CURE)
        return found

    @cached_property
    def test(self) -> tuple[ScoreTable, ...]:
        """Scores of the locked test rows per seed; empty when the student is not trained or not scored.

        A student that was trained again has no scores until it is scored again, whatever lies in its folder.
        """
        files = [path for path in self.test_files if has_file(path)]
        for path in files:
            check_files(path.parent, path.name)
        return tuple(read_single(path) for path in files) if has_file(self.test_files[0]) else ()

    @cached_property
    def oof(self) -> tuple[ScoreTable, ...]:
        """Cross-validated scores per seed; empty when the student was not cross-validated."""
        if self.cost is None or not self.oof_files[0].exists():
            return ()
        return tuple(read_single(path) for path in self.oof_files if path.exists())


def read_single(path: Path) -> ScoreTable:
    """The scores of a combination or student, a file with one member."""
    scores = read_scores(path)
    if not isinstance(scores, ScoreTable) or len(scores.members) != 1:
        raise ExperimentError(
            f"{path} must hold the scores of one combination or student, got {scores.members}: make it again with "
            "--force"
        )
    return scores


def single_scores(scores: ScoreTable | FoldScores, name: str, proba_NC: NDArray[np.floating]) -> ScoreTable:
    """Combined probabilities as a score table with one member, on the rows of `scores`."""
    return ScoreTable(scores.ids, (name,), scores.classes, proba_NC[:, None, :].astype(np.float32))
