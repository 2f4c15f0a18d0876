"""A bank of teacher scores on recurring augmentation passes, so that teachers run once and their scores are used often.

A pass is the batches and augmentations of one epoch, which the training engine draws from a seed; after a number of
passes they recur. The bank holds the members' scores for each pass in float16, in the order of the batches, and a check
of the inputs: scores for inputs that are not replayed as they were recorded are refused. B batch, M members, C classes,
S steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from foldstill.base_models.device import send
from foldstill.base_models.tensor_file import read_tensors, write_tensors
from foldstill.data.batch import Batch, Passes
from foldstill.distill.view_teachers import LiveTeachers, ViewTeachers
from foldstill.errors import DistillError
from foldstill.manifest import changes

CHECKED_ROWS = 64
"""Number of rows of every batch that are checked."""
CHECK_TOLERANCE = 1e-3
"""Tolerance of the mean and mean square of a row's scaled inputs: far above rounding, far below another
augmentation."""


@dataclass(frozen=True)
class BankTeacher:
    """Teachers of augmented batches whose scores are kept in a folder and reused: a value, opened on a device."""

    teachers: ViewTeachers
    folder: Path
    made_from: Mapping[str, Any]
    """JSON values that name data, models and augmentation."""
    steps: int
    """Number of batches per augmentation pass."""
    count: int
    """Number of augmentation passes that recur."""

    @property
    def passes(self) -> Passes:
        # The seed is fixed: students that share a bank see the same batches and differ in their first weights.
        return Passes(self.count, seed=0)

    def open(self, device: str) -> BankedTeachers:
        return BankedTeachers(self.teachers.open(device), self.folder, self.made_from, self.steps)


@dataclass(frozen=True)
class _Pass:
    """The stored scores of one augmentation pass, on the device."""

    scores_SBMC: Tensor
    rows_SB: Tensor
    check_S: Tensor


class BankedTeachers:
    """Like live teachers, but a pass is scored the first time it comes and read from the bank afterwards."""

    def __init__(self, live: LiveTeachers, folder: Path, made_from: Mapping[str, Any], steps: int) -> None:
        """`made_from` names data, models and augmentation (JSON values); `steps` is the number of batches per pass."""
        self._live = live
        self._folder = folder
        self._made_from = made_from
        self._steps = steps
        self._pass: int | None = None
        self._stored: _Pass | None = None
        self._fresh: list[tuple[Tensor, Tensor, Tensor]] = []
        self._same: list[Tensor] = []

    def __call__(self, batch: Batch) -> Tensor:
        if self._pass is None:
            self._pass = batch.augmentation_pass
            self._stored = self._read(self._pass, batch.rows_B.device)
        scores = self._replayed(batch, self._stored) if self._stored else self._scored(batch)
        return self._live.target(batch, scores)

    def end_epoch(self) -> None:
        """Write a pass that is complete, or check that a pass of the bank was replayed as it was recorded."""
        if len(self._fresh) == self._steps:
            self._write()
        # Checked at the end of the epoch only, because the host waits for the device to know the answer.
        for step, (same_rows, same_inputs) in enumerate(torch.stack(self._same).tolist() if self._same else []):
            if not (same_rows and same_inputs):
                raise DistillError(
                    f"step {step} of pass {self._pass} of the bank in {self._folder} is not replayed as it was "
                    f"recorded ({'inputs' if same_rows else 'rows'} differ): remove the folder to make it again"
                )
        self._pass, self._fresh, self._same = None, [], []

    def _scored(self, batch: Batch) -> Tensor:
        # Rounded before use, so that the first student learns from the same numbers as the ones after it.
        scores = self._live.member_scores(batch).half()
        self._fresh.append((scores, batch.rows_B, _fingerprint(batch.inputs)))
        return scores

    def _replayed(self, batch: Batch, stored: _Pass) -> Tensor:
        step = len(self._same)
        same_rows = (stored.rows_SB[step] == batch.rows_B).all()
        recorded, now = stored.check_S[step], _fingerprint(batch.inputs)
        same_inputs = torch.isclose(recorded, now, rtol=CHECK_TOLERANCE, atol=CHECK_TOLERANCE).all()
        self._same.append(torch.stack([same_rows, same_inputs]))
        return stored.scores_SBMC[step]

    def _path(self, augmentation_pass: int) -> Path:
        return self._folder / f"view-{augmentation_pass:03d}.safetensors"

    def _read(self, augmentation_pass: int, device: torch.device) -> _Pass | None:
        path = self._path(augmentation_pass)
        if not path.exists():
            return None
        stored, made_from = read_tensors(path, error=DistillError, cure="remove the file to have it made again")
        if changed := changes(made_from, self._made_from):
            raise DistillError(
                f"the bank in {self._folder} was made from other inputs: "
                f"{'; '.join(changed)}: remove the folder to make it again"
            )
        return _Pass(*(send(stored[key], device) for key in ("scores", "rows", "check")))

    def _write(self) -> None:
        assert self._pass is not None
        scores, rows, check = (torch.stack(part).cpu() for part in zip(*self._fresh, strict=True))
        write_tensors(self._path(self._pass), {"scores": scores, "rows": rows, "check": check}, self._made_from)


def _fingerprint(inputs: Tensor) -> Tensor:
    """Mean and mean square of the first rows, (rows, 2)."""
    flat = inputs[:CHECKED_ROWS].detach().float().flatten(1)
    return torch.stack([flat.mean(1), flat.square().mean(1)], 1)
