"""Views of a data set where a network can read them: on the device if they fit, otherwise in host memory, read ahead.

N rows, B batch; images are stored as (N, H, W, C) and read as (B, C, H, W) in channels-last order without a copy.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldstill.base_models.mapped_view import MappedView
from foldstill.base_models.read_ahead import read_ahead
from foldstill.base_models.scaling import channel_scaling
from foldstill.digests import digest
from foldstill.errors import MemberError

_KEPT = ("uint8", "int8", "int16", "float16", "float32")
"""Types that are kept until a batch is scaled; images of uint16 become float32 in every batch,
others float32 at once, or float64 in features."""

_FREE_SHARE = 0.5
"""A view may take half of the free memory of a GPU; the rest is for weights and activations."""

_BLOCK_ROWS = {"cpu": 16, "cuda": 256, "mps": 256}


class DeviceInputs:
    """A view as one tensor, and batches of it by row index."""

    def __init__(self, array: NDArray[Any], device: str | torch.device = "cpu") -> None:
        """`array` is images (N, H, W, C), signals (N, C, T) or features (N, F); a memory map is read page by page.

        Raises MemberError for features on a device without float64.
        """
        self.device = torch.device(device)
        if self.device.type == "mps" and array.ndim == 2:
            raise MemberError("a network for a table of features computes in float64, which mps lacks: use device cpu")
        # A feature may need more digits than float32 has, such as a date in seconds.
        other = np.float64 if array.ndim == 2 else np.float32
        self._mapped = MappedView(array)
        self._has_16_bits = array.dtype == np.uint16 and array.dtype.isnative and array.ndim == 4
        if self._has_16_bits:
            array = array.view(np.int16)  # torch selects no rows of uint16 on a GPU
        kept = array if array.dtype.name in _KEPT and array.dtype.isnative else array.astype(other)
        with warnings.catch_warnings():
            # A read-only memory map is expected: nothing here writes into a view.
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            data = torch.from_numpy(np.ascontiguousarray(kept))
        self.is_image = data.ndim == 4
        self._is_read_ahead = False
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            self._is_read_ahead = data.nbytes > _FREE_SHARE * free
        self._data = data if self._is_read_ahead else data.to(self.device)
        self._scalings: dict[str, tuple[Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._data)

    @property
    def channels(self) -> int:
        return int(self._data.shape[3 if self.is_image else 1])

    @property
    def size(self) -> tuple[int, ...]:
        """(H, W) of images, (T,) of signals, () of features."""
        return tuple(self._data.shape[1:3] if self.is_image else self._data.shape[2:])

    def batches(self, batches_of_rows: Iterable[Tensor]) -> Iterator[Tensor]:
        """The raw batches (B, C, H, W), (B, C, T) or (B, F) on the device, for index tensors on any device."""
        if self._is_read_ahead:
            batches = read_ahead(self._data, list(batches_of_rows), self.device)
        else:
            batches = (self._data.index_select(0, rows_B.to(self.device)) for rows_B in batches_of_rows)
        for batch in batches:
            self._mapped.has_read(batch)
            yield self._view(batch)

    def _view(self, raw: Tensor) -> Tensor:
        if self._has_16_bits:
            raw = (raw.int() & 0xFFFF).float()
        return raw.permute(0, 3, 1, 2) if self.is_image else raw

    def scaling(self, rows_N: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation per channel over these rows only, float32 (C,); a constant channel has std 1.

        They are computed once for the same rows, however many models are trained on them. Raises MemberError for
        values that are not finite.
        """
        if (known := self._mapped.scaling(rows_N)) is not None:
            return known
        key = digest(np.asarray(rows_N))
        if key not in self._scalings:
            self._scalings[key] = channel_scaling(self._values(np.sort(rows_N)), self.channels)
        return self._scalings[key]

    def _values(self, rows_N: NDArray[np.intp]) -> Iterator[Tensor]:
        """The values of each channel, (C, values), of some of these rows after the other."""
        device = self._data.device
        # Few rows stay in a processor's cache; a GPU wants many, and mps has no float64 for the sums.
        for rows in torch.split(torch.from_numpy(rows_N), _BLOCK_ROWS[device.type]):
            block = self._data.index_select(0, rows.to(device))
            self._mapped.has_read(block)
            raw = self._view(block)
            yield (raw.cpu() if device.type == "mps" else raw).transpose(0, 1).flatten(1)


class JoinedInputs:
    """Several views of the same rows; a batch is a tuple of one tensor per view."""

    def __init__(self, views: Sequence[DeviceInputs]) -> None:
        self._views = tuple(views)
        self.device = views[0].device
        self.is_image = any(view.is_image for view in views)

    def __len__(self) -> int:
        return len(self._views[0])

    def batches(self, batches_of_rows: Iterable[Tensor]) -> Iterator[tuple[Tensor, ...]]:
        """The raw batches of all views for the same index tensors."""
        rows = list(batches_of_rows)
        return zip(*(view.batches(rows) for view in self._views), strict=True)


AnyInputs = DeviceInputs | JoinedInputs

_resident: list[tuple[NDArray[Any], DeviceInputs]] | None = None
"""Views that stay on the device between fits, inside `keep_views_on_device`."""


def open_inputs(views: Sequence[NDArray[Any]], device: str | torch.device) -> AnyInputs:
    """The views on the device, as a network reads them: one view, or several joined."""
    global _resident
    if _resident is None:
        return _joined([DeviceInputs(view, device) for view in views])
    # Views that are no longer read are freed before anything new is put on the device.
    _resident = [kept for kept in _resident if any(kept[0] is view for view in views)]
    for view in views:
        if not any(view is array for array, _ in _resident):
            _resident.append((view, DeviceInputs(view, device)))
    return _joined([next(inputs for array, inputs in _resident if array is view) for view in views])


@contextmanager
def keep_views_on_device() -> Iterator[None]:
    """Inside the block, views of the same arrays are put on the device once, however many models read them."""
    global _resident
    outer = _resident
    _resident = [] if outer is None else outer
    try:
        yield
    finally:
        _resident = outer


def _joined(views: Sequence[DeviceInputs]) -> AnyInputs:
    return views[0] if len(views) == 1 else JoinedInputs(views)
