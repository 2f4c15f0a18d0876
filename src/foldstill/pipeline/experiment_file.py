"""Experiment files: their text, with changes from the command line, and the settings that it stands for."""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from foldstill.base_models.kinds import MEMBERS
from foldstill.base_models.timm_member import TimmMember
from foldstill.distill.settings import OF_NETWORKS, PATIENT
from foldstill.errors import ExperimentError
from foldstill.json_files import read_json
from foldstill.pipeline.experiment import KINDS, Experiment
from foldstill.pipeline.mistakes import sentences
from foldstill.pipeline.overrides import with_changes
from foldstill.pipeline.rundir import RunDir
from foldstill.settings import type_adapter

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class ExperimentFile:
    """The text of an experiment file, and the settings in it, parsed once."""

    text: str
    root: Path = Path()
    """Folder from which relative paths of the experiment start."""
    name: str = "the experiment"
    """Name of the file in messages."""

    @classmethod
    def read(cls, path: Path, changes: Sequence[str] = ()) -> "ExperimentFile":
        """The experiment file at a path, or the one of a run when `path` is its folder; `changes` are FIELD=VALUE.

        Nothing is written.
        """
        if not path.is_dir():
            return cls._read(path, path.parent, changes)
        folder = RunDir(path)
        if not folder.experiment.exists():
            raise ExperimentError(f"{path} holds no experiment.toml: give the folder of a run, or an experiment file")
        again = f"run the original experiment file with `--out {quote(str(path))}`, which writes it again"
        if not folder.provenance.exists():
            raise ExperimentError(
                f"{folder.provenance} is missing, which says where relative paths of {folder.experiment} start: {again}"
            )
        # Not sealed: a run that was moved can be told where its paths start now.
        kept = read_json(
            folder.provenance, {"root": str}, sealed=False, error=ExperimentError, cure=f"remove it, and {again}"
        )
        return cls._read(folder.experiment, Path(kept["root"]), changes)

    @classmethod
    def _read(cls, path: Path, root: Path, changes: Sequence[str]) -> "ExperimentFile":
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            raise ExperimentError(
                f"nothing is at {path}: give the folder of a run, or an experiment file, which `foldstill init` writes"
            ) from None
        except (IsADirectoryError, UnicodeDecodeError) as error:
            raise ExperimentError(f"{path} is not a TOML file ({error}): give an experiment file") from error
        if not changes:
            return cls(text, root, str(path))
        _toml(text, str(path))  # so that a mistake in the file itself is not blamed on the changes
        return cls(with_changes(text, changes), root, f"{path} with {', '.join(changes)}")

    @cached_property
    def experiment(self) -> Experiment:
        """The settings; raises ExperimentError that lists every mistake with its path in the file."""
        return parse_experiment(self.text, self.name).at(self.root)


def read_experiment(path: Path, changes: Sequence[str] = ()) -> Experiment:
    """The settings in an experiment file, some fields changed as FIELD=VALUE says.

    A top-level [recipe] table holds defaults for the recipe of every member and of the student, and [student] holds
    defaults for every [[ablation]]. Raises ExperimentError that lists every mistake with its path in the file.
    """
    return ExperimentFile.read(path, changes).experiment


def parse_experiment(text: str, name: str) -> Experiment:
    """The settings in a TOML text; `name` is the name of the file in messages."""
    from pydantic import ValidationError

    raw, written = _toml(text, name), _toml(text, name)
    _default_kind(raw)
    _share_recipe(raw, name)
    _fill_ablations(raw)
    _gather_learners(raw)
    try:
        # Parsed from JSON, where pydantic's strict mode still accepts an array for a tuple.
        experiment = _reader().validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        lines = sentences(error, raw, written, Experiment, KINDS)
        raise ExperimentError(
            f"{name} has {len(lines)} mistake{'s'[: len(lines) > 1]}:\n  " + "\n  ".join(lines)
        ) from error
    return experiment


