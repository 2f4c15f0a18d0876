"""HMS recordings as a data source: the competition's files, whose views are prepared once."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from foldstill.data.dataset import Dataset, Inputs
from foldstill.data.submission import SampleSubmission, submission_like
from foldstill.data.temporary_map import some_rows
from foldstill.errors import DataError
from foldstill.hms.cache import Cache
from foldstill.hms.edf_windows import eeg_inputs, eeg_views, is_eeg
from foldstill.hms.part import BLANK
from foldstill.hms.prepare import Prepared, prepare
from foldstill.hms.rows import LabelRule
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.hms.views import HmsView, check_names, recipe
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram
from foldstill.settings import KindSettings
from foldstill.workers import Work

if TYPE_CHECKING:
    from typing import Self


EXAMPLE_VIEWS = (KaggleSpectrogram.example(), RawEeg.example())


@dataclass(frozen=True, kw_only=True)
class HmsViews(KindSettings):
    """What sources of HMS recordings share: their views, and the competition's submission."""

    views: tuple[HmsView, ...] = (KaggleSpectrogram(), MelSpectrogram())
    """The views, each with its `kind` and with the `name` by which members ask for it."""

    def __post_init__(self) -> None:
        check_names(self.views)

    def submission(self, data: Path, out: Path, sample: Path | None) -> SampleSubmission | None:
        """The competition's submission, for a sample file or for an output named submission.csv.

        Without a sample file, that of the folder `data` is followed.
        """
        if sample is None and out.name != "submission.csv":
            return None
        return submission_like(sample or data / "sample_submission.csv", out)


@dataclass(frozen=True, kw_only=True)
class HmsData(HmsViews, kind="hms", title="HMS files"):
    """EEG recordings and spectrograms in the files of the HMS competition.

    The settings say what one sample is, and which views members can read.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_synthetic_hms(Path(folder) / "hms", patients=3, recordings=1)
    ...     data = HmsData(folder="hms", views=(MelSpectrogram(n_mels=16, width=32),))
    ...     prepared = data.prepare(Path(folder))
    ...     view = data.load(Path(folder)).view("mel")
    >>> view.shape[1:], view.dtype.name
    ((16, 32, 4), 'uint8')
    """

    needs_preparation: ClassVar[bool] = True

    folder: str
    """Folder of train.csv and the signal files; a relative path starts at the experiment file's folder."""
    cache: str = "hms-cache"
    """Folder of the prepared views; a relative path starts at the experiment file's folder."""
    rows: LabelRule = "unique_votes"
    """What one sample is: unique_votes, stationary, recording, spectrogram or window."""

    def __post_init__(self) -> None:
        if not self.folder or not self.cache:
            raise DataError(
                f"data.folder must name the folder of train.csv and data.cache that of the prepared views, got "
                f"{self.folder!r} and {self.cache!r}"
            )
        super().__post_init__()

    @classmethod
    def example(cls, folder: Path) -> "tuple[Self, Path]":
        write_synthetic_hms(folder / "hms", patients=3, recordings=1)
        return cls(folder="hms", cache="cache", views=EXAMPLE_VIEWS), folder / "hms"

    def is_prepared(self, root: Path) -> bool:
        """Whether every view is there; `load` refuses one that was made with other settings."""
        return {view.name for view in self.views} <= set(Cache(root / self.cache).finished())

    def prepare(self, root: Path, work: Work = Work(workers=1), *, strict: bool = False) -> Prepared:
        """Make the views that are missing; relative paths start at `root`. See `foldstill.hms.prepare`."""
        return prepare(root / self.folder, root / self.cache, self.views, rows=self.rows, strict=strict, work=work)

    def load(self, root: Path) -> Dataset:
        """The prepared views and the labels of their rows, with patients as groups.

        Rows whose files could not be read are left out with a warning. Raises DataError where the views are not
        prepared.
        """
        cache = Cache(root / self.cache)
        rows, readable_N = cache.rows()
        views = cache.views(self.views)
        if rows.votes_NC is None:
            raise DataError(
                f"{cache.root} holds a test split, which has no votes: name the cache of the training files"
            )
        if not readable_N.all():
            warnings.warn(
                f"{int((~readable_N).sum())} of {len(rows)} samples could not be read and are left out: see "
                f"{cache.problems_file}",
                stacklevel=2,
            )
            kept = np.flatnonzero(readable_N)
            rows, views = rows.take(readable_N), {name: some_rows(array, kept) for name, array in views.items()}
        units_N = rows.recordings_N if self.rows == "window" else None
        return Dataset(rows.labels(), views, units_N, {view.name: recipe(view) for view in self.views})

    def inputs(self, path: Path) -> Inputs:
        """The views of the test split of the folder at `path`, in the order of test.csv; or of EEG files of clinics.

        A submission needs every row, so a recording that cannot be read is kept as a blank input, with a warning. EEG
        files give windows as `EdfData.inputs` does, and the views that need the EEG alone.
        """
        if is_eeg(path):
            return eeg_inputs(path, eeg_views(self.views))
        with TemporaryDirectory() as folder:
            prepared = prepare(path, Path(folder), self.views, split="test")
            rows, readable_N = prepared.cache.rows()
            views = prepared.cache.views(self.views)  # they stay readable when the files are removed
        if not readable_N.all():
            first = next(p.detail for p in prepared.problems if p.fatal)
            warnings.warn(
                f"{int((~readable_N).sum())} of {len(rows)} recordings could not be read and are scored as blank; "
                f"first: {first}",
                stacklevel=2,
            )
        if blank := [p for p in prepared.problems if p.what == BLANK]:
            warnings.warn(
                f"{len(blank)} inputs of {len(rows)} recordings are blank; first: {blank[0].file}, {blank[0].detail}",
                stacklevel=2,
            )
        return Inputs(rows.ids_N, views, {view.name: recipe(view) for view in self.views})
