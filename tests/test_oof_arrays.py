import numpy as np
import pandas as pd
import pytest

from foldstill.data.labels import Labels
from foldstill.data.simplex import softmax
from foldstill.errors import DataError, FoldError, OOFError
from foldstill.oof.arrays import oof_table, with_folds
from foldstill.oof.probabilities import as_proba, smooth_labels

N = 30


@pytest.fixture
def labels(rng) -> Labels:
    return Labels.from_votes(
        rng.integers(1, 5, (N, 3)), ids=[f"r{i}" for i in range(N)], groups=np.arange(N) // 3, classes=["a", "b", "c"]
    )


@pytest.fixture
def pred(rng) -> np.ndarray:
    return rng.dirichlet(np.ones(3), (N, 2))


def test_an_array_with_votes_groups_and_folds_is_a_table(pred, rng):
    votes, groups = rng.integers(1, 5, (N, 3)), np.arange(N) // 3
    table = oof_table(pred, votes=votes, groups=groups, folds=groups % 3, members=["m", "n"])
    table = table.with_families(["f", "f"])
    assert table.proba_NMC == pytest.approx(pred, abs=1e-6)
    assert table.folds == [0, 1, 2]
    assert not table.folds_assigned
    assert table.scores.families == ("f", "f")
    assert table.labels.votes_NC.tolist() == votes.tolist()


def test_labels_may_be_one_class_per_row_or_votes(pred, labels):
    hard = labels.votes_NC.argmax(axis=1)
    table = oof_table(pred, hard, groups=labels.groups, classes=labels.classes)
    assert table.labels.votes_NC.tolist() == np.eye(3)[hard].tolist()
    counts = oof_table(pred, labels.votes_NC, groups=labels.groups)
    assert counts.labels.votes_NC.tolist() == labels.votes_NC.tolist()
    assert counts.classes == ("c0", "c1", "c2")


def test_a_table_without_folds_gets_group_folds_and_says_so(pred, labels):
    table = oof_table(pred, labels=labels)
    assert table.folds_assigned
    assert len(table.folds) == 5
    for group in np.unique(labels.groups):
        assert len(set(table.fold_N[labels.groups == group].tolist())) == 1
    assert table.fold_N.tolist() == oof_table(pred, labels=labels).fold_N.tolist()
    assert table.fold_N.tolist() != with_folds(table.scores, labels, None, seed=1).fold_N.tolist()


def test_folds_that_tear_a_group_are_refused(pred, labels):
    with pytest.raises(FoldError, match=r"a group must stay in one fold"):
        oof_table(pred, labels=labels, folds=np.arange(N) % 3)


