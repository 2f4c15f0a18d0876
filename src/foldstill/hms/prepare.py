"""Prepare views: every file is read once and every view made once, into one array per view; parallel and resumable.

N rows.
"""

import csv
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foldstill.csv_files import write_csv
from foldstill.data.array_cache import ArrayForm
from foldstill.data.array_filling import Backend, fill_arrays, forget_filling
from foldstill.data.journal import Journal
from foldstill.digests import digest, file_digest
from foldstill.errors import DataError, FileError
from foldstill.hms.cache import FORMAT, Cache
from foldstill.hms.files import HmsFolder, Problem, Split
from foldstill.hms.part import BLANK, LEFT_OUT, Part, PartTask, blank_detail, make_part
from foldstill.hms.rows import LabelRows, LabelRule, label_rows
from foldstill.hms.storage import stored_dtype
from foldstill.hms.views import View, check_names, settings_json
from foldstill.json_files import write_json
from foldstill.lock import LOCK, sole_writer
from foldstill.workers import Work

PART_ROWS = 64
"""Rows per part: a device computes as many at once, and a killed preparation loses at most this many per worker."""

PROBLEM_COLUMNS = ("file", "what", "detail", "fatal")
SOURCE_COLUMNS = ("file", "digest")


@dataclass(frozen=True)
class Prepared:
    """The result of a preparation: the cache, the problems of the files, and the rows that could not be read."""

    cache: Cache
    problems: tuple[Problem, ...]
    n_rows: int
    unreadable_rows: tuple[int, ...]


def prepare(
    folder: Path,
    out: Path,
    views: Sequence[View],
    *,
    rows: LabelRule = "unique_votes",
    split: Split = "train",
    strict: bool = False,
    work: Work = Work(workers=1),
) -> Prepared:
    """Make the views of a folder's samples, as arrays in a cache that HmsData reads.

    What is finished and made from the same files is kept, and an interrupted preparation is resumed. While another
    process writes into the cache, this one waits for it. Problems of files are collected in problems.csv of the cache.

    Parameters
    ----------
    folder : Path
        A folder in the layout of the competition.
    out : Path
        The folder of the cache.
    views : sequence of View
        The views to make, with different names.
    rows : str, default "unique_votes"
        What one sample is, see LabelRule.
    split : str, default "train"
        Whether the rows of train.csv or of test.csv are prepared.
    strict : bool, default False
        Whether the first problem of a file is an error.
    work : Work, default one process
        Processes of one thread each. With the device "auto" or "cpu" NumPy computes everything and torch is not
        imported; any other torch device computes the spectrograms of the EEG, and threads read for it. Both give the
        same values but for rounding: stored values differ by at most one step of eight bits. `force` makes finished
        views again.

    Returns
    -------
    Prepared
        The cache and the problems of the files.

    Raises
    ------
    DataError
        Where the folder, its table or the views do not fit, or a view in the cache was made from other inputs.
    FileError
        With `force`, while another process writes into the same cache.
    """
    check_names(views)
    source, cache = HmsFolder(folder, split), Cache(out)
    table = label_rows(source, rows)
    if any("eeg" in view.needs for view in views) and (table.recordings_N == "").any():
        raise DataError(
            f"rows = {rows!r} gives samples of several recordings, and views of the EEG need one: use views of "
            "spectrogram files, or other rows"
        )
    made_from = _made_from(views, source, table, rows)

    def pending() -> tuple[View, ...]:
        return tuple(view for view in views if not cache.has(view, made_from[view.name]))

    if not work.force:
        _refuse_other_rows(cache, table)
        # Whoever has nothing to write takes no lock, so that a cache can be read-only.
        if cache.is_complete and not pending():
            _remove_left_lock(out)
            return _prepared(cache, _Findings.of(cache), len(table))
    with sole_writer(out, wait=not work.force):
        if work.force:
            _drop(cache, table, views)
        else:
            _refuse_other_rows(cache, table)  # another process may have made some
        todo, findings = pending(), _Findings.of(cache)
        if todo:
            task = PartTask(source, cache, todo, strict, None if work.device in ("auto", "cpu") else work.device)
            _make_views(task, table, made_from, findings, work)
        result = _prepared(cache, findings, len(table))
        if todo or not cache.is_complete:
            _write_manifest(cache, rows, len(table), result.unreadable_rows)
    return result


