import numpy as np
import pytest

from foldstill.data.dataset import Dataset, content_groups, group_column
from foldstill.data.labels import Labels
from foldstill.errors import DataError


def _labels(n: int = 3) -> Labels:
    return Labels.from_hard([i % 2 for i in range(n)], classes=["a", "b"])


def test_arrays_in_memory_make_a_data_set():
    images, signals = np.zeros((3, 4, 4, 1), np.uint8), np.zeros((3, 2, 10), np.float32)
    dataset = Dataset(_labels(), {"image": images, "signal": signals})
    assert dataset.view("image") is images
    with pytest.raises(DataError, match=r"no view 'raw', the dataset has \['image', 'signal'\]"):
        dataset.view("raw")


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ({}, "at least one view"),
        ({"image": np.zeros(3)}, "add the missing axis"),
        ({"image": np.zeros((2, 4, 4, 1))}, "has 2 rows, the labels 3"),
        ({"image": np.full((3, 4, 4, 1), "x")}, "must hold numbers"),
    ],
)
def test_views_that_do_not_fit_are_refused(views, message):
    with pytest.raises(DataError, match=message):
        Dataset(_labels(), views)


def test_the_digest_follows_labels_and_inputs():
    images = np.arange(48, dtype=np.uint8).reshape(3, 4, 4, 1)
    dataset = Dataset(_labels(), {"image": images})
    changed = images.copy()
    changed[2, 3, 3, 0] += 1
    assert dataset.digest == Dataset(_labels(), {"image": images.copy()}).digest
    assert dataset.digest != Dataset(_labels(), {"image": changed}).digest
    assert dataset.digest != Dataset(_labels(), {"picture": images}).digest
    assert dataset.digest != Dataset(Labels.from_hard([0, 0, 1], classes=["a", "b"]), {"image": images}).digest


def test_pixel_identical_inputs_become_one_group_and_chains_hang_together(rng):
    images = rng.integers(0, 255, (6, 4, 4, 3), dtype=np.uint8)
    images[4] = images[1]  # a copy under another group
    images[5] = images[2]
    groups = np.array(["g0", "g1", "g2", "g3", "g2", "g5"])
    # g1 = g2 through rows 1 and 4, g2 = g5 through rows 2 and 5
    assert content_groups(images, groups).tolist() == ["g0", "g1", "g1", "g3", "g1", "g1"]
    labels = Labels.from_hard([0, 1, 0, 1, 0, 1], classes=["a", "b"], groups=groups)
    grouped = Dataset(labels, {"image": images}).grouped_by_content("image")
    assert grouped.labels.groups.tolist() == ["g0", "g1", "g1", "g3", "g1", "g1"]


def test_groups_without_copies_stay_as_they_are(rng):
    groups = np.array(["x", "y", "x"])
    assert content_groups(rng.random((3, 2, 5)), groups).tolist() == groups.tolist()


def test_a_group_is_one_key_with_or_without_content():
    assert group_column("patient") == group_column(("patient", "content")) == "patient"
    assert group_column("content") == group_column("") == ""
    with pytest.raises(DataError, match=r"names \['a', 'b'\]"):
        group_column(("a", "b"))
