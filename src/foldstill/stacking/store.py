"""A fitted combination on disk: combination.json, combination.npz, and texts as they are. Nothing is ever unpickled."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import StackError
from foldstill.files import atomic_write, read_json, write_json, write_text
from foldstill.stacking.combiner import Combiner, Fitted
from foldstill.stacking.settings import CombinerSettings

SCHEMA = 1
_JSON, _NPZ = "combination.json", "combination.npz"


def save(fitted: Fitted, folder: Path) -> None:
    """Write `fitted` into `folder`; combination.json comes last, so that its existence means the rest is whole.

    Raises StackError for a combiner that is no settings class of this package: its file could not be read again.
    """
    if not isinstance(fitted.combiner, get_args(CombinerSettings)):
        got = type(fitted.combiner).__name__
        kinds = sorted(settings.kind for settings in get_args(CombinerSettings))
        raise StackError(f"only combiners of kind {kinds} can be saved, got {got}: apply it in memory")
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
            "settings": asdict(fitted.combiner),
            "members": list(fitted.members),
            "classes": list(fitted.classes),
            "table_digest": fitted.table_digest,
            "explanation": fitted.explanation,
            "texts": texts,
        },
    )


def load(folder: Path) -> Fitted:
    """The combination in `folder`, equal to the one saved. Raises StackError for a missing file or another schema."""
    from pydantic import TypeAdapter, ValidationError

    path = folder / _JSON
    if not path.is_file():
        raise StackError(f"no combination in {folder}: {_JSON} is missing; give the folder that holds it")
    try:
        saved = read_json(path)
        if saved["schema"] != SCHEMA:
            raise StackError(f"{path} has schema {saved['schema']}, this version reads {SCHEMA}: fit it again")
        combiner: Combiner = TypeAdapter(CombinerSettings).validate_python(saved["settings"])
        state: dict[str, NDArray[Any] | str] = {
            key: (folder / file).read_text(encoding="utf-8") for key, file in saved["texts"].items()
        }
        with np.load(folder / _NPZ, allow_pickle=False) as arrays:
            state.update({key: arrays[key] for key in arrays.files})
        members, classes, marks = tuple(saved["members"]), tuple(saved["classes"]), str(saved["table_digest"])
    except (ValidationError, KeyError, TypeError, OSError) as error:
        raise StackError(f"{folder} holds no combination this version can read ({error}): fit it again") from error
    return Fitted(combiner, combiner.restore(state), members, classes, marks)