@dataclass
class _Findings:
    """Problems in the order in which they were found, and a digest per file."""

    problems: dict[Problem, None] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cache: Cache) -> "_Findings":
        """What was found when the finished views of the cache were made."""
        if not cache.finished():
            return cls()
        cache.check_tables()
        lines = _read_csv(cache.problems_file, PROBLEM_COLUMNS)
        problems = [Problem(file, what, detail, fatal == "True") for file, what, detail, fatal in lines]
        digests = {file: digest for file, digest in _read_csv(cache.sources_file, SOURCE_COLUMNS)}  # noqa: C416 - typed
        return cls(dict.fromkeys(problems), digests)

    def add(self, parts: Sequence[Part]) -> None:
        for part in parts:
            self.problems |= dict.fromkeys(part.problems)
            self.digests |= part.digests


def _remove_left_lock(folder: Path) -> None:
    """Remove the lock of a writer that was killed when all was written, where this process may write."""
    if (folder / LOCK).exists():
        with suppress(FileError, OSError), sole_writer(folder):
            pass


def _prepared(cache: Cache, findings: _Findings, n_rows: int) -> Prepared:
    return Prepared(cache, tuple(findings.problems), n_rows, tuple(np.flatnonzero(~cache.rows()[1]).tolist()))


def _make_views(
    task: PartTask, table: LabelRows, made_from: dict[str, dict[str, Any]], findings: _Findings, work: Work
) -> None:
    """Make the views of a task, then finish them: tables, arrays, sidecars, in this order.

    A view is finished when it has a sidecar. Each step can be repeated, so a killed preparation is resumed from any.
    Raises DataError, and leaves nothing behind, where a view would be blank for every sample.
    """
    forms = {
        view.name: ArrayForm((len(table), *view.shape), stored_dtype(view.bounds), made_from[view.name])
        for view in task.views
    }
    try:
        parts = _make_parts(task, table, forms, work)
        findings.add(parts)
        unreadable = sorted({row for part in parts for row in part.unreadable})
        _require_content(task, table, parts, len(unreadable))
    except DataError:
        forget_filling(task.cache.arrays, list(forms))
        raise
    _write_tables(task.cache, table, findings)
    for view in task.views:
        facts = {
            "computed_by": sorted({part.computed_by[view.name] for part in parts}),
            "unreadable_rows": unreadable,
            "bounds": view.bounds,
        }
        task.cache.arrays.finish(view.name, forms[view.name], facts)


def _require_content(task: PartTask, table: LabelRows, parts: Sequence[Part], n_unreadable: int) -> None:
    """Raises DataError with the first problem where no sample could be read, or a view is blank for all that could."""
    problems = [problem for part in parts for problem in part.problems]
    if n_unreadable == len(table):
        first = next(problem for problem in problems if problem.what == LEFT_OUT)
        raise DataError(
            f"none of the {len(table)} samples of {task.source.table} could be read; {first.file}: {first.detail}"
        )
    for view in task.views:
        blank = [problem for problem in problems if problem.what == BLANK and problem.detail == blank_detail(view)]
        if len(blank) == len(table) - n_unreadable:
            raise DataError(
                f"view {view.name} has the same value everywhere in all {len(blank)} readable samples of "
                f"{task.source.root}, such as {blank[0].file}: check the files and the label offsets"
            )


def _made_from(
    views: Sequence[View], source: HmsFolder, table: LabelRows, rule: LabelRule
) -> dict[str, dict[str, Any]]:
    """What decides the content of each view: its settings, the rows, and the sizes of the files."""
    files = {"table": table.digest, "files": _sizes_digest(source, table)}
    return {view.name: {"format": FORMAT, "rule": rule, "view": settings_json(view), **files} for view in views}


