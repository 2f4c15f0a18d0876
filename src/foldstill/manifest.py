"""The mark of a finished stage: `done.json`, written last, holds what the stage was made from and what came out."""

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foldstill.digests import file_digest
from foldstill.errors import ExperimentError, FoldstillWarning
from foldstill.files import make_folder, sync
from foldstill.json_files import read_json, write_json

DONE = "done.json"
CURE = "restore it from a copy, or make it again with --force"
"""The end of a message on a damaged file of finished work."""
SHOWN = 6
"""Number of finished folders that a note names."""


def changes(before: Any, after: Any, path: str = "") -> list[str]:
    """One sentence per difference between two JSON values, with the dotted path of what differs.

    A missing key and a null are the same. Lists of the same length are compared element by element.

    >>> changes({"recipe": {"epochs": 5, "lr": 0.1}}, {"recipe": {"epochs": 6, "lr": 0.1}, "seed": 0})
    ['recipe.epochs was 5, is 6', 'seed was absent, is 0']
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys: list[Any] = sorted(before.keys() | after.keys())
        pairs = [(key, before.get(key), after.get(key)) for key in keys]
    elif isinstance(before, list | tuple) and isinstance(after, list | tuple) and len(before) == len(after):
        pairs = [(index, *pair) for index, pair in enumerate(zip(before, after, strict=True))]
    elif before == after:
        return []
    else:
        return [f"{path or 'the value'} was {_shown(before)}, is {_shown(after)}"]
    return [line for key, old, new in pairs for line in changes(old, new, f"{path}.{key}".lstrip("."))]


def _shown(value: Any) -> str:
    return "absent" if value is None else json.dumps(value, default=str)


@dataclass(frozen=True)
class Stage:
    """A folder that one piece of work fills, and the inputs that decide its content.

    `inputs` holds JSON values: settings, or digests of data.
    """

    folder: Path
    inputs: Mapping[str, Any]

    def check(self, *, force: bool = False) -> None:
        """Raise ExperimentError when finished work was made from other values of these inputs; nothing is written.

        Inputs that are not known yet can be left out. With `force` everything is accepted.
        """
        done = self.folder / DONE
        if force or not done.exists():
            return
        before = read_done(self.folder)["inputs"]
        if changed := changes({name: before.get(name) for name in self.inputs}, self.inputs):
            raise ExperimentError(_other_inputs(self.folder, changed))

    def finished(self, *, force: bool = False) -> bool:
        """Whether the folder holds the finished work, made from these inputs.

        Raises ExperimentError with every input that changed. With `force` the old work counts as unfinished.
        """
        done = self.folder / DONE
        if not done.exists():
            return False
        if force:
            done.unlink()
            return False
        if changed := changes(read_done(self.folder)["inputs"], self.inputs):
            raise ExperimentError(_other_inputs(self.folder, changed))
        check_files(self.folder)
        return True

    def finish(self, files: Iterable[Path] = (), **notes: Any) -> None:
        """Mark the work as finished: all `files` that came out are on the disk, then the mark with their digests is.

        `notes` (JSON values) are kept beside the inputs.
        """
        digests = _on_disk(self.folder, files)
        write_json(self.folder / DONE, {"inputs": dict(self.inputs), "files": digests, **notes}, sealed=True)


def note_made_again(stages: Iterable[Stage]) -> None:
    """Warn which finished work of these stages is made again, because the user asked for it by force."""
    names = [f"{one.folder.parent.name}/{one.folder.name}" for one in stages if (one.folder / DONE).exists()]
    if names:
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        message = f"finished work is made again, as --force says: {', '.join(names[:SHOWN])}{more}"
        warnings.warn(message, FoldstillWarning, stacklevel=2)


@dataclass(frozen=True)
class Scoring:
    """The scores of finished work, and the inputs that decide them; work that is made again has none yet."""

    folder: Path
    inputs: Mapping[str, Any]

    @property
    def begun(self) -> bool:
        """Whether the work was scored since it was made, from whatever inputs."""
        return "scoring" in read_done(self.folder)

    def finished(self) -> bool:
        """Whether the scores were made from these inputs and their files are as they were written."""
        kept = read_done(self.folder).get("scoring", {"inputs": None, "files": {}})
        same = not changes(kept["inputs"], self.inputs)
        return same and all(
            (self.folder / name).is_file() and file_digest(self.folder / name) == digest
            for name, digest in kept["files"].items()
        )

    def finish(self, files: Iterable[Path]) -> None:
        """List the files of the scores in the mark of the work."""
        scoring = {"inputs": dict(self.inputs), "files": _on_disk(self.folder, files)}
        write_json(self.folder / DONE, read_done(self.folder) | {"scoring": scoring}, sealed=True)


def _on_disk(folder: Path, files: Iterable[Path]) -> dict[str, str]:
    """Digest per file, by its path in the folder, once the files and their names are on the disk."""
    make_folder(folder)  # work without files of its own has no folder yet
    digests = {}
    for path in files:
        sync(path)
        digests[path.relative_to(folder).as_posix()] = file_digest(path)
    for parent in {folder, *((folder / name).parent for name in digests)}:
        sync(parent)
    return digests


def read_done(folder: Path) -> dict[str, Any]:
    """The content of the mark of finished work; raises ExperimentError if it is missing or damaged."""
    if not (folder / DONE).is_file():
        raise ExperimentError(f"there is no {folder / DONE}, so the work is not finished: {CURE}")
    done: dict[str, Any] = read_json(folder / DONE, {"inputs": dict, "files": dict}, error=ExperimentError, cure=CURE)
    return done


def recorded_inputs(folder: Path) -> Mapping[str, Any]:
    """What finished work was made from, by its mark; empty where the mark is missing or damaged."""
    try:
        inputs: Mapping[str, Any] = read_done(folder)["inputs"]
    except ExperimentError:
        return {}
    return inputs


def check_files(folder: Path, *names: str) -> None:
    """Raise ExperimentError unless these files of finished work have the bytes that were written.

    By default, all files are meant except those of its scores, which can be made again.
    """
    done = read_done(folder)
    digests = _listed(done)
    for name in names or done["files"]:
        path = folder / name
        if name not in digests:
            raise ExperimentError(f"{path} does not belong to the work that {DONE} beside it describes: {CURE}")
        if not path.is_file():
            raise ExperimentError(f"{path} is missing, and {DONE} beside it says that it was written: {CURE}")
        if file_digest(path) != digests[name]:
            raise ExperimentError(f"{path} was damaged or changed after it was written: {CURE}")


def has_file(path: Path) -> bool:
    """Whether the finished work in the folder of this file lists it."""
    return (path.parent / DONE).exists() and path.name in _listed(read_done(path.parent))


def _listed(done: Mapping[str, Any]) -> dict[str, str]:
    """Digest per file of finished work and of its scores."""
    return done["files"] | done.get("scoring", {}).get("files", {})  # type: ignore[no-any-return]


def _other_inputs(folder: Path, changed: list[str]) -> str:
    return (
        f"{folder} was made from other inputs: {'; '.join(changed)}: "
        "name another run folder, or use --force to make it again"
    )
