"""What teachers see of a training batch, and the protocols of those who teach: targets and feature hints per batch.

B batch, C classes, F features. Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from foldstill.data.augmentation import RowMix

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter


@dataclass(frozen=True, eq=False)
class Batch:
    """One training batch: the indices of its rows, and the scaled, augmented inputs made from them."""

    rows_B: Tensor
    host_rows_B: NDArray[np.intp]
    """The same indices on the host, which need not wait for the device to know them."""
    inputs: Any
    """A tensor; a tuple of tensors for a network of several views."""
    unscale: Callable[[Any], Any]
    """Undoes the input scaling of the network that is trained."""
    mixes: tuple[RowMix, ...] = ()
    """The mixes the inputs went through, in their order."""
    augmentation_pass: int = 0
    """Number of the epoch; where passes recur, number of the pass that this epoch repeats."""

    @cached_property
    def raw(self) -> Any:
        """The augmented inputs in raw units, as another network takes them."""
        return self.unscale(self.inputs)

    def mixed(self, value_B: Tensor) -> Tensor:
        """Values per row, (B,) or (B, C), mixed as the inputs were."""
        for mix in self.mixes:
            value_B = mix.rates(value_B)
        return value_B


class BatchTargets(Protocol):
    """Gives the targets of a batch that depend on how the batch was augmented."""

    def __call__(self, batch: Batch) -> Tensor:
        """Distributions (B, C), float32, on the device of the batch; the host does not wait for the device."""
        ...

    def end_epoch(self) -> None:
        """Called after the last batch of an epoch, when the host waits for the device: checks and saves what must be.

        Raises DistillError for batches whose targets were wrong.
        """
        ...


@dataclass(frozen=True)
class Passes:
    """Augmentation passes that recur: after `count` epochs, batches and augmentation are drawn again as they were."""

    count: int
    seed: int
    """Seed of batches and augmentation, the same for every training that shares the passes."""


class BatchTeacher(Protocol):
    """A teacher of augmented batches as a value: it can be sent to another process and opened there on a device."""

    @property
    def passes(self) -> Passes | None:
        """The recurring passes it needs; None if it can teach any batch."""
        ...

    def open(self, device: str) -> BatchTargets:
        """Load the models that teach."""
        ...


class OpenHint(Protocol):
    """A feature hint during a training: its own layer, its own parameters and its own loss. A `torch.nn.Module`."""

    def __call__(self, features_BF: Tensor) -> Tensor:
        """What the student's features say about the features to match."""
        ...

    def loss(self, guess: Tensor, batch: Batch, weight_B: Tensor) -> Tensor:
        """Weighted distance between the guess and the features to match; one number."""
        ...

    def parameters(self) -> Iterator[Parameter]:
        """Parameters that are trained together with the network and dropped afterwards."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """State for checkpoints."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Restore the state of a checkpoint."""
        ...


class Hint(Protocol):
    """A feature hint as a value: it can be sent to another process and opened there on a device."""

    def open(self, network: Any, seed: int, device: str) -> OpenHint:
        """Load the models whose features are matched, for a network that gives `features_and_logits`."""
        ...
