"""Prepared views on disk: one memory-mapped array per view, each with a sidecar that records what it was made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.array_cache import ArrayCache
from foldstill.digests import file_digest
from foldstill.errors import DataError
from foldstill.files import Inside
from foldstill.hms.rows import LabelRows
from foldstill.hms.storage import stored_dtype
from foldstill.hms.views import View, settings_json
from foldstill.json_files import check_shape, read_json
from foldstill.manifest import changes

FORMAT = 2
"""Raised when the files of a view change, so that old caches are refused."""


@dataclass(frozen=True)
class Cache:
    """A folder of prepared views."""

    root: Path

    rows_file = Inside("rows.parquet")
    manifest_file = Inside("manifest.json")
    problems_file = Inside("problems.csv")
    sources_file = Inside("sources.csv")

    @property
    def arrays(self) -> ArrayCache:
        """The arrays of the views and their sidecars."""
        return ArrayCache(self.root)

    def sidecar(self, name: str) -> dict[str, Any]:
        """What a finished view was made from; raises DataError if the sidecar is damaged."""
        sidecar = self.arrays.sidecar(name)
        cure = "remove it, and prepare the view again"
        check_shape(sidecar, {"unreadable_rows": list}, self.arrays.sidecar_file(name), error=DataError, cure=cure)
        return sidecar

    def finished(self) -> list[str]:
        """Names of the finished views."""
        return self.arrays.finished()

    @property
    def is_complete(self) -> bool:
        """Whether every preparation that was begun here was finished."""
        return self.manifest_file.exists() and not self.arrays.journal_file.exists()

    def check_tables(self) -> None:
        """Raise DataError if a table of finished preparations does not have the bytes that were written."""
        if not self.is_complete:
            return  # the preparation that is resumed writes them again
        cure = "remove it, and prepare again, which writes it again"
        known = read_json(self.manifest_file, {"problems": str, "sources": str}, error=DataError, cure=cure)
        for name, path in (("problems", self.problems_file), ("sources", self.sources_file)):
            if not path.is_file() or file_digest(path) != known[name]:
                raise DataError(
                    f"{path} was removed, damaged or changed after it was written: restore it from a copy, or prepare "
                    "into another folder"
                )

    def with_other_rows(self, table_digest: str) -> list[str]:
        """Names of the finished views whose rows have another digest."""
        return [n for n in self.finished() if self.sidecar(n)["made_from"]["table"] != table_digest]

    def has(self, view: View, made_from: Mapping[str, Any]) -> bool:
        """Whether the view is finished.

        Raises DataError that names what differs if it was made from other inputs, and if its array is damaged.
        """
        if view.name not in self.finished():
            return False
        sidecar = self.sidecar(view.name)
        if changed := changes(sidecar["made_from"], made_from):
            raise DataError(
                f"view {view.name!r} in {self.root} was made from other inputs: {'; '.join(changed)}: "
                "prepare into another folder, give the view another name, or force it to be made again"
            )
        self.arrays.check(view.name)
        return True

    def rows(self) -> tuple[LabelRows, NDArray[np.bool_]]:
        """The samples, and for which of them every finished view could be made.

        Raises DataError where no view is finished.
        """
        finished = self.finished()
        if not finished:
            raise DataError(f"{self.root} holds no finished preparation: run `foldstill prepare` for this data first")
        rows = LabelRows.read(self.rows_file)
        readable_N = np.ones(len(rows), dtype=np.bool_)
        for name in finished:
            readable_N[np.asarray(self.sidecar(name)["unreadable_rows"], dtype=np.intp)] = False
        return rows, readable_N

    def views(self, views: Sequence[View]) -> dict[str, NDArray[Any]]:
        """The arrays of the views by name, memory-mapped.

        Raises DataError for a view that is missing, damaged, or prepared with other settings.
        """
        return {view.name: self._array(view) for view in views}

    def _array(self, view: View) -> NDArray[Any]:
        if not self.arrays.sidecar_file(view.name).exists():
            raise DataError(f"view {view.name!r} is not in {self.root}: run `foldstill prepare` with it")
        if changed := changes(self.sidecar(view.name)["made_from"]["view"], settings_json(view)):
            raise DataError(
                f"view {view.name!r} in {self.root} has other settings: {'; '.join(changed)}: prepare it again, or "
                "give the view another name"
            )
        array = self.arrays.open(view.name)
        if array.shape[1:] != view.shape or array.dtype != stored_dtype(view.bounds):
            raise DataError(
                f"{self.arrays.array_file(view.name)} must hold {stored_dtype(view.bounds)} of shape {view.shape} per "
                f"row, got {array.dtype} {array.shape[1:]}: prepare the view again with force"
            )
        return array
