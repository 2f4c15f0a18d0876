"""Training losses as settings that can be called: logits, target distributions and row weights in, one number out.

B batch, C classes. Every loss takes (logits_BC, target_BC, weight_B): targets are probabilities at temperature 1,
weights have mean 1 over the training rows, and the result is the mean over rows of weight times the loss of the row,
float32 whatever autocast does. Importing this module imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, Union

from foldstill.errors import MemberError
from foldstill.settings import Kind, KindWithExample

if TYPE_CHECKING:
    from torch import Tensor

_TINY = 1e-7


class Loss(Kind, Protocol):
    """Settings of a training loss, called once per batch."""

    @classmethod
    def example(cls) -> Self:
        """The smallest working instance."""
        ...

    def __call__(self, logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor) -> Tensor:
        """The mean over rows of weight times loss, a float32 scalar."""
        ...


@dataclass(frozen=True)
class Softened(KindWithExample):
    """What losses share that compare softened targets with softened predictions."""

    temperature: float = 1.0
    """Softens target and prediction."""

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise MemberError(f"temperature must be positive, got {self.temperature}: 1 leaves the targets as they are")


@dataclass(frozen=True)
class KL(Softened, kind="kl", title="KL"):
    """Kullback-Leibler divergence of the prediction from the target, T^2 KL(target^(1/T) || softmax(logits / T)).

    T^2 keeps the size of the gradient about the same at every temperature (Hinton et al., 2015, section 2). Softening
    the one target, instead of keeping a term for votes and one for the teacher, is exact at T = 1; above it, targets of
    few votes stay too confident.

    Examples
    --------
    >>> import torch
    >>> loss = KL()
    >>> round(float(loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.ones(1))), 4)
    0.6931
    """

    temperature: float = 1.0
    """T; values above 1 soften target and prediction, for a student (Hinton et al., 2015, section 2)."""

    def __call__(self, logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor) -> Tensor:
        if self.temperature == 1:
            return _mean(row_kl(logits_BC, target_BC), weight_B)
        soft_BC = _soften(target_BC, self.temperature)
        return self.temperature**2 * _mean(row_kl(logits_BC.float() / self.temperature, soft_BC), weight_B)


@dataclass(frozen=True)
class CrossEntropyKL(KindWithExample, kind="ce_kl", title="cross-entropy + KL"):
    """Cross-entropy with the most voted class plus `kl_weight` times KL with the vote shares.

    Examples
    --------
    >>> import torch
    >>> loss = CrossEntropyKL(kl_weight=1.0)
    >>> round(float(loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), torch.ones(1))), 4)
    1.3863
    """

    kl_weight: float = 2.0
    """Weight of KL relative to the cross-entropy."""

    def __post_init__(self) -> None:
        if self.kl_weight < 0:
            raise MemberError(
                f"kl_weight must not be negative, got {self.kl_weight}: 0 trains on the most voted class only"
            )

    def __call__(self, logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor) -> Tensor:
        from torch.nn.functional import cross_entropy

        hard_B = cross_entropy(logits_BC.float(), target_BC.argmax(dim=1), reduction="none")
        return _mean(hard_B + self.kl_weight * row_kl(logits_BC, target_BC), weight_B)


@dataclass(frozen=True)
class MSE(KindWithExample, kind="mse", title="MSE of logits"):
    """Half the mean squared distance of centred logits: distillation at high temperature (Hinton et al., 2015, eq. 4).

    Examples
    --------
    >>> import torch
    >>> loss = MSE()
    >>> round(float(loss(torch.zeros(1, 2), torch.tensor([[0.8, 0.2]]), torch.ones(1))), 4)
    0.2402
    """

    def __call__(self, logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor) -> Tensor:
        student_BC = logits_BC.float()
        distance_BC = student_BC - student_BC.mean(1, keepdim=True) - _centred_logits(target_BC)
        return _mean(distance_BC.square().sum(1) / (2 * distance_BC.shape[1]), weight_B)


@dataclass(frozen=True)
class Standardised(Softened, kind="standardised", title="standardised KL"):
    """KL between softmaxes of z-scored logits, times T^2 (Sun et al., 2024, *Logit Standardization*).

    Examples
    --------
    >>> import torch
    >>> loss = Standardised()
    >>> round(float(loss(torch.tensor([[0.0, 1.0]]), torch.tensor([[0.8, 0.2]]), torch.ones(1))), 4)
    1.8485
    """

    temperature: float = 2.0
    """Divides the standardised logits of both sides."""

    def __call__(self, logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor) -> Tensor:
        import torch

        student_BC = _standardised(logits_BC.float()) / self.temperature
        teacher_BC = torch.softmax(_standardised(_centred_logits(target_BC)) / self.temperature, 1)
        return _mean(row_kl(student_BC, teacher_BC), weight_B) * self.temperature**2


@dataclass(frozen=True)
class DIST(Softened, kind="dist", title="DIST"):
    """One minus correlation, over the classes of each row and over the rows of each class (Huang et al., 2022, eq. 9).

    Examples
    --------
    >>> import torch
    >>> loss = DIST()
    >>> logits, target = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[0.8, 0.2], [0.2, 0.8]])
    >>> round(float(loss(logits, target, torch.ones(2))), 4)
    4.0
    """

    def __call__(self, logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor) -> Tensor:
        import torch

        student = torch.softmax(logits_BC.float() / self.temperature, 1)
        target = _soften(target_BC, self.temperature)
        within_B = 1 - torch.cosine_similarity(_centred(student, 1), _centred(target, 1), dim=1)
        between_C = 1 - torch.cosine_similarity(_centred(student, 0), _centred(target, 0), dim=0)
        return (_mean(within_B, weight_B) + between_C.mean()) * self.temperature**2


@dataclass(frozen=True)
class DKD(Softened, kind="dkd", title="DKD"):
    """Decoupled distillation: KL of one class against the rest, plus `beta` times KL among the rest (Zhao et al.,
    2022).

    Equation 7 of the paper. The target class is the class with the largest target; for a row whose two largest targets
    are equal, the ordinary KL is used.

    Examples
    --------
    >>> import torch
    >>> loss = DKD(temperature=1.0)
    >>> round(float(loss(torch.zeros(1, 3), torch.tensor([[0.5, 0.3, 0.2]]), torch.ones(1))), 4)
    0.0992
    """

    temperature: float = 2.0
    alpha: float = 1.0
    """Weight of the target class against the rest."""
    beta: float = 2.0
    """Weight of KL among the rest."""

    def __call__(self, logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor) -> Tensor:
        import torch

        student = torch.log_softmax(logits_BC.float() / self.temperature, 1)
        target = _soften(target_BC, self.temperature)
        top = target.topk(2, 1)
        tied = top.values[:, 0] == top.values[:, 1]
        chosen = torch.zeros_like(target, dtype=torch.bool).scatter_(1, top.indices[:, :1], True)
        # Gathered by index: a mask would make the host wait for the device, to know how many there are.
        one_s, one_t = (values.gather(1, top.indices[:, :1])[:, 0] for values in (student, target))
        rest_s = torch.log((1 - one_s.exp()).clamp_min(_TINY))
        pair = torch.xlogy(one_t, one_t) - one_t * one_s + torch.xlogy(1 - one_t, 1 - one_t) - (1 - one_t) * rest_s
        others_s = torch.log_softmax(student.masked_fill(chosen, -torch.inf), 1).masked_fill(chosen, 0)
        others_t = target.masked_fill(chosen, 0)
        others_t = others_t / others_t.sum(1, keepdim=True).clamp_min(_TINY)
        others = (torch.xlogy(others_t, others_t) - others_t * others_s).sum(1)
        ordinary = (torch.xlogy(target, target) - target * student).sum(1)
        row_B = torch.where(tied, ordinary, self.alpha * pair + self.beta * others)
        return _mean(row_B, weight_B) * self.temperature**2


@dataclass(frozen=True)
class JSD(Softened, kind="jsd", title="Jensen-Shannon"):
    """Jensen-Shannon divergence, times T^2: bounded, so that a very wrong target cannot dominate.

    Examples
    --------
    >>> import torch
    >>> loss = JSD()
    >>> round(float(loss(torch.tensor([[100.0, 0.0]]), torch.tensor([[0.0, 1.0]]), torch.ones(1))), 4)
    0.6931
    """

    def __call__(self, logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor) -> Tensor:
        import torch

        student = torch.softmax(logits_BC.float() / self.temperature, 1)
        target = _soften(target_BC, self.temperature)
        middle = (student + target) / 2
        entropies_B = (torch.xlogy(student, student) + torch.xlogy(target, target)).sum(1) / 2
        return _mean(entropies_B - torch.xlogy(middle, middle).sum(1), weight_B) * self.temperature**2


LOSSES = (KL, CrossEntropyKL, MSE, Standardised, DIST, DKD, JSD)
"""Every loss that a recipe can name, told apart by `kind`."""

if TYPE_CHECKING:
    LossSettings = Loss
else:
    LossSettings = Union[LOSSES]  # noqa: UP007 - built from the tuple


def row_kl(logits_BC: Tensor, target_BC: Tensor) -> Tensor:
    """KL(target || softmax(logits)) per row in nats, float32 (B,)."""
    import torch

    log_proba_BC = torch.log_softmax(logits_BC.float(), dim=1)
    return (torch.xlogy(target_BC, target_BC) - target_BC * log_proba_BC).sum(dim=1)


def heads_kl(logits_BH: Tensor, target_BH: Tensor, weight_B: Tensor) -> Tensor:
    """The mean of KL over the rows and heads whose target is known (not NaN), each head a sigmoid of its own.

    With targets of 0 and 1 it is the binary cross-entropy.
    """
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits

    known_BH = ~target_BH.isnan()
    target_BH = target_BH.nan_to_num()
    loss_BH = binary_cross_entropy_with_logits(logits_BH.float(), target_BH, reduction="none")
    kl_BH = loss_BH + torch.xlogy(target_BH, target_BH) + torch.xlogy(1 - target_BH, 1 - target_BH)
    return (kl_BH * known_BH * weight_B.float()[:, None]).sum() / known_BH.sum().clamp_min(1)


def _mean(row_B: Tensor, weight_B: Tensor) -> Tensor:
    return (row_B * weight_B.float()).mean()


def _soften(target_BC: Tensor, temperature: float) -> Tensor:
    """target ** (1 / T), normalised. A power keeps exact zeros, which a logarithm with a floor would lift at T > 1."""
    power = target_BC.float() if temperature == 1 else target_BC.float() ** (1 / temperature)
    soft: Tensor = power / power.sum(1, keepdim=True)
    return soft


def _centred(values: Tensor, dim: int) -> Tensor:
    return values - values.mean(dim, keepdim=True)


def _centred_logits(target_BC: Tensor) -> Tensor:
    return _centred(target_BC.float().clamp_min(_TINY).log(), 1)


def _standardised(logits_BC: Tensor) -> Tensor:
    return _centred(logits_BC, 1) / logits_BC.std(1, keepdim=True, correction=0).clamp_min(_TINY)
