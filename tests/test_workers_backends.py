"""Jobs give the same bytes wherever they run, and the choice of where they run is one word."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import pytest

from foldstill.base_models import TimmMember, gpu_slots, train_members
from foldstill.base_models.gpu_slots import gpu_workers
from foldstill.errors import ArgumentError
from foldstill.pipeline import ExperimentFile, start_run, train_stage
from foldstill.workers import VARIABLE, Work, Workers, spread
from made_up import RECIPE, bright_pictures, folds_of, weights

DROPS = TimmMember("drops", view="image", network="test_resnet", drop_rate=0.3, recipe=replace(RECIPE, epochs=2))
"""Dropout draws from the generator that the threads of a process share."""
TABLE = """
name = "small"
[data]
kind = "table"
path = "d.csv"
label = "y"
[[member]]
kind = "sklearn"
name = "regression"
estimator = "LogisticRegression"
"""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("8", "processes=8"),
        ("processes=8", "processes=8"),
        ("slots=cuda:0,cuda:1", "slots=cuda:0,cuda:1"),
        ("dask=local", "dask=local"),
        ("dask=tcp://host:8786", "dask=tcp://host:8786"),
        ("ray=auto", "ray=auto"),
    ],
)
def test_where_jobs_run_is_one_word(text: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(Work(text).chosen_workers) == shown
    monkeypatch.setenv(VARIABLE, text)
    assert str(Work().chosen_workers) == shown
    assert str(Work(2).chosen_workers) == "processes=2", "what is given goes first"


@pytest.mark.parametrize("text", ["", "0", "-1", "many", "1.5", "processes=", "slots=", "slots=0", "dask=host", "ray="])
def test_another_word_is_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"workers must be a number of processes .*dask=local.*, got"):
        Work(text)


def test_without_a_choice_all_cores_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 6)
    assert Work().chosen_workers is None
    assert str(Work().cpu_workers) == str(Work("slots=cuda:0").cpu_workers) == "processes=6"


def test_an_active_configuration_of_joblib_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        calls = [(index,) for index in range(4)]
        assert {pid for _, pid in spread(lambda _: os.getpid(), calls, Work().cpu_workers)} == {os.getpid()}
    with joblib.parallel_config(n_jobs=3):
        assert str(Work().cpu_workers) == "processes=3"


def seen(_: int) -> tuple[int, str | None]:
    return os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES")


def test_a_slot_is_a_process_that_sees_its_gpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    results = dict(spread(seen, [(index,) for index in range(3)], Workers.parse("slots=cuda:0,cuda:1,cuda:1")))
    assert [results[index][1] for index in range(3)] == ["4", "6", "6"]
    assert len({pid for pid, _ in results.values()}) == 3
    again = spread(seen, [(index,) for index in range(3)], Workers.parse("slots=cuda:0,cuda:1,cuda:1"))
    assert {pid for _, (pid, _) in again} <= {pid for pid, _ in results.values()}, "its process stays"


def fails(number: int) -> None:
    raise ArgumentError(f"number {number}")


def test_a_mistake_in_a_slot_arrives_as_its_sentence() -> None:
    with pytest.raises(ArgumentError, match="number 0"):
        list(spread(fails, [(0,)], Workers.parse("slots=cuda:0")))


@pytest.mark.parametrize(
    ("found", "has"), [(0, "finds no CUDA device on this machine"), (2, "finds cuda:0, cuda:1 on this machine")]
)
def test_slots_on_gpus_that_are_not_there_are_refused_before_anything_is_written(
    found: int, has: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_slots, "_n_gpus", lambda: found)
    data = bright_pictures(20)
    with pytest.raises(ArgumentError, match=rf"slots=cuda:1,cuda:2 need the GPU cuda:[12], and torch {has}: name"):
        train_members([DROPS], data, folds_of(data, 2), tmp_path, work=Work("slots=cuda:1,cuda:2"))
    with pytest.raises(ArgumentError, match="are on GPUs, and the device is cpu"):
        train_members([DROPS], data, folds_of(data, 2), tmp_path, work=Work("slots=cuda:1", device="cpu"))
    assert not list(tmp_path.iterdir())


def test_all_gpus_are_used_unless_fewer_workers_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(gpu_slots, "_n_gpus", lambda: 2)
    assert str(gpu_workers(Work(), "cuda")) == "slots=cuda:0,cuda:1"
    assert str(gpu_workers(Work("slots=cuda:1,cuda:1"), "cuda")) == "slots=cuda:1,cuda:1"
    assert gpu_workers(Work(1), "cuda").is_this_process
    assert gpu_workers(Work(), "cpu").is_this_process
    monkeypatch.setattr(gpu_slots, "_n_gpus", lambda: 1)
    assert gpu_workers(Work(), "cuda").is_this_process


@pytest.mark.parametrize(("kind", "package"), [("dask", "distributed"), ("ray", "ray")])
@pytest.mark.parametrize("missing", [True, False])
def test_a_cluster_that_is_not_there_is_refused_before_anything_is_written(
    kind: str, package: str, missing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "e.toml").write_text(TABLE)
    (tmp_path / "d.csv").write_text("x,y\n" + "".join(f"{number},{'ab'[number % 2]}\n" for number in range(40)))
    run = start_run(ExperimentFile.read(tmp_path / "e.toml"), tmp_path / "run", Work(f"{kind}=tcp://127.0.0.1:1"))
    if missing:
        monkeypatch.setattr("foldstill.errors.find_spec", lambda _: None)
        message = rf"needs {package}, which is not installed: pip install 'foldstill\[{kind}\]'"
    elif kind == "ray":
        pytest.skip("Ray waits for a minute")
    else:
        pytest.importorskip(package)
        monkeypatch.setattr("foldstill.workers.dask_cluster.CONNECT_S", 0.5)
        message = "no Dask scheduler answers at tcp://127.0.0.1:1: start one with `dask scheduler`"
    with pytest.raises(ArgumentError, match=message):
        train_stage(run)
    assert not (tmp_path / "run").exists()


@contextmanager
def dask_of_threads() -> Iterator[None]:
    """A cluster of one process with two threads, as `Client()` makes them on most machines."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        yield


