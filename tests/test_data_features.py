"""Feature tables: what becomes a number or a category, rows matched by name, and the file they come from."""

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from foldstill.data import Dataset, FeatureTable, Labels, TableData
from foldstill.data.feature_form import FeatureForm
from foldstill.data.features import Feature
from foldstill.errors import DataError, ExperimentError, FoldError
from foldstill.pipeline.experiment import FoldSettings
from foldstill.pipeline.experiment_file import parse_experiment

FRAME = pd.DataFrame(
    {
        "carat": [0.3, np.nan, 1.2, 0.5],
        "color": ["E", "D", None, "E"],
        "grade": pd.Categorical([10, 2, 10, 2]),
        "count": pd.array([1, None, 3, 4], dtype="Int64"),
        "set": [True, False, True, True],
    }
)


def test_text_and_pandas_categories_are_categories_and_all_else_is_a_number() -> None:
    table = FeatureTable.of(FRAME)
    assert [str(feature) for feature in table.features] == [
        "carat (number)",
        "color (category with 2 levels)",
        "grade (category with 2 levels)",
        "count (number)",
        "set (number)",
    ]
    assert (table.features[1].levels, table.features[2].levels) == (("D", "E"), ("2", "10"))
    np.testing.assert_array_equal(table.values_NF[:, 1], [1, 0, np.nan, 1])
    np.testing.assert_array_equal(table.values_NF[:, 3], [1, np.nan, 3, 4])
    assert table.frame()["color"].tolist()[:2] == ["E", "D"]


def test_a_polars_frame_and_an_array_give_the_same_table_as_a_pandas_frame() -> None:
    columns = {"a": [1.0, None, 3.0], "b": ["x", "y", None]}
    ours, theirs = FeatureTable.of(pd.DataFrame(columns)), FeatureTable.of(pl.DataFrame(columns))
    assert ours.features == theirs.features
    np.testing.assert_array_equal(ours.values_NF, theirs.values_NF)
    assert FeatureTable.of(np.ones((2, 3), np.int32)).names == ("f0", "f1", "f2")


def test_columns_are_matched_by_name_and_levels_by_name() -> None:
    trained = FeatureTable.of(FRAME)
    new = FeatureTable.of(FRAME.assign(color=["E", "J", "D", "D"])[["color", "set", "count", "grade", "carat"]])
    aligned = new.aligned(trained.features)
    np.testing.assert_array_equal(aligned.values_NF[:, 1], [1, np.nan, 0, 0])  # J was never seen
    np.testing.assert_array_equal(aligned.values_NF[:, [0, 2, 3, 4]], trained.values_NF[:, [0, 2, 3, 4]])
    with pytest.raises(DataError, match=r"the rows lack \['carat'\]: give every feature under the name"):
        FeatureTable.of(FRAME.drop(columns="carat")).aligned(trained.features)
    with pytest.raises(DataError, match=r"wants feature 'color' as a category, as in training, got a number"):
        FeatureTable.of(FRAME.assign(color=[1, 2, 3, 4])).aligned(trained.features)


