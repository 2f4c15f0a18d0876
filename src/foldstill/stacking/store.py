"""A fitted combiner on disk: combination.json, combination.npz, and text files. Nothing is ever unpickled."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.estimators import saved_estimator
from foldstill.digests import file_digest
from foldstill.errors import StackError, at
from foldstill.files import atomic_write, write_text
from foldstill.json_files import read_json, write_json
from foldstill.settings import type_adapter
from foldstill.stacking.combiner import AnyCombiner, Combiner, FittedCombiner
from foldstill.stacking.kinds import COMBINERS

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 1
_JSON, _NPZ = "combination.json", "combination.npz"
_CURE = "restore it from a copy, or fit the combiner again with --force"


def save(fitted: FittedCombiner, folder: Path) -> None:
    """Write `fitted` into `folder`.

    combination.json is written last, so its existence means that the other files are complete. Raises StackError when
    the settings have no form in a file.
    """
    settings = _plain_settings(fitted.combiner)
    state = fitted.combination.state()
    folder.mkdir(parents=True, exist_ok=True)
    texts = {key: f"{key.replace('/', '.')}.txt" for key, value in state.items() if isinstance(value, str)}
    for key, file in texts.items():
        write_text(folder / file, str(state[key]))
    arrays: dict[str, Any] = {key: value for key, value in state.items() if not isinstance(value, str)}
    with atomic_write(folder / _NPZ) as part:
        np.savez(part, allow_pickle=False, **arrays)
    write_json(
        folder / _JSON,
        {
            "schema": SCHEMA,
            "settings": settings,
            "members": list(fitted.members),
            "classes": list(fitted.classes),
            "table_digest": fitted.table_digest,
            "explanation": fitted.explanation,
            "texts": texts,
            "files": {file: file_digest(folder / file) for file in (_NPZ, *texts.values())},
        },
        sealed=True,
    )


def load(folder: Path, *, combiners: Sequence[type[Combiner]] = COMBINERS) -> FittedCombiner:
    """Return the fitted combiner in `folder`, equal to the one that was saved.

    `combiners` are the classes that the settings can have; add your own to read a combiner of your own. Raises
    StackError when a file is missing, was changed, or has another schema.
    """
    from pydantic import ValidationError

    path = folder / _JSON
    if not path.is_file():
        raise StackError(f"no combination in {folder}: {_JSON} is missing; give the folder that contains it")
    saved = read_json(path, {"schema": int, "files": dict}, error=StackError, cure=_CURE)
    # LightGBM ends the process when it reads a text that was cut.
    for file, digest in saved["files"].items():
        if not (folder / file).is_file():
            raise StackError(f"{folder / file} is missing, but {_JSON} beside it lists it: {_CURE}")
        if file_digest(folder / file) != digest:
            raise StackError(f"{folder / file} was damaged or changed after the combination was saved: {_CURE}")
    try:
        if saved["schema"] != SCHEMA:
            raise StackError(
                f"{path} has schema {saved['schema']}, but this version reads schema {SCHEMA}: fit it again"
            )
        combiner = _reader(tuple(combiners)).validate_python(saved["settings"])
        state: dict[str, NDArray[Any] | str] = {
            key: (folder / file).read_text(encoding="utf-8") for key, file in saved["texts"].items()
        }
        with np.load(folder / _NPZ, allow_pickle=False) as arrays:
            state.update({key: arrays[key] for key in arrays.files})
        members, classes, table_digest = tuple(saved["members"]), tuple(saved["classes"]), str(saved["table_digest"])
    except (ValidationError, KeyError, TypeError, OSError) as error:
        raise StackError(
            f"{folder} contains no combination that this version can read ({error}): fit it again"
        ) from error
    with at(folder):
        combination = combiner.restore(state)
    return FittedCombiner(combiner, combination, members, classes, table_digest)


@cache
def _reader(combiners: tuple[type[Combiner], ...]) -> "TypeAdapter[Combiner]":
    return type_adapter(AnyCombiner, {"combiner": combiners})


def _plain_settings(combiner: Combiner) -> dict[str, Any]:
    settings: Any = combiner
    if not is_dataclass(settings):
        raise StackError(
            f"only a combiner that is a dataclass can be saved, got {type(combiner).__name__}: add "
            "@dataclass(frozen=True)"
        )
    plain: dict[str, Any] = _plain(asdict(settings))  # type: ignore[arg-type]
    return plain


def _plain(value: Any) -> Any:
    """Return a setting as JSON; a scikit-learn estimator becomes its skops file in base64."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return saved_estimator(value)
