"""What a run sends to a tracker of experiments: every point once, and nothing without `[track]`."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import nn, optim

from foldstill.base_models.checkpoint import write_checkpoint
from foldstill.compare import Comparison
from foldstill.errors import ExperimentError, FoldstillWarning
from foldstill.pipeline import Run, compare_stage, find_run, run_all
from foldstill.pipeline.curves import Curve, curves
from foldstill.pipeline.rundir import RunDir
from foldstill.pipeline.tracker import OpenTracker, TrackedRun, Tracker
from foldstill.pipeline.trackers import TRACKERS
from foldstill.pipeline.tracking import tracked
from foldstill.settings import KindWithExample
from foldstill.workers import Work
from made_up import ON_CPU, SMOKE, call

SERVER: dict[str, list[tuple[Any, ...]]] = {}
"""What the pretended tracker has got, by the id of its run."""


@dataclass(frozen=True)
class Pretended(KindWithExample, kind="pretended"):
    """A tracker in memory."""

    package: ClassVar[str] = "json"

    server: str = "here"
    """Name of the server."""
    fails: bool = False
    """Whether it takes no points."""

    def open(self, run: TrackedRun) -> OpenTracker:
        name = run.id if run.id in SERVER else f"{self.server}-{len(SERVER)}"
        SERVER.setdefault(name, [])
        return PretendedRun(name, self.fails)


class PretendedRun:
    def __init__(self, name: str, fails: bool) -> None:
        self.id, self._fails = name, fails

    def log_points(self, curve: str, first: int, points: Sequence[dict[str, float]]) -> None:
        if self._fails:
            raise ConnectionError("the server is gone")
        SERVER[self.id] += [
            (curve, first + i, name) for i, each in enumerate(points) for name in each if name != "inner_kl"
        ]

    def log_comparison(self, comparison: Comparison, number: int, files: Sequence[Path]) -> None:
        SERVER[self.id].append(("comparison", number, *(path.name for path in files)))

    def close(self) -> None:
        SERVER[self.id].append(("closed",))


@pytest.fixture
def finished(smoke: tuple[Run, Comparison], tmp_path: Path) -> Path:
    """A copy of a finished run."""
    SERVER.clear()
    return Path(shutil.copytree(smoke[0].dir.root, tmp_path / "run"))


def tracked_by(folder: Path, tracker: Any) -> Run:
    run = find_run(folder, work=Work(1, "cpu"))
    assert run.settings is not None
    return replace(run, settings=replace(run.settings, track=tracker))


def sent(kind: int) -> list[tuple[Any, ...]]:
    return [each for log in SERVER.values() for each in log if len(each) == kind]


def test_every_epoch_and_the_comparison_are_sent_once_to_one_run(finished: Path) -> None:
    compare_stage(tracked_by(finished, Pretended()))
    folds = [f"members/{member}/fold-{fold}" for member in ("efficientnet", "resnet") for fold in (0, 1)]
    wanted = {(name, 1, metric) for name in folds for metric in ("loss", "lr", "held_out_kl")}
    wanted |= {(name, 1, metric) for name in ("student", "student-without-teacher") for metric in ("loss", "lr")}
    points = sent(3)
    assert len(points) == len(set(points))
    assert set(points) == wanted
    assert sent(5) == [("comparison", 1, "report.html", "comparison.csv", "experiment.toml")]
    # The same command again goes on with the same run, and has nothing to send.
    compare_stage(tracked_by(finished, Pretended()))
    assert list(SERVER) == ["here-0"]
    assert (sent(3), len(sent(5)), len(sent(1))) == (points, 1, 2)
    # Another server has got nothing yet.
    compare_stage(tracked_by(finished, Pretended(server="there")))
    assert [name for name, log in SERVER.items() if set(points) <= set(log)] == ["here-0", "there-1"]


def test_all_stages_share_one_run_that_is_closed_once(finished: Path) -> None:
    run_all(tracked_by(finished, Pretended()))
    assert len(SERVER) == len(sent(1)) == 1


def test_a_training_that_goes_on_adds_points_and_one_that_begins_again_has_its_own_curve(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tracked_by(finished, Pretended())

    def look(*losses: float, end: bool = False) -> None:
        points = tuple({"loss": loss} for loss in losses)
        curve = Curve("members/a/fold-0", points, {"held_out_kl": 1.0} if end else {})
        monkeypatch.setattr("foldstill.pipeline.tracking.curves", lambda folder: iter([curve]))
        with tracked(run):
            pass

    look(3.0, 2.0)
    look(3.0, 2.0)
    look(3.0, 2.0, 1.0, end=True)
    look(3.0, 2.0, 1.0, end=True)
    first = [("members/a/fold-0", step, "loss") for step in (1, 2, 3)] + [("members/a/fold-0", 3, "held_out_kl")]
    assert sent(3) == first
    look(2.5)
    look(2.5, 1.5)
    assert sent(3) == first + [("members/a/fold-0/attempt-2", step, "loss") for step in (1, 2)]


def test_a_training_that_goes_on_is_read_from_its_checkpoints(tmp_path: Path) -> None:
    run, folder = RunDir(tmp_path), tmp_path / "members" / "net" / "fold-0"
    network = nn.Linear(2, 2)
    optimizer = optim.SGD(network.parameters())
    for phase, losses in ((1, (3.0, 2.0)), (2, (1.5,))):
        history = [{"epoch": i, "loss": loss, "lr": 0.1, "inner_kl": None} for i, loss in enumerate(losses)]
        write_checkpoint(folder / f"checkpoint-{phase}.safetensors", {}, network, optimizer, {}, history)
    [curve] = curves(run)
    assert curve == Curve("members/net/fold-0", tuple({"loss": loss, "lr": 0.1} for loss in (3.0, 2.0, 1.5)), {})


def test_a_tracker_that_fails_does_not_end_the_run_and_gets_everything_later(finished: Path) -> None:
    with pytest.warns(FoldstillWarning, match=r"the run goes on without it \(ConnectionError: the server is gone\)"):
        compare_stage(tracked_by(finished, Pretended(fails=True)))
    assert sent(3) == []
    run = tracked_by(finished, Pretended())
    compare_stage(run)
    assert len(sent(3)) == 16


def test_a_change_of_the_tracker_makes_no_finished_stage_stale(finished: Path) -> None:
    marks = {path: path.stat().st_mtime_ns for path in finished.rglob("done.json")}
    run_all(tracked_by(finished, Pretended()))
    run_all(tracked_by(finished, Pretended(server="there")))
    assert marks == {path: path.stat().st_mtime_ns for path in finished.rglob("done.json")}


@pytest.mark.parametrize("kind", TRACKERS)
def test_a_missing_package_is_one_sentence_before_anything_is_written(
    kind: type[Tracker], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("foldstill.errors.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "smoke.toml").write_text(SMOKE, encoding="utf-8")
    assert call(monkeypatch, "run", "smoke.toml", *ON_CPU, "--set", f"track.kind={kind.kind}") == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"needs {kind.package}, which is not installed: pip install 'foldstill[{kind.kind}]'" in message
    assert [path.name for path in tmp_path.iterdir()] == ["smoke.toml"]


STAND_IN = """import sys
from pathlib import Path
frame = sys._getframe(1)
while "importlib" in frame.f_code.co_filename:
    frame = frame.f_back
