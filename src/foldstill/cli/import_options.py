"""Options of the commands that read predictions made elsewhere, each defined once."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from foldstill.oof import ImportSettings


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


def import_settings(options: Mapping[str, Any]) -> "ImportSettings":
    """The settings of an import by the options of a command; other options in the mapping are ignored."""
    from dataclasses import fields

    from foldstill.oof import ImportSettings

    names = {field.name for field in fields(ImportSettings)}
    return ImportSettings(
        **{name: _plain(value) for name, value in options.items() if name in names and value is not None}
    )


def _plain(value: Any) -> Any:
    """Settings hold text in place of paths and choices, and tuples in place of lists."""
    if isinstance(value, Path | StrEnum):
        return str(value)
    return tuple(value) if isinstance(value, list) else value
