"""Files as people have them: labels, scores and folds by name, or a refusal that says what to do."""

import numpy as np
import pandas as pd
import pytest

from foldstill.data.simplex import kl_divergence
from foldstill.errors import DataError, FoldstillWarning, OOFError
from foldstill.oof import ImportSettings, OOFTable, import_scores
from made_up import write_csvs

N = 120


def informative(rng: np.random.Generator, class_N: np.ndarray, n_classes: int) -> np.ndarray:
    """Probabilities (N, C) that mostly name the class."""
    return 0.5 * rng.dirichlet(np.ones(n_classes), len(class_N)) + 0.5 * np.eye(n_classes)[class_N]


def kl(table: OOFTable) -> float:
    return kl_divergence(target=table.labels.target_NC, proba=table.proba_NMC[:, 0])


@pytest.mark.parametrize(
    ("names", "columns", "label", "scores"),
    [
        (range(1, 7), "{}", "label", ""),
        (range(1, 7), "score_{}", "score", "score_{class}"),
        (range(1, 7), "p_{}", "Target", ""),
        (sorted(range(12), key=str), "{}", "label", ""),
        ([-1, 0, 1], "{}", "y", ""),
        ([3, 7, 20], "{}_prediction", "class", ""),
        ([1, 2, 3, 4], "grade_{}", "label", ""),
        (["NA", "None", "rem"], "{}", "label", ""),
        (["001", "010", "100"], "{}", "label", ""),
    ],
    ids=["from 1", "a score per grade", "prefix", "text order", "-1", "sparse", "grades", "NA", "leading zeros"],
)
def test_labels_and_columns_are_matched_by_name(tmp_path, rng, names, columns, label, scores):
    names = [str(name) for name in names]
    # Nobody has the last class.
    class_N = rng.integers(0, len(names) - 1, N)
    proba_NC = informative(rng, class_N, len(names))
    ids = [f"r{i}" for i in range(N)]
    member = pd.DataFrame(proba_NC, columns=[columns.format(name) for name in names])
    member.insert(0, "row", ids)
    truth = pd.DataFrame({"row": ids, label: np.asarray(names)[class_N]})
    m0, labels = write_csvs(tmp_path, m0=member, labels=truth)
    table = import_scores([m0], ImportSettings(labels=str(labels), scores=scores, label=label if scores else ""))
    votes = dict(zip(table.classes, table.labels.votes_NC.sum(axis=0), strict=True))
    assert {name.removeprefix("grade_"): count for name, count in votes.items()} == {
        name: (class_N == i).sum() for i, name in enumerate(names)
    }
    assert kl(table) == pytest.approx(-np.log(proba_NC[np.arange(N), class_N]).mean(), abs=1e-5)


def test_positions_are_used_only_without_names_and_a_note_says_so(tmp_path, rng):
    class_N = rng.integers(0, 3, N)
    named = pd.DataFrame(informative(rng, class_N, 3), columns=["cat", "dog", "owl"]).assign(label=class_N)
    with pytest.warns(FoldstillWarning, match=r"taken as positions: 0 is 'cat', 1 is 'dog'"):
        table = import_scores(write_csvs(tmp_path, m0=named))
    assert table.labels.votes_NC.argmax(axis=1).tolist() == class_N.tolist()
    np.savez(tmp_path / "t.npz", pred=informative(rng, class_N, 5), label=class_N)
    with pytest.warns(FoldstillWarning, match=r"no class names, so their columns are taken to be \['0', '1', '2', '3'"):
        assert import_scores([tmp_path / "t.npz"]).classes == ("0", "1", "2", "3", "4")


def test_predictions_are_never_labels(tmp_path, rng):
    class_N = rng.integers(0, 5, N)
    proba_NC = informative(rng, class_N, 5)
    frame = pd.DataFrame(proba_NC, columns=[f"c{i}" for i in range(5)])
    frame.insert(0, "image_id", [f"{i}.jpg" for i in range(N)])
    m0, m1 = write_csvs(tmp_path, m0=frame.assign(label=class_N), m1=frame[::-1].assign(label=class_N[::-1]))
    table = import_scores([m0, m1])
    assert kl(table) == pytest.approx(-np.log(proba_NC[np.arange(N), class_N]).mean(), abs=1e-5)
    assert table.proba_NMC[:, 0] == pytest.approx(table.proba_NMC[:, 1])
    for columns in ("{}", "p_{}", "{}_vote"):
        bare = frame.rename(columns={f"c{i}": columns.format(f"c{i}") for i in range(5)})
        with pytest.raises(OOFError, match=r"m0.csv has no (labels|column)"):
            import_scores(write_csvs(tmp_path, m0=bare))


