import numpy as np
import pytest

from foldstill.data.labels import Labels
from foldstill.distill.mixes import (
    UNIDENTIFIED_VOTES,
    DirichletMix,
    FixedMix,
    TeacherOnly,
    VotesOnly,
    fit_pseudo_votes,
    mix_votes,
)
from foldstill.distill.targets import SoftTargets, average_teacher, class_permuted, explain_mix, mixed_targets
from foldstill.errors import DataError, DistillError
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.oof.temperatures import fit_temperature, member_temperatures, tempered


def teacher_and_votes(rng, n=400, c=4, precision=5.0, total=6):
    q = rng.dirichlet(np.ones(c), n)
    truth = np.stack([rng.dirichlet(precision * row) for row in q])
    votes = np.stack([rng.multinomial(total, row) for row in truth]).astype(float)
    return q, votes


def soft_of(proba, ids=None, **rest):
    ids = np.arange(len(proba)).astype(str) if ids is None else ids
    return SoftTargets(ids, proba, "average", **{"held_out": True, **rest})


def test_the_likelihood_finds_how_many_votes_the_teacher_is_worth(rng):
    for wanted in (1.5, 5.0, 20.0):
        q, votes = teacher_and_votes(rng, n=4000, precision=wanted)
        found = fit_pseudo_votes(votes, q)
        assert found.identified
        assert found.c == pytest.approx(wanted, rel=0.15)


def test_single_votes_cannot_tell_what_the_teacher_is_worth(rng):
    q, votes = teacher_and_votes(rng, total=1)
    found = fit_pseudo_votes(votes, q)
    assert not found.identified
    assert found.c == UNIDENTIFIED_VOTES
    assert "cannot be fitted" in found.explanation


def test_a_perfect_teacher_is_worth_as_many_votes_as_the_search_allows_and_that_is_said(rng):
    q = rng.dirichlet(np.ones(3), 2000)
    votes = np.stack([rng.multinomial(8, row) for row in q]).astype(float)
    assert "edge of the search, above" in fit_pseudo_votes(votes, q).explanation


def test_a_dirichlet_target_is_votes_plus_pseudo_votes(rng):
    q, votes = teacher_and_votes(rng)
    target, _ = mix_votes(votes, q, DirichletMix(votes=3.0))
    np.testing.assert_allclose(target, (votes + 3 * q) / 9, atol=1e-6)


def test_rich_votes_outweigh_the_teacher_and_poor_votes_lean_on_it():
    votes = np.array([[1.0, 0.0], [50.0, 0.0]])
    target, _ = mix_votes(votes, np.full((2, 2), 0.5), DirichletMix(votes=4.0))
    assert target[0, 0] == pytest.approx(0.6)
    assert target[1, 0] > 0.95


def test_each_mix_gives_what_its_name_says(rng):
    q, votes = teacher_and_votes(rng)
    share = votes / votes.sum(1, keepdims=True)
    for mix, wanted in ((FixedMix(0.25), 0.75 * share + 0.25 * q), (TeacherOnly(), q), (VotesOnly(), share)):
        np.testing.assert_allclose(mix_votes(votes, q, mix)[0], wanted, atol=1e-6)


def test_rows_without_votes_learn_from_the_teacher_alone(rng):
    q, votes = teacher_and_votes(rng)
    votes[::2] = 0
    for mix in (DirichletMix(), FixedMix(), TeacherOnly()):
        target, weight = mix_votes(votes, q, mix)
        np.testing.assert_allclose(target[::2], q[::2], atol=1e-6)
        assert (weight > 0).all()
    with pytest.raises(DistillError, match="200 of 400 rows have no votes"):
        mix_votes(votes, q, VotesOnly())


def test_weights_have_mean_one_and_effective_weight_saturates():
    votes = np.array([[1.0, 0], [3, 0], [1000, 0]])
    q = np.full((3, 2), 0.5)
    for scheme in ("effective", "none", "votes", "log1p"):
        assert mix_votes(votes, q, DirichletMix(votes=4.0), weight=scheme)[1].mean() == pytest.approx(1)
    _, weight = mix_votes(votes, q, DirichletMix(votes=4.0), weight="effective")
    np.testing.assert_allclose(weight / weight[0], [1, 3 * 5 / 7, 1000 * 5 / 1004])
    with pytest.raises(DistillError, match="row weight must be one of"):
        mix_votes(votes, q, DirichletMix(), weight="clamp")


def test_targets_follow_the_teachers_rows_by_id_and_unlabelled_ones_join(rng):
    q, votes = teacher_and_votes(rng, n=6)
    labels = Labels.from_votes(votes[[4, 1, 2]], ids=["4", "1", "2"])
    target, _ = mixed_targets(soft_of(q), labels, DirichletMix(votes=2.0))
    np.testing.assert_allclose(target[4], (votes[4] + 2 * q[4]) / 8, atol=1e-6)
    np.testing.assert_allclose(target[[0, 3, 5]], q[[0, 3, 5]], atol=1e-6)


def test_a_teacher_that_lacks_labelled_rows_is_refused(rng):
    q, votes = teacher_and_votes(rng, n=6)
    with pytest.raises(DistillError, match="lacks 1 of 6 labelled rows"):
        mixed_targets(soft_of(q[:5]), Labels.from_votes(votes), DirichletMix())


