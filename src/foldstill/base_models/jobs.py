"""One member trained without one fold, or without two: what a worker does, and the folder it leaves."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.rows import draw_rates, inner_split, row_weights, stages_of, units
from foldstill.base_models.specs import Trainable
from foldstill.data.folds import FoldPlan
from foldstill.data.labels import Labels, Strings
from foldstill.data.simplex import kl_divergence
from foldstill.errors import FoldstillError, MemberError
from foldstill.files import atomic_write, digest, read_json, write_text
from foldstill.manifest import DONE, Stage

if TYPE_CHECKING:
    from foldstill.base_models.inputs import AnyInputs, DeviceInputs
    from foldstill.base_models.joined import AnyMember
    from foldstill.base_models.joined_network import AnyNetwork

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class JobProgress:
    """Where one job stands: epochs done of all stages, mean training loss of the last one.

    `held_out_kl` is known when the job is finished, and chooses nothing.
    """

    member: str
    folds: tuple[int, ...]
    """The folds this model is not trained on: one, or a pair."""
    epoch: int
    epochs: int
    loss: float
    held_out_kl: float | None = None


@dataclass(frozen=True)
class Job:
    """One member, the folds it is not trained on, where its files go and what they are made from."""

    member: Trainable
    folds: tuple[int, ...]
    folder: Path
    inputs: Mapping[str, Any]
    parts: tuple[Job, ...] = ()
    """Those of the same fold whose weights it starts from."""

    @property
    def name(self) -> str:
        return f"member {self.member.name}, {folds_told(self.folds)}"

    @property
    def epochs(self) -> int:
        """Of all stages."""
        stage = self.member.recipe.second_stage
        return self.member.recipe.epochs + (stage.epochs if stage else 0)

    @property
    def seed(self) -> int:
        """Differs between members and folds, and does not depend on which other members there are."""
        return int(digest(self.inputs["seed"], self.member.name, *self.folds), 16) % 2**31

    @property
    def stage(self) -> Stage:
        """The mark of its end, with what it is made from."""
        return Stage(self.folder, self.inputs)

    @property
    def weights(self) -> Path:
        """What it leaves of its network."""
        return self.folder / WEIGHTS

    def end(self) -> JobProgress:
        """Where a finished job ended."""
        done = read_json(self.folder / DONE)
        return JobProgress(self.member.name, self.folds, self.epochs, self.epochs, done["loss"], done["held_out_kl"])


def flat(name: str, value: Any) -> dict[str, Any]:
    """Nested settings as one level of dotted names and JSON values, so that a change is named as exactly as it can be.

    >>> flat("member", {"recipe": {"epochs": 5}, "size": (32, 32)})
    {'member.recipe.epochs': 5, 'member.size': [32, 32]}
    """
    if isinstance(value, Mapping) and value:
        return {key: leaf for part in value for key, leaf in flat(f"{name}.{part}", value[part]).items()}
    return {name: json.loads(json.dumps(value))}


def job_folder(folder: Path, member: AnyMember, *folds: int) -> Path:
    """Where the model that holds out one fold, or two, lies."""
    return folder / member.name / f"{'fold' if len(folds) == 1 else 'pair'}-{'-'.join(map(str, sorted(folds)))}"


def folds_told(folds: tuple[int, ...]) -> str:
    """`fold 2`, or `folds 0 and 3`."""
    return f"fold{'s'[: len(folds) > 1]} {' and '.join(map(str, folds))}"


class Bench:
    """What one process keeps between jobs: views on the device, and on a GPU the network of the last job.

    A fold of the same architecture gets its first weights written in place, so that nothing is compiled or planned anew.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self._inputs: list[tuple[NDArray[Any], DeviceInputs]] = []
        self._network: tuple[Trainable, AnyNetwork] | None = None

    def inputs(self, views: Sequence[NDArray[Any]]) -> AnyInputs:
        from foldstill.base_models.inputs import DeviceInputs, together

        # Frees what is not read any more before anything new is put on the device.
        self._inputs = [kept for kept in self._inputs if any(kept[0] is view for view in views)]
        for view in views:
            if not any(view is array for array, _ in self._inputs):
                self._inputs.append((view, DeviceInputs(view, self.device)))
        return together([next(inputs for array, inputs in self._inputs if array is view) for view in views])

    def network(self, job: Job, views: Sequence[NDArray[Any]], n_classes: int) -> AnyNetwork:
        """The job's network with its first weights, which depend on the job's seed and its parts only."""
        import torch
        from safetensors.torch import load_file

        from foldstill.base_models.joined_network import JoinedNetwork

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(job.seed)
            fresh = job.member.build([view.shape[1:] for view in views], n_classes)
        if isinstance(fresh, JoinedNetwork):
            fresh.adopt([load_file(part.weights) for part in job.parts])
        if self.device == "cpu":
            return fresh
        if self._network is not None and self._network[0] == job.member:
            self._network[1].load_state_dict(fresh.state_dict())
        else:
            self._network = (job.member, fresh.to(self.device))
        return self._network[1]


