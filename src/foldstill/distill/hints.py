"""Feature hints: a student's features are pulled towards those of one member, by the fold model that never saw the row.

After FitNets (Romero et al., 2015, section 2), on the features before the last layer. The features of different fold
models are not comparable, so the student predicts the features of each fold model through a linear layer of its own;
these layers are dropped after training. B batch, K fold models, F features of the member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldstill.base_models.architecture import channels_and_size
from foldstill.base_models.fold_models import FoldModels
from foldstill.base_models.joined_network import AnyNetwork
from foldstill.base_models.networks import Network
from foldstill.data.batch import Batch
from foldstill.data.folds import FoldPlan
from foldstill.digests import digest
from foldstill.distill.settings import StudentSettings
from foldstill.distill.view_teachers import positions_by_fold
from foldstill.errors import DistillError


@dataclass(frozen=True, eq=False)
class HintTeacher:
    """The fold models of a member, and which of them never saw a row; `fold_N` covers all rows of the training set."""

    models: FoldModels
    fold_N: NDArray[Any]
    weight: float
    """Weight of the distance between features, relative to the loss of the student."""

    @property
    def made_from(self) -> dict[str, Any]:
        """What the hints depend on, as JSON values."""
        weights = self.models.file_digests(self.folds)
        return {"member": self.models.member.name, "weight": self.weight, "models": digest(weights, self.fold_N)}

    @property
    def folds(self) -> range:
        return range(int(self.fold_N.max()) + 1)

    def open(self, network: AnyNetwork, seed: int, device: str) -> FeatureGuess:
        """The hint of one training; raises MemberError for a network without a last layer that reads its features."""
        assert isinstance(network, Network), "a student reads one view"
        teachers = self.models.networks(self.folds, device)
        (shape,) = self.models.load(0).shapes.values()
        channels, size = channels_and_size(shape)
        example = torch.zeros(1, channels, *size, device=device)
        was_training = network.training
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            features, _ = network.eval().features_and_logits(network.input(example))
            guess = FeatureGuess(self, teachers, features.shape[1], example)
        network.train(was_training)
        return guess.to(device)


class FeatureGuess(nn.Module):
    """What a student takes the features of each fold model to be, and how far that is from the features themselves."""

    def __init__(self, teacher: HintTeacher, networks: Sequence[AnyNetwork], n_features: int, example: Tensor) -> None:
        """`n_features` is the student's number of features, `example` one raw row."""
        super().__init__()
        # Not registered as parts of this module: the teachers are neither trained nor saved.
        self._teachers = tuple(networks)
        for network in self._teachers:
            assert isinstance(network, Network), "a hint comes from a member of one view"
            network.drop_classifier()
        self._host_fold_N = teacher.fold_N.astype(np.int64)
        self._fold_N = torch.from_numpy(self._host_fold_N).to(example.device)
        self._weight = teacher.weight
        self.guess = nn.Linear(n_features, len(networks) * self._teachers[0](example).shape[1])

    def forward(self, features_BF: Tensor) -> Tensor:
        guess: Tensor = self.guess(features_BF)
        return guess

    @torch.no_grad()
    def features(self, batch: Batch) -> Tensor:
        """The member's features (B, F), each row of zero mean and unit variance."""
        raw, parts = batch.raw, positions_by_fold(self._host_fold_N, batch, len(self._teachers))
        seen = [network(raw[of_fold]) for network, of_fold in zip(self._teachers, parts, strict=True) if len(of_fold)]
        features = torch.cat(seen).float()[torch.argsort(torch.cat(parts))]
        return nn.functional.layer_norm(features, features.shape[1:])

    def loss(self, guess: Tensor, batch: Batch, weight_B: Tensor) -> Tensor:
        """Mean squared distance of the guess for each row's own fold model from its features, times the hint's
        weight."""
        target_BF, fold_B = self.features(batch), self._fold_N[batch.rows_B]
        guess_BKF = guess.reshape(len(guess), -1, target_BF.shape[1])
        guess_BF = guess_BKF[torch.arange(len(guess), device=guess.device), fold_B]
        distance_B = (guess_BF.float() - target_BF).square().mean(1)
        return self._weight * (distance_B * weight_B).mean()


def hint_teacher(
    settings: StudentSettings, models: Sequence[FoldModels], plan: FoldPlan, *, n_unlabelled: int = 0
) -> HintTeacher:
    """The teacher of features that a student asks for.

    Unlabelled rows come after those of the plan, each shown to the model of one fold, in turn. Raises DistillError for
    a member that does not exist or reads anything but the student's view.
    """
    hint = settings.features
    if hint is None:
        raise DistillError(f"student {settings.name!r} asks for no features: set `features`, or train it without hints")
    by_name = {one.member.name: one for one in models}
    chosen = by_name.get(hint.member)
    if chosen is None:
        raise DistillError(f"features.member is {hint.member!r}, members are {list(by_name)}: name one of these")
    if chosen.member.views != (settings.view,):
        raise DistillError(
            f"member {hint.member!r} reads {list(chosen.member.views)}, the student {settings.view!r}: features are "
            "compared on the same view; name a member of the student's view"
        )
    fold_N = np.concatenate([plan.fold_N, np.arange(n_unlabelled) % plan.n_folds])
    return HintTeacher(chosen, fold_N, hint.weight)