def _refuse_other_rows(cache: Cache, table: LabelRows) -> None:
    """Raise DataError for a cache with views of other rows."""
    if others := cache.with_other_rows(table.digest):
        raise DataError(
            f"{cache.root} holds views of other rows ({', '.join(others)}), and all views of a cache have the same "
            "rows: prepare into another folder, or force it to be made again"
        )


def _drop(cache: Cache, table: LabelRows, views: Sequence[View]) -> None:
    """Let views of other rows, and those that are made again, count as unfinished."""
    for name in {*cache.with_other_rows(table.digest), *(view.name for view in views)}:
        cache.arrays.drop(name)
    Journal(cache.arrays.journal_file).remove()


def _make_parts(task: PartTask, table: LabelRows, forms: Mapping[str, ArrayForm], work: Work) -> list[Part]:
    """All parts; those of an earlier, interrupted preparation come from its journal."""
    # The rows of a part alone go to its process.
    calls = {rows: (task, table.take(np.asarray(rows)), rows) for rows in _pieces(table)}
    backend: Backend = "loky" if task.device is None else "threading"
    note = f"{len(task.views)} views"
    return fill_arrays(task.cache.arrays, forms, Part, make_part, calls, work, note=note, backend=backend)


def _pieces(table: LabelRows) -> list[tuple[int, ...]]:
    """Rows in pieces of about PART_ROWS.

    The rows of one recording stay in one piece, and nearly always those of one spectrogram.
    """
    order = np.lexsort((table.recordings_N, table.spectrograms_N))
    recording = np.char.add(np.char.add(table.spectrograms_N, "/"), table.recordings_N)[order]
    begins = np.flatnonzero(np.concatenate([[True], recording[1:] != recording[:-1]]))
    pieces, start = [], 0
    for end in [*begins[1:].tolist(), len(order)]:
        if end - start >= PART_ROWS or end == len(order):
            pieces.append(tuple(int(r) for r in order[start:end]))
            start = end
    return pieces


def _sizes_digest(source: HmsFolder, table: LabelRows) -> str:
    """Digest of the sizes of all files that the rows name: cheap, and it changes when a file is replaced or cut."""
    entries = []
    for folder, names in ((source.eegs, table.recordings_N), (source.spectrograms, table.spectrograms_N)):
        wanted = {f"{name}.parquet" for name in names.tolist() if name}
        with os.scandir(folder) as listing:
            entries.append(sorted([e.name, e.stat().st_size] for e in listing if e.name in wanted))
    return digest(entries)


def _write_tables(cache: Cache, table: LabelRows, findings: _Findings) -> None:
    table.write(cache.rows_file)
    problems = {name: [getattr(problem, name) for problem in findings.problems] for name in PROBLEM_COLUMNS}
    write_csv(cache.problems_file, problems)
    sources = sorted(findings.digests.items())
    write_csv(cache.sources_file, {name: [each[i] for each in sources] for i, name in enumerate(SOURCE_COLUMNS)})


def _write_manifest(cache: Cache, rule: LabelRule, n_rows: int, unreadable: Sequence[int]) -> None:
    manifest = {
        "format": FORMAT,
        "rule": rule,
        "rows": n_rows,
        "unreadable_rows": list(unreadable),
        "views": cache.finished(),
        "problems": file_digest(cache.problems_file),
        "sources": file_digest(cache.sources_file),
    }
    write_json(cache.manifest_file, manifest, sealed=True)
    Journal(cache.arrays.journal_file).remove()


def _read_csv(path: Path, columns: Sequence[str]) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            header, *lines = csv.reader(stream)
    except (ValueError, csv.Error):
        header, lines = [], []
    if header != list(columns) or any(len(line) != len(columns) for line in lines):
        raise DataError(f"{path} must be a CSV with the columns {list(columns)}: remove the folder, and prepare again")
    return lines
