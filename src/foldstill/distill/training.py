"""A student trained on targets by the engine that trains members, in a folder where an interrupted training goes on.

N rows, C classes. Importing this imports no torch.
"""

import csv
import io
import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.device import one_thread, pick_device
from foldstill.base_models.recipes import Recipe
from foldstill.data.dataset import Dataset
from foldstill.data.simplex import Float, check_rows
from foldstill.distill.settings import StudentSettings
from foldstill.distill.student import WEIGHTS, Student, build
from foldstill.distill.view_teachers import ViewTeachers
from foldstill.errors import DistillError, MemberError
from foldstill.files import atomic_write, digest, write_text
from foldstill.manifest import Stage

if TYPE_CHECKING:
    from torch import nn

    from foldstill.base_models.engine import Epoch, Targets
    from foldstill.base_models.networks import Network
    from foldstill.distill.hints import HintTeacher

OnEpoch = Callable[["Epoch"], None]
_BANK_SEED = 0
HISTORY, CHECKPOINT = "history.csv", "checkpoint.safetensors"


def train_student(
    settings: StudentSettings,
    dataset: Dataset,
    rows: NDArray[np.intp],
    target_NC: Float,
    weight_N: Float,
    folder: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    teachers: ViewTeachers | None = None,
    hint: "HintTeacher | None" = None,
    unlabelled: NDArray[Any] | None = None,
    on_progress: OnEpoch | None = None,
) -> Student:
    """Train a student on `rows` of its view, or read it back when the folder holds it.

    `target_NC` and `weight_N` are of these rows, then of the `unlabelled` further inputs. Leaves weights.safetensors, history.csv and, last, done.json. An
    interrupted training goes on from its last epoch. A folder made from other inputs is an error that names them,
    unless `force`.
    """
    array, classes = dataset.view(settings.view), dataset.labels.classes
    if (teachers is None) != (settings.views == "identity"):
        raise DistillError(
            f"a student with views = {settings.views!r} {'needs' if teachers is None else 'takes no'} teachers on "
            "its views: "
            "make them with view_teachers, or teach with identity views"
        )
    if unlabelled is not None:
        if unlabelled.shape[1:] != array.shape[1:] or unlabelled.dtype != array.dtype:
            raise DistillError(
                f"unlabelled rows must be {array.dtype} of shape {array.shape[1:]} as the view {settings.view!r} is, "
                f"got {unlabelled.dtype} of {unlabelled.shape[1:]}: prepare them in the same way"
            )
        rows = np.concatenate([rows, np.arange(len(array), len(array) + len(unlabelled))])
        array = np.concatenate([array, unlabelled])
    return train(
        settings,
        array,
        rows,
        target_NC,
        weight_N,
        classes,
        folder,
        seed=seed,
        device=device,
        force=force,
        teachers=teachers,
        hint=hint,
        on_progress=on_progress,
    )


