"""Losses between a student's logits and target probabilities, each a scalar in float32 whatever autocast does.

B rows of a batch, C classes. Every loss takes (logits_BC, target_BC, weight_B): targets are probabilities at
temperature 1 (teacher and votes already mixed), weights have mean 1 over the training rows, and the result is the mean
over rows of weight times the row's loss, summed over classes.
"""

from functools import partial

import torch
from torch import Tensor

from foldstill.base_models.losses import Loss, loss_for, row_kl
from foldstill.base_models.recipes import KL
from foldstill.distill.settings import LossName

_TINY = 1e-7


def kd_loss(logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor, *, temperature: float = 1.0) -> Tensor:
    """KL from the softened target to the softened student, times temperature squared.

    The square keeps the gradient's size about the same at every temperature (Hinton et al., 2015, section 2): the
    gradient of a row is weight * T * (softmax(s / T) - target_T). Softening the one target tensor, rather than keeping
    a term for votes and one for the teacher, is exact at T = 1; above it the target of few votes stays too sure.
    """
    return loss_for(KL(temperature=temperature))(logits_BC, target_BC, weight_B)


def mse_loss(logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor) -> Tensor:
    """Half the mean squared distance of centred logits: KD at high temperature (Hinton et al., 2015, eq. 4)."""
    student = logits_BC.float()
    apart = student - student.mean(1, keepdim=True) - _centred_logits(target_BC)
    return _mean(apart.square().sum(1) / (2 * apart.shape[1]), weight_B)


def standardised_loss(logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor, *, temperature: float = 2.0) -> Tensor:
    """KL between softmaxes of z-scored logits, times temperature squared (Sun et al., 2024, Logit Standardization)."""
    student = _standardised(logits_BC.float()) / temperature
    teacher = torch.softmax(_standardised(_centred_logits(target_BC)) / temperature, 1)
    return _mean(row_kl(student, teacher), weight_B) * temperature**2


def dist_loss(logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor, *, temperature: float = 1.0) -> Tensor:
    """One minus correlation, over each row's classes and over each class's rows (Huang et al., 2022, DIST, eq. 9)."""
    student = torch.softmax(logits_BC.float() / temperature, 1)
    target = _soften(target_BC, temperature)
    within = 1 - torch.cosine_similarity(_centred(student, 1), _centred(target, 1), dim=1)
    between = 1 - torch.cosine_similarity(_centred(student, 0), _centred(target, 0), dim=0)
    return (_mean(within, weight_B) + between.mean()) * temperature**2


def dkd_loss(
    logits_BC: Tensor,
    target_BC: Tensor,
    weight_B: Tensor,
    *,
    temperature: float = 2.0,
    alpha: float = 1.0,
    beta: float = 2.0,
) -> Tensor:
    """Decoupled KD: KL of one class against the rest, plus `beta` times KL among the rest (Zhao et al., 2022, eq. 7).

    The target class is the target's largest; a row whose two largest are equal has none, and its KL is taken whole.
    """
    student = torch.log_softmax(logits_BC.float() / temperature, 1)
    target = _soften(target_BC, temperature)
    top = target.topk(2, 1)
    tied = top.values[:, 0] == top.values[:, 1]
    chosen = torch.zeros_like(target, dtype=torch.bool).scatter_(1, top.indices[:, :1], True)
    one_s, one_t = student[chosen], target[chosen]
    rest_s = torch.log((1 - one_s.exp()).clamp_min(_TINY))
    pair = torch.xlogy(one_t, one_t) - one_t * one_s + torch.xlogy(1 - one_t, 1 - one_t) - (1 - one_t) * rest_s
    others_s = torch.log_softmax(student.masked_fill(chosen, -torch.inf), 1).masked_fill(chosen, 0)
    others_t = target.masked_fill(chosen, 0)
    others_t = others_t / others_t.sum(1, keepdim=True).clamp_min(_TINY)
    others = (torch.xlogy(others_t, others_t) - others_t * others_s).sum(1)
    whole = (torch.xlogy(target, target) - target * student).sum(1)
    return _mean(torch.where(tied, whole, alpha * pair + beta * others), weight_B) * temperature**2


def jsd_loss(logits_BC: Tensor, target_BC: Tensor, weight_B: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Jensen-Shannon divergence, times temperature squared: bounded, so that a wildly wrong target cannot dominate."""
    student = torch.softmax(logits_BC.float() / temperature, 1)
    target = _soften(target_BC, temperature)
    middle = (student + target) / 2
    rows = (torch.xlogy(student, student) + torch.xlogy(target, target)).sum(1) / 2 - torch.xlogy(middle, middle).sum(1)
    return _mean(rows, weight_B) * temperature**2


def make_loss(name: LossName, temperature: float) -> Loss:
    """The loss of that name with its temperature bound: what the training engine calls once a batch."""
    match name:
        case "kl":
            return partial(kd_loss, temperature=temperature)
        case "mse":
            return mse_loss
        case "standardised":
            return partial(standardised_loss, temperature=temperature)
        case "dist":
            return partial(dist_loss, temperature=temperature)
        case "dkd":
            return partial(dkd_loss, temperature=temperature)
        case "jsd":
            return partial(jsd_loss, temperature=temperature)


def _mean(rows_B: Tensor, weight_B: Tensor) -> Tensor:
    return (rows_B * weight_B.float()).mean()


def _soften(target_BC: Tensor, temperature: float) -> Tensor:
    """target ** (1 / T), normalised. A power keeps exact zeros, which a logarithm with a floor would lift at T > 1."""
    power = target_BC.float() if temperature == 1 else target_BC.float() ** (1 / temperature)
    return power / power.sum(1, keepdim=True)


def _centred(values: Tensor, dim: int) -> Tensor:
    return values - values.mean(dim, keepdim=True)


def _centred_logits(target_BC: Tensor) -> Tensor:
    return _centred(target_BC.float().clamp_min(_TINY).log(), 1)


def _standardised(logits_BC: Tensor) -> Tensor:
    return _centred(logits_BC, 1) / logits_BC.std(1, keepdim=True, correction=0).clamp_min(_TINY)
