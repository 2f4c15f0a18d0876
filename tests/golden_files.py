"""Goldens: numbers and texts that a change of the code must leave as they are, in `tests/golden/NAME.json`.

Only `pytest --regenerate-golden` writes them. A number that still agrees with the file keeps the digits it has there,
so that the diff shows only what has changed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

FOLDER = Path(__file__).parent / "golden"

Json: TypeAlias = Any
"""None, bool, int, float, str, and lists and dicts of these."""

WIDTH = 120
"""Characters a line; lists and tables that fit one stay on it."""


@dataclass(frozen=True)
class Tolerance:
    """How far a number may be from its golden, and the significant digits it is written with."""

    relative: float
    absolute: float
    digits: int

    def agree(self, was: float, now: float) -> bool:
        return math.isclose(was, now, rel_tol=self.relative, abs_tol=self.absolute)


COMPUTED = Tolerance(relative=1e-6, absolute=1e-8, digits=8)
"""Of closed forms: averages, scores of given tables, intervals."""
FITTED = Tolerance(relative=1e-4, absolute=1e-6, digits=6)
"""Of what an optimiser found on given tables."""
TRAINED = Tolerance(relative=1e-3, absolute=1e-4, digits=5)
"""Of networks after a few steps, whose sums other processors round otherwise, and of views in 8 or 16 bits."""
RANKED = Tolerance(relative=1e-2, absolute=5e-3, digits=5)
"""Of scores that count ranks of trained networks' probabilities: one swapped pair of 42 rows moves them."""

_DECIMAL = re.compile(r"[-+−]?\d+\.\d+")


@dataclass(frozen=True)
class Golden:
    """Compares values with their files, or writes the files."""

    regenerate: bool
    folder: Path = FOLDER

    def __call__(self, name: str, value: Json, tolerance: Tolerance = TRAINED) -> None:
        """Fail where `value` is not the one in NAME.json; the message names every place that differs."""
        path = self.folder / f"{name}.json"
        now = _plain(value, tolerance)
        was = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        if self.regenerate:
            path.parent.mkdir(exist_ok=True)
            path.write_text(_written(_kept(was, now, tolerance)) + "\n", encoding="utf-8")
            return
        if not path.exists():
            raise AssertionError(f"{path} is not there: run pytest --regenerate-golden and review what it writes")
        found = list(differences(was, now, tolerance))
        more = f"\n  and {len(found) - 20} more" if len(found) > 20 else ""
        assert not found, (
            f"{len(found)} values are not those of {path.name}; if they should differ, run pytest --regenerate-golden "
            "and review the diff:\n  " + "\n  ".join(found[:20]) + more
        )


def differences(was: Json, now: Json, tolerance: Tolerance, place: str = "") -> Iterator[str]:
    """One line, `place: was ..., is ...`, for every value that differs."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key in [*was, *(key for key in now if key not in was)]:
            below = f"{place}.{key}" if place else key
            if key not in now:
                yield f"{below}: was {json.dumps(was[key])}, is gone"
            elif key not in was:
                yield f"{below}: is new, {json.dumps(now[key])}"
            else:
                yield from differences(was[key], now[key], tolerance, below)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for i, (before, after) in enumerate(zip(was, now, strict=True)):
            yield from differences(before, after, tolerance, f"{place}[{i}]")
    elif not _agree(was, now, tolerance):
        yield f"{place}: was {json.dumps(was)}, is {json.dumps(now)}"


def _agree(was: Json, now: Json, tolerance: Tolerance) -> bool:
    if isinstance(was, float) and isinstance(now, float):
        return tolerance.agree(was, now)
    if isinstance(was, str) and isinstance(now, str):
        return _same_text(was, now, tolerance)
    return type(was) is type(now) and bool(was == now)


def _same_text(was: str, now: str, tolerance: Tolerance) -> bool:
    """The same words, and decimals that agree, or differ in their last digit alone."""
    if _DECIMAL.split(was) != _DECIMAL.split(now):
        return False
    pairs = zip(_DECIMAL.findall(was.replace("−", "-")), _DECIMAL.findall(now.replace("−", "-")), strict=True)
    return all(
        tolerance.agree(float(a), float(b)) or abs(float(a) - float(b)) < 1.5 * 10.0 ** -len(a.partition(".")[2])
        for a, b in pairs
    )


def _kept(was: Json, now: Json, tolerance: Tolerance) -> Json:
    """`now`, with the old digits wherever they agree."""
    if isinstance(was, dict) and isinstance(now, dict):
        return {key: _kept(was[key], value, tolerance) if key in was else value for key, value in now.items()}
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [_kept(before, after, tolerance) for before, after in zip(was, now, strict=True)]
    return was if _agree(was, now, tolerance) else now


def _plain(value: Json, tolerance: Tolerance) -> Json:
    """The value as JSON holds it: arrays as lists, floats rounded."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(part, tolerance) for key, part in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, list | tuple):
        return [_plain(part, tolerance) for part in value]
    if isinstance(value, float):
        assert math.isfinite(value), f"a golden cannot hold {value}"
        return float(f"{value:.{tolerance.digits}g}")
    assert value is None or isinstance(value, bool | int | str), f"a golden cannot hold {type(value).__name__}"
    return value


def _written(value: Json, indent: int = 0, before: int = 0) -> str:
    """JSON with as much on a line as fits: `indent` spaces and `before` characters are there already."""
    flat = json.dumps(value, ensure_ascii=False, allow_nan=False)
    if not isinstance(value, dict | list) or not value or indent + before + len(flat) < WIDTH:
        return flat
    space, end = " " * (indent + 2), " " * indent
    if isinstance(value, dict):
        keys = [json.dumps(key, ensure_ascii=False) + ": " for key in value]
        lines = [key + _written(part, indent + 2, len(key)) for key, part in zip(keys, value.values(), strict=True)]
        return "{\n" + ",\n".join(space + line for line in lines) + f"\n{end}}}"
    if any(isinstance(part, dict | list) for part in value):
        return "[\n" + ",\n".join(space + _written(part, indent + 2) for part in value) + f"\n{end}]"
    lines = [""]
    for part in (json.dumps(part, ensure_ascii=False) for part in value):
        if lines[-1] and indent + len(lines[-1]) + len(part) > WIDTH - 6:
            lines.append("")
        lines[-1] += f", {part}" if lines[-1] else part
    return "[\n" + ",\n".join(space + line for line in lines) + f"\n{end}]"
