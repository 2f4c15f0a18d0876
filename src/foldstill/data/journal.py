"""The finished parts of unfinished arrays, from which a killed preparation continues."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from foldstill.digests import digest
from foldstill.files import write_text

if TYPE_CHECKING:
    from typing import Self


class Part(Protocol):
    """What is known of finished rows of arrays."""

    @property
    def rows(self) -> tuple[int, ...]: ...

    def as_json(self) -> dict[str, Any]:
        """The part as JSON values."""
        ...

    @classmethod
    def from_json(cls, part: dict[str, Any]) -> "Self":
        """The part that `as_json` described."""
        ...


@dataclass(frozen=True)
class Journal:
    """A file with one line for what the arrays are made from and one per finished part, each with its digest."""

    path: Path

    def begin(self, made_from: Any) -> None:
        """Start with what decides the content of the arrays, and without parts."""
        write_text(self.path, _line({"made_from": made_from}))

    def add(self, part: Part) -> None:
        """Add a part whose rows are on the disk."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(_line(part.as_json()))
            stream.flush()
            os.fsync(stream.fileno())

    def read(self) -> tuple[Any, list[dict[str, Any]]]:
        """What `begin` and `add` wrote, as JSON values; nothing where the first line is missing or damaged.

        A part with a damaged line, as a kill while it was written leaves one, is left out and made again.
        """
        try:
            first, *others = self.path.read_bytes().splitlines() or [b""]
        except FileNotFoundError:
            return None, []
        made_from = [value["made_from"] for value in _values([first])]
        return (made_from[0], list(_values(others))) if made_from else (None, [])

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _line(value: dict[str, Any]) -> str:
    return json.dumps({"digest": digest(value), "value": value}) + "\n"


def _values(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The values of the lines that are as they were written."""
    for line in lines:
        try:
            entry = json.loads(line)
            if entry["digest"] == digest(entry["value"]):
                yield entry["value"]
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
