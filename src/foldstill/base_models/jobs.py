"""Jobs: one fit each, with a folder for what it leaves; run side by side in processes, or one after the other.

Members over folds and students over seeds are both jobs. Importing this module imports no torch.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.device import device_for, one_thread_for, views_kept
from foldstill.base_models.gpu_slots import gpu_workers
from foldstill.base_models.member import Member
from foldstill.base_models.references import Shipment, store_in
from foldstill.data.heads import BINARY, two_classes
from foldstill.data.simplex import kl_divergence
from foldstill.data.text import Strings
from foldstill.data.training import FitContext, FitProgress, Rows, TrainingSet
from foldstill.errors import FileError, FoldstillError, MemberError, lacks_memory
from foldstill.json_files import Shape, read_json, write_json
from foldstill.lock import BEAT_S, LOCK, SHARED, SILENT_S, locked, require_unlocked
from foldstill.manifest import DONE, Stage, read_done
from foldstill.oof.store import write_scores
from foldstill.oof.table import ScoreTable
from foldstill.workers import Work, Workers, folder_of_arrays, spread

_POLL_S = 0.5
_PROGRESS = "progress.json"
_SHAPE: Shape = {"job": str, "member": str, "epoch": int, "epochs": int, "loss": (int, float)}
"""Keys of a file of progress and their types."""


@dataclass(frozen=True)
class JobProgress:
    """How far one job is: epochs done of all epochs, and the mean training loss of the last one."""

    job: str
    """Name of the job."""
    member: str
    folds: tuple[int, ...]
    """The folds that the model is not trained on: one, a pair, or none."""
    epoch: int
    epochs: int
    loss: float
    held_out_kl: float | None = None
    """Known when a job with held-out rows is finished; it chooses nothing."""


OnJobProgress = Callable[[JobProgress], None]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Rows to predict with the trained model, and the file in the job's folder for their scores."""

    file: str
    rows: Rows
    ids: Strings


