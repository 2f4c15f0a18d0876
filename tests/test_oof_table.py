import pickle

import numpy as np
import pytest

from foldstill.data.labels import Labels
from foldstill.errors import DataError, OOFError
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable

IDS = np.array(["a", "b", "c"])


def _proba(rng, *shape) -> np.ndarray:
    return rng.dirichlet(np.ones(2), shape).astype(np.float32)


def make_scores(rng) -> ScoreTable:
    ids = np.array(list("abcdef"))
    return ScoreTable(ids, ("cnn", "gbm"), ("x", "y"), _proba(rng, len(ids), 2))


def _labels() -> Labels:
    return Labels.from_votes([[1, 2], [3, 0], [1, 1]], ids=IDS, classes=["x", "y"])


def test_members_are_picked_in_order_and_dropped_by_pattern(rng):
    scores = ScoreTable(IDS, ("cnn_a", "cnn_b", "gbm"), ("x", "y"), _proba(rng, 3, 3), ("cnn", "cnn", "tree"))
    picked = scores.select(["gbm", "cnn_a"])
    assert picked.families == ("tree", "cnn")
    assert (picked.proba_NMC[:, 1] == scores.proba_NMC[:, 0]).all()
    assert scores.drop(["cnn_*"]).members == ("gbm",)
    with pytest.raises(OOFError, match=r"no member matches 'rnn"):
        scores.drop(["rnn*"])
    with pytest.raises(OOFError, match=r"has no member \['rnn'\]"):
        scores.select(["rnn"])


def test_each_member_is_its_own_family_by_default(rng):
    assert ScoreTable(IDS, ("m", "n"), ("x", "y"), _proba(rng, 3, 2)).families == ("m", "n")
    with pytest.raises(OOFError, match=r"one family per member"):
        ScoreTable(IDS, ("m", "n"), ("x", "y"), _proba(rng, 3, 2), ("only",))


@pytest.mark.parametrize(
    ("members", "shape", "message"),
    [
        (("m", "m"), (3, 2), "member names must differ, got .'m'. twice"),
        (("m", "\x1b[2J"), (3, 2), "member names must not contain control characters"),
        (("m",), (3, 2), "must have shape"),
        (("m",), (2, 1), "must have shape"),
        ((), (3, 0), "needs rows and members"),
    ],
)
def test_scores_of_another_shape_are_refused(rng, members, shape, message):
    with pytest.raises(OOFError, match=message):
        ScoreTable(IDS, members, ("x", "y"), _proba(rng, *shape))


def test_logits_and_nan_are_refused(rng):
    with pytest.raises(DataError, match=r"look like logits"):
        ScoreTable(IDS, ("m",), ("x", "y"), rng.normal(size=(3, 1, 2)).astype(np.float32) * 5)
    broken = _proba(rng, 3, 1)
    broken[1] = np.nan
    with pytest.raises(DataError, match=r"row 1 holds NaN"):
        ScoreTable(IDS, ("m",), ("x", "y"), broken)


def test_align_brings_scores_into_the_labels_order(rng):
    proba = _proba(rng, 3, 1)
    scores = ScoreTable(IDS[[2, 0, 1]], ("m",), ("x", "y"), proba)
    table = OOFTable.align(scores, _labels(), np.array([0, 1, 0]))
    assert (table.proba_NMC == proba[[1, 2, 0]]).all()
    with pytest.raises(OOFError, match=r"same ids in the same order"):
        OOFTable(scores, _labels(), np.array([0, 1, 0], np.int16))


@pytest.mark.parametrize(
    ("classes", "fold", "message"),
    [
        (("y", "x"), [0, 1, 0], "same, in the same order"),
        (("x", "y"), [0, 1], "folds must be one per row"),
        (("x", "y"), [0, 1, -1], "holds no test rows"),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(rng, classes, fold, message):
    scores = ScoreTable(IDS, ("m",), classes, _proba(rng, 3, 1))
    with pytest.raises(OOFError, match=message):
        OOFTable(scores, _labels(), np.array(fold, np.int16))


def test_taking_rows_keeps_scores_labels_and_folds_together(rng):
    table = OOFTable(
        ScoreTable(IDS, ("m",), ("x", "y"), _proba(rng, 3, 1)), _labels(), np.array([0, 1, 1], np.int16), "p"
    )
    taken = table.take(table.fold_N == 1)
    assert taken.labels.ids.tolist() == taken.scores.ids.tolist() == ["b", "c"]
    assert (taken.folds, taken.plan_digest) == ([1], "p")


def test_rows_that_are_taken_are_copied_when_they_are_used_whole(rng, monkeypatch):
    scores = make_scores(rng)
    rows = np.array([4, 1, 3])
    twice = scores.take(rows).take(np.array([True, False, True]))
    assert "proba_NMC" not in vars(twice)
    np.testing.assert_array_equal(twice.entries(np.array([1]), np.array([0])), scores.proba_NMC[[3], :, 0])
    monkeypatch.setattr("foldstill.data.simplex.BLOCK", 1)
    blocks = list(twice.blocks())
    assert [part for part, _ in blocks] == [slice(0, 1), slice(1, 2)]
    assert "proba_NMC" not in vars(twice)
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), scores.proba_NMC[[4, 3]])
    again = pickle.loads(pickle.dumps(twice))
    np.testing.assert_array_equal(again.proba_NMC, scores.proba_NMC[[4, 3]])
    assert "_rows_of" not in vars(again)
    assert again.ids.tolist() == scores.ids[[4, 3]].tolist()
    with pytest.raises(AttributeError, match="no attribute 'proba'"):
        twice.proba  # noqa: B018
    with pytest.raises(OOFError, match="got 0 rows"):
        scores.take(np.zeros(len(scores), bool))


def test_a_function_of_rows_is_called_once_for_a_table_and_all_taken_from_it(rng):
    scores, called = make_scores(rng), []

    def first_member(proba_NMC):
        called.append(len(proba_NMC))
        return proba_NMC[:, 0]

    for rows in (np.array([1, 0]), np.arange(len(scores)) % 2 == 0):
        np.testing.assert_array_equal(scores.take(rows).by_row(first_member), scores.proba_NMC[rows, 0])
    assert called == [len(scores)]


def test_fold_scores_average_to_the_mean_over_models(rng):
    proba = _proba(rng, 4, 3, 2)
    scores = FoldScores(IDS, ("m", "n"), ("x", "y"), proba, ("f", "f"))
    assert scores.n_models == 4
    assert scores.mean().proba_NMC == pytest.approx(proba.mean(axis=0), abs=1e-7)
    assert (scores.fold_model(2).proba_NMC == proba[2]).all()
    assert scores.mean().families == ("f", "f")
    with pytest.raises(OOFError, match=r"fold models, rows, members, classes"):
        FoldScores(IDS, ("m", "n"), ("x", "y"), proba[0])
