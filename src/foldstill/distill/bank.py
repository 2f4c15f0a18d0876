"""A bank of teacher scores on recurring views, so that teachers are run once and taught from often.

A view is one epoch's batches and augmentations, which the training engine draws from a seed; after R views they come
again. The bank holds the members' scores of each view in float16, in the order they were asked for, and a check of the
inputs: scores for inputs that are not replayed as they were are refused. B batch, M members, C classes, S steps.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foldstill.errors import DistillError
from foldstill.files import atomic_write
from foldstill.manifest import changes

if TYPE_CHECKING:
    from foldstill.base_models.engine import Batch
    from foldstill.distill.view_teachers import LiveTeachers

CHECKED_ROWS = 64
"""So many rows of every batch are checked."""
CHECK_TOLERANCE = 1e-3
"""Of a row's mean and mean square over its scaled inputs: far above rounding, far below another augmentation."""


@dataclass(frozen=True)
class _View:
    scores_SBMC: Tensor
    rows_SB: Tensor
    check_S: Tensor


class BankedTeachers:
    """Like live teachers, but a view is scored the first time it comes and read from the bank ever after."""

    def __init__(self, live: "LiveTeachers", folder: Path, made_from: dict[str, Any], steps: int) -> None:
        """`made_from` names data, models and augmentation (JSON values); `steps` is the number of batches of a view."""
        self._live = live
        self._folder = folder
        self._made_from = made_from
        self._steps = steps
        self._at: int | None = None
        self._step = 0
        self._stored: _View | None = None
        self._fresh: list[tuple[Tensor, Tensor, Tensor]] = []

    def __call__(self, batch: "Batch") -> Tensor:
        if self._at != batch.view or self._step == self._steps:
            self._at, self._step, self._fresh = batch.view, 0, []
            self._stored = self._read(batch.view)
        scores = self._replayed(batch, self._stored) if self._stored else self._scored(batch)
        self._step += 1
        return self._live.target(batch, scores)

    def _scored(self, batch: "Batch") -> Tensor:
        # Rounded before use, so that the first student learns from the same numbers as the ones after it.
        scores = self._live.member_scores(batch).half()
        self._fresh.append((scores.cpu(), batch.rows_B.cpu(), _fingerprint(batch.inputs)))
        if len(self._fresh) == self._steps:
            self._write()
        return scores

    def _replayed(self, batch: "Batch", view: _View) -> Tensor:
        same_rows = torch.equal(view.rows_SB[self._step], batch.rows_B.cpu())
        recorded, now = view.check_S[self._step], _fingerprint(batch.inputs)
        same_inputs = torch.allclose(recorded, now, rtol=CHECK_TOLERANCE, atol=CHECK_TOLERANCE)
        if not (same_rows and same_inputs):
            raise DistillError(
                f"view {batch.view}, step {self._step} of the bank in {self._folder} is not replayed as it was "
                "recorded "
                f"({'inputs' if same_rows else 'rows'} differ): remove the bank to have it made again"
            )
        return view.scores_SBMC[self._step].to(batch.inputs.device)

    def _path(self, view: int) -> Path:
        return self._folder / f"view-{view:03d}.safetensors"

    def _read(self, view: int) -> _View | None:
        from safetensors import safe_open

        path = self._path(view)
        if not path.exists():
            return None
        with safe_open(path, framework="pt") as stream:
            if changed := changes(json.loads(stream.metadata()["foldstill"]), self._made_from):
                raise DistillError(
                    f"the bank in {self._folder} was made from other inputs: {'; '.join(changed)}: remove the folder to "
                    "make it again"
                )
            return _View(stream.get_tensor("scores"), stream.get_tensor("rows"), stream.get_tensor("check"))

    def _write(self) -> None:
        from safetensors.torch import save_file

        assert self._at is not None
        scores, rows, check = (torch.stack(part) for part in zip(*self._fresh, strict=True))
        with atomic_write(self._path(self._at)) as part:
            save_file(
                {"scores": scores, "rows": rows, "check": check},
                part,
                metadata={"foldstill": json.dumps(self._made_from, sort_keys=True)},
            )


def _fingerprint(inputs: Tensor) -> Tensor:
    """Mean and mean square of each of the first rows, (rows, 2), reckoned where the batch lies: only the result is moved."""
    flat = inputs[:CHECKED_ROWS].detach().float().flatten(1)
    return torch.stack([flat.mean(1), flat.square().mean(1)], 1).cpu()
