from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from foldstill.base_models import EegMember, TimmMember
from foldstill.base_models.network_model import NetworkModel
from foldstill.base_models.networks import Network
from foldstill.base_models.tensor_file import write_tensors
from foldstill.data.row_form import RowForm
from foldstill.distill import Student
from foldstill.distill.corruptions import PATCHES, corrupted, recombined
from foldstill.distill.familiarity import SHRINKAGE, SMALLEST, Gaussian, early_layers, student_features
from foldstill.distill.uncertainty import (
    PrecisionHead,
    fit_precision,
    keep_spread,
    of_dirichlet,
    of_members,
    ood_auroc,
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


def test_a_row_that_is_far_from_all_others_overflows_nothing(rng):
    """The search for the layer tries steps far out, where exp(-u) is more than a number can hold."""
    features = rng.normal(size=(50, 100))
    features[-1] += 100
    mean, members = spread(rng, np.r_[np.full(49, 1e5), 5.0])
    assert np.isfinite(fit_precision(features, mean, members).weight_F).all()


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
    (features,) = student_features(student, rows, batch=4)
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


def test_distances_are_those_of_mahalanobis_with_shrunk_correlations(rng):
    features = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4)) + 3
    others = rng.normal(size=(10, 4))
    deviation = features.std(axis=0)
    shrunk = (1 - SHRINKAGE) * np.corrcoef(features.T) + SHRINKAGE * np.eye(4)
    standard = (others - features.mean(axis=0)) / deviation
    squared = np.array([row @ np.linalg.solve(shrunk, row) for row in standard])
    got = Gaussian.fit(features).log_distance(others)
    np.testing.assert_allclose(got, np.log(squared / 4 + SMALLEST), rtol=1e-4, atol=1e-5)


def test_a_head_keeps_its_layers_and_one_without_them_is_read_as_before(rng, tmp_path):
    features = rng.normal(size=(60, 3))
    head = fit_precision(features, *spread(rng, np.full(60, 20.0)))
    layered = replace(head, layers=("body.conv",), gaussians=(Gaussian.fit(features), Gaussian.fit(features[:, :2])))
    layered.write(tmp_path / "new.safetensors")
    again = PrecisionHead.read(tmp_path / "new.safetensors")
    assert again.layers == ("body.conv",)
    for kept, written in zip(again.gaussians, layered.gaussians, strict=True):
        np.testing.assert_array_equal(
            kept.log_distance(features[:, : len(kept.centre_F)]),
            written.log_distance(features[:, : len(written.centre_F)]),
        )
    # What a head of an earlier version holds.
    columns = {"centre": head.centre_F, "scale": head.scale_F, "weight": head.weight_F}
    tensors = {name: torch.from_numpy(values) for name, values in columns.items()}
    write_tensors(tmp_path / "old.safetensors", tensors, {"bias": head.bias, "n_classes": head.n_classes})
    old = PrecisionHead.read(tmp_path / "old.safetensors")
    assert old.layers == old.gaussians == ()
    np.testing.assert_array_equal(old.precision(features), head.precision(features))


def test_early_layers_are_pooled_per_row_also_where_channels_are_read_one_by_one(rng):
    torch.manual_seed(0)
    member = EegMember(name="s", view="eeg", widths=(4, 8), features=8, heads=1, blocks=1)
    network = member.build([(3, 64)], 4).eval()
    student = Student(NetworkModel(network, {"eeg": RowForm((3, 64), "float32")}, tuple("abcd")), "eeg")
    rows = rng.normal(size=(5, 3, 64)).astype(np.float32)
    layers = early_layers(student, rows)
    assert len(layers) == 2
    assert all(isinstance(network.get_submodule(name), nn.Conv1d) for name in layers)
    together = student_features(student, rows, layers, batch=4)
    assert [part.shape for part in together[1:]] == [(5, 8), (5, 16)]
    for i in range(5):
        for part, alone in zip(together, student_features(student, rows[i : i + 1], layers), strict=True):
            np.testing.assert_allclose(part[i], alone[0], atol=1e-5)


@pytest.mark.parametrize("shape", [(13, 11, 3), (2, 37)])
def test_recombined_rows_hold_parts_of_rows_of_one_fold_only(rng, shape):
    # The value of a row names its fold, so that every part of a row shows where it is from.
    fold = rng.integers(0, 3, 40)
    rows = np.broadcast_to(fold.reshape(-1, *[1] * len(shape)) * 50, (40, *shape)).astype(np.uint8)
    made, folds = recombined(rows, fold)
    assert made.dtype == rows.dtype
    assert made.shape == (40 * (len(PATCHES) + 2), *shape)
    np.testing.assert_array_equal(made, np.broadcast_to(folds.reshape(-1, *[1] * len(shape)) * 50, made.shape))
    distinct = rng.integers(0, 256, (40, *shape)).astype(np.uint8)
    kinds = np.split(recombined(distinct, fold)[0], len(PATCHES) + 2)
    for shuffled in kinds[: len(PATCHES)]:
        assert (shuffled != distinct).any()
        np.testing.assert_array_equal(np.sort(shuffled.reshape(40, -1)), np.sort(distinct.reshape(40, -1)))


def test_a_head_that_saw_recombined_rows_notices_rows_of_kinds_that_it_never_saw(rng):
    torch.manual_seed(0)
    network = TimmMember(name="s", network="test_resnet").build([(16, 16, 1)], 4).eval()
    student = Student(NetworkModel(network, {"image": RowForm((16, 16, 1), "uint8")}, tuple("abcd")), "image")
    network.input.mean.fill_(127.0)
    network.input.std.fill_(70.0)
    # Smooth waves, about which the members agree; about recombined ones they do not.
    phase, angle = rng.uniform(0, 2 * np.pi, (2, 300, 1, 1))
    y, x = np.mgrid[:16, :16]
    waves = 127 + 100 * np.sin(phase + 0.3 * (x * np.cos(angle) + y * np.sin(angle)))
    rows, locked = np.split(np.rint(waves).astype(np.uint8)[..., None], 2)
    unlike, _ = recombined(rows, np.zeros(len(rows), int))

    def members(rows_N, precision):
        return np.stack([rng.dirichlet(precision * p, 6) for p in student.predict(rows_N).astype(float)])

    of_rows, of_unlike = members(rows, 200.0), members(unlike, 5.0)
    alone, both = keep_spread(student, rows, of_rows), keep_spread(student, rows, of_rows, (unlike, of_unlike))

    def auroc(head, foreign):
        return ood_auroc(*(student_uncertainty(student, head, each).knowledge_N for each in (locked, foreign)))

    foreign = corrupted(locked)
    assert min(auroc(both, each) for each in foreign.values()) > 0.95
    assert min(auroc(alone, each) for each in foreign.values()) < 0.8


def test_foreign_rows_that_are_always_less_certain_score_one():
    assert ood_auroc(np.array([0.1, 0.2]), np.array([0.3, 0.4, 0.5])) == 1
    assert ood_auroc(np.array([0.1, 0.2]), np.array([0.1, 0.2])) == 0.5
