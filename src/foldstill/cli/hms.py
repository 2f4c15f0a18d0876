"""The commands for HMS files; each imports what it needs when it runs."""

from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from foldstill.cli.arguments import DEVICES, Changes, Command, Replace, device_name, work_of, workers_option
from foldstill.cli.terminal import bars, console

show_app = typer.Typer(no_args_is_help=True, help="Draw what members read.")

HmsTarget = Annotated[
    Path, typer.Argument(help="An experiment file, or a folder with the files of the HMS competition.")
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
        Path | None, typer.Option(help="For a folder: where prepared views are stored. [default: hms-cache]")
    ] = None,
    change: Changes = None,
    view: Annotated[list[str] | None, typer.Option(help="For a folder: the kinds of views, one or more.")] = None,
    rows: Annotated[Rows | None, typer.Option(help="For a folder: what one sample is.")] = None,
    workers: Annotated[
        str | None, workers_option("Where files are read; one process per core, or thread beside a GPU, when not given")
    ] = None,
    device: Annotated[
        str,
        typer.Option(metavar=DEVICES, parser=device_name, help="Device that computes the spectrograms of the EEG."),
    ] = "auto",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first problem of a file.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Make views again that were made from other settings or files.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Read image files or HMS files once and store them as arrays. An interrupted preparation is resumed.

    Example: foldstill prepare mine.toml --workers 4
    """
    from foldstill.commands.hms import prepare_views, problems_table

    with bars(quiet=quiet) as report:
        prepared = prepare_views(
            target,
            change or (),
            cache=cache,
            rows=None if rows is None else rows.value,
            views=tuple(view or ()),
            strict=strict,
            work=work_of(workers, device, force=force, report=report),
        )
    screen = console()
    if isinstance(prepared, str):
        screen.print(prepared)
        return
    lost, problems = len(prepared.unreadable_rows), len(prepared.problems)
    if problems:
        screen.print(problems_table(prepared))
    screen.print(
        f"{prepared.n_rows - lost} of {prepared.n_rows} samples in {prepared.cache.root}, views "
        f"{', '.join(prepared.cache.finished())}; problems of files: {problems}"
        + (f", all in {prepared.cache.problems_file}" if problems else ""),
    )


def synth_hms(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    patients: Annotated[int, typer.Option(help="Number of patients, including those of the test split.", min=1)] = 60,
    seed: Annotated[int, typer.Option(help="Seed of all random numbers.", min=0)] = 0,
    recordings: Annotated[int, typer.Option(help="Number of recordings per patient.", min=1)] = 4,
    test_patients: Annotated[int, typer.Option(help="Number of patients in the test split.", min=0)] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.")] = False,
) -> None:
    """Write synthetic HMS data: files in the format of the competition, generated from a seed.

    Example: foldstill synth-hms synthetic --patients 20
    """
    from foldstill.hms.synthetic import write_synthetic_hms

    with bars(quiet=quiet) as report:
        write_synthetic_hms(out, patients, seed, recordings=recordings, test_patients=test_patients, report=report)
    console().print(f"{patients} synthetic patients are in {out}. Next: foldstill prepare {quote(str(out))}")


@show_app.command("view", cls=Command)
def show_view(
    target: Annotated[
        Path,
        typer.Argument(
            help="An experiment file with EEG, a folder with the competition's files, or a file (.edf, .bdf, .fif)."
        ),
    ],
    view: Annotated[
        str,
        typer.Argument(
            help="Name of a view in the experiment file, kind of a view for other targets, or eeg for the EEG as an "
            "expert reads it."
        ),
    ],
    sample: Annotated[str, typer.Option(help="Id of a sample or of its recording. [default: the first sample]")] = "",
    at: Annotated[
        float | None, typer.Option(help="For an EEG file: start of the 50 s that are drawn, in seconds. [default: 0]")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The .png file to write. [default: VIEW.png]")] = None,
    change: Changes = None,
    force: Replace = False,
) -> None:
    """Draw one view of one sample into a PNG.

    Example: foldstill show view recording.edf mel --at 120 --out mel.png
    """
    from foldstill.commands.hms import draw

    path = out or Path(f"{view}.png")
    draw(target, view, path, change or (), sample=sample, at_s=at, force=force)
    console().print(f"Drawn to {path}")
