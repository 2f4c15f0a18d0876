import numpy as np
import pandas as pd
import pytest

from foldstill.errors import DataError
from foldstill.hms.montage import CLASSES, VOTE_COLUMNS
from foldstill.hms.submission import HmsSubmission


@pytest.fixture
def sample(tmp_path):
    pd.DataFrame({"eeg_id": [30, 10, 20]}).assign(**dict.fromkeys(VOTE_COLUMNS, 1 / 6)).to_csv(
        tmp_path / "sample_submission.csv", index=False
    )
    return tmp_path / "sample_submission.csv"


def test_a_submission_has_the_samples_order_and_rows_that_sum_to_one(sample, tmp_path, rng):
    proba = rng.dirichlet(np.ones(6), 3).astype(np.float16)  # rounded: sums are off by a little
    HmsSubmission(sample).write(["10", "20", "30"], proba, CLASSES, tmp_path / "out.csv")
    table = pd.read_csv(tmp_path / "out.csv")
    assert list(table.columns) == ["eeg_id", *VOTE_COLUMNS]
    assert table.eeg_id.tolist() == [30, 10, 20]
    values = table[list(VOTE_COLUMNS)].to_numpy()
    np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(values, proba[[2, 0, 1]], atol=1e-3)


def test_classes_in_another_order_land_in_their_columns(sample, tmp_path):
    proba = np.tile(np.arange(1, 7) / 21, (3, 1))
    HmsSubmission(sample).write(["10", "20", "30"], proba, CLASSES[::-1], tmp_path / "out.csv")
    assert pd.read_csv(tmp_path / "out.csv").other_vote[0] == pytest.approx(1 / 21)


def test_a_recording_without_a_score_and_logits_are_refused(sample, tmp_path):
    with pytest.raises(DataError, match=r"lacks 1 of 3 rows; first ids: \['20'\]"):
        HmsSubmission(sample).write(["10", "30"], np.full((2, 6), 1 / 6), CLASSES, tmp_path / "out.csv")
    with pytest.raises(DataError, match="logits"):
        HmsSubmission(sample).write(["10", "20", "30"], np.full((3, 6), 2.0), CLASSES, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_a_sample_that_is_no_csv_is_refused(sample, tmp_path):
    sample.write_bytes(b"")
    with pytest.raises(DataError, match=r"sample_submission\.csv is not a CSV file"):
        HmsSubmission(sample).write(["10"], np.full((1, 6), 1 / 6), CLASSES, tmp_path / "out.csv")
