"""Experiment files to start from, one per kind of data, with a comment on every common setting."""

from importlib import resources
from pathlib import Path
from typing import Literal

from foldstill.errors import ExperimentError
from foldstill.files import check_output, write_text

TemplateKind = Literal[
    "images",
    "folder",
    "parquet_images",
    "webdataset",
    "multi_label",
    "table",
    "eeg",
    "edf",
    "predictions",
    "demo",
]


def template(kind: TemplateKind) -> str:
    """The text of a template.

    >>> template("table").splitlines()[0]
    '# A table of features, train.csv or train.parquet.'
    """
    return resources.files("foldstill.commands").joinpath("templates", f"{kind}.toml").read_text(encoding="utf-8")


def write_template(path: Path, kind: TemplateKind = "images") -> None:
    """Write an experiment file to start from; raises ExperimentError when the file exists."""
    check_output(path, (".toml",))
    if path.exists():
        raise ExperimentError(f"{path} exists already: name another file, or remove it")
    write_text(path, template(kind).replace("FILE.toml", path.name))
