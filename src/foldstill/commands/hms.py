"""HMS from the command line: files to prepared views, and drawings of what members read."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from foldstill.data.source import DataSource
from foldstill.errors import ExperimentError
from foldstill.hms.chains import ChainSpectrogram
from foldstill.hms.edf import is_eeg_file
from foldstill.hms.edf_source import EdfData
from foldstill.hms.edf_windows import require_eeg_views, window_at
from foldstill.hms.files import HmsFolder
from foldstill.hms.part import LEFT_OUT
from foldstill.hms.prepare import Prepared
from foldstill.hms.record import Record
from foldstill.hms.rows import LabelRule
from foldstill.hms.source import HmsData
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.hms.synthetic_source import SyntheticHmsData
from foldstill.hms.views import View, view_of_kind
from foldstill.pipeline.experiment_file import read_experiment
from foldstill.workers import Work

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_PROBLEMS = 20
DEMO_RECORDINGS = 4
DEMO_TEST_PATIENTS = 4
"""The votes of these patients are not written: `foldstill predict` makes a submission for them."""


def prepare_views(
    target: Path,
    changes: Sequence[str] = (),
    *,
    cache: Path | None = None,
    rows: LabelRule | None = None,
    views: tuple[str, ...] = (),
    strict: bool = False,
    work: Work = Work(),
) -> Prepared | str:
    """Prepare an experiment's data, or the views of an HMS folder that are named by kind, with their defaults.

    A GPU computes the spectrograms of the EEG where the device is one. Returns what there is now: of data that are no
    HMS files, in words. Raises ExperimentError where options contradict the [data] table of the experiment.
    """
    if target.suffix == ".toml":
        source, root = read_experiment(target, changes).data, target.parent
        if not isinstance(source, HmsData):
            if cache is not None or rows is not None or views or strict or work.device != "auto":
                raise ExperimentError(
                    f"--cache, --rows, --view, --strict and --device are for HMS files, and {target} has data of kind "
                    f"{source.kind!r}: leave them out"
                )
            made = source.prepare(root, work)
            return str(made) if made is not None else f"data of kind {source.kind!r} need no preparation"
        data = source
        if cache is not None or rows is not None or views:
            raise ExperimentError(f"[data] of {target} sets cache, rows and views: leave the options out")
    else:
        _refuse_changes(target, changes)
        root = Path()
        data = HmsData(
            folder=str(target),
            cache=str(cache or HmsData.cache),
            rows=rows or HmsData.rows,
            views=tuple(view_of_kind(kind) for kind in views) or HmsData.views,
        )
    return data.prepare(root, replace(work, device=_device(work.device, data.views)), strict=strict)


def _device(device: str, views: tuple[View, ...]) -> str:
    """The device that computes the spectrograms of the EEG.

    Torch takes seconds to import, so it is imported only where a GPU could compute a view.
    """
    spectrograms = any(isinstance(view, ChainSpectrogram) for view in views)
    if device == "cpu" or (device == "auto" and not spectrograms):
        return "cpu"
    if not spectrograms:
        raise ExperimentError(
            f"device {device!r} would have no effect: none of the views ({', '.join(v.name for v in views)}) is a "
            "spectrogram that a GPU computes (mel, stft, scipy_spectrogram): leave the option out"
        )
    from foldstill.base_models.device import pick_device

    return pick_device(device)


def demo_data(data: DataSource) -> HmsData:
    """The data of the demo; raises ExperimentError where they are no HMS files, which is what it generates."""
    if not isinstance(data, HmsData):
        raise ExperimentError(
            f'the demo generates data of kind "hms", got {data.kind!r}: train on your own data with `foldstill run`'
        )
    return data


def prepare_demo_data(data: HmsData, root: Path, patients: int, seed: int, work: Work) -> None:
    """Generate synthetic HMS files where there are none, and prepare their views."""
    if not (root / data.folder / "train.csv").exists():
        write_synthetic_hms(
            root / data.folder,
            patients,
            seed,
            recordings=DEMO_RECORDINGS,
            test_patients=DEMO_TEST_PATIENTS,
            report=work.report,
        )
    data.prepare(root, replace(work, device="cpu"))


def problems_table(prepared: Prepared) -> "Table":
    """The first problems of the files; all of them are in problems.csv of the cache."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    # Three columns without frames: the problem has to fit beside the name of a file in 80 columns.
    table = Table(
        "file", Column("what", max_width=16), Column("detail", overflow="fold"), box=SIMPLE_HEAD, pad_edge=False
    )
    for problem in prepared.problems[:SHOWN_PROBLEMS]:
        lost = problem.fatal and problem.what != LEFT_OUT
        table.add_row(problem.file, problem.what + f", {LEFT_OUT}" * lost, problem.detail)
    return table