@dataclass(frozen=True, eq=False)
class Job:
    """One fit: a member, what it learns from, and what the job leaves in its folder."""

    name: str
    """Names the job in messages and progress."""
    member: Member
    training_set: TrainingSet
    folder: Path
    made_from: Mapping[str, Any]
    """JSON values that name all inputs."""
    seed: int
    folds: tuple[int, ...] = ()
    """The folds that the model is not trained on."""
    predictions: tuple[Prediction, ...] = ()
    """The first is of held-out rows, whose KL is reported."""
    batch_seed: int | None = None
    """As in `FitContext`."""
    needs: Mapping[str, Stage] = field(default_factory=dict)
    """The stages of the members it starts from, by name."""

    @property
    def stage(self) -> Stage:
        """The mark of a finished job."""
        return Stage(self.folder, self.made_from)

    def end(self) -> JobProgress:
        """The progress of a finished job, from its folder."""
        done, epochs = read_done(self.folder), self.member.epochs
        return JobProgress(
            self.name, self.member.name, self.folds, epochs, epochs, done.get("loss", 0.0), done.get("held_out_kl")
        )

    def clear(self) -> None:
        """Remove what an earlier run of this job left unfinished, or made from other inputs."""
        for path in (self.folder / DONE, self.folder / _PROGRESS, *_checkpoints(self.folder)):
            path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove what a killed run of this job left and nobody needs: its progress, and checkpoints of finished
        work."""
        for path in (self.folder / _PROGRESS, *(_checkpoints(self.folder) if (self.folder / DONE).exists() else ())):
            path.unlink(missing_ok=True)


def clean_folders(jobs: Sequence[Job], pending: Sequence[Job], *, force: bool) -> None:
    """Remove what killed runs left, and with `force` everything of the jobs that are pending."""
    for job in jobs:
        if (job.folder / LOCK).exists():
            with suppress(FileError), locked(job.folder):
                pass
        job.tidy()
        if force and job in pending:
            job.clear()


def check_locks(jobs: Sequence[Job]) -> None:
    """Raises FileError, which names the process, where another one works on a job."""
    for job in jobs:
        # A worker of a killed run ends within a second.
        require_unlocked(job.folder, patience_s=2.0)


def run_jobs(jobs: Sequence[Job], work: Work, on_progress: OnJobProgress) -> Iterator[Job]:
    """Run all jobs, and yield each one when it is finished, in any order.

    On a CPU, the jobs run in processes of one thread each. On one GPU, and with one worker, they run in this process,
    on several GPUs in one process per slot; members that do not use a GPU run in processes before. Workers of a cluster
    use the devices that they have. The same seed gives the same model on the CPU wherever it runs. `on_progress` is
    called after every epoch and at the end of each job, by one thread at a time. A job that was interrupted continues
    from its last epoch.
    """
    workers = work.cpu_workers
    if workers.is_cluster:
        groups = [(workers, work.device, list(jobs))]
    else:
        device = device_for((job.member for job in jobs), work.device)
        on_gpu = [job for job in jobs if job.member.uses_device and device != "cpu"]
        on_cpu = [job for job in jobs if job not in on_gpu]
        groups = [(workers, "cpu", on_cpu), (gpu_workers(work, device), device, on_gpu)]
    for place, device, group in groups:
        if not group:
            continue
        if place.is_this_process or (len(group) == 1 and place.kind in ("processes", "joblib")):
            yield from _run_here(group, device, on_progress)
        else:
            yield from _run_elsewhere(group, device, place, on_progress)


def _run_here(jobs: Sequence[Job], device: str, on_progress: OnJobProgress) -> Iterator[Job]:
    """Run the jobs one after the other in this process."""
    with views_kept(job.member for job in jobs):
        for job in jobs:
            run_job(job, device, on_progress)
            on_progress(job.end())
            yield job


def run_job(job: Job, device: str, on_progress: OnJobProgress) -> None:
    """Fit the job's member, or continue from its checkpoint, and leave its folder finished; `done.json` is written
    last."""
    with _ONE_JOB, locked(job.folder, patience_s=SILENT_S + BEAT_S):
        # A cluster that takes a worker for dead gives its job to another one, and both may be alive.
        if not job.stage.finished():
            _run_job(job, device, on_progress)


_ONE_JOB = threading.Lock()
"""Held by the job that runs: torch's generator and the number of threads belong to the process, so that two jobs in
threads of one process would give other weights."""


def _run_job(job: Job, device: str, on_progress: OnJobProgress) -> None:
    start = time.process_time()

    def report(progress: FitProgress) -> None:
        on_progress(JobProgress(job.name, job.member.name, job.folds, progress.done, progress.total, progress.loss))

    training_set, member = job.training_set, job.member
    before = _versions(job.folder)
    context = FitContext(job.seed, device, job.folder, job.made_from, report, job.batch_seed)
    notes: dict[str, Any] = {}
    with one_thread_for(member, device):
        try:
            model = member.fit(training_set, context)
        except FoldstillError as error:
            raise type(error)(f"{job.name}: {error}") from error
        except Exception as error:
            if not lacks_memory(error):
                raise
            cure = "make batch_size of its recipe smaller, or use fewer workers (--workers)"
            raise MemberError(f"{job.name}: not enough memory to train it: {cure}") from error
        for prediction in job.predictions:
            proba_NC = model.predict(training_set.views, prediction.rows, device=device)
            write_scores(_scores(job, prediction, proba_NC), job.folder / prediction.file)
            if prediction is job.predictions[0]:
                notes["held_out_kl"] = _held_out_kl(training_set, prediction.rows, proba_NC)
    model.save(job.folder)
    files = [path for path, version in _versions(job.folder).items() if before.get(path) != version]
    job.stage.finish(sorted(files), **model.facts, **notes, cpu_s=round(time.process_time() - start, 2))
    for path in _checkpoints(job.folder):
        path.unlink(missing_ok=True)


def _scores(job: Job, prediction: Prediction, proba_NC: NDArray[np.float32]) -> ScoreTable:
    """The scores of one member; of a multi-label problem those of each head, of the classes 0 and 1, in its place."""
    member, training_set = job.member, job.training_set
    if training_set.multi_label:
        return ScoreTable(prediction.ids, training_set.classes, BINARY, two_classes(proba_NC))
    return ScoreTable(prediction.ids, (member.name,), training_set.classes, proba_NC[:, None], (member.family,))


def _held_out_kl(training_set: TrainingSet, rows: Rows, proba_NC: NDArray[np.float32]) -> float:
    """Mean KL of these rows; of a multi-label problem over rows and heads whose label is known."""
    target_NC = training_set.target_NC[rows]
    if not training_set.multi_label:
        return kl_divergence(target=target_NC, proba=proba_NC)
    known_NH = ~np.isnan(target_NC)
    return kl_divergence(target=two_classes(target_NC[known_NH]), proba=two_classes(proba_NC[known_NH]))


def _versions(folder: Path) -> dict[Path, tuple[int, int]]:
    """Inode and time of change of every file that a job leaves below its folder, so that what it wrote is known."""
    if not folder.is_dir():
        return {}
    temporary = {folder / DONE, folder / _PROGRESS, *_checkpoints(folder)}
    files = [path for path in _files_of(folder) if path not in temporary]
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}


def _files_of(folder: Path) -> list[Path]:
    """The files below the folder of a job, without those of other jobs: further seeds of a student, at work beside it.

    Another job's folder has a lock before it has files, and a mark before the lock is gone. So both are looked for
    after its files.
    """
    files = []
    for path in folder.iterdir():
        if path.is_dir():
            below = _files_of(path)
            files += [] if any((path / mark).exists() for mark in (LOCK, DONE)) else below
        elif not path.name.startswith("."):
            files.append(path)
    return files


def _checkpoints(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.safetensors"))


def _run_elsewhere(jobs: Sequence[Job], device: str, workers: Workers, on_progress: OnJobProgress) -> Iterator[Job]:
    """Run the jobs in workers, and report what they write about their progress."""
    lock, over = threading.Lock(), threading.Event()

    def watch() -> None:
        reported: dict[Path, int] = {}
        while not over.wait(_POLL_S):
            for job in jobs:
                progress = _read_progress(job)
                if progress and progress.epoch > reported.get(job.folder, 0):
                    reported[job.folder] = progress.epoch
                    with lock:
                        on_progress(progress)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        work = _work_in_slot if workers.kind == "slots" else _work
        common = Path(os.path.commonpath([job.folder.resolve() for job in jobs]))
        folder = folder_of_arrays(common / SHARED, on_a_cluster=workers.is_cluster)
        with store_in(folder) as store:
            calls = [(Shipment.of(job, store), device) for job in jobs]
            for index, _ in spread(work, calls, workers, gpu=device == "cuda"):
                with lock:
                    on_progress(jobs[index].end())
                yield jobs[index]
    finally:
        over.set()
        watcher.join()


def _work(shipment: Shipment, device: str) -> None:
    """Run a job in a worker; its progress goes through a file, which any kind of worker can write."""
    job: Job = shipment.value()
    path = job.folder / _PROGRESS
    try:
        run_job(job, device_for([job.member], device), lambda progress: write_json(path, asdict(progress)))
    finally:
        path.unlink(missing_ok=True)


def _work_in_slot(shipment: Shipment, device: str) -> None:
    """Run a job in the process of a slot, which ends with the run: its views stay on the GPU from job to job."""
    _keep_views()
    _work(shipment, device)


@cache
def _keep_views() -> None:
    from foldstill.base_models.inputs import keep_views_on_device

    keep_views_on_device().__enter__()


def _read_progress(job: Job) -> JobProgress | None:
    try:
        values = read_json(job.folder / _PROGRESS, _SHAPE, sealed=False)
    except (FileNotFoundError, FoldstillError):
        return None  # only the display waits for it
    return JobProgress(**{**values, "folds": job.folds})
