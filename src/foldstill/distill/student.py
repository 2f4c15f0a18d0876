"""The student: trained on targets by the engine that trains members, kept in a folder, and read back to predict.

N rows, M members, C classes. Importing this imports no torch.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.base_models.device import one_thread, pick_device
from foldstill.base_models.specs import TimmMember
from foldstill.compare.arms import Cost
from foldstill.data.dataset import Dataset
from foldstill.data.simplex import Float, check_rows
from foldstill.distill.settings import StudentSettings
from foldstill.distill.targets import fit_temperature, mix_votes, tempered
from foldstill.distill.view_teachers import ViewTeachers
from foldstill.errors import DistillError, MemberError
from foldstill.files import digest, read_json, whole, write_text
from foldstill.manifest import Stage

if TYPE_CHECKING:
    from torch import nn

    from foldstill.base_models.engine import Epoch, Precision, Targets
    from foldstill.base_models.networks import Network

OnEpoch = Callable[["Epoch"], None]
_BANK_SEED = 0
WEIGHTS, HISTORY, CHECKPOINT = "weights.safetensors", "history.csv", "checkpoint.safetensors"


@dataclass(frozen=True)
class Student:
    """A trained student in memory: rows of its view in, probabilities out."""

    network: "Network"
    classes: tuple[str, ...]
    view: str
    precision: "Precision" = "auto"

    def predict(self, rows_N: NDArray[Any], *, device: str = "auto") -> NDArray[np.float32]:
        """Probabilities (N, C) of images (N, H, W, channels) or signals (N, channels, T), unscaled."""
        from foldstill.base_models.engine import predict
        from foldstill.base_models.inputs import DeviceInputs

        inputs = DeviceInputs(rows_N, pick_device(device))
        if inputs.channels != len(self.network.input.mean):
            raise DistillError(
                f"the student reads {len(self.network.input.mean)} channels, got rows of shape {rows_N.shape[1:]}: "
                f"give the view {self.view!r} as it lay in training"
            )
        return predict(self.network, inputs, np.arange(len(rows_N)), precision=self.precision)

    def export(self, path: Path, rows_N: NDArray[Any], *, about: Mapping[str, Any] | None = None) -> Path:
        """Write it as ONNX, checked on these rows; see `foldstill.distill.export.export_onnx`."""
        from foldstill.distill.export import export_onnx

        return export_onnx(self.network, rows_N, Path(path), classes=self.classes, view=self.view, about=about)

    def cost(self, rows_N: NDArray[Any], *, batch: int = 32, threads: int = 1) -> Cost:
        """What one prediction costs in eager mode, on the first of these rows."""
        import torch

        from foldstill.distill.cost import measure_cost

        row = torch.from_numpy(np.array(rows_N[:1]))
        return measure_cost(
            self.network.cpu(), row.permute(0, 3, 1, 2) if row.ndim == 4 else row, batch=batch, threads=threads
        )


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
    on_progress: OnEpoch | None = None,
) -> Student:
    """Train a student on `rows` of its view, or read it back when the folder holds it.

    `target_NC` and `weight_N` are of these rows. Leaves weights.safetensors, history.csv and, last, done.json. An
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
    return _train(
        settings, None, array, rows, target_NC, weight_N, classes, folder, seed, device, force, on_progress, teachers
    )


def load_student(folder: Path) -> Student:
    """The student that `train_student` left in a folder; raises DistillError when there is no whole one."""
    from safetensors.torch import load_file

    if not (folder / "done.json").exists():
        raise DistillError(f"no trained student in {folder}: train it with `foldstill distill`")
    inputs = read_json(folder / "done.json")["inputs"]
    spec = inputs["member"]
    if spec is None:
        raise DistillError(f"the student in {folder} was a module of yours: build it, and load {WEIGHTS} into it")
    precision = spec.pop("recipe")["precision"]
    size = spec["image_size"]
    spec["image_size"] = tuple(size) if isinstance(size, list) else size
    network = _build(TimmMember(**spec).without_download(), tuple(inputs["shape"]), len(inputs["classes"]), 0)
    network.load_state_dict(load_file(folder / WEIGHTS))
    return Student(network.eval(), tuple(inputs["classes"]), spec["view"], precision)


def predict_student(folder: Path, views: Mapping[str, NDArray[Any]], *, device: str = "auto") -> NDArray[np.float32]:
    """Probabilities (N, C) of a trained student for new rows, given the view it reads among `views`."""
    student = load_student(folder)
    if student.view not in views:
        raise DistillError(f"the student reads the view {student.view!r}, given are {sorted(views)}: give that one")
    return student.predict(views[student.view], device=device)


