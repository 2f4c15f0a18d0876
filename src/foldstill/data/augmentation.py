"""What an augmentation is: settings that change each row by itself, or that make a row of several rows.

B batch, C classes, P partners. Settings import no torch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foldstill.data.draws import check_share
from foldstill.settings import KindWithExample

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Augmentation(KindWithExample, ABC):
    """Settings of one augmentation; every draw comes from the generator that it is called with."""


class RowAugmentation(Augmentation):
    """An augmentation that changes each row by itself; targets stay as they are."""

    @abstractmethod
    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """The augmented batch, of the shape of `x`; `x` itself stays as it is."""


class RowMixing(Augmentation):
    """An augmentation that makes each row of several rows of the batch; targets are mixed as the inputs are."""

    @abstractmethod
    def mix(
        self, x: Tensor, target_BC: Tensor, group_B: Tensor | None, generator: Generator
    ) -> tuple[Tensor, RowMix | None]:
        """The mixed batch, and how its targets follow; None where targets stay as they are.

        Partners are drawn within `group_B` where it is given.
        """


@dataclass(frozen=True)
class RowMix:
    """How each row of a mixed batch is made: P rows of the batch before, with shares that sum to one."""

    partner_BP: Tensor
    share_BP: Tensor

    def rates(self, value_B: Tensor) -> Tensor:
        """Values per row, (B,) or (B, C), mixed as the inputs are.

        Shares act as rates, so that a row of many votes does not outweigh a row of few.
        """
        picked = value_B[self.partner_BP]
        share = self.share_BP if picked.ndim == 2 else self.share_BP[..., None]
        return (picked * share).sum(dim=1)


@dataclass(frozen=True, kw_only=True)
class SomeRows(Augmentation):
    """What augmentations have in common that leave some rows as they are."""

    p: float = 0.5
    """Probability that a row is changed, between 0 and 1."""

    def __post_init__(self) -> None:
        check_share(self.kind, p=self.p)
