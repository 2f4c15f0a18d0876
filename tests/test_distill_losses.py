from typing import get_args

import pytest
import torch

from foldstill.distill.losses import dkd_loss, jsd_loss, kd_loss, make_loss
from foldstill.distill.settings import LossName

B, C = 8, 5


def batch(c=C, seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, c, generator=g, dtype=torch.float64).float()
    target = torch.softmax(torch.randn(B, c, generator=g), 1)
    return logits, target, torch.ones(B)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_the_gradient_is_weight_times_temperature_times_the_softened_difference(temperature):
    logits, target, _ = batch()
    weight = torch.linspace(0.5, 1.5, B)
    logits.requires_grad_()
    kd_loss(logits, target, weight, temperature=temperature).backward()
    soft = target ** (1 / temperature)
    soft = soft / soft.sum(1, keepdim=True)
    wanted = weight[:, None] * temperature * (torch.softmax(logits.detach() / temperature, 1) - soft) / B
    torch.testing.assert_close(logits.grad, wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", get_args(LossName))
def test_every_loss_is_zero_at_equality_and_positive_elsewhere(name):
    loss = make_loss(name, 2.0)
    logits, target, weight = batch()
    assert abs(float(loss(target.log(), target, weight))) < 1e-5
    assert float(loss(logits, target, weight)) > 0.01


@pytest.mark.parametrize("name", get_args(LossName))
def test_every_loss_is_float32_finite_and_differentiable_on_one_hot_targets(name):
    logits, _, weight = batch()
    logits = logits.bfloat16().requires_grad_()
    target = torch.eye(C)[torch.arange(B) % C]
    value = make_loss(name, 2.0)(logits, target, weight)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_the_scale_of_the_loss_does_not_depend_on_how_many_classes_are_never_used():
    logits, target, weight = batch()
    wide_logits = torch.cat([logits, torch.full((B, 20), -50.0)], 1)
    wide_target = torch.cat([target, torch.zeros(B, 20)], 1)
    assert float(kd_loss(wide_logits, wide_target, weight)) == pytest.approx(
        float(kd_loss(logits, target, weight)), rel=1e-4
    )


def test_at_temperature_one_a_mixed_target_equals_the_mixture_of_two_losses():
    logits, target, weight = batch()
    votes = torch.eye(C)[torch.arange(B) % C]
    share = 0.3
    logits.requires_grad_()
    (g_one,) = torch.autograd.grad(kd_loss(logits, share * target + (1 - share) * votes, weight), logits)
    two = share * kd_loss(logits, target, weight) + (1 - share) * kd_loss(logits, votes, weight)
    (g_two,) = torch.autograd.grad(two, logits)
    torch.testing.assert_close(g_one, g_two)


def test_dkd_with_equal_parts_is_kl_when_the_rest_is_weighted_as_in_kl():
    # KL = KL(one against the rest) + (share of the rest) KL(among the rest): Zhao et al., 2022, eq. 6.
    logits, _, weight = batch()
    rest = 0.4
    row = torch.tensor([1 - rest, *[rest / (C - 1)] * (C - 1)])
    target = row.repeat(B, 1)
    dkd = dkd_loss(logits, target, weight, temperature=1.0, alpha=1.0, beta=rest)
    assert float(dkd) == pytest.approx(float(kd_loss(logits, target, weight)), rel=1e-5)


def test_dkd_takes_the_whole_kl_of_a_row_whose_two_largest_are_equal():
    logits, _, weight = batch()
    target = torch.tensor([0.4, 0.4, 0.1, 0.05, 0.05]).repeat(B, 1)
    assert float(dkd_loss(logits, target, weight, temperature=1.0)) == pytest.approx(
        float(kd_loss(logits, target, weight)), rel=1e-5
    )


def test_jensen_shannon_is_bounded_where_kl_is_not():
    logits = torch.tensor([[100.0, 0.0]])
    target, weight = torch.tensor([[0.0, 1.0]]), torch.ones(1)
    assert float(jsd_loss(logits, target, weight)) == pytest.approx(0.6931, abs=1e-3)
    assert float(kd_loss(logits, target, weight)) > 50
