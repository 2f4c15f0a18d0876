"""A trained student: read from its folder, it takes rows of its view and predicts probabilities.

N rows, C classes. Importing this imports no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.base_models.architecture import Precision
from foldstill.base_models.device import pick_device
from foldstill.base_models.jobs import Job
from foldstill.base_models.member import Member
from foldstill.cost import Cost
from foldstill.data.features import View, array_of
from foldstill.data.row_form import RowForm
from foldstill.data.simplex import kl_divergence
from foldstill.errors import DataError, DistillError
from foldstill.manifest import DONE, check_files, read_done

if TYPE_CHECKING:
    from foldstill.base_models.networks import Network


@dataclass(frozen=True)
class KlBySeed:
    """KL of a student per seed, in nats per row."""

    by_seed: tuple[float, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(self.by_seed))

    @property
    def deviation(self) -> float | None:
        """Standard deviation over seeds; None for one seed."""
        return float(np.std(self.by_seed, ddof=1)) if len(self.by_seed) > 1 else None

    def __str__(self) -> str:
        if self.deviation is None:
            return f"KL {self.mean:.4f}, one seed"
        return f"KL {self.mean:.4f} ± {self.deviation:.4f} over {len(self.by_seed)} seeds"


@dataclass(frozen=True)
class Student:
    """A trained student: rows of its view in, probabilities out."""

    network: "Network"
    classes: tuple[str, ...]
    view: str
    precision: Precision = "auto"
    form: RowForm | None = None
    """What the rows of its view must look like; None where that is not known."""
    further_seeds: "tuple[Student, ...]" = ()
    """The same student trained from further seeds."""

    def predict(self, rows_N: View, *, device: str = "auto") -> NDArray[np.float32]:
        """Probabilities (N, C) of images (N, H, W, channels) or signals (N, channels, T), unscaled.

        Raises DistillError for rows of another shape or type than in training.
        """
        from foldstill.base_models.inference import predict_proba
        from foldstill.base_models.inputs import DeviceInputs

        inputs = DeviceInputs(array_of(rows_N, self.view), pick_device(device))
        if inputs.channels != len(self.network.input.mean):
            raise DistillError(
                f"the student reads {len(self.network.input.mean)} channels, got rows of shape {rows_N.shape[1:]}: "
                f"give the view {self.view!r} as it was stored in training"
            )
        if self.form is not None:
            try:
                self.form.check(rows_N, self.view)
            except DataError as error:
                raise DistillError(f"the student: {error}") from None
        return predict_proba(self.network, inputs, np.arange(len(rows_N)), precision=self.precision)

    def kl(self, rows_N: View, votes_NC: ArrayLike, *, device: str = "auto") -> "KlBySeed":
        """KL(votes || prediction) on rows that it did not learn from, per seed it was trained from."""
        votes = np.asarray(votes_NC, dtype=np.float64)
        if votes.ndim != 2 or len(votes) != len(rows_N) or not (votes.sum(axis=1) > 0).all():
            raise DistillError(
                f"votes must be counts ({len(rows_N)}, classes), one or more per row, got shape {votes.shape}"
            )
        target = votes / votes.sum(axis=1, keepdims=True)
        return KlBySeed(
            tuple(
                kl_divergence(target=target, proba=one.predict(rows_N, device=device))
                for one in (self, *self.further_seeds)
            )
        )

    def export(self, path: Path, rows_N: View, *, about: Mapping[str, Any] | None = None) -> Path:
        """Write it as ONNX, checked on these rows; see `foldstill.distill.export.export_onnx`."""
        from foldstill.distill.export import export_onnx

        more = {"recipe": dict(self.form.recipe) if self.form else {}} | dict(about or {})
        return export_onnx(
            self.network, array_of(rows_N, self.view), Path(path), classes=self.classes, view=self.view, about=more
        )

    def cost(self, rows_N: View, *, batch: int = 32, threads: int = 1) -> Cost:
        """Cost of one prediction in eager mode, measured on the first of these rows."""
        import torch

        from foldstill.cost.measure import measure_cost

        row = torch.from_numpy(np.array(array_of(rows_N, self.view)[:1]))
        return measure_cost(
            self.network.cpu(), row.permute(0, 3, 1, 2) if row.ndim == 4 else row, batch=batch, threads=threads
        )


def load_student(folder: Path) -> Student:
    """The student that `train_student` left in a folder; raises DistillError if there is none, or it is not
    finished."""
    from foldstill.base_models.kinds import read_member

    if not (folder / DONE).exists():
        raise DistillError(f"no trained student in {folder}: train it with `foldstill distill`")
    check_files(folder)
    settings = read_done(folder)["inputs"]["member"]
    if settings is None:
        raise DistillError(
            f"the student in {folder} was trained from a module of your own: build the module, and load "
            "weights.safetensors into it"
        )
    return student_from(read_member(settings), folder)


def student_of(job: Job) -> Student:
    """The student that a finished job left."""
    return student_from(job.member, job.folder)


def student_from(member: Member, folder: Path) -> Student:
    """The student that is the model of a member in a folder; raises DistillError for a member that is no network."""
    from foldstill.base_models.network_model import NetworkModel
    from foldstill.base_models.networks import Network

    model = member.load(folder)
    if not isinstance(model, NetworkModel) or not isinstance(model.network, Network):
        raise DistillError(f"a student must be a network of one view, got a member of kind {member.kind!r}")
    ((view, form),) = model.forms.items()
    return Student(model.network, model.classes, view, model.precision, form)


def predict_student(folder: Path, views: Mapping[str, View], *, device: str = "auto") -> NDArray[np.float32]:
    """Probabilities (N, C) of a trained student for new rows, given the view it reads among `views`."""
    student = load_student(folder)
    if student.view not in views:
        raise DistillError(f"the student reads the view {student.view!r}, got {sorted(views)}: give that view")
    return student.predict(views[student.view], device=device)
