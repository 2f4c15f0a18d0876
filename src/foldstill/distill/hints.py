"""Feature hints: a student's features are drawn to those of one member, by the fold model that never saw the row.

After FitNets (Romero et al., 2015, section 2), on the features before the last layer. Fold models name the same thing
differently, so the student guesses the features of each fold model through a linear layer of its own; those layers are
thrown away when it is trained. B batch, C classes, K fold models, F features of the member.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldstill.base_models.engine import Batch, Targets
from foldstill.base_models.jobs import WEIGHTS, job_folder
from foldstill.base_models.losses import Loss
from foldstill.base_models.networks import InputLayer, Network
from foldstill.base_models.specs import Shape, Trainable, channels_and_size
from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan
from foldstill.distill.settings import StudentSettings
from foldstill.errors import DistillError
from foldstill.files import digest, file_digest


@dataclass(frozen=True)
class HintTeacher:
    """Where the fold models of a member are, and which of them never saw a row; `fold_N` is of all rows trained on."""

    folder: Path
    member: Trainable
    fold_N: NDArray[Any]
    n_classes: int
    shape: Shape
    weight: float

    @property
    def made_from(self) -> dict[str, Any]:
        """What the hints depend on, as JSON values."""
        models = [file_digest(self.weights(fold)) for fold in self.folds]
        return {"member": self.member.name, "weight": self.weight, "models": digest(models, self.fold_N)}

    @property
    def folds(self) -> range:
        return range(int(self.fold_N.max()) + 1)

    def weights(self, fold: int) -> Path:
        return job_folder(self.folder, self.member, fold) / WEIGHTS

    def networks(self, device: str) -> list[Network]:
        """Each fold model in evaluation mode, its classifier dropped: raw values in, features (B, F) out."""
        from safetensors.torch import load_file

        models = []
        for fold in self.folds:
            network = self.member.without_download().build([self.shape], self.n_classes)
            assert isinstance(network, Network), "a member of one view"
            network.load_state_dict(load_file(self.weights(fold)))
            network.drop_classifier()
            models.append(network.to(device).eval().requires_grad_(False))
        return models


def hint_teacher(
    settings: StudentSettings,
    members: Sequence[Trainable],
    folder: Path,
    dataset: Dataset,
    plan: FoldPlan,
    *,
    unlabelled: NDArray[Any] | None = None,
) -> HintTeacher:
    """The teacher of features that a student asks for, from the folder members were trained into.

    Unlabelled rows come after those of the plan, each shown to the model of one fold, in turn. Raises DistillError for a
    member that is not there or reads anything but the student's view.
    """
    hint = settings.features
    if hint is None:
        raise DistillError(f"student {settings.name!r} asks for no features: set `features`, or train it without hints")
    member = next((m for m in members if m.name == hint.member), None)
    if member is None:
        raise DistillError(
            f"features.member is {hint.member!r}, members are {[m.name for m in members]}: name one of these"
        )
    if member.views != (settings.view,):
        raise DistillError(
            f"member {member.name!r} reads {list(member.views)}, the student {settings.view!r}: features are compared on one and "
            "the same view; name a member of the student's view"
        )
    fold_N = np.concatenate([plan.fold_N, np.arange(0 if unlabelled is None else len(unlabelled)) % plan.n_folds])
    shape = tuple(dataset.view(settings.view).shape[1:])
    return HintTeacher(folder, member, fold_N, len(dataset.labels.classes), shape, hint.weight)


class _HintedBody(nn.Module):
    """A student's body that gives its logits and, beside them, what it takes the features of each fold model to be."""

    def __init__(self, network: Network, shape: Shape, n_hints: int) -> None:
        super().__init__()
        self.body = network.body
        self._seen = torch.empty(0)
        self.hook = network.classifier.register_forward_pre_hook(self._keep)
        self.guess = nn.Linear(self._features(network, shape), n_hints)

    def _keep(self, layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        self._seen = given[0].flatten(1)

    @torch.no_grad()
    def _features(self, network: Network, shape: Shape) -> int:
        channels, size = channels_and_size(shape)
        was = network.training
        network.eval()(torch.zeros(1, channels, *size, device=network.input.mean.device))
        network.train(was)
        return self._seen.shape[1]

    def forward(self, x: Tensor) -> Tensor:
        logits = self.body(x)
        return torch.cat([logits, self.guess(self._seen)], 1)


class _HintTargets:
    """Targets of the distribution, then the member's features (each row of zero mean and unit variance), then the fold."""

    def __init__(
        self,
        teacher: HintTeacher,
        models: list[Network],
        student_input: InputLayer,
        target_NC: Tensor,
        targets: Targets | None,
    ) -> None:
        self._models = models
        self._input = student_input
        self._fold_N = torch.from_numpy(teacher.fold_N.astype(np.int64)).to(target_NC.device)
        self._target_NC = target_NC
        self._targets = targets

    def __call__(self, batch: Batch) -> Tensor:
        target = self._targets(batch) if self._targets else batch.mixed(self._target_NC[batch.rows_B])
        raw = self._input.unscaled(batch.inputs)
        fold_B = self._fold_N[batch.rows_B]
        parts = [torch.nonzero(fold_B == fold).flatten() for fold in range(len(self._models))]
        features = torch.cat([model(raw[of]) for model, of in zip(self._models, parts, strict=True) if len(of)])
        features = features.float()[torch.argsort(torch.cat(parts))]
        return torch.cat([target, nn.functional.layer_norm(features, features.shape[1:]), fold_B[:, None]], 1)


def _hinted_loss(loss: Loss, n_classes: int, weight: float) -> Loss:
    def value(out: Tensor, target: Tensor, weight_B: Tensor) -> Tensor:
        hint_BF, fold_B = target[:, n_classes:-1], target[:, -1].long()
        guess_BKF = out[:, n_classes:].reshape(len(out), -1, hint_BF.shape[1])
        guess_BF = guess_BKF[torch.arange(len(out), device=out.device), fold_B]
        apart_B = (guess_BF.float() - hint_BF).square().mean(1)
        learned: Tensor = loss(out[:, :n_classes], target[:, :n_classes], weight_B)
        return learned + weight * (apart_B * weight_B).mean()

    return value


@contextmanager
def hinted(
    network: Network,
    teacher: HintTeacher,
    loss: Loss,
    targets: Targets | None,
    target_NC: NDArray[Any],
    seed: int,
    device: str,
) -> Iterator[tuple[Network, Loss, Targets]]:
    """What to train instead of a student while it is drawn to a member's features: its weights are those of `network`.

    Raises MemberError for a network without a last layer whose input are its features.
    """
    models = teacher.networks(device)
    channels, size = channels_and_size(teacher.shape)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        n_features = models[0](torch.zeros(1, channels, *size, device=device)).shape[1]
        body = _HintedBody(network, teacher.shape, len(models) * n_features)
    student = Network(body, channels)
    student.input = network.input
    table = torch.from_numpy(np.asarray(target_NC, np.float32)).to(device)
    try:
        yield (
            student.to(device),
            _hinted_loss(loss, teacher.n_classes, teacher.weight),
            _HintTargets(teacher, models, network.input, table, targets),
        )
    finally:
        body.hook.remove()
