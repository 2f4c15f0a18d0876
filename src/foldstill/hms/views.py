"""What a view of an HMS record is, and every kind of view that an experiment file can name."""

import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from foldstill.data.signals import Signal
from foldstill.errors import DataError
from foldstill.hms.image import FileKind
from foldstill.hms.record import Record
from foldstill.hms.storage import Bounds
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_panels import PanelStack, PanelStatistics
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram, ScipySpectrogram, StftSpectrogram
from foldstill.hms.views_wavelet import Denoised, Scalogram
from foldstill.settings import ByKind, Kind

if TYPE_CHECKING:
    from typing import Self


class View(Kind, Protocol):
    """Settings of one way to turn a record into a model input, a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str:
        """The name by which members ask for it."""
        ...

    @property
    def needs(self) -> frozenset[FileKind]:
        """Which files of a record it reads."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input: (H, W, channels) of an image, (channels, T) of a signal."""
        ...

    @property
    def bounds(self) -> Bounds:
        """Lowest and highest value it can give; None where there are none, and it is then stored as float16."""
        ...

    @classmethod
    def example(cls) -> "Self":
        """The smallest working instance."""
        ...

    def make(self, record: Record) -> Signal:
        """The input of one record, float32 of `shape`, without NaN; the same record gives the same array."""
        ...


VIEWS = (
    KaggleSpectrogram,
    MelSpectrogram,
    StftSpectrogram,
    ScipySpectrogram,
    Scalogram,
    RawEeg,
    Denoised,
    PanelStatistics,
    PanelStack,
)
"""Add a class here, and experiment files, the command line, documentation and contract tests find it by its `kind`."""

HmsView = Annotated[View, ByKind(VIEWS)]


def view_of_kind(kind: str) -> View:
    """The view of that kind with its defaults; raises DataError where there is none."""
    views: dict[str, type[View]] = {
        view.kind: view
        for view in VIEWS
        if all(f.default is not MISSING or f.default_factory is not MISSING for f in fields(view))
    }
    if kind not in views:
        raise DataError(
            f"no view of kind {kind!r} that needs no further settings: name one of {sorted(views)}, or write an "
            "experiment file with [[data.views]]"
        )
    return views[kind]()


def check_names(views: Sequence[View]) -> None:
    """Raises DataError where there is no view, or where two have the same name."""
    names = [view.name for view in views]
    if not names or len(set(names)) < len(names):
        raise DataError(f"data.views must be one view or more with different names, got {names}: set `name`")


def recipe(view: View) -> dict[str, Any]:
    """How the inputs of a view are made: its settings without its name, and the range of what is stored."""
    settings = {name: value for name, value in settings_json(view).items() if name != "name"}
    scaling = "none" if view.bounds is None else f"0 is {view.bounds[0]:g}, 255 is {view.bounds[1]:g}"
    return {**settings, "scaling": scaling}


def settings_json(view: View) -> dict[str, Any]:
    """The settings of a view as JSON holds them."""
    settings: dict[str, Any] = json.loads(json.dumps(asdict(view)))
    return settings
