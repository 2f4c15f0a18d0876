"""Predictions of new rows, one file per member and without labels, combined by a fitted combination."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import foldstill as fs
from foldstill.errors import FoldstillError, OOFError
from foldstill.oof.exports import write_scores_as
from foldstill.oof.new_scores import import_new_scores, match_members
from foldstill.oof.table import ScoreTable
from foldstill.pipeline import apply_combination
from foldstill.stacking import fit, save
from foldstill.stacking.averages import Average

CLASSES = ("cat", "dog", "owl")


@pytest.fixture
def combination(tmp_path: Path, rng: np.random.Generator) -> Path:
    votes = np.eye(3)[rng.integers(0, 3, 60)]
    scores = {name: rng.dirichlet(np.ones(3), 60) for name in ("cnn", "gbm")}
    table = fs.oof_table(scores, fs.Labels.from_votes(votes, classes=CLASSES), folds=np.arange(60) % 2)
    save(fit(Average(), table), tmp_path / "stacking" / "average")
    return tmp_path / "stacking" / "average"


def _files(folder: Path, rng: np.random.Generator, suffix: str = ".csv") -> tuple[list[Path], np.ndarray]:
    """Files of two members in other orders of rows and classes, and the scores in the order of the first."""
    folder.mkdir()
    proba_NMC = rng.dirichlet(np.ones(3), (8, 2))
    paths = []
    for m, name in enumerate(("test_cnn", "test_gbm")):
        frame = pd.DataFrame(proba_NMC[:, m], columns=CLASSES).assign(id=[f"00{i}" for i in range(8)])
        frame = frame if m == 0 else frame.iloc[::-1][["owl", "id", "cat", "dog"]]
        paths.append(folder / f"{name}{suffix}")
        frame.to_csv(paths[-1], index=False) if suffix == ".csv" else frame.to_parquet(paths[-1])
    return paths, proba_NMC


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("out", ["p.csv", "p.parquet"])
def test_new_rows_are_combined_from_a_file_per_member(tmp_path, rng, combination, suffix, out):
    paths, proba_NMC = _files(tmp_path / "test", rng, suffix)
    combined, fitted = apply_combination(combination, paths[::-1], tmp_path / out)
    assert fitted.members == ("cnn", "gbm")
    expected = proba_NMC.mean(axis=1)
    assert combined.ids.tolist() == [f"00{i}" for i in range(8)]
    assert combined.proba_NMC[:, 0] == pytest.approx(expected, abs=1e-6)
    if out == "p.csv":
        frame = pd.read_csv(tmp_path / out, dtype={"id": str})
        assert frame.columns.tolist() == ["id", *CLASSES]
        assert frame["dog"].to_numpy() == pytest.approx(expected[:, 1], abs=1e-6)


def test_files_that_do_not_fit_the_members_are_refused_before_anything_is_written(tmp_path, rng, combination):
    paths, _ = _files(tmp_path / "test", rng)
    (tmp_path / "test" / "test_net.csv").write_bytes(paths[0].read_bytes())
    for tables, out, message in (
        (paths[:1], "p.csv", r"members \['cnn', 'gbm'\] have no file, and files \['test_cnn'\] have no member"),
        ([paths[0], tmp_path / "test" / "test_net.csv"], "p.csv", r"\['gbm'\] have no file, and files \['test_net'\]"),
        (paths, "p.txt", r"p.txt"),
    ):
        with pytest.raises(FoldstillError, match=message):
            apply_combination(combination, tables, tmp_path / out)
        assert not (tmp_path / out).exists()
    pd.read_csv(paths[1]).drop(columns="owl").to_csv(paths[1], index=False)
    with pytest.raises(OOFError, match=r"member 'gbm' has no scores for \['owl'\]"):
        import_new_scores(paths, ("cnn", "gbm"), CLASSES)


def test_members_are_matched_to_files_by_name():
    assert match_members(["b", "a"], ["a", "b"]) == ["a", "b"]
    assert match_members(["m_a.test", "m_b.test"], ["oof-b", "oof-a"]) == ["m_b.test", "m_a.test"]
    for names in (["n0", "n1"], ["a", "a_b"], ["x"]):
        with pytest.raises(OOFError, match=r"have no file, and files .* have no member"):
            match_members(names, ["m0", "m1"])


def test_a_class_called_id_does_not_overwrite_the_ids(tmp_path):
    scores = ScoreTable(np.array(["r"]), ("m",), ("id", "other"), np.array([[[0.25, 0.75]]], np.float32))
    write_scores_as(scores, tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == "id,p__id,p__other\nr,0.25,0.75\n"
