from pathlib import Path

import numpy as np
import pytest

from foldstill.data.digits import DigitsData
from foldstill.data.folds import make_plan
from foldstill.errors import DataError

ROOT = Path()


def test_the_digits_need_no_file_and_are_the_same_every_time():
    dataset = DigitsData(rows=300).load(ROOT / "nowhere")
    assert dataset.view("image").shape == (300, 32, 32, 1)
    assert dataset.view("image").dtype == np.uint8
    assert dataset.digest == DigitsData(rows=300).load(ROOT).digest
    assert dataset.digest != DigitsData(rows=300, seed=1).load(ROOT).digest


def test_votes_are_1_to_28_a_row_in_both_regimes():
    labels = DigitsData().load(ROOT).labels
    assert len(labels) == 1797
    assert (labels.total_N.min(), labels.total_N.max()) == (1, 28)
    assert set(labels.stratum_N.tolist()) == {"1-2", "3-9", ">=10"}
    assert make_plan(labels).n_folds == 5


def test_annotators_disagree_where_images_look_alike_and_mostly_name_the_digit():
    from sklearn.datasets import load_digits

    labels = DigitsData().load(ROOT).labels
    truth = load_digits().target
    many = labels.total_N >= 10
    share = labels.target_NC[np.arange(len(truth)), truth][many]
    assert 0.6 < share.mean() < 0.9
    # The ambiguity belongs to the image: two seeds' votes agree on which images are hard.
    other = DigitsData(seed=1).load(ROOT).labels
    both = many & (other.total_N >= 10)
    again = other.target_NC[np.arange(len(truth)), truth]
    assert np.corrcoef(labels.target_NC[np.arange(len(truth)), truth][both], again[both])[0, 1] > 0.5


def test_no_disagreement_means_every_vote_names_the_digit():
    labels = DigitsData(rows=100, disagreement=0.0).load(ROOT).labels
    assert (labels.target_NC.max(axis=1) == 1).all()


def test_writers_have_about_the_rows_asked_for():
    labels = DigitsData(rows_per_group=6).load(ROOT).labels
    assert len(labels) / len(np.unique(labels.groups)) == pytest.approx(6, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rows": 2000}, "20 to 1797"),
        ({"size": 20}, "multiple of 8"),
        ({"rows_per_group": 0}, "1 or more"),
        ({"disagreement": 1.5}, "between 0 and 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(DataError, match=said):
        DigitsData(**settings)


def test_every_source_is_a_settings_value_that_refuses_unknown_keys():
    from typing import Annotated, Any

    from pydantic import ValidationError

    from foldstill.pipeline.experiment import KINDS
    from foldstill.pipeline.sources import DigitsData, FolderData, NpzData
    from foldstill.settings import ByKind, type_adapter

    read = type_adapter(Annotated[Any, ByKind("source")], KINDS).validate_python
    assert read({"kind": "digits", "rows": 50}) == DigitsData(rows=50)
    npz = {"kind": "npz", "path": "d.npz", "images": "x", "votes": "v", "group": ["patient", "content"]}
    assert read(npz) == NpzData(path="d.npz", images="x", votes="v", group=("patient", "content"))
    folder = {"kind": "folder", "path": "p", "table": "t.csv", "votes": ["a", "b"], "size": [8, 9]}
    assert read(folder) == FolderData(path="p", table="t.csv", votes=("a", "b"), size=(8, 9))
    with pytest.raises(ValidationError, match=r"rwos"):
        read({"kind": "digits", "rwos": 50})