def test_a_form_keeps_what_a_model_was_trained_on() -> None:
    form = FeatureForm(FeatureTable.of(FRAME).features)
    assert FeatureForm.from_json(form.as_json()) == form
    form.check(FeatureTable.of(FRAME), "features")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pd.DataFrame({"a": [1.0, np.inf]}), "feature 'a' holds infinite values"),
        (pd.DataFrame({"day": pd.to_datetime(["2020-01-01", "2020-01-02"])}), "feature 'day' holds dates or times"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), r"must have different names, got \['a', 'a'\]"),
        (np.array([["a"]]), "must be an array of numbers"),
        (3, "must be a pandas or polars frame, or an array"),
    ],
)
def test_what_cannot_be_a_feature_is_refused(values: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        FeatureTable.of(values)


def test_codes_without_a_level_are_refused() -> None:
    with pytest.raises(DataError, match="feature 'color' has 2 levels, got codes from 0 to 2"):
        FeatureTable(np.array([[0.0], [2.0]]), (Feature("color", ("D", "E")),))


def test_a_dataset_takes_frames_and_refuses_a_feature_that_is_all_missing() -> None:
    labels = Labels.from_hard([0, 1, 0, 1])
    dataset = Dataset(labels, {"features": FRAME})
    assert dataset.view("features").shape == (4, 5)
    assert dataset.digest == Dataset(labels, {"features": FeatureTable.of(FRAME)}).digest
    assert dataset.digest != Dataset(labels, {"features": FRAME.rename(columns={"set": "Set"})}).digest
    with pytest.raises(DataError, match=r"feature 'count' is missing in every row: leave the column out"):
        Dataset(labels, {"features": FRAME.assign(count=[None] * 4)})


TEXT = """id,size,code,color,owner,cut,weight
a,1.5,01,red,x,good,1
b,,02,blue,x,bad,2
c,2.5,01,red,y,good,1
d,1.5,02,,z,bad,1
"""


def read(folder: Path, **settings: object) -> Dataset:
    (folder / "d.csv").write_text(TEXT, encoding="utf-8")
    return TableData(path="d.csv", **{"label": "cut", "id": "id"} | settings).load(folder)


def test_columns_without_another_role_are_features(tmp_path: Path) -> None:
    dataset = read(tmp_path, group="owner", weight="weight", categories=("code",))
    table = dataset.view("features")
    assert isinstance(table, FeatureTable)
    assert [(each.name, each.levels) for each in table.features] == [
        ("size", None),
        ("code", ("01", "02")),
        ("color", ("blue", "red")),
    ]
    assert dataset.labels.groups.tolist() == ["x", "x", "y", "z"]
    assert dataset.labels.sample_weight_N.tolist() == [1, 2, 1, 1]
    assert read(tmp_path, features=("size",)).view("features").shape == (4, 1)
    assert read(tmp_path, ignored=("owner", "weight")).view("features").shape == (4, 3)


def test_a_column_of_folds_is_the_plan_and_no_feature(tmp_path: Path) -> None:
    dataset = read(tmp_path, fold="weight", ignored=("owner",))
    assert dataset.fold_N is not None
    assert dataset.fold_N.tolist() == [1, 2, 1, 1]
    assert dataset.view("features").shape == (4, 3)
    plan = FoldSettings().plan(dataset.labels, 0, tmp_path, dataset.fold_N)
    assert plan.fold_N.tolist() == [0, 1, 0, 0]
    with pytest.raises(FoldError, match=r"'size' in .*d\.csv must hold a whole number per row, -1 for test rows"):
        read(tmp_path, fold="size")
    text = 'name = "t"\n[data]\nkind = "table"\npath = "d.csv"\nlabel = "cut"\nfold = "weight"\n[folds]\nn_folds = 3\n'
    with pytest.raises(ExperimentError, match=r"data\.fold takes the folds from the column 'weight', and \[folds\]"):
        parse_experiment(text + '[[member]]\nkind = "lightgbm"\nname = "m"\n', "t.toml")


def test_annotators_are_columns_of_names_or_of_indices(tmp_path: Path) -> None:
    named = "first,second,third,x\ngood,bad,,1\ngood,good,good,2\nbad,,,3\n"
    indices = "first,second,third,x\n0,1,,1\n0,0,0,2\n1,-1,,3\n"
    columns = ("first", "second", "third")
    for text in (named, indices):
        (tmp_path / "d.csv").write_text(text, encoding="utf-8")
        dataset = TableData(path="d.csv", annotators=columns, classes=("good", "bad")).load(tmp_path)
        assert dataset.labels.votes_NC.tolist() == [[1, 1], [3, 0], [0, 1]]
        assert dataset.view("features").shape == (3, 1)
    (tmp_path / "d.csv").write_text(named, encoding="utf-8")
    with pytest.raises(DataError, match=r"d\.csv: annotators without class names must hold .*, got good: name the"):
        TableData(path="d.csv", annotators=columns).load(tmp_path)
    with pytest.raises(DataError, match=r"got \['annotators', 'label'\]: keep one"):
        TableData(path="d.csv", annotators=columns, label="x")


def test_rows_with_equal_features_can_be_one_group(tmp_path: Path) -> None:
    dataset = read(tmp_path, group="content", features=("code",))
    assert dataset.labels.groups.tolist() == ["a", "b", "a", "b"]


def test_parquet_keeps_categories_and_its_labels_are_votes_or_shares(tmp_path: Path) -> None:
    features = FRAME.assign(grade=pd.Categorical(["low", "high", "low", None]))
    features.assign(yes=[3, 0, 1, 2], no=[0, 2, 1, 2]).to_parquet(tmp_path / "d.parquet")
    dataset = TableData(path="d.parquet", votes=("yes", "no")).load(tmp_path)
    assert dataset.view("features").features == FeatureTable.of(features).features  # type: ignore[union-attr]
    assert dataset.labels.total_N.tolist() == [3, 2, 2, 4]


def test_mistakes_in_the_settings_of_a_table_name_the_column(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.features names 'cut', which plays another role"):
        TableData(path="d.csv", label="cut", features=("size", "cut"))
    with pytest.raises(DataError, match=r"data\.ignored has no effect where data\.features names the features"):
        TableData(path="d.csv", label="cut", features=("size",), ignored=("owner",))
    with pytest.raises(DataError, match=r"no 'sise' \(for features\), it has"):
        read(tmp_path, features=("sise",))
    with pytest.raises(DataError, match=r"categories name 'zip', which is none of the features"):
        read(tmp_path, categories=("zip",))