BACKENDS: dict[str, tuple[Any, Work]] = {
    "processes": (nullcontext, Work(2, device="cpu")),
    "threading": (lambda: joblib.parallel_config(backend="threading", n_jobs=3), Work(device="cpu")),
    "multiprocessing": (lambda: joblib.parallel_config(backend="multiprocessing", n_jobs=2), Work(device="cpu")),
    "dask": (nullcontext, Work("dask=local", device="cpu")),
    "dask of threads": (dask_of_threads, Work(device="cpu")),
    "ray": (nullcontext, Work("ray=local", device="cpu")),
}


SLOW = ("multiprocessing", "dask of threads", "ray")
"""`multiprocessing` forks this process, which has threads of other tests: that may hang, and is the user's choice."""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The members, trained one after the other in this process."""
    folder, data = tmp_path_factory.mktemp("alone"), bright_pictures()
    train_members([DROPS], data, folds_of(data, 3), folder, work=Work(1, device="cpu"))
    return folder


# multiprocessing forks this process, which has threads.
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in BACKENDS])
def test_members_have_the_same_bytes_on_every_backend(
    name: str, alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    package = {"dask": "distributed", "ray": "ray"}.get(name)
    if package:
        pytest.importorskip(package)
    context, work = BACKENDS[name]
    data = bright_pictures()
    with context():
        ends = train_members([DROPS], data, folds_of(data, 3), tmp_path, work=work)
    assert len(ends) == 3
    for fold in range(3):
        assert weights(tmp_path, "drops", fold) == weights(alone, "drops", fold)