@pytest.mark.parametrize("folds", [np.arange(N) // 3 % 2 + 1.0, np.array(["x", "y"])[np.arange(N) // 3 % 2]])
def test_folds_may_be_floats_or_names(pred, labels, folds):
    assert oof_table(pred, labels=labels, folds=folds).fold_N.tolist() == (np.arange(N) // 3 % 2).tolist()


def test_a_missing_fold_is_refused(pred, labels):
    folds = np.arange(N) // 3 % 2 + 0.0
    folds[4] = np.nan
    with pytest.raises(FoldError, match=r"one whole number per row"):
        oof_table(pred, labels=labels, folds=folds)


def test_scikit_learn_cross_val_predict_arrays_are_members():
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.tree import DecisionTreeClassifier

    x, y = load_iris(return_X_y=True)
    groups = np.arange(len(y)) // 3
    fold = np.empty(len(y), int)
    for k, (_, held) in enumerate(GroupKFold(5).split(x, y, groups)):
        fold[held] = k
    models = {"logistic": LogisticRegression(max_iter=500), "tree": DecisionTreeClassifier(max_depth=2)}
    pred = {
        name: cross_val_predict(model, x, y, groups=groups, cv=GroupKFold(5), method="predict_proba")
        for name, model in models.items()
    }
    labels = Labels.from_hard(y, classes=["setosa", "versicolor", "virginica"], groups=groups)
    table = oof_table(pred, labels=labels, folds=fold)
    assert table.members == ("logistic", "tree")
    assert table.proba_NMC.shape == (150, 2, 3)


def test_autogluon_frames_are_matched_by_class_and_id(labels, pred, rng):
    order = rng.permutation(N)
    frame = pd.DataFrame(pred[:, 0], columns=list("abc"), index=labels.ids)
    table = oof_table({"gbm": frame.iloc[order][["c", "a", "b"]]}, labels=labels)
    assert table.proba_NMC[:, 0] == pytest.approx(pred[:, 0], abs=1e-6)
    with pytest.raises(OOFError, match=r"member 'gbm' have the classes \['a', 'b', 'z'\]"):
        oof_table({"gbm": frame.rename(columns={"c": "z"})}, labels=labels)


def test_logits_are_softmaxed_when_said_so_and_refused_when_not(labels, rng):
    logits = rng.normal(0, 3, (N, 2, 3))
    assert oof_table(logits, labels=labels, space="logit").proba_NMC == pytest.approx(softmax(logits), abs=1e-6)
    with pytest.raises(OOFError, match=r"if these are logits, say so with space='logit'"):
        oof_table(logits, labels=labels)


@pytest.mark.parametrize("one_hot", [False, True])
def test_members_that_only_name_a_class_need_a_stated_smoothing(labels, rng, one_hot):
    named = rng.integers(0, 3, (N, 2))
    pred = np.eye(3, dtype=int)[named] if one_hot else named
    table = oof_table(smooth_labels(named, 3, 0.9), labels=labels)
    assert (table.proba_NMC.argmax(axis=2) == named).all()
    assert table.proba_NMC.max() == pytest.approx(0.9)
    assert table.proba_NMC.min() == pytest.approx(0.05)
    assert oof_table({"m": smooth_labels(named[:, 0], 3, 0.9)}, labels=labels).proba_NMC[:, 0].tolist() == (
        table.proba_NMC[:, 0].tolist()
    )
    with pytest.raises(OOFError, match=r"only name a class.*state it, with smooth_labels\(scores, n_classes, 0.9\)"):
        oof_table(pred, labels=labels)
    with pytest.raises(OOFError, match=r"smoothing must be between 1/3 and 1"):
        smooth_labels(named, 3, 1.0)


def test_smoothing_of_probabilities_would_do_nothing_and_is_refused(labels, pred):
    with pytest.raises(OOFError, match=r"smoothing would have no effect"):
        as_proba(pred, "scores", 3, smoothing=0.9)


def test_independent_findings_are_refused_in_one_sentence(labels, rng):
    with pytest.raises(OOFError, match=r"rows must sum to 1.*\(multi-label\), import one two-class table per finding"):
        oof_table(rng.random((N, 2, 3)) * 0.3, labels=labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[:, 0], r"must be \(rows, members, classes\), got float64 of shape \(30, 3\)"),
        (lambda p: p[..., :2], "wanted 3 classes on the last axis"),
        (lambda p: p[:-1], "must have shape"),
        (
            lambda p: np.where(np.arange(N)[:, None, None] == 4, np.inf, p),
            r"2 of 60 rows hold NaN or infinity, first at \(4, 0\)",
        ),
        (lambda p: p.astype(str), "must be numbers"),
        (lambda p: (p * 10).astype(int), "whole numbers but not one-hot"),
        (lambda p: {}, "at least one member"),
        (lambda p: {"m": p[:-1, 0]}, r"scores of member 'm' must be \(rows, classes\) = \(30, 3\), got \(29, 3\)"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(labels, pred, change, message):
    with pytest.raises(OOFError, match=message):
        oof_table(change(pred), labels=labels)


def test_rows_are_described_once(labels, pred):
    with pytest.raises(OOFError, match=r"needs labels"):
        oof_table(pred)
    with pytest.raises(OOFError, match=r"without groups and classes"):
        oof_table(pred, labels=labels, groups=labels.groups)
    with pytest.raises(OOFError, match=r"labels and votes both describe the rows"):
        oof_table(pred, labels=labels, votes=labels.votes_NC)
    with pytest.raises(OOFError, match=r"named by the mapping"):
        oof_table({"m": pred[:, 0]}, labels=labels, members=["n"])


def test_classes_named_out_of_range_are_refused():
    with pytest.raises(OOFError, match=r"must name classes 0..2, got 0 to 3"):
        smooth_labels(np.array([[0], [3]] * 15), 3, 0.9)


@pytest.mark.parametrize("scores", [[], 0.5, True, [[]]])
def test_scores_without_rows_are_refused_by_their_name(scores):
    with pytest.raises(OOFError, match=r"^scores must be"):
        oof_table(scores, votes=[[3, 0], [1, 2]])


def test_a_mistake_in_labels_is_told_of_labels_and_one_in_votes_of_votes():
    scores = [[[0.9, 0.1]], [[0.2, 0.8]]]
    with pytest.raises(DataError, match=r"^labels: .*negative votes"):
        oof_table(scores, [[-1, 2], [1, 0]])
    with pytest.raises(DataError, match=r"^(votes: )?[0-9] of 2 rows have negative votes"):
        oof_table(scores, votes=[[-1, 2], [1, 0]])
