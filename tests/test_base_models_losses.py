import numpy as np
import pytest
import torch

from foldstill.base_models.losses import DIST, DKD, JSD, KL, LOSSES, MSE, CrossEntropyKL, Standardised
from foldstill.data.simplex import kl_divergence, softmax

B, C = 6, 4


@pytest.fixture
def batch(rng):
    logits, weight = rng.normal(size=(B, C)), rng.uniform(0.5, 2, B)
    target = rng.dirichlet(np.ones(C), B)
    target[0] = np.eye(C)[2]
    return logits, target, weight


def tensors(*arrays):
    return [torch.from_numpy(np.asarray(a, dtype=np.float32)) for a in arrays]


def test_kl_agrees_with_the_metric(batch):
    logits, target, _ = batch
    ours = KL()(*tensors(logits, target, np.ones(B)))
    assert float(ours) == pytest.approx(kl_divergence(target=target, proba=softmax(logits)), rel=1e-5)


def test_kl_of_a_perfect_prediction_is_zero(batch):
    _, target, weight = batch
    ours = KL()(*tensors(np.log(target + 1e-12), target, weight))
    assert float(ours) == pytest.approx(0, abs=1e-6)


def test_tempered_kl_has_the_gradient_of_the_formula(batch):
    """dL/ds = w T (softmax(s / T) - target^(1/T) / Z) / B."""
    logits, target, weight = batch
    temperature = 2.0
    s, y, w = tensors(logits, target, weight)
    s.requires_grad_()
    KL(temperature=temperature)(s, y, w).backward()
    soft = target ** (1 / temperature)
    soft /= soft.sum(axis=1, keepdims=True)
    expected = weight[:, None] * temperature * (softmax(logits / temperature) - soft) / B
    np.testing.assert_allclose(s.grad.numpy(), expected, atol=1e-6)


def test_ce_kl_is_cross_entropy_with_the_most_voted_class_plus_kl(batch):
    logits, target, weight = batch
    log_proba = np.log(softmax(logits))
    kl = (np.where(target > 0, target * np.log(np.maximum(target, 1e-30)), 0) - target * log_proba).sum(axis=1)
    hard = -log_proba[np.arange(B), target.argmax(axis=1)]
    ours = CrossEntropyKL(kl_weight=2.0)(*tensors(logits, target, weight))
    assert float(ours) == pytest.approx(float((weight * (hard + 2 * kl)).mean()), rel=1e-5)


@pytest.mark.parametrize("settings", [KL(), KL(temperature=3.0), CrossEntropyKL()])
def test_a_row_of_weight_zero_teaches_nothing(settings, batch):
    s, y, w = tensors(*batch)
    w[1] = 0
    s.requires_grad_()
    settings(s, y, w).backward()
    assert s.grad[1].abs().sum() == 0
    assert s.grad[0].abs().sum() > 0


@pytest.mark.parametrize("settings", [KL(), KL(temperature=3.0), CrossEntropyKL()])
def test_the_loss_is_float32_whatever_the_logits_are(settings, batch):
    s, y, w = tensors(*batch)
    assert settings(s.bfloat16(), y, w).dtype == torch.float32


ROWS, CLASSES = 8, 5
SOFTENED = [KL(temperature=2.0), MSE(), Standardised(), DIST(temperature=2.0), DKD(), JSD(temperature=2.0)]
"""Losses that are 0 where prediction and target are equal."""


def make_batch():
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(ROWS, CLASSES, generator=g, dtype=torch.float64).float()
    target = torch.softmax(torch.randn(ROWS, CLASSES, generator=g), 1)
    return logits, target, torch.ones(ROWS)


