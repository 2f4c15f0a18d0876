"""The commands for HMS files. As in the rest of the command line, each imports what it needs when it runs."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from foldstill.cli.arguments import Changes, Device
from foldstill.cli.terminal import bars, console
from foldstill.workers import Work

show_app = typer.Typer(no_args_is_help=True, help="Draw what members see.")

HmsTarget = Annotated[
    Path, typer.Argument(help="An experiment file with HMS data, or a folder in the competition's layout.")
]


class Rows(StrEnum):
    UNIQUE_VOTES = "unique_votes"
    STATIONARY = "stationary"
    RECORDING = "recording"
    SPECTROGRAM = "spectrogram"
    WINDOW = "window"


def prepare(
    target: HmsTarget,
    cache: Annotated[
        Path | None, typer.Option(help="Of a folder: where prepared views are kept; hms-cache when not given.")
    ] = None,
    change: Changes = None,
    view: Annotated[list[str] | None, typer.Option(help="Of a folder: kinds of views; takes several.")] = None,
    rows: Annotated[Rows | None, typer.Option(help="Of a folder: what one sample is.")] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Processes (threads beside a GPU); all cores when not given.", min=1)
    ] = None,
    device: Annotated[Device, typer.Option(help="Where spectrograms of the EEG are computed.")] = Device.AUTO,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first problem of a file.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Make again what was made from other settings or files.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Read HMS files once and keep every view as one array. Goes on where it was interrupted."""
    from foldstill.commands.hms import prepare_views, problems_table

    with bars(quiet=quiet) as report:
        prepared = prepare_views(
            target,
            change or (),
            cache=cache,
            rows=None if rows is None else rows.value,
            views=tuple(view or ()),
            strict=strict,
            work=Work(jobs, device.value, force, report),
        )
    screen = console()
    lost, problems = len(prepared.unreadable_rows), len(prepared.problems)
    if problems:
        screen.print(problems_table(prepared))
    screen.print(
        f"{prepared.n_rows - lost} of {prepared.n_rows} samples in {prepared.cache.folder}, views "
        f"{', '.join(prepared.cache.finished())}; problems of files: {problems}"
        + (f", all in {prepared.cache.problems_file}" if problems else ""),
        markup=False,
    )


def synth_hms(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    patients: Annotated[int, typer.Option(help="Patients, those of the test split included.", min=1)] = 60,
    seed: Annotated[int, typer.Option(help="Everything derives from it.", min=0)] = 0,
    recordings: Annotated[int, typer.Option(help="Recordings of a patient.", min=1)] = 4,
    test_patients: Annotated[int, typer.Option(help="Patients of the test split.", min=0)] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Write a synthetic HMS: the competition's files and schema from a seed."""
    from foldstill.commands.hms import synthesise

    with bars(quiet=quiet) as report:
        synthesise(out, patients, seed, recordings=recordings, test_patients=test_patients, report=report)
    console().print(f"{patients} patients are in {out}. Next: foldstill prepare {out}", markup=False)


@show_app.command("view")
def show_view(
    target: HmsTarget,
    view: Annotated[
        str, typer.Argument(help="A view's name in the file, its kind for a folder, or eeg: as an expert reads it.")
    ],
    sample: Annotated[str, typer.Option(help="A sample's id, or its recording's; the first when not given.")] = "",
    out: Annotated[Path | None, typer.Option(help="The .png to write; VIEW.png when not given.")] = None,
    change: Changes = None,
) -> None:
    """Draw one view of one sample into a PNG."""
    from foldstill.commands.hms import draw

    path = out or Path(f"{view}.png")
    draw(target, view, sample, path, change or ())
    console().print(f"Drawn to {path}", markup=False)
