import numpy as np
import pytest
import torch
from torch import nn

from foldstill.base_models import TimmMember
from foldstill.base_models.network_model import NetworkModel
from foldstill.base_models.networks import Network
from foldstill.data.row_form import RowForm
from foldstill.distill import Student
from foldstill.distill.uncertainty import (
    PrecisionHead,
    fit_precision,
    keep_spread,
    of_dirichlet,
    of_members,
    ood_auroc,
    student_features,
    student_uncertainty,
)
from foldstill.errors import DistillError, MemberError


def spread(rng, precision_N, m=6, c=4):
    """Means, and members drawn around them with one precision per row."""
    mean = rng.dirichlet(np.full(c, 3.0), len(precision_N))
    members = np.stack([rng.dirichlet(s * p, m) for s, p in zip(precision_N, mean, strict=True)])
    return mean, members


def test_uncertainty_of_a_dirichlet_is_that_of_many_members_drawn_from_it(rng):
    mean = np.array([[0.5, 0.3, 0.2], [0.8, 0.1, 0.1]])
    precision = np.array([4.0, 40.0])
    drawn = np.stack([rng.dirichlet(s * p, 100_000) for s, p in zip(precision, mean, strict=True)])
    wanted, got = of_members(drawn), of_dirichlet(mean, precision)
    np.testing.assert_allclose(got.total_N, wanted.total_N, atol=5e-3)
    np.testing.assert_allclose(got.data_N, wanted.data_N, atol=5e-3)


def test_members_that_agree_leave_no_knowledge_uncertainty(rng):
    one = rng.dirichlet(np.ones(4), 10)
    np.testing.assert_allclose(of_members(np.repeat(one[:, None], 5, axis=1)).knowledge_N, 0, atol=1e-12)
    np.testing.assert_allclose(of_dirichlet(one, np.full(10, 1e9)).knowledge_N, 0, atol=1e-6)


def test_the_head_recovers_the_precision_that_depends_on_the_features(rng):
    features = rng.normal(size=(3000, 5))
    precision = 4 + np.logaddexp(0, 12 + 6 * features[:, 0])
    mean, members = spread(rng, precision)
    head = fit_precision(features, mean, members)
    predicted = head.precision(features)
    assert np.corrcoef(np.log(predicted), np.log(precision))[0, 1] > 0.97
    assert np.median(predicted / precision) == pytest.approx(1, abs=0.15)
    assert np.abs(head.weight_F[1:]).max() < 0.1 * head.weight_F[0]


def test_a_head_is_read_back_unchanged(rng, tmp_path):
    features = rng.normal(size=(60, 3))
    head = fit_precision(features, *spread(rng, np.full(60, 20.0)))
    head.write(tmp_path / "precision.safetensors")
    again = PrecisionHead.read(tmp_path / "precision.safetensors")
    np.testing.assert_array_equal(again.precision(features), head.precision(features))
    with pytest.raises(DistillError, match="no precision head"):
        PrecisionHead.read(tmp_path / "none.safetensors")


def test_a_precision_head_needs_four_members(rng):
    mean, members = spread(rng, np.full(20, 10.0), m=3)
    with pytest.raises(DistillError, match="needs the scores of 4 members"):
        fit_precision(rng.normal(size=(20, 2)), mean, members)


def test_features_are_the_input_of_the_classifier():
    torch.manual_seed(0)
    network = TimmMember(name="s", network="test_efficientnet").build([(16, 16, 3)], 4).eval()
    forms = {"image": RowForm((16, 16, 3), "uint8")}
    student = Student(NetworkModel(network, forms, tuple("abcd")), "image")
    rows = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3)).astype(np.uint8)
    features = student_features(student, rows, batch=4)
    with torch.no_grad():
        logits = network.body.get_classifier()(torch.from_numpy(features))
    np.testing.assert_allclose(torch.softmax(logits, 1).numpy(), student.predict(rows), atol=1e-5)
    members = np.random.default_rng(1).dirichlet(np.ones(4), (6, 5))
    before = student.predict(rows)
    uncertainty = student_uncertainty(student, keep_spread(student, rows, members), rows)
    assert (uncertainty.knowledge_N > 0).all()
    np.testing.assert_array_equal(student.predict(rows), before)
    plain = Student(NetworkModel(Network(nn.Flatten(), 3), forms, tuple("abcd")), "image")
    with pytest.raises(MemberError, match="no last layer"):
        student_features(plain, rows)


def test_foreign_rows_that_are_always_less_certain_score_one():
    assert ood_auroc(np.array([0.1, 0.2]), np.array([0.3, 0.4, 0.5])) == 1
    assert ood_auroc(np.array([0.1, 0.2]), np.array([0.1, 0.2])) == 0.5
