"""Any ensemble's scores in, a trained student out, without files: what a notebook calls.

N rows, M members, C classes. Importing this imports no torch.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foldstill.data.simplex import check_rows
from foldstill.distill.mixes import mix_votes
from foldstill.distill.settings import StudentSettings
from foldstill.distill.student import Student
from foldstill.distill.training import OnEpoch, train
from foldstill.errors import DistillError
from foldstill.oof.temperatures import fit_temperature, tempered

if TYPE_CHECKING:
    from torch import nn


def distill(
    teacher: ArrayLike,
    inputs: NDArray[Any],
    votes: ArrayLike,
    student: "str | StudentSettings | nn.Module" = "small",
    *,
    classes: Sequence[str] | None = None,
    folder: Path | None = None,
    seed: int = 0,
    seeds: int = 1,
    device: str = "auto",
    on_progress: OnEpoch | None = None,
) -> Student:
    """A student of any ensemble: held-out scores, inputs and votes of the same rows in, a trained network out.

    `teacher` are probabilities (N, C), or (N, M, C) of M members, which are then each calibrated on the votes and
    averaged. They must come from models that did not see the row, or they only repeat its votes. `inputs` are
    images (N, H, W, channels) or signals (N, channels, T). `votes` (N, C) are counts; a row of zeros has none and
    learns from the teacher alone. `student` is a named size, a timm name, StudentSettings, or a torch module that
    gives logits, which is trained in place. Without a `folder` nothing is kept on disk.

    Of several `seeds`, which stand in place of those in settings, the first student comes back with the others as its
    `further_seeds`, and `student.kl(rows, votes)` tells mean and spread: what is claimed of a student needs three.
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
    _check_settings(settings)
    if seeds < 1 or (seeds > 1 and module is not None):
        raise DistillError(
            f"seeds must be 1 or more, and 1 for a module, which has its first weights already, got {seeds}: "
            "build a module a seed and call distill on each"
        )
    target, weight = mix_votes(votes_NC, scores, settings.mix, weight=settings.row_weight)
    with _folder(folder) as place:
        first, *others = (
            train(
                settings,
                inputs,
                np.arange(len(inputs)),
                target,
                weight,
                names,
                place if each == 0 else place / f"seed-{each}",
                seed=seed + each,
                device=device,
                module=module,
                on_progress=on_progress,
            )
            for each in range(seeds)
        )
    return replace(first, further_seeds=tuple(others))


def _check_settings(settings: StudentSettings) -> None:
    """Refuse what only a run can give: trained members to ask, locked rows to judge on."""
    usual = StudentSettings()
    given = [
        key
        for key in ("views", "features", "uncertainty", "unlabelled", "cross_validate", "ablation")
        if getattr(settings, key) != getattr(usual, key)
    ]
    if given:
        raise DistillError(
            f"{given} of the student need the trained members of a run: leave them out, or use `foldstill run`"
        )


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with TemporaryDirectory() as scratch:
        yield Path(scratch)
