"""Teachers asked about the very view the student sees, mixing included, each row by models that never saw its group.

Teacher and student on one and the same augmented view is what makes long schedules pay (Beyer et al., 2022, *Knowledge
distillation: a good teacher is patient and consistent*). N rows, M members, K fold models, C classes, B batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.jobs import WEIGHTS, job_folder
from foldstill.base_models.specs import Trainable
from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan
from foldstill.data.simplex import clip_rows
from foldstill.distill.mixes import DirichletMix, FixedMix, Mix, VotesOnly, fit_pseudo_votes
from foldstill.distill.targets import SoftTargets
from foldstill.errors import DistillError
from foldstill.files import digest, file_digest
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.oof.temperatures import member_temperatures, tempered

if TYPE_CHECKING:
    from torch import Tensor

    from foldstill.base_models.engine import Batch
    from foldstill.base_models.joined_network import AnyNetwork
    from foldstill.base_models.networks import InputLayer

RATIO_BOUND = 5.0
"""A combination may move a class's probability at most so many times from the pool of its members, on any view."""


@dataclass(frozen=True)
class ViewTeachers:
    """Where the fold models are and how their scores become a target; rows are all rows of the data set.

    A combination can only be evaluated where its features exist, so on a view it is the calibrated average of its
    members times `exp(log_ratio_NC)`: what it made of that average on the row as it is.
    """

    folder: Path
    members: tuple[Trainable, ...]
    fold_N: NDArray[np.int16]
    votes_NC: NDArray[np.float64]
    log_ratio_NC: NDArray[np.float64]
    temperature_M: NDArray[np.float64]
    mix: Mix
    view: str
    shape: tuple[int, ...]
    bank: Path | None = None
    """Where scores on recurring views are kept, for students that ask for a bank."""

    @property
    def made_from(self) -> dict[str, Any]:
        """What the targets depend on, as JSON values: students and banks carry it."""
        weights = [file_digest(self.weights(m, fold)) for m in self.members for fold in self.folds]
        return {
            "models": digest(weights),
            "targets": digest(self.fold_N, self.votes_NC, self.log_ratio_NC, self.temperature_M, asdict(self.mix)),
        }

    @property
    def folds(self) -> range:
        return range(int(self.fold_N.max()) + 1)

    def weights(self, member: Trainable, fold: int) -> Path:
        return job_folder(self.folder, member, fold) / WEIGHTS

    def networks(self, device: str) -> list[list[AnyNetwork]]:
        """The fold models [K][M] in evaluation mode on the device, asked for no gradient."""
        from safetensors.torch import load_file

        models = []
        for fold in self.folds:
            row = []
            for member in self.members:
                network = member.without_download().build([self.shape], self.votes_NC.shape[1])
                network.load_state_dict(load_file(self.weights(member, fold)))
                row.append(network.to(device).eval().requires_grad_(False))
            models.append(row)
        return models


