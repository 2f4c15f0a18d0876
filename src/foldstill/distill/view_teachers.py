"""Teachers that predict the very augmented images that the student sees, each row by models that never saw its group.

Teacher and student on one and the same augmented view is what makes long schedules pay (Beyer et al., 2022, *Knowledge
distillation: a good teacher is patient and consistent*). N rows, M members, K fold models, C classes, B batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.device import send
from foldstill.base_models.fold_models import FoldModels
from foldstill.base_models.member import Member, blind_to
from foldstill.data.batch import Batch
from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan
from foldstill.data.simplex import clip_rows
from foldstill.data.strata import whole_totals
from foldstill.digests import digest
from foldstill.distill.mixes import Mix, VotesOnly, mixed
from foldstill.distill.targets import SoftTargets
from foldstill.errors import DistillError
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.oof.temperatures import member_temperatures, tempered

if TYPE_CHECKING:
    from torch import Tensor

RATIO_BOUND = 5.0
"""A combination may change a class's probability by at most this factor from the pool of its members, on any batch."""


@dataclass(frozen=True, eq=False)
class ViewTeachers:
    """The fold models of all members, and how their scores become a target; rows are all rows of the data set.

    A combination can only be evaluated where its features exist. On an augmented batch it is therefore the calibrated
    average of its members times `exp(log_ratio_NC)`: what it made of that average on the row as it is.
    """

    models: tuple[FoldModels, ...]
    fold_N: NDArray[np.int16]
    votes_NC: NDArray[np.float64]
    log_ratio_NC: NDArray[np.float64]
    temperature_M: NDArray[np.float64]
    mix: Mix

    @property
    def made_from(self) -> dict[str, Any]:
        """What the targets depend on, as JSON values."""
        weights = [value for models in self.models for value in models.file_digests(self.folds)]
        settings = asdict(self.mix)  # type: ignore[call-overload]  # a mix is a dataclass
        return {
            "models": digest(weights),
            "targets": digest(self.fold_N, self.votes_NC, self.log_ratio_NC, self.temperature_M, settings),
        }

    @property
    def folds(self) -> range:
        return range(int(self.fold_N.max()) + 1)

    @property
    def passes(self) -> None:
        """Live teachers can teach any batch."""
        return None

    def open(self, device: str) -> LiveTeachers:
        return LiveTeachers(self, device)


def view_teachers(
    models: Sequence[FoldModels],
    dataset: Dataset,
    plan: FoldPlan,
    table: OOFTable,
    soft: SoftTargets,
    mix: Mix,
    *,
    view: str,
    unlabelled: FoldScores | None = None,
) -> ViewTeachers:
    """Teachers for the augmented batches of a student that reads `view`.

    `table` and `soft` are the members' and the combination's held-out scores of the same rows; the votes in `table`
    calibrate the members and fit the mix. Rows without votes come after those of the data set, in `soft` as in
    `unlabelled`, the members' scores for them; each is shown to the models of one fold, in turn. Raises DistillError
    for members that read another view: they cannot be shown what the student sees.
    """
    labels = dataset.labels
    _check_teachers([one.member for one in models], soft, mix, view)
    n_voted = len(table.labels.ids)
    further = unlabelled.ids if unlabelled is not None else soft.ids[:0]
    if soft.ids.tolist() != [*table.labels.ids.tolist(), *further.tolist()] or not np.array_equal(
        labels.ids[plan.oof_rows], soft.ids[:n_voted]
    ):
        raise DistillError(
            "teacher, OOF table and data set must hold the same rows in the same order: align them by id"
        )
    temperature_M = member_temperatures(table)
    proba_NMC = table.proba_NMC
    if unlabelled is not None:
        proba_NMC = np.concatenate([proba_NMC, unlabelled.mean().select(list(table.members)).proba_NMC])
    pool_NC = tempered(proba_NMC, temperature_M).mean(axis=1)
    log_ratio = np.log(clip_rows(soft.proba_NC)) - np.log(clip_rows(pool_NC))
    bound = np.log(RATIO_BOUND)
    rows = np.concatenate([plan.oof_rows, np.arange(len(labels), len(labels) + len(further))])
    log_ratio_NC, votes_NC = np.zeros((2, len(labels) + len(further), len(labels.classes)))
    log_ratio_NC[rows] = np.clip(log_ratio, -bound, bound)
    votes_NC[plan.oof_rows] = table.labels.votes_NC
    fold_N = np.concatenate([plan.fold_N, np.arange(len(further)) % plan.n_folds]).astype(plan.fold_N.dtype)
    mix = mix.fitted(table.labels.votes_NC, soft.proba_NC[:n_voted])
    return ViewTeachers(tuple(models), fold_N, votes_NC, log_ratio_NC, temperature_M, mix)


