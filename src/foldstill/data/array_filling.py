"""Arrays of a cache are filled part by part, in processes; a filling that was killed goes on where it was."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from foldstill.data.array_cache import ArrayCache, ArrayForm
from foldstill.data.journal import Journal, Part
from foldstill.files import file_error
from foldstill.workers import Progress, Work, spread

PartKind = TypeVar("PartKind", bound=Part)
Rows = tuple[int, ...]
Backend = Literal["loky", "threading"]


def fill_arrays(
    cache: ArrayCache,
    forms: Mapping[str, ArrayForm],
    kind: type[PartKind],
    make: Callable[..., PartKind],
    calls: Mapping[Rows, tuple[Any, ...]],
    work: Work,
    *,
    note: str,
    backend: Backend = "loky",
) -> list[PartKind]:
    """Fill arrays of as many rows each, and return what is known of every part.

    The caller finishes the arrays with `ArrayCache.finish` and then removes the journal of the cache.

    Parameters
    ----------
    cache : ArrayCache
        Where the arrays are. The caller is its only writer.
    forms : mapping of str to ArrayForm
        The arrays by name; unfinished ones are opened by `ArrayCache.part_file`.
    kind : type
        The class of the parts.
    make : function
        Fills the rows of a part and returns it; a worker calls it.
    calls : mapping of tuple of int to tuple
        Rows of each part, and the arguments of the function.
    work : Work
        Where the calls run, and what receives the progress.
    note : str
        What is prepared, for the progress.
    backend : str, default "loky"
        Whether workers of this machine are processes, or threads of this one, which alone uses the device.
    """
    from threadpoolctl import threadpool_limits

    journal = Journal(cache.journal_file)
    n_rows = next(iter(forms.values())).shape[0]
    made_from = [dict(form.made_from) for form in forms.values()]
    done = _parts_done(cache, forms, kind, made_from)
    if not done:
        cache.root.mkdir(parents=True, exist_ok=True)
        for name, form in forms.items():
            _reserve(cache.part_file(name), form)
        journal.begin(made_from)
    finished = list(done.values())

    def report() -> None:
        count = sum(len(part.rows) for part in finished)
        work.report(Progress("prepare", count, n_rows, note))

    report()
    missing = [arguments for rows, arguments in calls.items() if rows not in done]
    with threadpool_limits(1):
        for _, part in spread(make, missing, work.cpu_workers, threads=backend == "threading"):
            journal.add(part)
            finished.append(part)
            report()
    return finished


def forget_filling(cache: ArrayCache, names: Sequence[str]) -> None:
    """Remove unfinished arrays and their journal."""
    for name in names:
        cache.part_file(name).unlink(missing_ok=True)
    Journal(cache.journal_file).remove()


def _reserve(path: Path, form: ArrayForm) -> None:
    """Create an array at full size, so that a full disk shows now and not after an hour."""
    try:
        np.lib.format.open_memmap(path, "w+", form.dtype, form.shape).flush()
        if hasattr(os, "posix_fallocate"):  # without it the file has holes, and a full disk kills the process
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise file_error(error, path) from error


def _parts_done(
    cache: ArrayCache, forms: Mapping[str, ArrayForm], kind: type[PartKind], made_from: list[dict[str, Any]]
) -> dict[Rows, PartKind]:
    """Finished parts of an interrupted filling of the same arrays, by their rows.

    When all parts are finished, some of the arrays may be as well, and others may have their final names.
    """
    begun, found = Journal(cache.journal_file).read()
    parts = [kind.from_json(part) for part in found]
    wanted = json.loads(json.dumps(made_from))
    all_done = sum(len(part.rows) for part in parts) == next(iter(forms.values())).shape[0]
    same = begun == wanted or (all_done and isinstance(begun, list) and all(each in begun for each in wanted))
    files = [(cache.part_file(name), cache.array_file(name)) for name in forms]

    def is_there(part: Path, array: Path) -> bool:
        return part.exists() or (all_done and array.exists())

    return {part.rows: part for part in parts} if same and all(is_there(*pair) for pair in files) else {}
