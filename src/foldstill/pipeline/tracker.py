"""What every tracker of experiments can do: keep the curves, the comparison and the report of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from foldstill.compare import Comparison
from foldstill.errors import ExperimentError, require_package
from foldstill.settings import Kind


class TrackedRun(NamedTuple):
    """The run that a tracker is opened for."""

    name: str
    """Name of the experiment."""
    folder: Path
    """Folder of the run."""
    root: Path
    """Folder from which relative paths of the experiment start."""
    id: str
    """What the tracker called the run when it was opened before; empty for a new run."""


class OpenTracker(Protocol):
    """A run in a tracker, which receives values until it is closed."""

    @property
    def id(self) -> str:
        """The name by which the tracker finds the run again."""
        ...

    def log_points(self, curve: str, first: int, points: Sequence[dict[str, float]]) -> None:
        """Add points to a curve; the first is that of epoch `first`, counted from 1."""
        ...

    def log_comparison(self, comparison: Comparison, number: int, files: Sequence[Path]) -> None:
        """Keep the scores of all arms and the files of a comparison, which is the `number`-th of the run."""
        ...

    def close(self) -> None:
        """Send what is waiting."""
        ...


class Tracker(Kind, Protocol):
    """Settings of one tracker of experiments: a frozen dataclass with these attributes."""

    package: ClassVar[str]
    """The package that it imports; the extra of foldstill that installs it has the name of the kind."""

    def open(self, run: TrackedRun) -> OpenTracker:
        """Begin a run in the tracker, or go on with the one that `run` names."""
        ...


def require_tracker(tracker: Tracker) -> None:
    """Raise ExperimentError where the package of a tracker is not installed; nothing is imported."""
    purpose = f'[track] kind = "{tracker.kind}"'
    require_package(tracker.package, tracker.kind, purpose=purpose, error=ExperimentError)


def scores_of(comparison: Comparison) -> dict[str, float]:
    """The scores of every arm that decide, with their differences from the baseline, by name."""
    metric, scores = comparison.shown.metric, {}
    for arm in comparison.shown.arms:
        scores[f"arms/{arm.name}/{metric.name}"] = metric.shown(arm.loss)
        if (d := arm.difference) is not None:
            scores |= {
                f"arms/{arm.name}/difference": d.estimate,
                f"arms/{arm.name}/difference_low": d.low,
                f"arms/{arm.name}/difference_high": d.high,
            }
    return scores
