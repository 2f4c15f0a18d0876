"""What a run sends to the tracker of its experiment, and the ledger of what it has sent.

Nothing here changes a result: the tracker belongs to whoever runs the experiment, so it is no input of any stage.
"""

import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from typing import Any

from foldstill.compare import Comparison
from foldstill.digests import digest, file_digest
from foldstill.errors import ExperimentError, FoldstillError, FoldstillWarning
from foldstill.json_files import Shape, read_json, write_json
from foldstill.pipeline.curves import Curve, curves
from foldstill.pipeline.run import Run
from foldstill.pipeline.tracker import OpenTracker, TrackedRun, Tracker, require_tracker

POLL_S = 5.0
"""Seconds between two looks at the histories of the trainings that go on."""
_LEDGER: Shape = {"settings": dict, "run": str, "curves": dict, "comparisons": list}
"""Keys of tracking.json and their types."""


@contextmanager
def tracked(run: Run) -> Iterator[None]:
    """While the block runs, send the curves of what is trained to the tracker of the experiment, if it names one.

    Raises ExperimentError when the tracker cannot be opened. Later failures of it end the tracking with a warning.
    """
    tracker = run.settings.track if run.settings is not None else None
    if tracker is None or "tracking" in vars(run):
        yield
        return
    tracking = vars(run)["tracking"] = Tracking(tracker, run)
    try:
        yield
    finally:
        del vars(run)["tracking"]
        tracking.end()


def track_comparison(run: Run, comparison: Comparison) -> None:
    """Send a comparison and its files to the tracker of the experiment, if it names one and has not got it yet."""
    with tracked(run):
        tracking: Tracking | None = vars(run).get("tracking")
        if tracking is not None:
            files = (run.dir.report, run.dir.root / "comparison.csv", run.dir.experiment)
            tracking.send_comparison(comparison, [path for path in files if path.exists()])


class Tracking:
    """A run in its tracker, with a thread that looks at the histories on disk."""

    def __init__(self, tracker: Tracker, run: Run) -> None:
        require_tracker(tracker)
        self._dir, self._ledger = run.dir, _Ledger(run.dir.tracking, asdict(tracker))  # type: ignore[call-overload]
        about = TrackedRun(run.experiment.name, run.dir.root, run.root, self._ledger.content["run"])
        try:
            self._open: OpenTracker | None = tracker.open(about)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].partition(". ")[0]
            raise ExperimentError(
                f'[track] kind = "{tracker.kind}" cannot be opened ({reason}): correct its settings, or leave it out'
            ) from error
        self._ledger.begin(self._open.id)
        self._lock, self._over = threading.Lock(), threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def send_curves(self) -> None:
        """Send every point that the tracker has not got yet."""

        def send(tracker: OpenTracker, curve: Curve) -> None:
            for name, first, points in self._ledger.take_points(curve):
                tracker.log_points(name, first, points)

        with self._lock:
            for curve in curves(self._dir):
                self._call(send, curve)

    def send_comparison(self, comparison: Comparison, files: Sequence[Path]) -> None:
        """Send a comparison that the tracker has not got yet."""

        def send(tracker: OpenTracker) -> None:
            if number := self._ledger.take_comparison(file_digest(self._dir.comparison)):
                tracker.log_comparison(comparison, number, files)

        with self._lock:
            self._call(send)

    def end(self) -> None:
        """Send what is missing, and close the run in the tracker."""
        self._over.set()
        self._watcher.join()
        self._look()
        self._call(lambda tracker: tracker.close())
        self._open = None

    def _watch(self) -> None:
        while not self._over.wait(POLL_S):
            self._look()

    def _look(self) -> None:
        # A history that is damaged is a matter of the stage that needs it.
        with suppress(FoldstillError, OSError):
            self.send_curves()

    def _call(self, act: Callable[..., None], *values: Any) -> None:
        """Do something with the tracker; where it fails, as by a server that is gone, the run goes on without it."""
        if self._open is None:
            return
        before = self._ledger.content
        try:
            act(self._open, *values)
        except Exception as error:
            self._ledger.content = before
            self._open = None
            warnings.warn(
                f"the tracker failed, and the run goes on without it ({type(error).__name__}: {error}): run the "
                "command again to send what is missing",
                FoldstillWarning,
                stacklevel=2,
            )


class _Ledger:
    """What the tracker has got, in `tracking.json` of the run: no point is sent twice, also after a kill.

    It is written before anything is sent. Whatever is being sent while the process is killed is therefore lost.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._path = path
        self._kept: dict[str, Any] = {"settings": settings, "run": "", "curves": {}, "comparisons": []}
        if path.exists():
            cure = "remove it, and everything is sent again"
            kept = read_json(path, _LEDGER, sealed=False, error=ExperimentError, cure=cure)
            # Another tracker or another server has got nothing yet.
            self._kept = kept if kept["settings"] == settings else self._kept

    @property
    def content(self) -> dict[str, Any]:
        """A copy of everything in it."""
        return deepcopy(self._kept)

    @content.setter
    def content(self, kept: dict[str, Any]) -> None:
        if kept != self._kept:
            self._kept = kept
            write_json(self._path, kept)

    def begin(self, run_id: str) -> None:
        """Begin again for a run that the tracker did not have before."""
        if run_id != self._kept["run"]:
            self.content = self.content | {"run": run_id, "curves": {}, "comparisons": []}

    def take_points(self, curve: Curve) -> list[tuple[str, int, Sequence[dict[str, float]]]]:
        """The points that were not sent, which now count as sent: name of the curve, first epoch, points.

        A training that was begun again has a curve of its own.
        """
        sent = self._kept["curves"].get(curve.name, {"points": 0, "digest": digest([]), "ended": False, "attempt": 1})
        n_sent = sent["points"]
        if len(curve.points) < n_sent or digest(curve.points[:n_sent]) != sent["digest"]:
            n_sent, sent = 0, {"ended": False, "attempt": sent["attempt"] + 1}
        name = curve.name if sent["attempt"] == 1 else f"{curve.name}/attempt-{sent['attempt']}"
        new: list[tuple[str, int, Sequence[dict[str, float]]]] = []
        if len(curve.points) > n_sent:
            new.append((name, n_sent + 1, curve.points[n_sent:]))
        if curve.end and not sent["ended"]:
            new.append((name, max(1, len(curve.points)), [curve.end]))
        if new:
            entry = {"points": len(curve.points), "digest": digest(curve.points), "ended": bool(curve.end)}
            every = self._kept["curves"] | {curve.name: entry | {"attempt": sent["attempt"]}}
            self.content = self.content | {"curves": every}
        return new

    def take_comparison(self, content: str) -> int:
        """The number of a comparison that was not sent, which now counts as sent; 0 for the last one that was."""
        sent = self._kept["comparisons"]
        if sent[-1:] == [content]:
            return 0
        self.content = self.content | {"comparisons": [*sent, content]}
        return len(sent) + 1


def check_tracker(run: Run) -> None:
    """Raise ExperimentError where the tracker of the experiment is not installed; nothing is imported."""
    if run.settings is not None and run.settings.track is not None:
        require_tracker(run.settings.track)
