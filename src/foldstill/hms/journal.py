"""The finished parts of an unfinished preparation, from which a killed one continues."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldstill.files import digest, write_text
from foldstill.hms.part import Part


@dataclass(frozen=True)
class Journal:
    """A file with one line for what is prepared and one per finished part, each with its digest."""

    path: Path

    def begin(self, made_from: Sequence[Any]) -> None:
        """Start with what decides the content of each view, and without parts."""
        write_text(self.path, _line({"made_from": list(made_from)}))

    def add(self, part: Part) -> None:
        """Add a part whose arrays are on the disk."""
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(_line(part.as_json()))
            stream.flush()
            os.fsync(stream.fileno())

    def read(self) -> tuple[list[Any], list[Part]]:
        """What `begin` and `add` wrote; nothing where the first line is missing or damaged.

        A part with a damaged line, as a kill while it was written leaves one, is left out and made again.
        """
        try:
            first, *others = self.path.read_bytes().splitlines() or [b""]
        except FileNotFoundError:
            return [], []
        made_from = [each for value in _values([first]) for each in value["made_from"]]
        return made_from, [Part.from_json(value) for value in _values(others)] if made_from else []

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
