"""Prepared views on disk: one memory-mapped array a view, each with a sidecar that says what made it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import DataError
from foldstill.files import file_digest, read_json
from foldstill.hms.image import View, stored_dtype
from foldstill.hms.rows import LabelRows
from foldstill.manifest import changes

FORMAT = 1
"""Raised when a view's numbers change, so that old caches are refused."""


def spec(view: View) -> dict[str, Any]:
    """A view's settings as JSON holds them."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(view)))  # type: ignore[call-overload]
    return plain


@dataclass(frozen=True)
class Cache:
    """A folder of prepared views."""

    folder: Path

    @property
    def rows_file(self) -> Path:
        return self.folder / "rows.parquet"

    @property
    def manifest_file(self) -> Path:
        return self.folder / "manifest.json"

    @property
    def problems_file(self) -> Path:
        return self.folder / "problems.csv"

    @property
    def sources_file(self) -> Path:
        return self.folder / "sources.csv"

    @property
    def journal_file(self) -> Path:
        """Which parts of an unfinished preparation are done."""
        return self.folder / "progress.jsonl"

    def array_file(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def sidecar_file(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def part_file(self, name: str) -> Path:
        """The array of an unfinished preparation."""
        return self.folder / f".{name}.part.npy"

    def of_other_rows(self, table: str) -> list[str]:
        """Names of the finished views whose rows are not those with this digest."""
        return [n for n in self.finished() if read_json(self.sidecar_file(n))["made_from"]["table"] != table]

    def finished(self) -> list[str]:
        """Names of the views that are whole: their sidecar is written last."""
        arrays = sorted(path.stem for path in self.folder.glob("[!.]*.npy"))
        return [name for name in arrays if self.sidecar_file(name).exists()]

    def made(self, view: View, made_from: Mapping[str, Any]) -> bool:
        """Whether the view is there, whole; raises DataError that names what differs where it was made from something
        else, and where its array is not as it was written."""
        if view.name not in self.finished():
            return False
        sidecar = read_json(self.sidecar_file(view.name))
        if changed := changes(sidecar["made_from"], made_from):
            raise DataError(
                f"view {view.name!r} in {self.folder} was made from other inputs: {'; '.join(changed)}: "
                "prepare into another folder, give the view another name, or force it to be made again"
            )
        if (checksum := file_digest(self.array_file(view.name))) != sidecar["checksum"]:
            raise DataError(
                f"{self.array_file(view.name)} must have the checksum {sidecar['checksum']} of its sidecar, got {checksum}: "
                "it was damaged after it was written; force it to be made again"
            )
        return True

    def rows(self) -> tuple[LabelRows, NDArray[np.bool_]]:
        """The samples, and which of them could be read; raises DataError where nothing was prepared."""
        if not self.manifest_file.exists():
            raise DataError(f"{self.folder} holds no finished preparation: run `foldstill prepare` for this data first")
        readable = np.asarray(read_json(self.manifest_file)["unreadable_rows"], dtype=np.intp)
        rows = LabelRows.read(self.rows_file)
        mask = np.ones(len(rows), dtype=np.bool_)
        mask[readable] = False
        return rows, mask

    def views(self, views: Sequence[View]) -> dict[str, NDArray[Any]]:
        """The arrays of the views, memory-mapped, by name; raises DataError for one that was prepared otherwise or not."""
        arrays = {}
        for view in views:
            if not self.sidecar_file(view.name).exists():
                raise DataError(f"view {view.name!r} is not in {self.folder}: run `foldstill prepare` with it")
            if changed := changes(read_json(self.sidecar_file(view.name))["made_from"]["view"], spec(view)):
                raise DataError(
                    f"view {view.name!r} in {self.folder} has other settings: {'; '.join(changed)}: prepare it again, or "
                    "give the view another name"
                )
            try:
                array = np.load(self.array_file(view.name), mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise DataError(
                    f"{self.array_file(view.name)} cannot be read ({error}): prepare the view again with force"
                ) from error
            if array.shape[1:] != view.shape or array.dtype != stored_dtype(view):
                raise DataError(
                    f"{self.array_file(view.name)} holds {array.dtype} {array.shape}: prepare the view again"
                )
            arrays[view.name] = array
        return arrays
