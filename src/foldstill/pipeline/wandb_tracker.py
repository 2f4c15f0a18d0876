"""Runs in Weights & Biases. It is imported when a run is opened."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from foldstill.compare import Comparison
from foldstill.pipeline.tracker import TrackedRun, scores_of
from foldstill.settings import KindWithExample


@dataclass(frozen=True)
class WandbTracker(KindWithExample, kind="wandb", title="Weights & Biases"):
    """A run in Weights & Biases: one chart per curve, the comparison as a table, and the report as an artifact."""

    package: ClassVar[str] = "wandb"

    project: str = "foldstill"
    """Name of the project."""
    entity: str = ""
    """User or team that owns the project; the default one of the account when empty."""
    mode: Literal["online", "offline"] | None = None
    """Whether values are sent at once, or kept in the folder `wandb` of the run for `wandb sync`. That of the
    environment when unset."""

    def open(self, run: TrackedRun) -> "WandbRun":
        """Begin a run, or go on with the one that `run` names."""
        import wandb

        return WandbRun(
            wandb.init(
                project=self.project,
                entity=self.entity or None,
                name=run.name,
                id=run.id or None,
                resume="allow",
                mode=self.mode,
                dir=str(run.folder),
                # The terminal belongs to foldstill, whose answers may be JSON.
                settings=wandb.Settings(silent=True, console="off"),
            )
        )


class WandbRun:
    """A run of Weights & Biases that is open."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._curves: set[str] = set()

    @property
    def id(self) -> str:
        return str(self._run.id)

    def log_points(self, curve: str, first: int, points: Sequence[dict[str, float]]) -> None:
        # The curves of several folds have the same epochs, which cannot be the one step of the run.
        if curve not in self._curves:
            self._curves.add(curve)
            self._run.define_metric(f"{curve}/*", step_metric=f"{curve}/epoch")
        for epoch, values in enumerate(points, start=first):
            self._run.log({f"{curve}/epoch": epoch} | {f"{curve}/{name}": value for name, value in values.items()})

    def log_comparison(self, comparison: Comparison, number: int, files: Sequence[Path]) -> None:
        import wandb

        records = comparison.table()
        table = wandb.Table(columns=list(records[0]), data=[[_plain(each) for each in one.values()] for one in records])
        self._run.log({"comparison": table, "verdict": comparison.verdict})
        self._run.summary.update(scores_of(comparison))
        artifact = wandb.Artifact(f"comparison-{self.id}", type="report", metadata={"number": number})
        for path in files:
            artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self) -> None:
        self._run.finish()


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
