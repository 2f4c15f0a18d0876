"""Prepare: every file read once, every view made once, into one array a view; parallel, and resumed where it was stopped.

N rows.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from foldstill.errors import DataError
from foldstill.files import atomic_write, digest, file_digest, write_json
from foldstill.hms.cache import FORMAT, Cache, spec
from foldstill.hms.files import HmsFolder, Problem, Split
from foldstill.hms.image import View, stored_dtype
from foldstill.hms.part import Part, make_part
from foldstill.hms.rows import LabelRows, LabelRule, label_rows

Progress = Callable[[int, int], None]
"""Called with rows done and rows in all."""

PART_ROWS = 64
"""Rows of one piece of work: a device computes as many at once, and a killed preparation loses at most this many a worker."""


@dataclass(frozen=True)
class Prepared:
    """What a preparation gave: the cache, and what was wrong with the files."""

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
    jobs: int = 1,
    strict: bool = False,
    force: bool = False,
    device: str | None = None,
    on_progress: Progress | None = None,
) -> Prepared:
    """Make the views of a folder's samples, as arrays in `out` that HmsData reads.

    `jobs` processes of one thread each; where torch is to compute the spectrograms of the EEG on a `device`, `jobs` threads
    that read for it. Both give the same but for rounding: stored values are at most one step of eight bits apart. What is finished and made from the same files stays; what was made from something
    else is an error unless `force`. Problems of files are collected in problems.csv; `strict` makes the first one an error.
    """
    names = [view.name for view in views]
    if not views or len(set(names)) < len(names):
        raise DataError(f"views to prepare need different names, got {names}: set `name`")
    source, cache = HmsFolder(folder, split), Cache(out)
    table = label_rows(source, rows)
    needs = frozenset().union(*(view.needs for view in views))
    if "eeg" in needs and (table.recordings_N == "").any():
        raise DataError(
            f"rows = {rows!r} name no one recording, which EEG views need: use spectrogram views, or other rows"
        )
    files = {"table": table.digest, "files": _sizes(source, table)}
    made_from = {view.name: {"format": FORMAT, "rule": rows, "view": spec(view), **files} for view in views}
    if force:
        for name in {*names, *cache.of_other_rows(table.digest)}:
            cache.sidecar_file(name).unlink(missing_ok=True)
    elif others := cache.of_other_rows(table.digest):
        raise DataError(
            f"{out} holds views of other rows ({', '.join(others)}), and views of one cache are read together: "
            "prepare into another folder, or force it to be made again"
        )
    todo = [view for view in views if not cache.made(view, made_from[view.name])]
    problems, unreadable, digests = ({}, set(), {}) if force else _earlier(cache)
    if todo:
        out.mkdir(parents=True, exist_ok=True)
        parts = _run(source, cache, table, todo, jobs, strict, device, [made_from[v.name] for v in todo], on_progress)
        problems |= dict.fromkeys(p for part in parts for p in part.problems)
        unreadable |= {row for part in parts for row in part.unreadable}
        digests |= {name: value for part in parts for name, value in part.digests.items()}
        computed_by = {v.name: sorted({part.computed_by[v.name] for part in parts}) for v in todo}
        _finish(cache, table, todo, made_from, computed_by, problems, unreadable, digests)
    return Prepared(cache, tuple(problems), len(table), tuple(sorted(unreadable)))


def _run(
    source: HmsFolder,
    cache: Cache,
    table: LabelRows,
    views: Sequence[View],
    jobs: int,
    strict: bool,
    device: str | None,
    made_from: list[dict[str, Any]],
    on_progress: Progress | None,
) -> list[Part]:
    """Every part, those of an earlier, stopped preparation from its journal."""
    from joblib import Parallel, delayed

    pieces = _pieces(table)
    done = _journal(cache, made_from)
    if not done:
        for view in views:
            # Created whole, so that a full disk shows now and not after an hour.
            shape = (len(table), *view.shape)
            np.lib.format.open_memmap(cache.part_file(view.name), "w+", stored_dtype(view), shape).flush()
        cache.journal_file.write_text(json.dumps({"made_from": made_from}) + "\n", encoding="utf-8")
    finished = list(done.values())
    count = sum(len(part.rows) for part in finished)
    if on_progress is not None:
        on_progress(count, len(table))
    work = (
        delayed(make_part)(source, cache, table.take(np.asarray(rows)), rows, views, strict, device)
        for rows in pieces
        if rows not in done
    )
    with _workers("sequential" if jobs == 1 else "loky" if device is None else "threading"):
        for part in Parallel(n_jobs=jobs, return_as="generator_unordered")(work):
            with cache.journal_file.open("a", encoding="utf-8") as journal:
                journal.write(json.dumps(part.as_json()) + "\n")
            finished.append(part)
            count += len(part.rows)
            if on_progress is not None:
                on_progress(count, len(table))
    return finished


@contextmanager
def _workers(backend: Literal["sequential", "loky", "threading"]) -> Iterator[None]:
    """Workers of one thread each: processes, or threads of this process, which alone holds the device and all signals."""
    from joblib import parallel_config
    from threadpoolctl import threadpool_limits

    one_thread = {"inner_max_num_threads": 1} if backend == "loky" else {}
    with threadpool_limits(1), parallel_config(backend=backend, **one_thread):
        yield


def _pieces(table: LabelRows) -> list[tuple[int, ...]]:
    """Rows in pieces of about PART_ROWS; the rows of one recording stay together, those of a spectrogram nearly always."""
    order = np.lexsort((table.recordings_N, table.spectrograms_N))
    recording = np.char.add(np.char.add(table.spectrograms_N, "/"), table.recordings_N)[order]
    begins = np.flatnonzero(np.concatenate([[True], recording[1:] != recording[:-1]]))
    parts, start = [], 0
    for end in [*begins[1:].tolist(), len(order)]:
        if end - start >= PART_ROWS or end == len(order):
            parts.append(tuple(int(r) for r in order[start:end]))
            start = end
    return parts


def _sizes(source: HmsFolder, table: LabelRows) -> str:
    """A digest of the sizes of all files that the rows name: cheap, and notices a file that was replaced or cut."""
    entries = []
    for folder, names in ((source.eegs, table.recordings_N), (source.spectrograms, table.spectrograms_N)):
        wanted = {f"{name}.parquet" for name in names.tolist() if name}
        with os.scandir(folder) as listing:
            entries.append(sorted([e.name, e.stat().st_size] for e in listing if e.name in wanted))
    return digest(entries)


def _journal(cache: Cache, made_from: list[dict[str, Any]]) -> dict[tuple[int, ...], Part]:
    """Finished parts of a stopped preparation of the same views from the same files, by their rows."""
    try:
        lines = cache.journal_file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    whole_lines = []
    for line in lines:
        try:
            whole_lines.append(json.loads(line))
        except json.JSONDecodeError:
            break  # the process was killed while it wrote this line
    if not whole_lines or whole_lines[0].get("made_from") != json.loads(json.dumps(made_from)):
        return {}
    parts = [Part.from_json(line) for line in whole_lines[1:]]
    return {part.rows: part for part in parts}


def _earlier(cache: Cache) -> tuple[dict[Problem, None], set[int], dict[str, str]]:
    """Problems, unreadable rows and digests that earlier preparations in the folder found."""
    if not cache.manifest_file.exists():
        return {}, set(), {}
    problems = {
        Problem(r["file"], r["what"], r["detail"], r["fatal"] == "True"): None for r in _read_csv(cache.problems_file)
    }
    _, readable_N = cache.rows()
    digests = {r["file"]: r["digest"] for r in _read_csv(cache.sources_file)}
    return problems, set(np.flatnonzero(~readable_N).tolist()), digests


def _finish(
    cache: Cache,
    table: LabelRows,
    views: Sequence[View],
    made_from: dict[str, dict[str, Any]],
    computed_by: dict[str, list[str]],
    problems: dict[Problem, None],
    unreadable: set[int],
    digests: dict[str, str],
) -> None:
    """Tables, then arrays, then sidecars, then the manifest: what exists is whole."""
    table.write(cache.rows_file)
    _write_csv(cache.problems_file, ("file", "what", "detail", "fatal"), [tuple(vars(p).values()) for p in problems])
    _write_csv(cache.sources_file, ("file", "digest"), sorted(digests.items()))
    for view in views:
        cache.part_file(view.name).replace(cache.array_file(view.name))
        sidecar = {
            "made_from": made_from[view.name],
            "computed_by": computed_by[view.name],
            "shape": [len(table), *view.shape],
            "dtype": stored_dtype(view).name,
            "bounds": view.bounds,
            "checksum": file_digest(cache.array_file(view.name)),
        }
        write_json(cache.sidecar_file(view.name), sidecar)
    write_json(
        cache.manifest_file,
        {
            "format": FORMAT,
            "rule": made_from[views[0].name]["rule"],
            "rows": len(table),
            "unreadable_rows": sorted(unreadable),
            "views": cache.finished(),
            "sources": file_digest(cache.sources_file),
        },
    )
    cache.journal_file.unlink(missing_ok=True)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with atomic_write(path) as part, part.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


def _read_csv(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        yield from csv.DictReader(stream)