def view_teachers(
    folder: Path,
    members: Sequence[Trainable],
    dataset: Dataset,
    plan: FoldPlan,
    table: OOFTable,
    soft: SoftTargets,
    mix: Mix,
    *,
    view: str,
    bank: Path | None = None,
    unlabelled: FoldScores | None = None,
) -> ViewTeachers:
    """Teachers for the augmented views of a student that reads `view`, from the folder members were trained into.

    `table` and `soft` are the members' and the combination's held-out scores of the same rows; the votes in `table`
    calibrate the members and fit the mix. Rows that nobody voted on come after those of the data set, in `soft` as in
    `unlabelled`, the members' scores of them; each is shown to the models of one fold, in turn. Raises DistillError for members that read another view: they cannot be shown
    what the student sees.
    """
    labels = dataset.labels
    if isinstance(mix, VotesOnly):
        raise DistillError("teachers on augmented views have no part in a mix of votes only: name another mix")
    if not soft.held_out:
        raise DistillError(f"teacher {soft.teacher!r} saw the rows, but teachers on views are the models that did not")
    joined = [m.name for m in members if m.parts]
    if joined:
        raise DistillError(
            f"members {joined} read several views at once, a student sees one: joined members cannot be asked about its "
            'augmented views; set views = "identity"'
        )
    elsewhere = sorted({name for m in members for name in m.views} - {view})
    if elsewhere:
        raise DistillError(
            f"members read the views {elsewhere}, the student {view!r}: teachers can be asked about augmented views of "
            'their own input only; set views = "identity"'
        )
    known = len(table.labels.ids)
    further = unlabelled.ids if unlabelled is not None else soft.ids[:0]
    if soft.ids.tolist() != [*table.labels.ids.tolist(), *further.tolist()] or not np.array_equal(
        labels.ids[plan.oof_rows], soft.ids[:known]
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
    if isinstance(mix, DirichletMix) and mix.votes is None:
        mix = DirichletMix(votes=fit_pseudo_votes(table.labels.votes_NC, soft.proba_NC[:known]).c)
    shape = tuple(dataset.view(view).shape[1:])
    return ViewTeachers(folder, tuple(members), fold_N, votes_NC, log_ratio_NC, temperature_M, mix, view, shape, bank)


class LiveTeachers:
    """Gives the training engine the target of each batch by running the fold models on it."""

    def __init__(self, teachers: ViewTeachers, student_input: InputLayer, device: str) -> None:
        import torch

        self._models = teachers.networks(device)
        self._input = student_input
        self._mix = teachers.mix

        def put(values: Any) -> Tensor:
            return torch.from_numpy(np.asarray(values)).to(device)

        self._fold_N = put(teachers.fold_N.astype(np.int64))
        total_N = teachers.votes_NC.sum(axis=1)
        self._total_N = put(total_N.astype(np.float32))
        self._share_NC = put((teachers.votes_NC / np.maximum(total_N, 1e-12)[:, None]).astype(np.float32))
        self._log_ratio_NC = put(teachers.log_ratio_NC.astype(np.float32))
        self._temperature_M = put(teachers.temperature_M.astype(np.float32))

    def __call__(self, batch: Batch) -> Tensor:
        return self.target(batch, self.member_scores(batch))

    def member_scores(self, batch: Batch) -> Tensor:
        """Log-probabilities (B, M, C) of each row by the members of the fold that held it out."""
        import torch

        # The student scaled the batch; each teacher scales by the constants of its own training rows.
        raw = self._input.unscaled(batch.inputs)
        fold_B = self._fold_N[batch.rows_B]
        scores: Tensor = raw.new_empty((len(raw), len(self._temperature_M), self._share_NC.shape[1]))
        with torch.no_grad():
            for fold, models in enumerate(self._models):
                of_fold = torch.nonzero(fold_B == fold).flatten()
                if len(of_fold):
                    for m, model in enumerate(models):
                        scores[of_fold, m] = model(raw[of_fold]).float().log_softmax(1)
        return scores

    def target(self, batch: Batch, scores_BMC: Tensor) -> Tensor:
        """Votes and teacher mixed for the batch as it was augmented: vote shares as rates, teacher as asked."""
        import torch

        pool = torch.softmax(scores_BMC.float() / self._temperature_M[:, None], 2).mean(1)
        teacher = pool * batch.mixed(self._log_ratio_NC[batch.rows_B]).exp()
        teacher = teacher / teacher.sum(1, keepdim=True)
        if isinstance(self._mix, DirichletMix) and self._mix.votes is not None:
            total = batch.mixed(self._total_N[batch.rows_B])[:, None]
            of_teacher = self._mix.votes / (total + self._mix.votes)
        elif isinstance(self._mix, FixedMix):
            of_teacher = torch.full_like(teacher[:, :1], self._mix.share)
        else:
            of_teacher = torch.ones_like(teacher[:, :1])
        share = batch.mixed(self._share_NC[batch.rows_B])
        voted = share.sum(1, keepdim=True)
        of_teacher = torch.where(voted > 0, of_teacher, 1.0)
        return (1 - of_teacher) * share / voted.clamp(min=1e-12) + of_teacher * teacher
