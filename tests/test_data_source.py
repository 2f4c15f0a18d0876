"""The promises of every data source, and of one that is written outside the package."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from foldstill.data import Dataset, DigitsData, Labels
from foldstill.data.dataset import Inputs
from foldstill.data.source import PlainSource
from foldstill.errors import DataError
from foldstill.pipeline.sources import SOURCES
from foldstill.testing import check_source


@pytest.mark.parametrize("kind", SOURCES, ids=lambda kind: kind.kind)
def test_every_source_keeps_its_promises(kind, tmp_path: Path) -> None:
    if kind.kind == "edf":
        pytest.importorskip("mne", reason="pip install 'foldstill[eeg]'")
    source, new_rows = kind.example(tmp_path)
    check_source(source, tmp_path, new_rows)


def test_kinds_titles_and_summaries_tell_sources_apart() -> None:
    for name in ("kind", "title", "summary"):
        assert len({getattr(source, name) for source in SOURCES}) == len(SOURCES)
    assert all(source.summary.endswith(".") for source in SOURCES)


@dataclass(frozen=True)
class Ramp(PlainSource):
    """A source as a user writes it: signals that rise, one number per line of a text file."""

    title: ClassVar[str] = "Ramp"
    summary: ClassVar[str] = "Signals that rise."

    kind: str = "ramp"
    forgetful: bool = False

    def load(self, root: Path) -> Dataset:
        return Dataset(Labels.from_hard(np.arange(6) % 2), {"signal": self._signals(np.arange(6.0))})

    def inputs(self, path: Path) -> Inputs:
        if not path.exists() and not self.forgetful:
            raise DataError(f"no file {path}: name a text file")
        slopes = np.loadtxt(path) if path.exists() else np.zeros(1)
        return Inputs(np.arange(len(slopes)).astype(np.str_), {"signal": self._signals(slopes)})

    def _signals(self, slopes_N: np.ndarray) -> np.ndarray:
        return slopes_N[:, None, None] * np.arange(8.0)


def test_a_users_source_passes_and_a_broken_one_is_named(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "new.txt", [1.0, 2.0])
    check_source(Ramp(), tmp_path, tmp_path / "new.txt")
    with pytest.raises(AssertionError, match=r"Ramp\.inputs must raise FoldstillError for a missing file"):
        check_source(Ramp(forgetful=True), tmp_path)


def test_scores_of_any_data_take_the_form_of_a_sample_file(tmp_path: Path) -> None:
    data, sample = DigitsData(rows=20), tmp_path / "sample.csv"
    assert data.submission(tmp_path, tmp_path / "submission.csv", None) is None
    with pytest.raises(DataError, match=r"got out\.csv in the form of .*sample\.csv: name the output so, and give"):
        data.submission(tmp_path, tmp_path / "out.csv", sample)
    sample.write_text("id,0,1\na,0,0\n")
    form = data.submission(tmp_path, tmp_path / "out.csv", sample)
    assert form is not None
    form.write(["a"], np.array([[0.25, 0.75]]), ["0", "1"], tmp_path / "out.csv")
    assert (tmp_path / "out.csv").read_text() == "id,0,1\na,0.25,0.75\n"
    with pytest.raises(DataError, match=r"a submission is a \.csv"):
        data.submission(tmp_path, tmp_path / "out.parquet", sample)
