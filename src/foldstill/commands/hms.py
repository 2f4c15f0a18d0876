"""HMS from the command line: files to cached views, a synthetic HMS, and drawings of what members see."""

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from numpy.typing import NDArray

from foldstill.errors import ExperimentError
from foldstill.hms.chains import ChainSpectrogram
from foldstill.hms.part import LEFT_OUT
from foldstill.hms.prepare import Prepared
from foldstill.hms.rows import LabelRule
from foldstill.hms.source import HmsData, HmsView
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.hms.synthetic_source import SyntheticHmsData
from foldstill.pipeline.experiment_file import read_experiment
from foldstill.workers import OnProgress, Progress, Work, silent

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_PROBLEMS = 20


def prepare_views(
    target: Path,
    changes: Sequence[str] = (),
    *,
    cache: Path | None = None,
    rows: LabelRule | None = None,
    views: tuple[str, ...] = (),
    strict: bool = False,
    work: Work = Work(),
) -> Prepared:
    """Make the views of an experiment's data, or of an HMS folder with the views named by kind, each with its defaults.

    Spectrograms of the EEG are computed on the GPU where the device is one. Raises ExperimentError where the experiment's data is not in HMS files, or options contradict its [data] table.
    """
    if target.suffix == ".toml":
        data, root = read_experiment(target, changes).data, target.parent
        if not isinstance(data, HmsData):
            raise ExperimentError(f'{target} has data of kind {data.kind!r}, which needs no preparation: "hms" does')
        if cache is not None or rows is not None or views:
            raise ExperimentError(f"cache, rows and views are said by [data] of {target}: leave the options out")
    else:
        _refuse_changes(target, changes)
        root = Path()
        data = HmsData(
            folder=str(target),
            cache=str(cache or HmsData.cache),
            rows=rows or HmsData.rows,
            views=tuple(view_of_kind(kind) for kind in views) or HmsData.views,
        )
    return data.prepare(
        root,
        jobs=work.n_workers,
        strict=strict,
        force=work.force,
        device=_gpu(work.device, data.views),
        on_progress=lambda done, total: work.report(Progress("prepare", done, total, f"{len(data.views)} views")),
    )


def _gpu(device: str, views: tuple[HmsView, ...]) -> str | None:
    """The GPU that is meant, none for a CPU; torch, which takes seconds to import, is not asked where a CPU does it all."""
    some = any(isinstance(view, ChainSpectrogram) for view in views)
    if device == "cpu" or (device == "auto" and not some):
        return None
    if not some:
        raise ExperimentError(
            f"device {device!r} would have no effect: of the views ({', '.join(v.name for v in views)}) none is a "
            "spectrogram that a GPU computes (mel, stft, scipy_spectrogram): leave the option out"
        )
    from foldstill.base_models.device import pick_device

    picked = pick_device(device)
    return None if picked == "cpu" else picked


def problems_table(prepared: Prepared) -> "Table":
    """What was wrong with the files, the first ones; the rest stand in the cache's problems.csv."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Column, Table

    # Three columns without frames: what went wrong has to fit beside the name of a file in 80 columns.
    table = Table(
        "file", Column("what", max_width=16), Column("detail", overflow="fold"), box=SIMPLE_HEAD, pad_edge=False
    )
    for problem in prepared.problems[:SHOWN_PROBLEMS]:
        lost = problem.fatal and problem.what != LEFT_OUT
        table.add_row(escape(problem.file), problem.what + f", {LEFT_OUT}" * lost, escape(problem.detail))
    return table


def synthesise(
    out: Path, patients: int, seed: int, *, recordings: int, test_patients: int, report: OnProgress = silent
) -> None:
    """Write a synthetic HMS in the competition's layout."""
    write_synthetic_hms(
        out,
        patients,
        seed,
        recordings=recordings,
        test_patients=test_patients,
        on_progress=lambda done, total: report(Progress("patients", done, total)),
    )


def draw(target: Path, view: str, sample: str, out: Path, changes: Sequence[str] = ()) -> None:
    """Draw one view of one sample into a PNG; the view `eeg` is the recording as an expert reads it.

    `target` is an HMS folder, whose views are named by kind, or an experiment file, whose views are named by name; an
    empty `sample` is the first.
    """
    from foldstill.hms.drawing import draw_eeg, draw_view, open_record
    from foldstill.hms.files import HmsFolder

    settings: HmsView | None
    votes_C: NDArray[Any] | None
    if target.suffix == ".toml":
        root, data = target.parent, read_experiment(target, changes).data
        if not isinstance(data, HmsData | SyntheticHmsData):
            raise ExperimentError(f"{target} has data of kind {data.kind!r}: views are drawn of HMS data")
        known = {v.name: v for v in data.views}
        if view != "eeg" and view not in known:
            raise ExperimentError(f"{target} has no view {view!r}: name one of {[*known, 'eeg']}")
        settings = known.get(view)
    else:
        _refuse_changes(target, changes)
        root, data = Path(), HmsData(folder=str(target))
        settings = None if view == "eeg" else view_of_kind(view)
    if isinstance(data, SyntheticHmsData):
        name, record, votes_C = data.sample(sample)
    else:
        record, row = open_record(HmsFolder(root / data.folder), sample, rows=data.rows)
        name, votes_C = str(row.ids_N[0]), None if row.votes_NC is None else row.votes_NC[0]
    title = f"{name}: {view}" + ("" if votes_C is None else f", votes {' '.join(f'{v:g}' for v in votes_C)}")
    if settings is None:
        draw_eeg(record, out, title=f"{title}, 100 microvolts between lines")
    else:
        draw_view(settings, record, out, title=title)


def _refuse_changes(target: Path, changes: Sequence[str]) -> None:
    if changes:
        raise ExperimentError(f"--set changes an experiment file, and {target} is none: give one")


def view_of_kind(kind: str) -> HmsView:
    """A view with its defaults, by its kind."""
    kinds: dict[str, Callable[[], HmsView]] = {
        each.kind: each
        for each in get_args(get_args(HmsView)[0])
        if all(f.default is not MISSING or f.default_factory is not MISSING for f in fields(each))
    }
    if kind not in kinds:
        raise ExperimentError(
            f"no view of kind {kind!r} that needs no further settings: name one of {sorted(kinds)}, "
            "or write an experiment file with [[data.views]]"
        )
    return kinds[kind]()