def train(
    settings: StudentSettings,
    array: NDArray[Any],
    rows: NDArray[np.intp],
    target_NC: Float,
    weight_N: Float,
    classes: tuple[str, ...],
    folder: Path,
    *,
    seed: int = 0,
    device: str = "auto",
    force: bool = False,
    module: "nn.Module | None" = None,
    teachers: ViewTeachers | None = None,
    hint: "HintTeacher | None" = None,
    on_progress: OnEpoch | None = None,
) -> Student:
    """`train_student` for rows of an array; a `module` of yours, which gives logits, takes the place of the network."""
    from safetensors.torch import load_file, save_file

    from foldstill.base_models.checkpoint import Checkpoint
    from foldstill.base_models.engine import fit
    from foldstill.base_models.inputs import DeviceInputs
    from foldstill.base_models.networks import Network
    from foldstill.distill.hints import hinted
    from foldstill.distill.losses import make_loss

    target = check_rows(target_NC, "the student's targets")
    if target.shape != (len(rows), len(classes)) or np.shape(weight_N) != (len(rows),):
        raise DistillError(
            f"targets and weights must be ({len(rows)}, {len(classes)}) and ({len(rows)},), "
            f"got {target.shape} and {np.shape(weight_N)}: make them for the rows that are trained on"
        )
    if (settings.features is None) != (hint is None):
        raise DistillError(
            f"a student with features = {settings.features} {'needs' if hint is None else 'takes no'} hints: make them with "
            "hint_teacher from trained members, or leave `features` out"
        )
    member = settings.member()
    inputs = {
        "member": None if module is not None else json.loads(json.dumps(asdict(member))),
        "loss": [settings.loss, settings.temperature],
        "targets": digest(target, np.asarray(weight_N)),
        "data": digest(array[rows]),
        "shape": list(array.shape[1:]),
        "classes": list(classes),
        "seed": seed,
    }
    if teachers is not None:
        inputs["teachers"] = {"views": settings.views, "bank_views": settings.bank_views, **teachers.made_from}
    if hint is not None:
        inputs["hint"] = hint.made_from
    stage = Stage(folder, inputs)
    done = stage.finished(force=force)
    if module is None:
        network = build(member, array.shape[1:], len(classes), seed)
    else:
        network = Network(module, array.shape[3] if array.ndim == 4 else array.shape[1])
    if done:
        network.load_state_dict(load_file(folder / WEIGHTS))
        return Student(network.eval(), classes, settings.view, settings.recipe.precision)
    if force:
        (folder / CHECKPOINT).unlink(missing_ok=True)
    # The engine addresses rows of the whole view; rows outside are never read.
    whole_target, whole_weight = np.zeros((len(array), len(classes)), np.float32), np.zeros(len(array), np.float32)
    whole_target[rows], whole_weight[rows] = target, weight_N
    place = pick_device(device)
    network.to(place)
    views = (
        None if teachers is None else _teach_views(settings, teachers, network, member.recipe, inputs, len(rows), place)
    )
    loss = make_loss(settings.loss, settings.temperature)
    lesson: Any = nullcontext((network, loss, views))
    if hint is not None:
        lesson = hinted(network, hint, loss, views, whole_target, seed, place)
    # Whoever is asked about a mixed view must have seen neither of its rows.
    asked = teachers or hint
    try:
        with one_thread(place), lesson as (taught, loss, targets):
            history = fit(
                taught,
                DeviceInputs(array, place),
                whole_target,
                whole_weight,
                rows,
                member.recipe,
                # Students that share a bank see the same views: they differ in their first weights.
                seed=_BANK_SEED if settings.views == "bank" else seed,
                loss=loss,
                targets=targets,
                mix_within_N=None if asked is None else asked.fold_N,
                n_views=settings.bank_views if settings.views == "bank" else None,
                checkpoint=Checkpoint(folder / CHECKPOINT, inputs),
                on_epoch=on_progress,
            )
    except MemberError as error:
        raise DistillError(f"{settings.name}: {error}") from error
    network = network.cpu().eval()
    with atomic_write(folder / WEIGHTS) as part:
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, part)
    text = io.StringIO()
    writer = csv.DictWriter(text, ["epoch", "loss", "lr"], lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(asdict(epoch) for epoch in history)
    write_text(folder / HISTORY, text.getvalue())
    stage.finish(loss=history[-1].loss, parameters=sum(p.numel() for p in network.parameters()))
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return Student(network, classes, settings.view, settings.recipe.precision)


def _teach_views(
    settings: StudentSettings,
    teachers: ViewTeachers,
    network: "Network",
    recipe: Recipe,
    inputs: Mapping[str, Any],
    n_rows: int,
    device: str,
) -> "Targets":
    from foldstill.distill.bank import BankedTeachers
    from foldstill.distill.view_teachers import LiveTeachers

    live = LiveTeachers(teachers, network.input, device)
    if settings.views == "live":
        return live
    if teachers.bank is None:
        raise DistillError("a bank needs a folder: give `bank` to view_teachers")
    batch = min(recipe.batch_size, n_rows)
    made_from = {
        "data": inputs["data"],
        "models": teachers.made_from["models"],
        "size": settings.image_size,
        "batch_size": batch,
        "augmentation": [asdict(a) for a in recipe.augment],
    }
    return BankedTeachers(live, teachers.bank, made_from, n_rows // batch)
