"""Rows without a held-out prediction, as time-ordered folds leave the first ones."""

import numpy as np
import pandas as pd
import pytest

import foldstill as fs
from foldstill.compare.table import arms_table
from foldstill.errors import FoldstillWarning, OOFError
from foldstill.oof import ImportSettings
from foldstill.oof.new_scores import import_new_scores
from foldstill.stacking.averages import Average
from foldstill.stacking.recalibrate import Recalibrated
from made_up import write_csvs

N, FIRST = 72, 12
NOTE = "12 of 72 rows have no held-out prediction by any member; the other 60 are used"


@pytest.fixture
def table(rng) -> dict[str, np.ndarray]:
    """Scores, labels and folds of three classes; the first rows are in no fold."""
    class_N = np.arange(N) % 3
    proba_NMC = rng.dirichlet(np.ones(3), (N, 2)) * 0.5 + np.eye(3)[class_N][:, None] * 0.5
    proba_NMC[:FIRST] = np.nan
    fold_N = (np.arange(N) - FIRST) // 20.0
    fold_N[:FIRST] = np.nan
    return {"scores": proba_NMC, "class": class_N, "fold": fold_N, "group": np.arange(N) // 2}


def _check(imported, table) -> None:
    assert (len(imported), imported.n_unscored, imported.folds) == (N - FIRST, FIRST, [0, 1, 2])
    assert imported.proba_NMC == pytest.approx(table["scores"][FIRST:], abs=1e-6)
    assert imported.labels.votes_NC.argmax(axis=1).tolist() == table["class"][FIRST:].tolist()


def test_arrays_keep_the_scored_rows_and_say_how_many(table):
    with pytest.warns(FoldstillWarning, match=NOTE):
        made = fs.oof_table(table["scores"], table["class"], groups=table["group"], folds=table["fold"])
    _check(made, table)
    members = {"a": table["scores"][:, 0], "b": pd.DataFrame(table["scores"][:, 1], columns=[*"012"])}
    with pytest.warns(FoldstillWarning, match=NOTE):
        _check(fs.oof_table(members, table["class"], groups=table["group"], folds=table["fold"]), table)


@pytest.mark.parametrize("form", ["npz", "wide", "members", "one column"])
def test_files_keep_the_scored_rows(table, tmp_path, form):
    truth = {"id": np.arange(N), "label": table["class"], "fold": table["fold"], "group": table["group"]}
    if form == "npz":
        np.savez(tmp_path / "p.npz", pred=table["scores"], classes=["0", "1", "2"], **truth)
        paths, settings = [tmp_path / "p.npz"], ImportSettings()
    elif form == "wide":
        columns = {f"p__{m}__{c}": table["scores"][:, i, c] for i, m in enumerate("ab") for c in range(3)}
        paths, settings = write_csvs(tmp_path, wide=pd.DataFrame(truth | columns)), ImportSettings()
    elif form == "members":
        frames = {m: pd.DataFrame(table["scores"][:, i], columns=[*"012"]) for i, m in enumerate("ab")}
        frames = {m: frame.assign(id=np.arange(N))[::-1] for m, frame in frames.items()}
        (labels,) = write_csvs(tmp_path, truth=pd.DataFrame(truth))
        paths, settings = write_csvs(tmp_path, **frames), ImportSettings(labels=str(labels))
    else:
        columns = {f"oof_{m}": table["scores"][:, i, 1] for i, m in enumerate("ab")}
        frame = pd.DataFrame(truth | columns).assign(label=table["class"] % 2)
        paths, settings = write_csvs(tmp_path, wide=frame), ImportSettings(scores="oof_{member}")
    with pytest.warns(FoldstillWarning, match=NOTE):
        imported = fs.import_scores(paths, settings)
    if form == "one column":
        assert imported.proba_NMC[..., 1] == pytest.approx(table["scores"][FIRST:, :, 1], abs=1e-6)
    else:
        _check(imported, table)
    fs.write_table(imported, tmp_path / "oof.parquet")
    assert fs.read_table(tmp_path / "oof.parquet").n_unscored == FIRST


def test_rows_that_some_members_predict_are_refused_with_their_ids(table):
    table["scores"][5, 0] = 1 / 3
    with pytest.raises(OOFError, match=r"1 of 72 rows hold NaN or infinity for members \['m1'\].*first ids: \['5'\]"):
        fs.oof_table(table["scores"], table["class"])
    table["scores"][5] = 1 / 3
    table["scores"][6] = [[np.nan, 0.5, 0.5]] * 2
    with pytest.raises(OOFError, match=r"2 of 144 rows hold NaN or infinity, first at \(6, 0\)"):
        fs.oof_table(table["scores"], table["class"])
    with pytest.raises(OOFError, match="all 72 rows hold NaN"):
        fs.oof_table(np.full((N, 2, 3), np.nan), table["class"], classes=["0", "1", "2"])


def test_an_error_elsewhere_names_the_position_of_the_row(table):
    table["scores"][40, 1] *= 3
    with pytest.raises(OOFError, match=r"got values from .* to"):
        fs.oof_table(table["scores"], table["class"])
    table["scores"][40, 1] = [0.5, 0.1, 0.1]
    with pytest.raises(OOFError, match=r"first at \(40, 1\), sum 0.7"):
        fs.oof_table(table["scores"], table["class"])


def test_rounded_predictions_may_have_unscored_rows(table):
    rounded = table["scores"].round(2)
    with pytest.warns(FoldstillWarning, match="because they are rounded"), pytest.warns(FoldstillWarning, match=NOTE):
        made = fs.oof_table(rounded, table["class"])
    assert made.proba_NMC == pytest.approx(rounded[FIRST:], abs=0.01)


def test_the_comparison_says_how_many_rows_it_rests_on(table):
    with pytest.warns(FoldstillWarning, match=NOTE):
        made = fs.oof_table(table["scores"], table["class"], groups=table["group"], folds=table["fold"])
    comparison = fs.stack(made, [Average(), Recalibrated()]).compare()
    assert (comparison.n_rows, comparison.n_unscored) == (N - FIRST, FIRST)
    assert "60 of 72 rows have a held-out prediction and are compared" in str(arms_table(comparison).caption)


def test_new_rows_without_a_prediction_are_refused(table, tmp_path):
    frames = {m: pd.DataFrame(table["scores"][:, i], columns=[*"012"]) for i, m in enumerate("ab")}
    with pytest.raises(OOFError, match=r"12 of 72 rows hold NaN or infinity"):
        import_new_scores(write_csvs(tmp_path, **frames), ("a", "b"), ("0", "1", "2"))
