"""Members over folds: the one loop that trains them, and their fold models asked about new rows.

N rows, M members, C classes, K fold models. Importing this module imports no torch.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.device import one_thread, pick_device
from foldstill.base_models.jobs import WEIGHTS, Bench, Job, JobProgress, flat, job_folder, run_job
from foldstill.base_models.joined import AnyMember, resolve
from foldstill.base_models.specs import Trainable, channels_and_size
from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan
from foldstill.data.labels import Labels, Strings, as_strings
from foldstill.errors import ExperimentError, MemberError
from foldstill.files import digest, read_json, write_json
from foldstill.manifest import DONE
from foldstill.oof.table import FoldScores

_POLL_S = 0.5


def train_members(
    members: Sequence[AnyMember],
    dataset: Dataset,
    plan: FoldPlan,
    folder: Path,
    *,
    seed: int = 0,
    jobs: int | None = None,
    device: str = "auto",
    force: bool = False,
    folds: Sequence[int] | None = None,
    pairs: bool = False,
    on_progress: Callable[[JobProgress], None] | None = None,
) -> None:
    """Train every member on every fold (or on these) into `folder/<member>/fold-<k>/`; what is finished is skipped.

    With `pairs` instead without every two folds, into `folder/<member>/pair-<f>-<g>/`, K (K - 1) / 2 models a member: a
    student scored on fold f can then be taught of a row in fold g by a model that saw neither.

    On a CPU `jobs` processes of one thread each share the data by memory map (default: one a core; 1 stays in this
    process); joblib's `parallel_config` chooses another backend. On a GPU all jobs run in this process. The same seed
    gives the same weights whatever the number of jobs. Joined members come last, when the weights they start from are
    there. `on_progress` hears of epochs, from one thread at a time.

    Raises MemberError for a member that cannot be built or trained, and ExperimentError for a folder made from other
    inputs, naming what changed; `force` redoes that part.
    """
    tell = on_progress or (lambda progress: None)
    pending = []
    for job in _jobs(resolve(members), dataset, plan, folder, seed, left_out=2 if pairs else 1):
        if folds is not None and not set(job.folds) <= set(folds):
            continue
        if _is_finished(job, force):
            tell(job.end())
        else:
            pending.append(job)
    if not pending:
        return
    device = pick_device(device)
    _require_parts(pending)
    # Every network is built once before any is trained, so that a mistake in the last one costs no hours.
    cost = {name: _cost(member, dataset) for name, member in {j.member.name: j.member for j in pending}.items()}
    pending.sort(key=lambda job: -cost[job.member.name] * job.epochs)
    bench = Bench(device)
    # A joined member starts from what the others leave.
    for wave in ([job for job in pending if not job.parts], [job for job in pending if job.parts]):
        n_jobs = min(jobs or _cpu_count(), len(wave))
        if device == "cpu" and n_jobs > 1:
            _run_in_processes(wave, dataset, plan, n_jobs, tell)
            continue
        with one_thread(device):
            for job in wave:
                run_job(job, _arrays(job.member, dataset), dataset.labels, plan, bench, tell, dataset.units_N)


def _cpu_count() -> int:
    import joblib

    return int(joblib.cpu_count())


def _jobs(
    members: Sequence[Trainable], dataset: Dataset, plan: FoldPlan, folder: Path, seed: int, *, left_out: int
) -> list[Job]:
    """One a member and fold, or two folds, left out, each with everything it is made from."""
    names = [m.name for m in members]
    if not names:
        raise MemberError("training needs at least one member, got none: add a [[member]]")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MemberError(f"member names must differ, {twice} occur more than once: rename one")
    labels = dataset.labels
    if not np.array_equal(labels.ids, plan.ids):
        raise MemberError(
            "the fold plan and the labels must hold the same ids in the same order: make the plan from these labels"
        )
    if plan.n_folds <= left_out:
        raise MemberError(
            f"models that leave two folds out need three folds or more, got {plan.n_folds}: set folds.n_folds = 5"
        )
    drawn = [m.name for m in members if m.recipe.sampling == "one_each"]
    if drawn and dataset.units_N is None:
        raise MemberError(
            f'members {drawn} take one row of each unit, the data has none: use sampling = "one_each" with HMS data '
            'of rows = "window"'
        )
    made_of = {
        name: {"data": digest(dataset.view(name)), "shape": list(dataset.view(name).shape[1:])}
        for name in sorted({view for m in members for view in m.views})
    }
    common = {"labels": labels.digest, "classes": list(labels.classes), "plan": plan.digest, "seed": seed}

    def job(member: Trainable, folds: tuple[int, ...]) -> Job:
        inputs = {
            **flat("member", asdict(member.settings)),
            **(flat("part", {part.name: asdict(part.settings) for part in member.parts}) if member.parts else {}),
            **_of_views(member, made_of),
            **_units(member, dataset),
            **common,
            "fold": folds[0] if left_out == 1 else list(folds),
        }
        parts = tuple(job(part, folds) for part in member.parts)
        return Job(member, folds, job_folder(folder, member, *folds), inputs, parts)

    return [job(member, folds) for member in members for folds in combinations(range(plan.n_folds), left_out)]


def _of_views(member: Trainable, values: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Named values of a member's view, or of several views, each name with its view."""
    if len(member.views) == 1:
        return dict(values[member.views[0]])
    return {f"{key}.{view}": value for view in member.views for key, value in values[view].items()}