def draw(
    target: Path,
    view: str,
    out: Path,
    changes: Sequence[str] = (),
    *,
    sample: str = "",
    at_s: float | None = None,
    force: bool = False,
) -> None:
    """Draw one view of one sample into a PNG; the view `eeg` is the recording as an expert reads it.

    `target` is an experiment file, whose views are named by name, or an HMS folder or an EEG file of a clinic, whose
    views are named by kind. An empty `sample` is the first; in an EEG file the 50 s from `at_s` on are drawn. `force`
    replaces a PNG that foldstill did not write.
    """
    from foldstill.hms.drawing import check_drawing, draw_eeg, draw_view

    check_drawing(out, force=force)
    settings: View | None
    if at_s is not None and not is_eeg_file(target):
        raise ExperimentError(
            f"--at is a time in an EEG file (.edf, .bdf, .fif), got {target}: name a --sample instead"
        )
    if target.suffix == ".toml":
        data = read_experiment(target, changes).data
        if not isinstance(data, HmsData | SyntheticHmsData | EdfData):
            raise ExperimentError(f"{target} has data of kind {data.kind!r}: only views of EEG can be drawn")
        views = {v.name: v for v in data.views}
        if view != "eeg" and view not in views:
            raise ExperimentError(f"{target} has no view {view!r}: name one of {[*views, 'eeg']}")
        settings = views.get(view)
        name, record, votes_C = _sample(data, target.parent, sample)
    else:
        _refuse_changes(target, changes)
        settings = None if view == "eeg" else view_of_kind(view)
        if is_eeg_file(target):
            if sample:
                raise ExperimentError(f"--sample {sample} has no effect on the EEG file {target}: give --at SECONDS")
            require_eeg_views([settings] if settings is not None else [])
            (name, record), votes_C = window_at(target, at_s or 0.0), None
        else:
            name, record, votes_C = _sample(HmsData(folder=str(target)), Path(), sample)
    title = f"{name}: {view}" + ("" if votes_C is None else f", votes {' '.join(f'{v:g}' for v in votes_C)}")
    if settings is None:
        draw_eeg(record, out, title=f"{title}, 100 microvolts between signals")
    else:
        draw_view(settings, record, out, title=title)


def _sample(
    data: HmsData | SyntheticHmsData | EdfData, root: Path, name: str
) -> tuple[str, Record, NDArray[Any] | None]:
    """Id, signals and votes of one sample; the first without a name."""
    from foldstill.hms.drawing import open_record

    if isinstance(data, SyntheticHmsData):
        return data.sample(name)
    if isinstance(data, EdfData):
        return data.sample(root, name)
    record, row = open_record(HmsFolder(root / data.folder), name, rows=data.rows)
    return str(row.ids_N[0]), record, None if row.votes_NC is None else row.votes_NC[0]


def _refuse_changes(target: Path, changes: Sequence[str]) -> None:
    if changes:
        raise ExperimentError(f"--set changes an experiment file, got {target}: name a .toml file")