def test_every_loss_is_in_the_tuple_with_an_example_and_a_kind_of_its_own():
    assert {type(loss) for loss in SOFTENED} | {CrossEntropyKL} == set(LOSSES)
    assert len({loss.kind for loss in LOSSES}) == len(LOSSES)
    for loss in LOSSES:
        assert isinstance(loss.example(), loss)
        assert loss.title
        assert loss.summary.endswith(".")


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_the_gradient_of_kl_is_weight_times_temperature_times_the_softened_difference(temperature):
    logits, target, _ = make_batch()
    weight = torch.linspace(0.5, 1.5, ROWS)
    logits.requires_grad_()
    KL(temperature=temperature)(logits, target, weight).backward()
    soft = target ** (1 / temperature)
    soft = soft / soft.sum(1, keepdim=True)
    wanted = weight[:, None] * temperature * (torch.softmax(logits.detach() / temperature, 1) - soft) / ROWS
    torch.testing.assert_close(logits.grad, wanted, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("loss", SOFTENED, ids=lambda loss: loss.kind)
def test_every_loss_is_zero_at_equality_and_positive_elsewhere(loss):
    logits, target, weight = make_batch()
    assert abs(float(loss(target.log(), target, weight))) < 1e-5
    assert float(loss(logits, target, weight)) > 0.01


@pytest.mark.parametrize("loss", SOFTENED, ids=lambda loss: loss.kind)
def test_every_loss_is_float32_finite_and_differentiable_on_one_hot_targets(loss):
    logits, _, weight = make_batch()
    logits = logits.bfloat16().requires_grad_()
    target = torch.eye(CLASSES)[torch.arange(ROWS) % CLASSES]
    value = loss(logits, target, weight)
    value.backward()
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(logits.grad).all()


def test_the_scale_of_the_loss_does_not_depend_on_how_many_classes_are_never_used():
    logits, target, weight = make_batch()
    wide_logits = torch.cat([logits, torch.full((ROWS, 20), -50.0)], 1)
    wide_target = torch.cat([target, torch.zeros(ROWS, 20)], 1)
    assert float(KL()(wide_logits, wide_target, weight)) == pytest.approx(float(KL()(logits, target, weight)), rel=1e-4)


def test_at_temperature_one_a_mixed_target_equals_the_mixture_of_two_losses():
    logits, target, weight = make_batch()
    votes = torch.eye(CLASSES)[torch.arange(ROWS) % CLASSES]
    share = 0.3
    logits.requires_grad_()
    (g_one,) = torch.autograd.grad(KL()(logits, share * target + (1 - share) * votes, weight), logits)
    two = share * KL()(logits, target, weight) + (1 - share) * KL()(logits, votes, weight)
    (g_two,) = torch.autograd.grad(two, logits)
    torch.testing.assert_close(g_one, g_two)


def test_dkd_with_equal_parts_is_kl_when_the_rest_is_weighted_as_in_kl():
    # KL = KL(one against the rest) + (share of the rest) KL(among the rest): Zhao et al., 2022, eq. 6.
    logits, _, weight = make_batch()
    rest = 0.4
    row = torch.tensor([1 - rest, *[rest / (CLASSES - 1)] * (CLASSES - 1)])
    target = row.repeat(ROWS, 1)
    dkd = DKD(temperature=1.0, alpha=1.0, beta=rest)(logits, target, weight)
    assert float(dkd) == pytest.approx(float(KL()(logits, target, weight)), rel=1e-5)


def test_dkd_takes_the_whole_kl_of_a_row_whose_two_largest_are_equal():
    logits, _, weight = make_batch()
    target = torch.tensor([0.4, 0.4, 0.1, 0.05, 0.05]).repeat(ROWS, 1)
    assert float(DKD(temperature=1.0)(logits, target, weight)) == pytest.approx(
        float(KL()(logits, target, weight)), rel=1e-5
    )


def test_jensen_shannon_is_bounded_where_kl_is_not():
    logits = torch.tensor([[100.0, 0.0]])
    target, weight = torch.tensor([[0.0, 1.0]]), torch.ones(1)
    assert float(JSD()(logits, target, weight)) == pytest.approx(0.6931, abs=1e-3)
    assert float(KL()(logits, target, weight)) > 50