def _units(member: Trainable, dataset: Dataset) -> dict[str, str]:
    """What a draw of rows is made from, where a member draws them."""
    return {"units": digest(dataset.units_N)} if member.recipe.sampling == "one_each" else {}


def _arrays(member: Trainable, dataset: Dataset) -> list[NDArray[Any]]:
    return [dataset.view(name) for name in member.views]


def _require_parts(pending: Sequence[Job]) -> None:
    """Whether everything that joined members start from is there, or will be."""
    will_be = {job.folder for job in pending}
    for job in pending:
        for part in job.parts:
            if part.folder not in will_be and not part.stage.finished():
                raise MemberError(f"{job.name} joins {part.member.name!r}, which is not trained: train both together")


def _is_finished(job: Job, force: bool) -> bool:
    """Whether nothing is left to do; with `force` what was made from other inputs, or left half done, is thrown away."""
    try:
        finished = job.stage.finished()
    except ExperimentError:
        if not force:
            raise
        finished = False
    if force and not finished:
        shutil.rmtree(job.folder, ignore_errors=True)
    return finished


def _cost(member: Trainable, dataset: Dataset) -> float:
    """Floating point operations of one forward pass of one row: enough to put long jobs first."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    shapes = [array.shape[1:] for array in _arrays(member, dataset)]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        network = member.build(shapes, len(dataset.labels.classes)).eval()
        rows = []
        for channels, size in map(channels_and_size, shapes):
            rows.append(torch.zeros(1, channels, *size))
        with FlopCounterMode(display=False) as counter:
            network(rows if member.parts else rows[0])
    return float(counter.get_total_flops())


def _run_in_processes(
    pending: list[Job], dataset: Dataset, plan: FoldPlan, n_jobs: int, tell: Callable[[JobProgress], None]
) -> None:
    import joblib

    lock, over = threading.Lock(), threading.Event()

    def watch() -> None:
        heard: dict[Path, int] = {}
        while not over.wait(_POLL_S):
            for job in pending:
                progress = _read_progress(job)
                if progress and progress.epoch > heard.get(job.folder, 0):
                    heard[job.folder] = progress.epoch
                    with lock:
                        tell(progress)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        calls = [
            joblib.delayed(_work)(job, _arrays(job.member, dataset), dataset.labels, plan, dataset.units_N)
            for job in pending
        ]
        pool = joblib.Parallel(
            n_jobs=n_jobs, prefer="processes", pre_dispatch="all", batch_size=1, return_as="generator_unordered"
        )
        for end in pool(calls):
            with lock:
                tell(end)
    finally:
        over.set()
        watcher.join()


def _work(job: Job, views: list[NDArray[Any]], labels: Labels, plan: FoldPlan, units_N: Strings | None) -> JobProgress:
    path = job.folder / "progress.json"
    with one_thread("cpu"):
        try:
            return run_job(
                job, views, labels, plan, Bench("cpu"), lambda progress: write_json(path, asdict(progress)), units_N
            )
        finally:
            path.unlink(missing_ok=True)


def _read_progress(job: Job) -> JobProgress | None:
    try:
        return replace(JobProgress(**read_json(job.folder / "progress.json")), folds=job.folds)
    except FileNotFoundError:
        return None


def predict_members(
    folder: Path,
    members: Sequence[AnyMember],
    views: Mapping[str, NDArray[Any]],
    classes: Sequence[str],
    device: str = "auto",
    *,
    ids: Sequence[str] | None = None,
) -> FoldScores:
    """Scores of new rows by all K fold models of every member; `ids` default to the row numbers.

    Raises MemberError for a member that is not trained, a view that is missing, or one of another shape.
    """
    from safetensors.torch import load_file

    from foldstill.base_models.engine import predict
    from foldstill.base_models.inputs import DeviceInputs, together

    device, asked = pick_device(device), resolve(members)
    read = {view for m in asked for view in m.views}
    missing = sorted(read - views.keys())
    if missing:
        raise MemberError(
            f"members read the views {missing}, given are {sorted(views)}: give every view they were trained on"
        )
    on_device = {name: DeviceInputs(array, device) for name, array in views.items() if name in read}
    shapes = {name: {"shape": list(views[name].shape[1:])} for name in read}
    by_member = []
    for member in asked:
        places = sorted(
            (folder / member.name).glob(f"fold-*/{DONE}"), key=lambda p: int(p.parent.name.removeprefix("fold-"))
        )
        if not places:
            raise MemberError(f"member {member.name} has no trained fold in {folder}: train it first")
        data, by_fold = together([on_device[view] for view in member.views]), []
        given = _of_views(member, shapes)
        for done in places:
            inputs = read_json(done)["inputs"]
            trained_on = {key: inputs.get(key) for key in given}
            if inputs["classes"] != list(classes) or trained_on != given:
                raise MemberError(
                    f"member {member.name} was trained on rows of shape {_shown(trained_on)} and classes {inputs['classes']}, "
                    f"got {_shown(given)} and {list(classes)}: prepare the new rows as the training rows were"
                )
            network = member.without_download().build([views[name].shape[1:] for name in member.views], len(classes))
            network.load_state_dict(load_file(done.with_name(WEIGHTS)))
            by_fold.append(predict(network, data, np.arange(len(data)), precision=member.recipe.precision))
        by_member.append(by_fold)
    counts = {member.name: len(by_fold) for member, by_fold in zip(asked, by_member, strict=True)}
    if len(set(counts.values())) > 1:
        raise MemberError(f"members must have the same number of trained folds, got {counts}: finish training")
    proba_KNMC = np.stack([np.stack(by_fold) for by_fold in by_member], axis=2)
    names = as_strings(np.arange(proba_KNMC.shape[1]) if ids is None else np.asarray(ids), "ids")
    return FoldScores(names, tuple(m.name for m in asked), tuple(classes), proba_KNMC, tuple(m.family for m in asked))


def _shown(shapes: Mapping[str, Any]) -> str:
    """The shape of one view, or each with its view."""
    if len(shapes) == 1:
        return str(*shapes.values())
    return ", ".join(f"{shape} ({key.removeprefix('shape.')})" for key, shape in shapes.items())