@cache
def _reader() -> "TypeAdapter[Experiment]":
    """Pydantic's reader, made once: that takes half a second."""
    return type_adapter(Experiment, KINDS)


def _toml(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ExperimentError(f"{name} is not valid TOML: {error}") from error


def _share_recipe(raw: dict[str, Any], name: str) -> None:
    """Copy the top-level [recipe] into the recipe of every network and of the student, below their own keys.

    What neither says of the student's recipe is as patient as that of a student without a recipe.
    """
    shared = raw.pop("recipe", {})
    if not isinstance(shared, dict):
        raise ExperimentError(
            f"{name}: recipe must be one table of defaults for every recipe, [recipe], got {shared!r:.60}"
        )
    members, student = raw.get("member"), raw.get("student")
    for table in [*(members if isinstance(members, list) else []), student]:
        if isinstance(table, dict) and isinstance(table.get("recipe", {}), dict) and _has_recipe(table):
            patient = {"epochs": PATIENT.epochs, "ema": PATIENT.ema} if table is student else {}
            table["recipe"] = {**patient, **shared, **table.get("recipe", {})}


def _has_recipe(table: dict[str, Any]) -> bool:
    """Whether a member of this kind is trained by a recipe."""
    kind = {each.kind: each for each in MEMBERS}.get(table.get("kind", TimmMember.kind))
    return kind is None or any(each.name == "recipe" for each in fields(kind))


def _fill_ablations(raw: dict[str, Any]) -> None:
    """Copy [student] into every ablation, below its own keys; a twin without a teacher must be asked for again."""
    student, ablations = raw.get("student"), raw.get("ablation")
    if not isinstance(student, dict) or not isinstance(ablations, list):
        return
    for each in ablations:
        if isinstance(each, dict):
            inherited = _inherited(student, each)
            shared, own = inherited.get("recipe", {}), each.get("recipe", {})
            # A recipe that is no table stays as it is, and the check of the whole file names it.
            recipe = {**shared, **own} if isinstance(shared, dict) and isinstance(own, dict) else own or shared
            each.update({**inherited, "without_teacher": False, "control_arms": False, **each, "recipe": recipe})


def _inherited(student: dict[str, Any], ablation: dict[str, Any]) -> dict[str, Any]:
    """The keys of [student] that an ablation takes over: of a student of another kind, what both kinds have."""
    if ablation.get("kind", student.get("kind")) == student.get("kind"):
        return student
    if own := _member_keys(student):
        left_out = own
    elif _member_keys(ablation):
        left_out = set(OF_NETWORKS)
    else:
        left_out = {"network", "module", "options", "image_size", "pretrained", "stem_stride"}
    return {key: value for key, value in student.items() if key not in left_out}


def _gather_learners(raw: dict[str, Any]) -> None:
    """Move the keys of a member out of the table of a student with a `kind` into its learner."""
    ablations = raw.get("ablation")
    for table in [raw.get("student"), *(ablations if isinstance(ablations, list) else [])]:
        if not isinstance(table, dict) or not _member_keys(table):
            continue
        if not table.get("recipe", True):
            del table["recipe"]
        learner = {key: table.pop(key) for key in list(table) if key in _member_keys(table)}
        table["learner"] = {"kind": table.pop("kind"), "name": table.get("name", "student"), **learner}


def _member_keys(table: dict[str, Any]) -> set[str]:
    """The keys of a member of this kind that is no network; its name and the weights of rows are the student's."""
    kind = {each.kind: each for each in MEMBERS}.get(table.get("kind", ""))
    return (
        set()
        if kind is None or hasattr(kind, "build")
        else {each.name for each in fields(kind)} - {"name", "kind", "row_weight"}
    )


def _default_kind(raw: dict[str, Any]) -> None:
    """A member without a kind is a timm network."""
    members = raw.get("member")
    for member in members if isinstance(members, list) else []:
        if isinstance(member, dict):
            member.setdefault("kind", TimmMember.kind)