def test_shares_and_their_total_are_obeyed_where_usual_names_are_found_too(tmp_path, rng):
    counts_NC = rng.integers(0, 9, (N, 3)) + np.eye(3)[rng.integers(0, 3, N)]
    n_N = counts_NC.sum(axis=1)
    shares = pd.DataFrame(counts_NC / n_N[:, None], columns=["a_vote", "b_vote", "c_vote"])
    scores = pd.DataFrame(rng.dirichlet(np.ones(3), N), columns=["a_pred", "b_pred", "c_pred"])
    paths = write_csvs(tmp_path, m0=pd.concat([shares, scores], axis=1).assign(id=range(N), n=n_N))
    table = import_scores(paths, ImportSettings(shares="{class}_vote", total="n"))
    assert table.labels.votes_NC == pytest.approx(counts_NC)
    with pytest.raises(OOFError, match=r"total goes with shares only, got total = 'n' with votes in .*m0.csv"):
        import_scores(paths, ImportSettings(total="n"))
    with pytest.raises(OOFError, match=r"no two columns like 'share_\{class\}' \(for shares\)"):
        import_scores(paths, ImportSettings(shares="share_{class}"))
    with pytest.raises(OOFError, match=r"pred would have no effect on .*m0.csv"):
        import_scores(paths, ImportSettings(pred="x"))
    with pytest.raises(
        OOFError, match=r"m0.csv: member 'm0' has one column per class, so positive = 'a' would have no"
    ):
        import_scores(paths, ImportSettings(positive="a"))
    wide = scores.rename(columns=lambda name: f"p__m__{name[0]}").assign(label=["a", "b", "c"] * (N // 3))
    [path] = write_csvs(tmp_path, wide=wide)
    with pytest.raises(OOFError, match=r"positive would have no effect on .*wide.csv"):
        import_scores([path], ImportSettings(positive="a"))


def test_ids_match_between_text_and_numbers_by_their_exact_text(tmp_path, rng):
    class_N = rng.integers(0, 2, N)
    frame = pd.DataFrame(informative(rng, class_N, 2), columns=["a", "b"])
    truth = pd.DataFrame({"id": [f"{7 * i:06}" for i in range(N)], "label": np.asarray(["a", "b"])[class_N]})
    (labels,) = write_csvs(tmp_path, labels=truth)
    frame.assign(id=truth["id"]).to_parquet(tmp_path / "text.parquet")
    frame.set_axis(truth["id"].to_numpy()).to_parquet(tmp_path / "index.parquet")
    frame.assign(id=range(0, 7 * N, 7)).to_parquet(tmp_path / "numbers.parquet")
    settings = ImportSettings(labels=str(labels))
    for name in ("text", "index"):
        assert kl(import_scores([tmp_path / f"{name}.parquet"], settings)) < 0.6
    with pytest.raises(
        DataError, match=r"first ids: \['000000', .*it has ids such as \['0', '7', '14'\]: .*the same way"
    ):
        import_scores([tmp_path / "numbers.parquet"], settings)
    truth["id"] = [f"{7 * i}.0" for i in range(N)]
    write_csvs(tmp_path, labels=truth)
    assert kl(import_scores([tmp_path / "numbers.parquet"], settings)) < 0.6


@pytest.mark.parametrize(("digits", "n_classes"), [(2, 6), (3, 6), (2, 12), (3, 60)])
def test_rounded_probabilities_are_accepted_within_their_rounding(tmp_path, rng, digits, n_classes):
    class_N = np.arange(N) % n_classes
    exact = informative(rng, class_N, n_classes)
    frame = pd.DataFrame(exact.round(digits), columns=[f"c{i}" for i in range(n_classes)])
    frame = frame.assign(label=class_N, fold=np.arange(N) % 2)
    paths = write_csvs(tmp_path, m0=frame)
    with pytest.warns(FoldstillWarning, match=r"member 'm0': \d+ of 120 rows sum to .* because they are rounded"):
        table = import_scores(paths)
    assert table.proba_NMC[:, 0].sum(axis=1) == pytest.approx(np.ones(N), abs=1e-6)
    frame["c0"] += n_classes * 10.0**-digits
    with pytest.raises(OOFError, match="rows must sum to 1"):
        import_scores(write_csvs(tmp_path, m0=frame))


def test_one_column_per_member_holds_the_probability_of_the_positive_class(tmp_path, rng):
    class_N = rng.integers(0, 2, N)
    positive_N = informative(rng, class_N, 2)[:, 1]
    wide = pd.DataFrame({"y_true": class_N, "oof_rf": positive_N, "oof_gbm": positive_N**2})
    paths = write_csvs(tmp_path, wide=wide)
    table = import_scores(paths, ImportSettings(scores="oof_{member}", positive="1"))
    assert (table.members, table.classes) == (("rf", "gbm"), ("0", "1"))
    assert table.proba_NMC[:, 0, 1] == pytest.approx(positive_N, abs=1e-6)
    negative = import_scores(paths, ImportSettings(scores="oof_{member}", positive="0"))
    assert negative.proba_NMC[:, 0, 0] == pytest.approx(positive_N, abs=1e-6)
    one = pd.DataFrame({"ID": range(N), "Actual": class_N, "p": positive_N})
    paths = write_csvs(tmp_path, rf=one, gbm=one[::-1])
    table = import_scores(paths, ImportSettings(id="ID", label="Actual", scores="p", positive="1"))
    assert table.proba_NMC[:, 1, 1] == pytest.approx(positive_N, abs=1e-6)
    with pytest.raises(OOFError, match=r"positive = 'yes' must be one of two classes, the labels have \['0', '1'\]"):
        import_scores(paths, ImportSettings(id="ID", label="Actual", scores="p", positive="yes"))
    with pytest.raises(OOFError, match=r"leave \{class\} out"):
        ImportSettings(scores="oof_{member}_{class}")


def test_members_with_other_folds_and_folds_given_twice_are_refused(tmp_path, rng):
    class_N = rng.integers(0, 2, N)
    frame = pd.DataFrame(informative(rng, class_N, 2), columns=["a", "b"]).assign(id=range(N))
    truth = pd.DataFrame({"id": range(N), "label": np.asarray(["a", "b"])[class_N], "fold": np.arange(N) % 3})
    same, other = frame.assign(fold=(np.arange(N) + 1) % 3), frame.assign(fold=np.arange(N) % 4)
    m0, m1, labels = write_csvs(tmp_path, m0=same, m1=other, labels=truth)
    assert import_scores([m0], ImportSettings(labels=str(labels))).folds == [0, 1, 2]
    with pytest.raises(OOFError, match=r"m1.csv holds other folds than .*labels.csv for 90 of 120 rows"):
        import_scores([m0, m1], ImportSettings(labels=str(labels)))
    (folds,) = write_csvs(tmp_path, folds=pd.concat([truth[["id", "fold"]], pd.DataFrame({"id": [7], "fold": [0]})]))
    with pytest.raises(OOFError, match=r"folds.csv names 1 ids or groups more than once; first: \['7'\]"):
        import_scores([m0], ImportSettings(labels=str(labels), folds=str(folds)))


@pytest.mark.parametrize(
    ("fold", "message"),
    [
        ([0.5, 1.0] * (N // 2), "whole number per row"),
        (["0", None] * (N // 2), "NaN"),
        ([-1, 0, 1, 2] * (N // 4), "no test rows"),
        (["-1", "a", "b", "c"] * (N // 4), "folds hold -1, which stands for locked test rows"),
    ],
)
def test_folds_that_are_none_are_refused(tmp_path, rng, fold, message):
    class_N = rng.integers(0, 2, N)
    frame = pd.DataFrame(informative(rng, class_N, 2), columns=["a", "b"])
    paths = write_csvs(tmp_path, m0=frame.assign(label=np.asarray(["a", "b"])[class_N], fold=fold))
    with pytest.raises((OOFError, DataError, ValueError), match=message):
        import_scores(paths)


@pytest.mark.parametrize("value", ["many", "1,000", "x"])
def test_text_in_a_column_of_numbers_is_refused_with_file_and_column(tmp_path, rng, value):
    class_N = rng.integers(0, 2, N)
    frame = pd.DataFrame(informative(rng, class_N, 2), columns=["a", "b"]).assign(id=range(N))
    votes = pd.DataFrame(np.eye(2, dtype=int)[class_N], columns=["a_vote", "b_vote"]).assign(id=range(N))
    wrong, odd = votes.astype(object), frame.astype(object)
    wrong.loc[3, "a_vote"] = odd.loc[3, "b"] = value
    m0, m1, labels, bad = write_csvs(tmp_path, m0=frame, m1=odd, labels=votes, bad=wrong)
    with pytest.raises(
        DataError, match=r"'a_vote' in .*bad.csv \(for votes\) must be numbers, 1 of 120 values are not"
    ):
        import_scores([m0], ImportSettings(labels=str(bad)))
    with pytest.raises(DataError, match=r"'b' in .*m1.csv \(for scores\) must be numbers, 1 of 120 values are not"):
        import_scores([m0, m1], ImportSettings(labels=str(labels)))


@pytest.mark.parametrize("names", [("x", "y", "z"), ("X", "Y", "Z"), ("target", "class", "other")])
@pytest.mark.parametrize("columns", ["{}", "{}_vote"])
def test_a_class_may_be_called_like_a_usual_column_of_labels(tmp_path, rng, names, columns):
    counts_NC = rng.integers(0, 3, (N, 3)) + np.eye(3, dtype=int)[np.arange(N) % 3]
    member = pd.DataFrame(rng.dirichlet(np.ones(3), N), columns=list(names)).assign(id=range(N))
    votes = pd.DataFrame(counts_NC, columns=[columns.format(name) for name in names]).assign(id=range(N))
    m0, labels = write_csvs(tmp_path, m0=member, labels=votes)
    table = import_scores([m0], ImportSettings(labels=str(labels)))
    assert table.classes == names
    assert table.labels.votes_NC.tolist() == counts_NC.tolist()