with Path(LOG).open("a") as log:
    print(__name__, frame.f_globals["__name__"], file=log)
raise ImportError("a stand-in")
"""


def test_nothing_is_imported_without_a_tracker(finished: Path, tmp_path: Path) -> None:
    """Stand-ins that note who imports them lie where Python looks first. timm imports wandb where it is installed."""
    log, stand_ins, names = tmp_path / "log", tmp_path / "stand-ins", [kind.package for kind in TRACKERS]
    for name in names:
        (stand_ins / name).mkdir(parents=True)
        text = STAND_IN.replace("LOG", repr(str(log)))
        (stand_ins / name / "__init__.py").write_text(text, encoding="utf-8")
    code = f"""
import sys
sys.path.insert(0, {str(stand_ins)!r})
from foldstill.cli import main
sys.argv = ["foldstill", "run", {str(finished)!r}, "--device", "cpu", "--workers", "1", "-q"]
try:
    main()
except SystemExit as end:
    assert not end.code
print("imported:", [name for name in sys.modules if name.split(".")[0] in {names!r}])
sys.argv += ["--set", "track.kind=mlflow"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "imported: []" in done.stdout, done.stderr
    assert done.returncode == 2
    assert "cannot be opened (a stand-in)" in " ".join(done.stderr.split())
    importers = [line.split() for line in log.read_text().splitlines()]
    assert [name for name, importer in importers if importer.startswith("foldstill")] == ["mlflow"]


@pytest.mark.filterwarnings("ignore")
def test_mlflow_has_every_point_once_and_the_report(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)  # where the artifacts of a local store go
    from mlflow import MlflowClient

    from foldstill.pipeline.mlflow_tracker import MlflowTracker

    tracker = MlflowTracker(uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
    for _ in range(2):
        compare_stage(tracked_by(finished, tracker))
    client = MlflowClient(tracker.uri)
    experiment = client.get_experiment_by_name("foldstill")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert [p.step for p in client.get_metric_history(run.info.run_id, "members/resnet/fold-0/loss")] == [1]
    assert len(client.get_metric_history(run.info.run_id, "arms/average/kl")) == 1
    assert {one.path for one in client.list_artifacts(run.info.run_id)} == {
        "report.html",
        "comparison.csv",
        "experiment.toml",
    }


@pytest.mark.filterwarnings("ignore")
def test_tensorboard_has_every_point_once_and_the_comparison(finished: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from foldstill.pipeline.tensorboard_tracker import TensorboardTracker

    for _ in range(2):
        compare_stage(tracked_by(finished, TensorboardTracker()))
    events = EventAccumulator(str(finished / "tensorboard")).Reload()
    assert [one.step for one in events.Scalars("members/resnet/fold-0/loss")] == [1]
    assert len(events.Scalars("arms/average/kl")) == 1
    assert events.Tags()["tensors"] == ["comparison/text_summary", "files/text_summary"]


@pytest.mark.filterwarnings("ignore")
def test_wandb_goes_on_with_the_same_run(finished: Path) -> None:
    pytest.importorskip("wandb")
    from foldstill.pipeline.wandb_tracker import WandbTracker

    for _ in range(2):
        compare_stage(tracked_by(finished, WandbTracker(mode="offline")))
    ids = {path.name.rpartition("-")[2] for path in (finished / "wandb").glob("offline-run-*")}
    assert len(ids) == 1


def test_a_tracker_that_cannot_be_opened_is_refused(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Pretended, run: TrackedRun) -> OpenTracker:
        raise ConnectionError("no server at there. Is it running?")

    monkeypatch.setattr(Pretended, "open", refuse)
    with pytest.raises(ExperimentError, match=r'kind = "pretended" cannot be opened \(no server at there\): correct'):
        run_all(tracked_by(finished, Pretended()))
