from pathlib import Path

import numpy as np
import pytest

from foldstill.data.columns import Columns
from foldstill.data.label_columns import LabelColumns, require_one_form
from foldstill.errors import DataError

FILE = Columns(
    Path("votes.csv"),
    {
        "cat": np.array([3, 0, 1]),
        "dog": np.array([1, 5, 1]),
        "counts": np.array([[3, 1], [0, 5], [1, 1]]),
        "share": np.array([[0.75, 0.25], [0.0, 1.0], [0.5, 0.5]]),
        "n": np.array([4, 5, 2]),
        "experts": np.array([[0, -1], [1, 1], [0, 1]]),
        "y": np.array(["cat", "dog", "dog"]),
        "names": np.array(["cat", "dog"]),
        "row": np.array(["a", "b", "c"]),
        "owner": np.array([1, 1, 2]),
        "place": np.array(["x", "y", "x"]),
        "weight": np.array([1.0, 2.0, 3.0]),
    },
)


@pytest.mark.parametrize(
    ("columns", "first"),
    [
        ({"votes": ("cat", "dog"), "classes": ("cat", "dog")}, [3, 1]),
        ({"votes": "counts", "classes": "names"}, [3, 1]),
        ({"shares": "share", "total": "n", "classes": "names"}, [3, 1]),
        ({"shares": "share", "total": 8.0, "classes": "names"}, [6, 2]),
        ({"annotators": "experts", "classes": "names"}, [1, 0]),
        ({"label": "y", "classes": "names"}, [1, 0]),
        ({"label": "y"}, [1, 0]),
    ],
)
def test_every_form_of_labels_is_read_by_one_reader(columns, first):
    labels = LabelColumns(**columns, id="row", group="owner", stratum="place", sample_weight="weight").read(FILE)
    assert labels.votes_NC[0].tolist() == first
    assert labels.classes == ("cat", "dog")
    assert labels.ids.tolist() == ["a", "b", "c"]
    assert labels.groups.tolist() == ["1", "1", "2"]
    assert labels.stratum_N.tolist() == ["x", "y", "x"]
    assert labels.sample_weight_N.tolist() == [1, 2, 3]


def test_a_mistake_in_the_labels_names_the_file():
    broken = Columns(Path("votes.csv"), FILE.arrays | {"cat": np.array([3, -1, 1])})
    with pytest.raises(DataError, match=r"votes.csv: 1 of 3 rows have negative votes"):
        LabelColumns(votes=("cat", "dog")).read(broken)
    with pytest.raises(DataError, match=r"votes.csv has no 'bird' \(for votes\), it has \['cat'"):
        LabelColumns(votes=("cat", "bird")).read(FILE)


def test_one_form_of_labels_is_named_and_a_total_goes_with_shares():
    with pytest.raises(DataError, match=r"data must name one of votes, shares or label, got none: keep one"):
        require_one_form("data", {"votes": "", "shares": (), "label": ""})
    with pytest.raises(DataError, match=r"got \['votes', 'label'\]: keep one"):
        require_one_form("data", {"votes": "v", "shares": "", "label": "y"})
    with pytest.raises(DataError, match=r"total goes with shares only, got total = 3.0 with label"):
        LabelColumns(label="y", total=3.0)
