import numpy as np
import pytest
import torch

from foldstill.base_models.losses import loss_for
from foldstill.base_models.recipes import KL, CrossEntropyKL
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
    ours = loss_for(KL())(*tensors(logits, target, np.ones(B)))
    assert float(ours) == pytest.approx(kl_divergence(target=target, proba=softmax(logits)), rel=1e-5)


def test_kl_of_a_perfect_prediction_is_zero(batch):
    _, target, weight = batch
    ours = loss_for(KL())(*tensors(np.log(target + 1e-12), target, weight))
    assert float(ours) == pytest.approx(0, abs=1e-6)


def test_tempered_kl_has_the_gradient_of_the_formula(batch):
    """dL/ds = w T (softmax(s / T) - target^(1/T) / Z) / B."""
    logits, target, weight = batch
    temperature = 2.0
    s, y, w = tensors(logits, target, weight)
    s.requires_grad_()
    loss_for(KL(temperature=temperature))(s, y, w).backward()
    soft = target ** (1 / temperature)
    soft /= soft.sum(axis=1, keepdims=True)
    expected = weight[:, None] * temperature * (softmax(logits / temperature) - soft) / B
    np.testing.assert_allclose(s.grad.numpy(), expected, atol=1e-6)


def test_ce_kl_is_cross_entropy_with_the_most_voted_class_plus_kl(batch):
    logits, target, weight = batch
    log_proba = np.log(softmax(logits))
    kl = (np.where(target > 0, target * np.log(np.maximum(target, 1e-30)), 0) - target * log_proba).sum(axis=1)
    hard = -log_proba[np.arange(B), target.argmax(axis=1)]
    ours = loss_for(CrossEntropyKL(kl_weight=2.0))(*tensors(logits, target, weight))
    assert float(ours) == pytest.approx(float((weight * (hard + 2 * kl)).mean()), rel=1e-5)


@pytest.mark.parametrize("settings", [KL(), KL(temperature=3.0), CrossEntropyKL()])
def test_a_row_of_weight_zero_teaches_nothing(settings, batch):
    s, y, w = tensors(*batch)
    w[1] = 0
    s.requires_grad_()
    loss_for(settings)(s, y, w).backward()
    assert s.grad[1].abs().sum() == 0
    assert s.grad[0].abs().sum() > 0


@pytest.mark.parametrize("settings", [KL(), KL(temperature=3.0), CrossEntropyKL()])
def test_the_loss_is_float32_whatever_the_logits_are(settings, batch):
    s, y, w = tensors(*batch)
    assert loss_for(settings)(s.bfloat16(), y, w).dtype == torch.float32
