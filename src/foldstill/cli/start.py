"""The commands before a run: demo, init, sizes, tune, doctor."""

import shlex
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from foldstill.cli.arguments import Changes, On, Quiet, Replace, Target, Workers, work_of, workers_option
from foldstill.cli.json_answer import AsJson, print_json
from foldstill.cli.stages import show_comparison
from foldstill.cli.terminal import bars, console
from foldstill.workers import Work


class DemoKind(StrEnum):
    EEG = "eeg"
    PREDICTIONS = "predictions"


def demo(
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the demo; runs/demo or runs/demo-predictions when not given. The EEG takes 1.3 gigabytes.",
            show_default=False,
        ),
    ] = None,
    kind: Annotated[
        DemoKind,
        typer.Option(
            help="Synthetic EEG in the format of the HMS competition and every stage of a run (a few minutes on two "
            "cores), or prediction files and a verdict (seconds)."
        ),
    ] = DemoKind.EEG,
    workers: Workers = None,
    quiet: Quiet = False,
) -> None:
    """Generate data and show what foldstill says of them.

    Example: foldstill demo --kind predictions
    """
    if kind is DemoKind.PREDICTIONS:
        _demo_of_predictions(out or Path("runs/demo-predictions"), workers or "1", quiet=quiet)
        return
    from foldstill.commands.demo import run_demo

    with bars(quiet=quiet) as report:
        comparison, run, truth_kl = run_demo(out or Path("runs/demo"), work=Work(workers, report=report))
    show_comparison(run, comparison)
    if truth_kl is not None:
        # Experts of one row share an opinion (Dirichlet-multinomial), which an estimate from votes alone cannot know.
        console().print(
            f"{_known(truth_kl)}. No model can be expected to beat it; the report's estimate of a perfect model is "
            "lower, because it takes the votes of a row as independent.",
            soft_wrap=True,
        )


def _demo_of_predictions(out: Path, workers: str, *, quiet: bool) -> None:
    from foldstill.commands.demo_predictions import COMBINERS, run_predictions_demo

    with bars(quiet=quiet) as report:
        comparison, run, truth_kl = run_predictions_demo(out, work=Work(workers, report=report))
    show_comparison(run, comparison)
    files = out / "files"
    console().print(
        f"{_known(truth_kl)}. By hand: foldstill verdict {quote(str(files / 'preds'))}/*.csv --labels "
        f"{quote(str(files / 'train.csv'))} --group patient --combiner {shlex.join(COMBINERS)}"
    )


def _known(truth_kl: float) -> str:
    return f"The votes were drawn from known probabilities, whose own KL is {truth_kl:.4f}"


class TemplateOf(StrEnum):
    IMAGES = "images"
    FOLDER = "folder"
    PARQUET_IMAGES = "parquet_images"
    WEBDATASET = "webdataset"
    MULTI_LABEL = "multi_label"
    TABLE = "table"
    EEG = "eeg"
    EDF = "edf"
    PREDICTIONS = "predictions"


def init(
    path: Annotated[Path, typer.Argument(help="Path of the file to write.")] = Path("experiment.toml"),
    kind: Annotated[
        TemplateOf,
        typer.Option(
            help="What the data are: images or signals in one .npz, a folder of images, images in parquet files (as of "
            "Hugging Face) or in WebDataset shards, images with several labels each, a table of features, EEG in the "
            "files of the HMS competition, EEG recordings (.edf, .bdf, .fif), or predictions of models that exist "
            "already."
        ),
    ] = TemplateOf.IMAGES,
) -> None:
    """Write an experiment file to start from, with a comment on every common setting.

    Example: foldstill init mine.toml --kind folder
    """
    from foldstill.commands.template import write_template

    write_template(path, kind.value)
    console().print(
        f"{path} is written. Its first lines say where the data come from. Next: foldstill run {quote(str(path))}"
    )


def sizes(target: Target, change: Changes = None, as_json: AsJson = False) -> None:
    """List parameters and MACs of the named student sizes and of the experiment's own, before any training.

    Example: foldstill sizes mine.toml
    """
    from foldstill.commands.sizes import list_sizes

    listed = list_sizes(target, change or ())
    if as_json:
        print_json(listed.answer())
    else:
        console().print(listed.table())


def tune(
    path: Annotated[Path, typer.Argument(help="Path of an experiment file with a [tune] table.")],
    folder: Annotated[
        Path | None, typer.Option(help="Folder of the trials; runs/NAME-tune when not given.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Path of the experiment file to write; FILE-tuned.toml when not given.")
    ] = None,
    change: Changes = None,
    trials: Annotated[
        int | None, typer.Option(help="Total number of trials; as the file says when not given.", min=1)
    ] = None,
    workers: Annotated[str, workers_option("Where trials run, one per worker at a time")] = "1",
    device: On = "auto",
    force: Replace = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Search better settings of one member on a few folds. A search continues where it stopped.

    Example: foldstill tune mine.toml --trials 30 --workers 2
    """
    from foldstill.commands.tune import tune as search

    with bars(quiet=quiet) as report:
        work = work_of(workers, device, force=force, report=report)
        best = search(path, folder, out, change or (), trials=trials, work=work)
    if as_json:
        found = {"trial": best.number, "trials": best.trials, "kl": best.kl, "values": best.values}
        print_json({**found, "experiment": best.path, "next": f"foldstill run {quote(str(best.path))}"})
        return
    screen = console()
    for field, value in best.values.items():
        screen.print(f"{field} = {value}")
    screen.print(
        f"Held-out KL {best.kl:.4f}: trial {best.number}, the best of {best.trials}. This value is a little too low, "
        "because the same rows chose the trial; the locked test rows are not affected.\n"
        f"Next: foldstill run {quote(str(best.path))}",
    )


def doctor(as_json: AsJson = False) -> None:
    """Show what this machine has, what foldstill will use of it, and what is missing.

    Example: foldstill doctor
    """
    from dataclasses import asdict

    from foldstill.commands.doctor import machine_parts, machine_table

    if as_json:
        print_json({"parts": [asdict(part) for part in machine_parts()]})
    else:
        console().print(machine_table())
