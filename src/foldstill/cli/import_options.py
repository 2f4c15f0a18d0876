"""Options of the commands that read predictions made elsewhere, each defined once."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer


class Space(StrEnum):
    PROBA = "proba"
    LOGIT = "logit"


Predictions = Annotated[
    list[Path], typer.Argument(help="One .npz, one wide .parquet or .csv, or one .csv or .parquet per member.")
]
LabelsFile = Annotated[
    Path | None,
    typer.Option(help="File (.csv, .parquet) with ids and votes, shares or one class per row.", dir_okay=False),
]
FoldsFile = Annotated[
    Path | None, typer.Option(help="File (.csv, .parquet) with the fold of each id or group.", dir_okay=False)
]
DropMembers = Annotated[
    list[str] | None, typer.Option(help="Leave out members by name or pattern. May be given several times.")
]
Classes = Annotated[
    list[str] | None, typer.Option(help="Name of a class; give one per class, in order.", metavar="NAME")
]
Id = Annotated[str, typer.Option(help="Key or column of the ids.")]
Group = Annotated[str, typer.Option(help="Key or column of what must not be split between folds.")]
Fold = Annotated[str, typer.Option(help="Key or column of the fold in which each row was held out.")]
Stratum = Annotated[str, typer.Option(help="Key or column of the stratum of each row.")]
Pred = Annotated[str, typer.Option(help="Key of the predictions in an .npz.")]
Scores = Annotated[
    str,
    typer.Option(
        help="Pattern of the score columns, such as `{class}_prediction`; of one column per member its name, or "
        "`oof_{member}`."
    ),
]
Positive = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        help="Class whose probability the only column of each member holds; of 0/1 and false/true it is known.",
    ),
]
Votes = Annotated[str, typer.Option(help="Key of vote counts, or pattern of their columns, such as '{class}_vote'.")]
Shares = Annotated[str, typer.Option(help="Key of vote shares, or pattern of their columns.")]
Total = Annotated[str, typer.Option(help="Key or column of the number of votes behind the shares.")]
Label = Annotated[str, typer.Option(help="Key or column of hard labels.")]
SampleWeight = Annotated[str, typer.Option(help="Key or column of the weight of each row.")]
ScoreSpace = Annotated[Space, typer.Option(help="Whether scores are probabilities (proba) or logits (logit).")]
Smoothing = Annotated[
    float | None, typer.Option(help="For members that only name a class: probability of the named class.")
]


@dataclass(frozen=True)
class ImportOptions:
    """The options that say how files are read; `ImportSettings` has fields of the same names."""

    labels: LabelsFile = None
    folds: FoldsFile = None
    drop_members: DropMembers = None
    classes: Classes = None
    id: Id = ""
    group: Group = ""
    fold: Fold = ""
    stratum: Stratum = ""
    pred: Pred = ""
    scores: Scores = ""
    positive: Positive = ""
    votes: Votes = ""
    shares: Shares = ""
    total: Total = ""
    label: Label = ""
    sample_weight: SampleWeight = ""
    space: ScoreSpace = Space.PROBA
    smoothing: Smoothing = None


def takes_import_options(*names: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per field of `ImportOptions`, or per field that is named, in place of `settings`.

    The function receives them as ImportSettings. An option that it also has as a parameter stays at its place.
    """
    fields = inspect.signature(ImportOptions).parameters
    read = {name: fields[name] for name in names or fields}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command).parameters

        @wraps(command)
        def function(**options: Any) -> None:
            from foldstill.oof import ImportSettings

            given = {name: _plain(options[name]) for name in read if options[name] is not None}
            others = {name: value for name, value in options.items() if name in own}
            command(**others, settings=ImportSettings(**given))

        # typer reads arguments and options from the signature.
        parameters = []
        for name, each in own.items():
            added = [field for field in read.values() if field.name not in own] if name == "settings" else [each]
            parameters += [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in added]
        function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        function.__annotations__ = {each.name: each.annotation for each in parameters}
        return function

    return decorate


def _plain(value: Any) -> Any:
    """Settings hold text in place of paths and choices, and tuples in place of lists."""
    if isinstance(value, Path | StrEnum):
        return str(value)
    return tuple(value) if isinstance(value, list) else value
