"""Runs in MLflow. It is imported when a run is opened."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from foldstill.compare import Comparison
from foldstill.pipeline.tracker import TrackedRun, scores_of
from foldstill.settings import KindWithExample

_BATCH = 1000
"""Number of values that MLflow takes in one call."""


@dataclass(frozen=True)
class MlflowTracker(KindWithExample, kind="mlflow", title="MLflow"):
    """A run of an MLflow experiment: one metric per curve and score, and the comparison and report as artifacts."""

    package: ClassVar[str] = "mlflow"

    uri: str = ""
    """Tracking URI: a server, a database or a folder. That of the environment, or MLflow's own, when empty."""
    experiment: str = "foldstill"
    """Name of the MLflow experiment, which is made if there is none."""

    def open(self, run: TrackedRun) -> "MlflowRun":
        """Begin an MLflow run, or go on with the one that `run` names if the server still has it."""
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(tracking_uri=self.uri or None)
        found = client.get_experiment_by_name(self.experiment)
        experiment_id = client.create_experiment(self.experiment) if found is None else found.experiment_id
        if run.id:
            try:
                client.update_run(run.id, status="RUNNING")
            except MlflowException:
                pass  # removed since then, so a new one begins
            else:
                return MlflowRun(client, run.id)
        return MlflowRun(client, client.create_run(experiment_id, run_name=run.name).info.run_id)


class MlflowRun:
    """An MLflow run that is open."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._id = client, run_id

    @property
    def id(self) -> str:
        return self._id

    def log_points(self, curve: str, first: int, points: Sequence[dict[str, float]]) -> None:
        self._log(
            [(f"{curve}/{name}", value, first + i) for i, each in enumerate(points) for name, value in each.items()]
        )

    def log_comparison(self, comparison: Comparison, number: int, files: Sequence[Path]) -> None:
        self._log([(name, value, number) for name, value in scores_of(comparison).items()])
        self._client.set_tag(self._id, "verdict", comparison.verdict)
        for path in files:
            self._client.log_artifact(self._id, str(path))

    def close(self) -> None:
        self._client.set_terminated(self._id)

    def _log(self, values: Sequence[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        # Names of members can hold characters that MLflow refuses.
        metrics = [Metric(re.sub(r"[^\w\-. :/]", "_", name), value, now, step) for name, value, step in values]
        for start in range(0, len(metrics), _BATCH):
            self._client.log_batch(self._id, metrics=metrics[start : start + _BATCH])
