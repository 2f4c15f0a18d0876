import numpy as np
import pandas as pd
import pytest

from foldstill.data.submission import SampleSubmission
from foldstill.errors import DataError
from foldstill.hms.montage import CLASSES, VOTE_COLUMNS


@pytest.fixture
def sample(tmp_path):
    pd.DataFrame({"eeg_id": [30, 10, 20]}).assign(**dict.fromkeys(VOTE_COLUMNS, 1 / 6)).to_csv(
        tmp_path / "sample_submission.csv", index=False
    )
    return tmp_path / "sample_submission.csv"


def test_a_submission_has_the_samples_order_and_rows_that_sum_to_one(sample, tmp_path, rng):
    proba = rng.dirichlet(np.ones(6), 3).astype(np.float16)  # rounded: sums are off by a little
    SampleSubmission(sample).write(["10", "20", "30"], proba, CLASSES, tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table.columns) == ["eeg_id", *VOTE_COLUMNS]
    assert table.eeg_id.tolist() == [30, 10, 20]
    values = table[list(VOTE_COLUMNS)].to_numpy()
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(values, proba[[2, 0, 1]], atol=1e-3)


def test_classes_in_another_order_land_in_their_columns(sample, tmp_path):
    proba = np.tile(np.arange(1, 7) / 21, (3, 1))
    SampleSubmission(sample).write(["10", "20", "30"], proba, CLASSES[::-1], tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv").other_vote[0] == pytest.approx(1 / 21)


def test_a_recording_without_a_score_and_logits_are_refused(sample, tmp_path):
    with pytest.raises(DataError, match=r"lacks 1 of 3 rows; first ids: \['20'\]"):
        SampleSubmission(sample).write(["10", "30"], np.full((2, 6), 1 / 6), CLASSES, tmp_path / "out.csv")
    with pytest.raises(DataError, match="logits"):
        SampleSubmission(sample).write(["10", "20", "30"], np.full((3, 6), 2.0), CLASSES, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_sample_that_is_no_csv_is_refused(sample, tmp_path):
    sample.write_bytes(b"")
    with pytest.raises(DataError, match=r"sample_submission\.csv is not a CSV file"):
        SampleSubmission(sample).write(["10"], np.full((1, 6), 1 / 6), CLASSES, tmp_path / "out.csv")


def test_columns_are_matched_to_classes_and_anything_else_is_refused(tmp_path):
    path = tmp_path / "sample.csv"
    path.write_text("row,Label_A,Label_B,Label_C\n1,0,0,0\n")
    assert SampleSubmission(path).columns(["c", "a", "b"]) == {"Label_A": "a", "Label_B": "b", "Label_C": "c"}
    for classes in (["a", "b"], ["a", "b", "d"], ["a", "b", "c", "d"]):
        with pytest.raises(DataError, match=r"sample\.csv must have a column of ids and one column per class"):
            SampleSubmission(path).columns(classes)


def test_one_column_of_two_classes_takes_the_positive_one(tmp_path):
    path = tmp_path / "sample.csv"
    path.write_text("row,target\nx,0\n")
    with pytest.raises(DataError, match=r"must be one of \['no', 'yes'\], got only the column 'target': name it"):
        SampleSubmission(path).columns(["no", "yes"])
    with pytest.raises(DataError, match="got 'maybe': name it with --positive"):
        SampleSubmission(path, "maybe").columns(["no", "yes"])
    SampleSubmission(path, "no").write(["x"], np.array([[0.3, 0.7]]), ["no", "yes"], tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv").to_dict("list") == {"row": ["x"], "target": [0.3]}
    path.write_text("row,Yes\nx,0\n")
    assert SampleSubmission(path).columns(["no", "yes"]) == {"Yes": "yes"}
