from pathlib import Path

import numpy as np
import pytest

from foldstill.data.npz import NpzData
from foldstill.errors import DataError


@pytest.fixture
def root(tmp_path, rng) -> Path:
    images = rng.integers(0, 255, (6, 8, 8, 3), dtype=np.uint8)
    images[5] = images[0]
    votes = np.array([[3, 1], [1, 1], [0, 5], [2, 2], [9, 1], [4, 0]])
    np.savez(
        tmp_path / "d.npz",
        images=images,
        gray=images[..., 0],
        first=np.moveaxis(np.zeros((6, 8, 9, 3)), -1, 1),
        eeg=rng.normal(size=(6, 2, 50)),
        votes=votes,
        shares=votes / votes.sum(axis=1, keepdims=True),
        total=votes.sum(axis=1),
        experts=[[0, -1], [1, 1], [0, 0], [1, 0], [0, 1], [1, -1]],
        y=[0, 1, 1, 0, 0, 0],
        names=["cat", "dog"],
        patient=[1, 1, 2, 2, 3, 4],
        row=["a", "b", "c", "d", "e", "f"],
        place=["x", "y", "x", "y", "x", "y"],
        objects=np.array([{}, None], dtype=object),
    )
    return tmp_path


def test_images_and_votes_come_with_ids_groups_and_strata(root):
    data = NpzData(
        path="d.npz", images="images", votes="votes", classes="names", id="row", group="patient", stratum="place"
    )
    dataset = data.load(root)
    assert dataset.view("image").shape == (6, 8, 8, 3)
    assert dataset.labels.classes == ("cat", "dog")
    assert dataset.labels.ids.tolist() == list("abcdef")
    assert dataset.labels.groups.tolist() == ["1", "1", "2", "2", "3", "4"]
    assert dataset.labels.stratum_N.tolist() == ["x", "y"] * 3
    assert dataset.digest == data.load(root).digest


@pytest.mark.parametrize(
    ("named", "first"),
    [
        ({"votes": "votes"}, [3, 1]),
        ({"shares": "shares", "total": "total"}, [3, 1]),
        ({"shares": "shares"}, [0.75, 0.25]),
        ({"shares": "shares", "total": 8.0}, [6, 2]),
        ({"annotators": "experts"}, [1, 0]),
        ({"labels": "y"}, [1, 0]),
    ],
)
def test_labels_are_votes_shares_annotators_or_classes(root, named, first):
    labels = NpzData(path="d.npz", images="images", classes=("cat", "dog"), **named).load(root).labels
    assert labels.votes_NC[0].tolist() == pytest.approx(first)
    assert labels.classes == ("cat", "dog")


def test_signals_and_further_views_keep_their_names(root):
    dataset = NpzData(path="d.npz", signals="eeg", views={"images": "photo"}, votes="votes").load(root)
    assert dataset.view("signal").shape == (6, 2, 50)
    assert dataset.view("photo").shape == (6, 8, 8, 3)


def test_gray_images_get_their_channel(root):
    assert NpzData(path="d.npz", images="gray", votes="votes").load(root).view("image").shape == (6, 8, 8, 1)


def test_content_as_group_joins_copies_and_keeps_a_given_group_whole(root):
    alone = NpzData(path="d.npz", images="images", votes="votes", group="content").load(root)
    assert alone.labels.groups.tolist() == ["0", "1", "2", "3", "4", "0"]
    both = NpzData(path="d.npz", images="images", votes="votes", group=("patient", "content")).load(root)
    assert both.labels.groups.tolist() == ["1", "1", "2", "2", "3", "1"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": "d.npz", "images": "images"}, "annotators, heads or labels, got none"),
        (
            {"path": "d.npz", "images": "images", "votes": "votes", "labels": "y"},
            r"got \['votes', 'labels'\]: " "keep one",
        ),
        ({"path": "d.npz", "votes": "votes"}, "names no input"),
        ({"path": "", "images": "images", "votes": "votes"}, "path is empty"),
        ({"path": "d.npz", "images": "images", "votes": "votes", "total": 3.0}, "data: total goes with shares only"),
        ({"path": "d.npz", "images": "images", "votes": "votes", "group": ("a", "b")}, "give one key"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings, message):
    with pytest.raises(DataError, match=message):
        NpzData(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": "pixels", "votes": "votes"}, "has no 'pixels' .for images., it has"),
        ({"images": "images", "votes": "objects"}, "never unpickled"),
        ({"images": "first", "votes": "votes"}, "look channels-first"),
        ({"images": "images", "shares": "votes"}, "vote shares must be probabilities"),
        ({"images": "images", "labels": "y", "classes": ("cat",)}, "indices 0..0"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(root, settings, message):
    with pytest.raises(DataError, match=message):
        NpzData(path="d.npz", **settings).load(root)


def test_files_that_are_no_npz_are_refused(tmp_path):
    data = NpzData(path="d.npz", images="images", votes="votes")
    with pytest.raises(DataError, match=r"no file .*d.npz"):
        data.load(tmp_path)
    (tmp_path / "d.npz").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"is not an .npz of arrays"):
        data.load(tmp_path)
    (tmp_path / "d.npz").write_bytes(b"")
    with pytest.raises(DataError, match=r"is not an .npz of arrays"):
        data.load(tmp_path)
    with (tmp_path / "d.npz").open("wb") as stream:
        np.save(stream, np.zeros(3))
    with pytest.raises(DataError, match=r"one bare array"):
        data.load(tmp_path)


def test_cifar10h_loads_with_copies_in_one_group(real):
    data = NpzData(path="cifar10h/cifar10h.npz", images="images", votes="counts", classes="classes", group="content")
    dataset = data.load(real)
    assert dataset.view("image").shape == (8000, 32, 32, 3)
    assert dataset.labels.classes[:2] == ("airplane", "automobile")
    assert set(dataset.labels.stratum_N.tolist()) == {">=10"}


def test_single_label_signals_load_by_run(real):
    data = NpzData(path="eegmmidb_s001/eegmmidb_s001.npz", signals="X", labels="y", group="run")
    dataset = data.load(real)
    assert dataset.view("signal").shape == (360, 64, 640)
    assert len(set(dataset.labels.groups.tolist())) == 12
