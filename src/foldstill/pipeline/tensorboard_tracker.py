"""Event files of TensorBoard. It is imported when a run is opened."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from foldstill.compare import Comparison
from foldstill.pipeline.tracker import TrackedRun, scores_of
from foldstill.settings import KindWithExample


@dataclass(frozen=True)
class TensorboardTracker(KindWithExample, kind="tensorboard", title="TensorBoard"):
    """Event files of TensorBoard: one scalar per curve and score, the comparison as text, and where the report is."""

    package: ClassVar[str] = "tensorboard"

    folder: str = ""
    """Folder for the event files of all runs, each in one of its own, relative to the experiment file. The folder
    `tensorboard` of the run when empty."""

    def open(self, run: TrackedRun) -> "TensorboardRun":
        """Write into the folder of the run, beside the event files that are there."""
        from torch.utils.tensorboard import SummaryWriter

        folder = run.root / self.folder / run.name if self.folder else run.folder / "tensorboard"
        writer = SummaryWriter(str(folder))
        # The first file names the run: where somebody removed the files, everything is written again.
        return TensorboardRun(writer, min(path.name for path in folder.glob("events.*")))


class TensorboardRun:
    """A writer of event files that is open."""

    def __init__(self, writer: Any, name: str) -> None:
        self._writer, self._name = writer, name

    @property
    def id(self) -> str:
        return self._name

    def log_points(self, curve: str, first: int, points: Sequence[dict[str, float]]) -> None:
        for epoch, values in enumerate(points, start=first):
            for name, value in values.items():
                self._writer.add_scalar(f"{curve}/{name}", value, epoch)
        self._writer.flush()

    def log_comparison(self, comparison: Comparison, number: int, files: Sequence[Path]) -> None:
        for name, value in scores_of(comparison).items():
            self._writer.add_scalar(name, value, number)
        listed = "\n".join(f"- {path.resolve()}" for path in files)
        self._writer.add_text("comparison", f"{comparison.verdict}\n\n{comparison.to_markdown()}", number)
        self._writer.add_text("files", listed, number)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