def _check_teachers(members: Sequence[Member], soft: SoftTargets, mix: Mix, view: str) -> None:
    if isinstance(mix, VotesOnly):
        raise DistillError("teachers of augmented images have no part in a mix of votes only: choose another mix")
    if not soft.held_out:
        raise DistillError(
            f"teacher {soft.teacher!r} saw the rows, but teachers of augmented images are the models that did not"
        )
    blind = blind_to(members, view)
    if joined := [m.name for m in blind if m.parts]:
        raise DistillError(
            f"members {joined} read several views at once, a student reads one: joined members cannot predict its "
            'augmented images; set views = "identity"'
        )
    if others := sorted({name for m in blind for name in m.views}):
        raise DistillError(
            f"members read the views {others}, the student {view!r}: teachers can predict augmented images of "
            'their own view only; set views = "identity"'
        )


def positions_by_fold(fold_N: NDArray[Any], batch: Batch, n_folds: int) -> tuple[Tensor, ...]:
    """For each fold the positions in the batch of the rows that it holds out, on the device of the batch.

    The device is not asked which rows these are: the host would have to wait for all that it has yet to do.
    """
    import torch

    fold_B = fold_N[batch.host_rows_B]
    order_B = send(torch.from_numpy(np.argsort(fold_B, kind="stable")), batch.rows_B.device)
    return torch.split(order_B, np.bincount(fold_B, minlength=n_folds).tolist())


class LiveTeachers:
    """Gives the training engine the targets of each batch by running the fold models on it."""

    def __init__(self, teachers: ViewTeachers, device: str) -> None:
        import torch

        networks_MK = [one.networks(teachers.folds, device) for one in teachers.models]
        self._networks_KM = list(zip(*networks_MK, strict=True))
        self._mix = teachers.mix

        def put(values: Any) -> Tensor:
            return torch.from_numpy(np.asarray(values)).to(device)

        self._fold_N = teachers.fold_N
        total_N = whole_totals(teachers.votes_NC.sum(axis=1))
        self._total_N = put(total_N.astype(np.float32))
        self._share_NC = put((teachers.votes_NC / np.maximum(total_N, 1e-12)[:, None]).astype(np.float32))
        self._log_ratio_NC = put(teachers.log_ratio_NC.astype(np.float32))
        self._temperature_M = put(teachers.temperature_M.astype(np.float32))

    def __call__(self, batch: Batch) -> Tensor:
        return self.target(batch, self.member_scores(batch))

    def end_epoch(self) -> None:
        """Nothing was left to be checked."""

    def member_scores(self, batch: Batch) -> Tensor:
        """Log-probabilities (B, M, C) of each row by the members of the fold that held it out."""
        import torch

        raw, parts = batch.raw, positions_by_fold(self._fold_N, batch, len(self._networks_KM))
        scores: Tensor = raw.new_empty((len(raw), len(self._temperature_M), self._share_NC.shape[1]))
        with torch.no_grad():
            for of_fold, networks in zip(parts, self._networks_KM, strict=True):
                if len(of_fold):
                    for m, network in enumerate(networks):
                        scores[of_fold, m] = network(raw[of_fold]).float().log_softmax(1)
        return scores

    def target(self, batch: Batch, scores_BMC: Tensor) -> Tensor:
        """The mix of votes and teacher for the batch as it was augmented: vote shares mixed as rates, teacher as
        predicted."""
        import torch

        pool = torch.softmax(scores_BMC.float() / self._temperature_M[:, None], 2).mean(1)
        teacher = pool * batch.mixed(self._log_ratio_NC[batch.rows_B]).exp()
        teacher = teacher / teacher.sum(1, keepdim=True)
        share = batch.mixed(self._share_NC[batch.rows_B])
        # A row without votes has no share, so a mixed row has the vote shares of its other partners.
        share = share / share.sum(1, keepdim=True).clamp(min=1e-12)
        target: Tensor = mixed(self._mix, batch.mixed(self._total_N[batch.rows_B])[:, None], share, teacher)
        return target