def run_job(
    job: Job,
    views: Sequence[NDArray[Any]],
    labels: Labels,
    plan: FoldPlan,
    bench: Bench,
    on_progress: Callable[[JobProgress], None],
    units_N: Strings | None = None,
) -> JobProgress:
    """Train the job's network, or go on from its checkpoint, and leave its folder whole; `done.json` is written last."""
    from safetensors.torch import save_file

    from foldstill.base_models.checkpoint import Checkpoint
    from foldstill.base_models.engine import Epoch, fit, predict

    start = time.process_time()
    recipe = job.member.recipe
    inputs = bench.inputs(views)
    network = bench.network(job, views, len(labels.classes))
    train, valid = inner_split(plan.training(*job.folds), labels, recipe.early_stopping, job.seed)
    stages = stages_of(recipe, train, valid, labels)
    lines: list[dict[str, Any]] = []
    checkpoints = [job.folder / f"checkpoint-{stage}.safetensors" for stage in range(1, len(stages) + 1)]
    epochs_before = 0
    for stage, (stage_recipe, rows, judges) in enumerate(stages, start=1):

        def report(epoch: Epoch, before: int = epochs_before) -> None:
            on_progress(JobProgress(job.member.name, job.folds, before + epoch.epoch + 1, job.epochs, epoch.loss))

        try:
            network.freeze(stage == 1 and recipe.second_stage is not None and recipe.second_stage.thaws)
            history = fit(
                network,
                inputs,
                labels.target_NC,
                row_weights(labels, rows, stage_recipe.row_weight, stage_recipe.row_weight_maximum),
                rows,
                stage_recipe,
                seed=job.seed + stage,
                view_augment=[part.recipe.augment for part in job.member.parts],
                unit_N=units(units_N, stage_recipe.sampling),
                early_weight_N=row_weights(labels, rows, "none", 1.0),
                draw_N=draw_rates(labels, rows, stage_recipe.sampling),
                valid_rows=judges,
                keep_scaling=stage > 1,
                keep_best=stage_recipe.second_stage is None or stage_recipe.second_stage.starts_from == "best",
                checkpoint=Checkpoint(checkpoints[stage - 1], job.inputs),
                on_epoch=report,
            )
        except FoldstillError as error:
            raise MemberError(f"{job.name}: {error}") from error
        lines += [{"stage": stage, **asdict(epoch)} for epoch in history]
        epochs_before += stage_recipe.epochs

    held, test = plan.held_out(*job.folds), plan.test_rows
    proba_held = predict(network, inputs, held, precision=recipe.precision)
    _write_scores(job.folder / "oof.parquet", labels.ids[held], labels.classes, proba_held)
    # Models of pairs are for cross-validation, which does not touch the test split.
    if len(test) and len(job.folds) == 1:
        proba_test = predict(network, inputs, test, precision=recipe.precision)
        _write_scores(job.folder / "test.parquet", labels.ids[test], labels.classes, proba_test)
    with atomic_write(job.weights) as part:
        save_file({key: value.cpu().contiguous() for key, value in network.state_dict().items()}, part)
    _write_history(job.folder / "history.csv", lines)
    held_out_kl = kl_divergence(target=labels.target_NC[held], proba=proba_held)
    end = JobProgress(job.member.name, job.folds, job.epochs, job.epochs, lines[-1]["loss"], held_out_kl)
    job.stage.finish(
        loss=end.loss,
        held_out_kl=held_out_kl,
        epochs=len(lines),
        cpu_s=round(time.process_time() - start, 2),
        parameters=sum(p.numel() for p in network.parameters()),
    )
    for path in checkpoints:
        path.unlink(missing_ok=True)
    on_progress(end)
    return end


def _write_scores(path: Path, ids: Strings, classes: tuple[str, ...], proba_NC: NDArray[np.float32]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": pa.array(ids.tolist()),
        **{name: pa.array(column) for name, column in zip(classes, proba_NC.T, strict=True)},
    }
    with atomic_write(path) as part:
        pq.write_table(pa.table(columns), part, compression="zstd", use_dictionary=False)


def _write_history(path: Path, lines: list[dict[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    write_text(path, text.getvalue())
