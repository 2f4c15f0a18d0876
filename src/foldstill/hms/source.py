"""HMS recordings as a data set of an experiment: the competition's files, prepared once."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.dataset import Dataset, Inputs
from foldstill.errors import DataError
from foldstill.hms.cache import Cache
from foldstill.hms.prepare import Prepared, Progress, prepare
from foldstill.hms.rows import LabelRows, LabelRule
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_panels import PanelStack, PanelStatistics
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram, ScipySpectrogram, StftSpectrogram
from foldstill.hms.views_wavelet import Denoised, Scalogram
from foldstill.settings import ByKind, Settings

HmsView = Annotated[
    KaggleSpectrogram
    | MelSpectrogram
    | StftSpectrogram
    | ScipySpectrogram
    | Scalogram
    | RawEeg
    | Denoised
    | PanelStatistics
    | PanelStack,
    ByKind(),
]
"""Told apart by `kind`."""


@dataclass(frozen=True, kw_only=True)
class HmsData(Settings):
    """The competition's folder, what one sample is, and the views that members may ask for."""

    kind: Literal["hms"] = "hms"
    folder: str
    """Where train.csv, train_eegs and train_spectrograms are; a relative path starts at the experiment file's folder."""
    cache: str = "hms-cache"
    """Where the prepared views are kept."""
    rows: LabelRule = "unique_votes"
    """What one sample is: unique_votes, stationary, recording, spectrogram or window."""
    views: tuple[HmsView, ...] = (KaggleSpectrogram(), MelSpectrogram())
    """The views, each with its `kind` and a name that members ask for."""

    def __post_init__(self) -> None:
        if not self.folder or not self.cache:
            raise DataError("data needs folder (of train.csv and the signal files) and cache (for what is prepared)")
        names = [view.name for view in self.views]
        if not names or len(set(names)) < len(names):
            raise DataError(f"data.views need different names, got {names}: set `name`")

    def prepare(
        self,
        root: Path,
        *,
        jobs: int = 1,
        strict: bool = False,
        force: bool = False,
        device: str | None = None,
        on_progress: Progress | None = None,
    ) -> Prepared:
        """Make what is missing of the views; relative paths start at `root`. Without a device, torch is not imported."""
        return prepare(
            root / self.folder,
            root / self.cache,
            self.views,
            rows=self.rows,
            jobs=jobs,
            strict=strict,
            force=force,
            device=device,
            on_progress=on_progress,
        )

    def load(self, root: Path) -> Dataset:
        """The prepared views and the labels of their rows, patients as groups.

        Rows whose files could not be read are left out with a warning. Raises DataError where the views are not prepared.
        """
        rows, views = read_prepared(Cache(root / self.cache), self.views)
        if rows.votes_NC is None:
            raise DataError(f"{root / self.cache} holds a test split: give the cache of the training files")
        return Dataset(rows.labels(), views, rows.recordings_N if self.rows == "window" else None)

    def inputs(self, path: Path) -> Inputs:
        """The views of the test split of the folder at `path`, in the order of test.csv.

        A submission needs every row, so a recording that cannot be read stays in, as a blank input, with a warning.
        """
        with TemporaryDirectory() as place:
            prepared = prepare(path, Path(place), self.views, split="test")
            rows, readable_N = prepared.cache.rows()
            views = {name: np.array(array) for name, array in prepared.cache.views(self.views).items()}
        if not readable_N.all():
            lost = [p.detail for p in prepared.problems if p.fatal]
            warnings.warn(
                f"{int((~readable_N).sum())} of {len(rows)} recordings could not be read and are scored as blank; "
                f"first: {lost[0]}",
                stacklevel=2,
            )
        return Inputs(rows.ids_N, views)


def read_prepared(cache: Cache, views: tuple[HmsView, ...]) -> tuple[LabelRows, dict[str, NDArray[Any]]]:
    """Readable rows of a cache and their views, memory-mapped where every row is readable."""
    rows, readable_N = cache.rows()
    arrays = cache.views(views)
    if not readable_N.all():
        warnings.warn(
            f"{int((~readable_N).sum())} of {len(rows)} samples could not be read and are left out: see {cache.problems_file}",
            stacklevel=3,
        )
        rows, arrays = rows.take(readable_N), {name: np.asarray(a[readable_N]) for name, a in arrays.items()}
    return rows, arrays
