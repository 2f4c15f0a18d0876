from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from foldstill.data.folder import FolderData
from foldstill.errors import DataError


@pytest.fixture
def root(tmp_path, rng) -> Path:
    (tmp_path / "img" / "b").mkdir(parents=True)
    names = ["a.png", "b/c.png", "d.png"]
    for name in names[:2]:
        Image.fromarray(rng.integers(0, 255, (10, 12, 3), dtype=np.uint8)).save(tmp_path / "img" / name)
    Image.open(tmp_path / "img" / "a.png").save(tmp_path / "img" / "d.png", optimize=True)
    frame = pd.DataFrame({"file": names, "cat": [3, 0, 1], "dog": [1, 2, 1], "owner": ["x", "y", "z"]})
    frame["stem"] = [name[:-4] for name in names]
    frame["label"] = ["cat", "dog", "dog"]
    frame["cat_share"], frame["dog_share"], frame["n"] = frame["cat"] / (frame["cat"] + frame["dog"]), 0.0, 4
    frame["dog_share"] = 1 - frame["cat_share"]
    frame.to_csv(tmp_path / "votes.csv", index=False)
    frame.to_parquet(tmp_path / "votes.parquet")
    return tmp_path


@pytest.mark.parametrize("table", ["votes.csv", "votes.parquet"])
def test_a_folder_with_a_table_of_votes_is_a_data_set(root, table):
    data = FolderData(path="img", table=table, size=(8, 16), votes=("cat", "dog"), group="owner")
    dataset = data.load(root)
    assert dataset.view("image").shape == (3, 8, 16, 3)
    assert dataset.view("image").dtype == np.uint8
    assert dataset.labels.ids.tolist() == ["a.png", "b/c.png", "d.png"]
    assert dataset.labels.groups.tolist() == ["x", "y", "z"]
    assert dataset.labels.classes == ("cat", "dog")
    assert dataset.labels.votes_NC.tolist() == [[3, 1], [0, 2], [1, 1]]


def test_pixels_of_an_image_of_the_right_size_are_untouched(root):
    dataset = FolderData(path="img", table="votes.csv", size=(10, 12), votes=("cat", "dog")).load(root)
    assert (dataset.view("image")[0] == np.asarray(Image.open(root / "img" / "a.png"))).all()


def test_gray_images_have_one_channel(root):
    data = FolderData(path="img", table="votes.csv", size=8, color="gray", label="label", file="stem", suffix=".png")
    dataset = data.load(root)
    assert dataset.view("image").shape == (3, 8, 8, 1)
    assert dataset.labels.classes == ("cat", "dog")
    assert dataset.labels.votes_NC.tolist() == [[1, 0], [0, 1], [0, 1]]


def test_shares_with_a_total_are_votes(root):
    data = FolderData(
        path="img", table="votes.csv", size=8, shares=("cat_share", "dog_share"), total="n", classes=("cat", "dog")
    )
    assert data.load(root).labels.votes_NC.tolist() == [[3, 1], [0, 4], [2, 2]]


def test_identical_files_under_two_names_are_one_group(root):
    dataset = FolderData(path="img", table="votes.csv", size=8, votes=("cat", "dog"), group="content").load(root)
    assert dataset.labels.groups.tolist() == ["a.png", "b/c.png", "a.png"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "must name one of votes, shares, annotators, heads or label, got none"),
        ({"votes": ("a", "b"), "label": "c"}, r"got \['votes', 'label'\]"),
        ({"label": "c", "size": 0}, "size must be positive"),
        ({"label": "c", "total": 2.0}, "data: total goes with shares only"),
        ({"label": "c", "path": ""}, "path must be the folder of images, got an empty path"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings, message):
    with pytest.raises(DataError, match=message):
        FolderData(**({"path": "img", "table": "votes.csv"} | settings))


def test_missing_images_are_named_before_any_is_read(root):
    (root / "img" / "d.png").unlink()
    with pytest.raises(DataError, match=r"1 of 3 images are not in .*img; first: \['d.png'\]"):
        FolderData(path="img", table="votes.csv", votes=("cat", "dog")).load(root)


def test_a_file_that_is_no_image_is_named(root):
    (root / "img" / "d.png").write_text("not an image")
    with pytest.raises(DataError, match=r"d.png cannot be read as an image .*replace the file or drop its row"):
        FolderData(path="img", table="votes.csv", votes=("cat", "dog")).load(root)


def test_a_missing_column_lists_those_there_are(root):
    with pytest.raises(DataError, match=r"has no 'bird' .for votes., it has .*'cat'"):
        FolderData(path="img", table="votes.csv", votes=("cat", "bird")).load(root)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("votes.parquet", "file,cat\na.png,1\n", "is not a parquet file .*name it by what it is"),
        ("empty.csv", "", "is not a CSV file"),
        ("header.csv", "file,cat\n", "has no rows"),
        ("votes.xlsx", "x", "must be named .csv"),
    ],
)
def test_tables_that_are_not_what_their_name_says_are_refused(root, name, content, message):
    (root / name).write_text(content)
    with pytest.raises(DataError, match=message):
        FolderData(path="img", table=name, votes=("cat", "dog")).load(root)
    with pytest.raises(DataError, match=r"no file"):
        FolderData(path="img", table="none.csv", votes=("cat", "dog")).load(root)


def test_each_subfolder_is_a_class(tmp_path, rng):
    for name in ("dog/b.png", "cat/2.PNG", "cat/deep/1.png", ".cache/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / name)
    dataset = FolderData(path=".", size=8).load(tmp_path)
    assert dataset.labels.ids.tolist() == ["cat/2.PNG", "cat/deep/1.png", "dog/b.png"]
    assert dataset.labels.classes == ("cat", "dog")
    assert dataset.labels.votes_NC.tolist() == [[1, 0], [1, 0], [0, 1]]
    ordered = FolderData(path=".", size=8, classes=("dog", "cat", "owl")).load(tmp_path)
    assert ordered.labels.votes_NC.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]
    with pytest.raises(DataError, match="dog"):
        FolderData(path=".", size=8, classes=("cat", "owl")).load(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"one subfolder of images per class, got 1 images beside them, first loose"):
        FolderData(path=".", size=8).load(tmp_path)


def test_columns_without_a_table_are_refused():
    with pytest.raises(DataError, match=r"data\.label names a column of data\.table, and there is no table"):
        FolderData(path="img", label="label")
    with pytest.raises(DataError, match=r"data\.group must be 'content' or empty where there is no data\.table"):
        FolderData(path="img", group="owner")