def distill(
    teacher: ArrayLike,
    inputs: NDArray[Any],
    votes: ArrayLike,
    student: "str | StudentSettings | nn.Module" = "small",
    *,
    classes: Sequence[str] | None = None,
    folder: Path | None = None,
    seed: int = 0,
    device: str = "auto",
    on_progress: OnEpoch | None = None,
) -> Student:
    """A student of any ensemble: held-out scores, inputs and votes of the same rows in, a trained network out.

    `teacher` are probabilities (N, C), or (N, M, C) of M members, which are then each calibrated on the votes and
    averaged. They must come from models that did not see the row, or they only repeat its votes. `inputs` are
    images (N, H, W, channels) or signals (N, channels, T). `votes` (N, C) are counts; a row of zeros has none and
    learns from the teacher alone. `student` is a named size, a timm name, StudentSettings, or a torch module that
    gives logits. Without a `folder` nothing is kept on disk.
    """
    votes_NC = np.asarray(votes, dtype=np.float64)
    scores = check_rows(teacher, "the teacher's scores")
    if not len(inputs) == len(scores) == len(votes_NC) or votes_NC.shape[-1] != scores.shape[-1]:
        raise DistillError(
            f"teacher {scores.shape}, inputs {inputs.shape} and votes {votes_NC.shape} must have the same rows, and "
            "teacher "
            "and votes the same classes: align them by id"
        )
    if votes_NC.ndim != 2 or not np.isfinite(votes_NC).all() or (votes_NC < 0).any():
        raise DistillError(f"votes must be counts (rows, classes) of 0 or more, got shape {votes_NC.shape}")
    if scores.ndim == 3:
        voted = votes_NC.sum(axis=1) > 0
        if voted.any():
            scores = tempered(
                scores, [fit_temperature(scores[voted, m], votes_NC[voted]) for m in range(scores.shape[1])]
            )
        scores = scores.mean(axis=1)
    names = tuple(classes) if classes is not None else tuple(f"c{i}" for i in range(scores.shape[1]))
    module = None
    if isinstance(student, str):
        settings = StudentSettings(network=student)
    elif isinstance(student, StudentSettings):
        settings = student
    else:
        settings, module = StudentSettings(network=type(student).__name__), student
    target, weight = mix_votes(votes_NC, scores, settings.mix, weight=settings.row_weight)
    rows = np.arange(len(inputs))
    with _folder(folder) as place:
        return _train(settings, module, inputs, rows, target, weight, names, place, seed, device, False, on_progress)


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with TemporaryDirectory() as scratch:
        yield Path(scratch)


def _train(
    settings: StudentSettings,
    module: "nn.Module | None",
    array: NDArray[Any],
    rows: NDArray[np.intp],
    target_NC: Float,
    weight_N: Float,
    classes: tuple[str, ...],
    folder: Path,
    seed: int,
    device: str,
    force: bool,
    on_progress: OnEpoch | None,
    teachers: ViewTeachers | None = None,
) -> Student:
    from safetensors.torch import load_file, save_file

    from foldstill.base_models.checkpoint import Checkpoint
    from foldstill.base_models.engine import fit
    from foldstill.base_models.inputs import DeviceInputs
    from foldstill.base_models.networks import Network
    from foldstill.distill.losses import make_loss

    target = check_rows(target_NC, "the student's targets")
    if target.shape != (len(rows), len(classes)) or np.shape(weight_N) != (len(rows),):
        raise DistillError(
            f"targets and weights must be ({len(rows)}, {len(classes)}) and ({len(rows)},), "
            f"got {target.shape} and {np.shape(weight_N)}: make them for the rows that are trained on"
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
    stage = Stage(folder, inputs)
    done = stage.finished(force=force)
    if module is None:
        network = _build(member, array.shape[1:], len(classes), seed)
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
    views = None if teachers is None else _teach_views(settings, teachers, network, member, inputs, len(rows), place)
    try:
        with one_thread(place):
            history = fit(
                network,
                DeviceInputs(array, place),
                whole_target,
                whole_weight,
                rows,
                member.recipe,
                # Students that share a bank see the same views: they differ in their first weights.
                seed=_BANK_SEED if settings.views == "bank" else seed,
                loss=make_loss(settings.loss, settings.temperature),
                targets=views,
                mix_within_N=None if teachers is None else teachers.fold_N,
                n_views=settings.bank_views if settings.views == "bank" else None,
                checkpoint=Checkpoint(folder / CHECKPOINT, inputs),
                on_epoch=on_progress,
            )
    except MemberError as error:
        raise DistillError(f"{settings.name}: {error}") from error
    network = network.cpu().eval()
    with whole(folder / WEIGHTS) as part:
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
    member: TimmMember,
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
    batch = min(member.recipe.batch_size, n_rows)
    made_from = {
        "data": inputs["data"],
        "models": teachers.made_from["models"],
        "size": member.image_size,
        "batch_size": batch,
        "augmentation": [asdict(a) for a in member.recipe.augment],
    }
    return BankedTeachers(live, teachers.bank, made_from, n_rows // batch)


def _build(member: TimmMember, shape: tuple[int, ...], n_classes: int, seed: int) -> "Network":
    import torch

    channels, size = (shape[2], shape[:2]) if len(shape) == 3 else (shape[0], shape[1:])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return member.build(channels, n_classes, tuple(size))
