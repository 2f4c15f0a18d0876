"""Binary problems in their commonest form: one probability per row and member."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import foldstill as fs
from foldstill.errors import OOFError, StackError
from foldstill.oof import ImportSettings
from foldstill.oof.new_scores import import_new_scores
from foldstill.oof.one_member import read_one_member
from foldstill.stacking.averages import Average
from foldstill.stacking.stacked_classifier import StackedClassifier
from made_up import write_csvs

N = 60


@pytest.fixture
def class_N(rng) -> np.ndarray:
    return rng.integers(0, 2, N)


@pytest.fixture
def p_NM(rng, class_N) -> np.ndarray:
    return 1 / (1 + np.exp(-(2 * class_N[:, None] - 1 + rng.normal(size=(N, 3)))))


FORMS = {
    "rows, members, 1": lambda p: p[:, :, None],
    "mapping of rows": lambda p: {f"m{i}": p[:, i] for i in range(3)},
    "mapping of (rows, 1)": lambda p: {f"m{i}": p[:, [i]] for i in range(3)},
    "mapping of Series": lambda p: {f"m{i}": pd.Series(p[::-1, i], index=np.arange(N)[::-1]) for i in range(3)},
    "mapping of frames": lambda p: {f"m{i}": pd.DataFrame({"oof": p[:, i]}) for i in range(3)},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_memory_gives_the_same_table(class_N, p_NM, form):
    table = fs.oof_table(FORMS[form](p_NM), class_N)
    assert (table.members, table.classes) == (("m0", "m1", "m2"), ("0", "1"))
    assert table.proba_NMC[..., 1] == pytest.approx(p_NM, abs=1e-6)
    assert table.proba_NMC.sum(axis=-1) == pytest.approx(np.ones((N, 3)), abs=1e-6)


@pytest.mark.parametrize("column", [lambda p: p[:, 0], lambda p: p[:, [0]]])
def test_one_member_may_be_one_column(class_N, p_NM, column):
    table = fs.oof_table(column(p_NM), class_N.astype(bool))
    assert (table.members, table.classes) == (("m0",), ("False", "True"))
    assert table.proba_NMC[:, 0, 1] == pytest.approx(p_NM[:, 0], abs=1e-6)


def test_logits_of_one_class_are_those_of_a_sigmoid(class_N, p_NM):
    table = fs.oof_table({"net": np.log(p_NM[:, 0] / (1 - p_NM[:, 0]))}, class_N, space="logit")
    assert table.proba_NMC[:, 0, 1] == pytest.approx(p_NM[:, 0], abs=1e-6)


def test_the_class_is_asked_for_where_names_do_not_say_it(class_N, p_NM):
    names = np.asarray(["stay", "leave"])[class_N]
    with pytest.raises(OOFError, match=r"'m' have one column .* one of \['leave', 'stay'\], with positive"):
        fs.oof_table({"m": p_NM[:, 0]}, names)
    table = fs.oof_table({"m": pd.Series(p_NM[:, 0], name="stay")}, names)
    assert table.proba_NMC[:, 0, table.classes.index("stay")] == pytest.approx(p_NM[:, 0], abs=1e-6)
    framed = fs.oof_table({"m": pd.DataFrame({"stay": p_NM[:, 0]})}, names)
    assert np.array_equal(framed.proba_NMC, table.proba_NMC)


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        (lambda p: {"m": p[:, 0]}, lambda c: c + np.arange(N) % 2, "enough for two classes, the labels have 3"),
        (lambda p: {"m": p[:, 0] * 3}, lambda c: c, r"'m' must be probabilities in \[0, 1\]"),
        (lambda p: {"m": p[:, 0] * 100}, lambda c: c, r"'m' must be .*from [0-9].*percentages, divide them by 100$"),
        (
            lambda p: {"m": p[:, 0] * 40 - 20},
            lambda c: c,
            r"'m' must be .* from -[0-9.]+ to [0-9.]+: if these are logits",
        ),
        (lambda p: {"m": p[:-1, 0]}, lambda c: c, r"must be \(rows, classes\) = \(60, 2\), got \(59, 2\)"),
        (lambda p: {"m": (p[:, 0] > 0.5).astype(int)}, lambda c: c, "only name a class"),
        (lambda p: p, lambda c: c, r"one member's probability of one of two classes, scores\[:, :, None\]"),
    ],
)
def test_what_does_not_fit_is_refused(class_N, p_NM, scores, labels, message):
    with pytest.raises(OOFError, match=message):
        fs.oof_table(scores(p_NM), labels(class_N))


def _frames(class_N: np.ndarray, p_NM: np.ndarray) -> dict[str, pd.DataFrame]:
    base = pd.DataFrame({"ID": np.arange(N) + 7, "target": class_N})
    return {f"m{i}": base.assign(**{f"oof_{i}": p_NM[:, i]}) for i in range(3)}


def test_files_with_one_column_need_no_option_where_labels_are_0_and_1(tmp_path, class_N, p_NM):
    paths = write_csvs(tmp_path, **_frames(class_N, p_NM))
    table = fs.import_scores(paths)
    assert table.classes == ("0", "1")
    assert table.proba_NMC[..., 1] == pytest.approx(p_NM, abs=1e-6)
    new = import_new_scores(paths, table.members, table.classes)
    assert np.array_equal(new.proba_NMC, table.proba_NMC)
    ids, proba_KNC = read_one_member(paths[1], "m1", table.classes, ImportSettings(scores="oof_1"))
    assert ids.tolist() == table.labels.ids.tolist()
    assert np.array_equal(proba_KNC[0], table.proba_NMC[:, 1])


def test_files_of_other_labels_ask_for_the_class(tmp_path, class_N, p_NM):
    names = np.asarray(["stay", "leave"])[class_N]
    frames = {name: frame.assign(target=names) for name, frame in _frames(class_N, p_NM).items()}
    paths = write_csvs(tmp_path, **frames)
    with pytest.raises(OOFError, match=r"member 'm0' have one column .*--positive NAME"):
        fs.import_scores(paths)
    table = fs.import_scores(paths, ImportSettings(positive="leave"))
    assert table.proba_NMC[..., table.classes.index("leave")] == pytest.approx(p_NM, abs=1e-6)
    with pytest.raises(OOFError, match=r"positive = 'gone' must be one of two classes"):
        fs.import_scores(paths, ImportSettings(positive="gone"))
    called = {name: frame.rename(columns={f"oof_{name[1]}": "p_leave"}) for name, frame in frames.items()}
    (tmp_path / "called").mkdir()
    paths = write_csvs(tmp_path / "called", **called)
    assert np.array_equal(fs.import_scores(paths, ImportSettings(scores="p_leave")).proba_NMC, table.proba_NMC)
    with pytest.raises(OOFError, match=r"'p_leave' is named like the class 'leave', but positive is 'stay'"):
        fs.import_scores(paths, ImportSettings(scores="p_leave", positive="stay"))


def test_one_file_of_all_members_needs_a_pattern_only(tmp_path, class_N, p_NM):
    wide = pd.DataFrame({"y_true": class_N} | {f"oof_m{i}": p_NM[:, i] for i in range(3)})
    settings = ImportSettings(scores="oof_{member}")
    wide.to_parquet(tmp_path / "wide.parquet")
    table = fs.import_scores([tmp_path / "wide.parquet"], settings)
    assert table.members == ("m0", "m1", "m2")
    assert table.proba_NMC[..., 1] == pytest.approx(p_NM, abs=1e-6)
    new = import_new_scores([tmp_path / "wide.parquet"], ("m2", "m0", "m1"), table.classes, settings)
    assert np.array_equal(new.proba_NMC, table.proba_NMC[:, [2, 0, 1]])
    _, one = read_one_member(tmp_path / "wide.parquet", "m2", table.classes, settings)
    assert np.array_equal(one[0], table.proba_NMC[:, 2])


@pytest.mark.parametrize(
    ("arrays", "members", "settings"),
    [
        (lambda p: {"pred": p}, ("m0", "m1", "m2"), {"positive": "1"}),
        (lambda p: {"pred": p[..., None]}, ("m0", "m1", "m2"), {}),
        (lambda p: {"pred": p, "members": ["a", "b", "c"]}, ("a", "b", "c"), {}),
        (lambda p: {"pred": p[:, :2], "members": ["a", "b"]}, ("a", "b"), {}),
        (lambda p: {"pred": p[:, 0]}, ("m0",), {}),
        (lambda p: {"pred": p[:, [0]]}, ("m0",), {}),
    ],
)
def test_an_npz_may_hold_one_probability_per_member(tmp_path, class_N, p_NM, arrays, members, settings):
    np.savez(tmp_path / "p.npz", y=class_N, **arrays(p_NM))
    table = fs.import_scores([tmp_path / "p.npz"], ImportSettings(**settings))
    assert (table.members, table.classes) == (members, ("0", "1"))
    assert table.proba_NMC[..., 1] == pytest.approx(p_NM[:, : len(members)], abs=1e-6)
    _, one = read_one_member(tmp_path / "p.npz", members[-1], table.classes, ImportSettings(**settings))
    assert np.array_equal(one[0], table.proba_NMC[:, -1])


def test_a_positive_class_of_an_npz_with_both_classes_has_no_effect(tmp_path, class_N, p_NM):
    np.savez(tmp_path / "p.npz", y=class_N, pred=np.stack([1 - p_NM, p_NM], -1))
    with pytest.raises(OOFError, match="positive would have no effect"):
        fs.import_scores([tmp_path / "p.npz"], ImportSettings(positive="1"))


@pytest.mark.parametrize("n_members", [2, 3])
def test_the_classifier_takes_one_column_per_member(class_N, p_NM, n_members):
    p_NM = p_NM[:, :n_members]
    sides = np.stack([1 - p_NM, p_NM], -1).reshape(N, -1)
    wanted_NC = StackedClassifier(Average()).fit(sides, class_N).predict_proba(sides)
    one = StackedClassifier(Average()).fit(p_NM, class_N)
    assert one.positive_ == 1
    assert one.predict_proba(p_NM) == pytest.approx(wanted_NC, abs=1e-6)
    names = np.asarray(["stay", "leave"])[class_N]
    with pytest.raises(StackError, match=r"name that class with positive|X .*sum"):
        StackedClassifier(Average()).fit(p_NM[:, :1], names)
    told = StackedClassifier(Average(), positive="leave").fit(p_NM, names)
    assert told.classes_.tolist() == ["leave", "stay"]
    assert told.predict_proba(p_NM)[:, ::-1] == pytest.approx(wanted_NC, abs=1e-6)
    with pytest.raises(StackError, match=r"positive must be one of two classes, got 'yes'"):
        StackedClassifier(Average(), positive="yes").fit(p_NM, names)


def test_the_case_from_the_field_is_stacked(tmp_path: Path, real):
    folder = real.parent / "cases" / "binary_one_column_a_member"
    wide = fs.import_scores([folder / "oof_predictions.csv"], ImportSettings(label="y_true", scores="oof_{member}"))
    assert wide.members == ("logreg", "histgb", "rf", "catboost")
    paths = [folder / "oof_logreg.csv", folder / "oof_rf.csv"]
    two = fs.import_scores(paths, ImportSettings(id="ID", label="Actual_Churn", scores="OOF_p_churn"))
    assert (len(two.members), two.classes) == (2, ("0", "1"))