def test_a_teacher_with_other_classes_is_refused(rng):
    q, votes = teacher_and_votes(rng, n=6)
    labels = Labels.from_votes(votes, classes=list("abcd"))
    with pytest.raises(DistillError, match="reorder the columns"):
        mixed_targets(soft_of(q, classes=("b", "a", "c", "d")), labels, DirichletMix())


def test_a_teacher_that_saw_its_rows_is_refused_unless_the_ablation_is_named(rng):
    q, votes = teacher_and_votes(rng)
    labels = Labels.from_votes(votes)
    seen = soft_of(q, held_out=False)
    with pytest.raises(DistillError, match="saw the rows"):
        mixed_targets(seen, labels, DirichletMix())
    target, _ = mixed_targets(seen, labels, DirichletMix(votes=2.0), ablation="in_sample")
    assert target.shape == q.shape
    with pytest.raises(DistillError, match="needs a teacher that saw the rows"):
        mixed_targets(soft_of(q), labels, DirichletMix(), ablation="in_sample")


def test_class_permutation_keeps_the_predicted_class_and_loses_the_row(rng):
    q, _ = teacher_and_votes(rng)
    shuffled = class_permuted(soft_of(q), 0)
    assert (shuffled.proba_NC.argmax(1) == q.argmax(1)).all()
    assert (shuffled.proba_NC != q).any(1).mean() > 0.9
    np.testing.assert_array_equal(np.sort(shuffled.proba_NC, axis=0), np.sort(q, axis=0))
    assert "class-permuted" in shuffled.teacher


def test_targets_refuse_logits_and_doubled_ids(rng):
    with pytest.raises(DataError, match="look like logits"):
        soft_of(rng.normal(0, 3, (5, 4)))
    with pytest.raises(DistillError, match="twice"):
        soft_of(np.full((2, 2), 0.5), ids=np.array(["a", "a"]))


def test_a_temperature_undoes_the_sharpening_of_a_member(rng):
    truth = rng.dirichlet(np.ones(5), 3000)
    votes = np.stack([rng.multinomial(4, row) for row in truth]).astype(float)
    for sharpening in (2.5, 0.5):
        assert fit_temperature(tempered(truth, 1 / sharpening), votes) == pytest.approx(sharpening, rel=0.1)


def test_the_calibrated_average_is_closer_to_the_truth_than_the_raw_one(rng):
    truth = rng.dirichlet(np.ones(4), 2000)
    votes = np.stack([rng.multinomial(5, row) for row in truth]).astype(float)
    members = np.stack([tempered(truth, 1 / 3.0), tempered(truth, 1.0)], axis=1).astype(np.float32)
    labels = Labels.from_votes(votes)
    scores = ScoreTable(labels.ids, ("sharp", "right"), labels.classes, members)
    table = OOFTable(scores, labels, (np.arange(2000) % 5).astype(np.int16))
    assert member_temperatures(table) == pytest.approx([3.0, 1.0], rel=0.15)
    raw, calm = (average_teacher(table, calibrated=yes).proba_NC for yes in (False, True))
    assert np.abs(calm - truth).mean() < 0.2 * np.abs(raw - truth).mean()


def test_what_a_mix_made_of_a_teacher_is_told_in_a_sentence(rng):
    q, votes = teacher_and_votes(rng, total=1)
    labels, soft = Labels.from_votes(votes), soft_of(q)
    assert explain_mix(soft, labels, DirichletMix()) == (
        "average: no row has two votes, so the teacher's worth cannot be fitted: it counts as 4 votes"
    )
    assert explain_mix(soft, labels, DirichletMix(votes=2.5)) == "average: the teacher counts as 2.5 votes, as asked"
    assert explain_mix(soft, labels, FixedMix(share=0.3)) == "average: the teacher has 30% of every target, as asked"
    assert explain_mix(soft, labels, TeacherOnly()) == "average: the teacher alone"
    assert explain_mix(soft, labels, VotesOnly()) == "the votes alone"


def test_the_sentence_on_a_permuted_teacher_is_of_what_the_student_is_taught(rng):
    q, votes = teacher_and_votes(rng)
    labels, soft = Labels.from_votes(votes), soft_of(q)
    result = explain_mix(soft, labels, DirichletMix(), ablation="class_permuted")
    assert result == f"average, class-permuted: {fit_pseudo_votes(votes, class_permuted(soft, 0).proba_NC).explanation}"
    assert result.partition(": ")[2] != explain_mix(soft, labels, DirichletMix()).partition(": ")[2]
    target, _ = mixed_targets(soft, labels, DirichletMix(), ablation="class_permuted")
    np.testing.assert_array_equal(target, mix_votes(votes, class_permuted(soft, 0).proba_NC, DirichletMix())[0])


def test_mix_settings_refuse_what_has_no_meaning():
    with pytest.raises(DistillError, match=r"mix\.votes must be positive"):
        DirichletMix(votes=0.0)
    with pytest.raises(DistillError, match=r"mix\.share must lie between"):
        FixedMix(share=1.0)
    with pytest.raises(DistillError, match="needs a teacher"):
        mixed_targets(None, Labels.from_votes([[1, 0]]), DirichletMix())
