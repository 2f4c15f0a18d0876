"""The command line. Every command imports what it needs when it runs, so that `--help` answers at once."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foldstill.cli.arguments import Changes, Device, Force, Jobs, On, Out, Quiet, Target
from foldstill.cli.hms import prepare, show_app, synth_hms
from foldstill.cli.oof import oof_app
from foldstill.cli.terminal import bars, console, spread
from foldstill.cli.use import apply, export, predict
from foldstill.errors import FoldstillError
from foldstill.workers import Work

if TYPE_CHECKING:
    from foldstill.compare import Comparison
    from foldstill.pipeline import Run
    from foldstill.pipeline.rundir import RunDir

app = typer.Typer(
    name="foldstill",
    help="Which combination of your models is best, whether it really beats plain averaging, and how small a student keeps it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(oof_app, name="oof")
app.add_typer(show_app, name="show")


@contextmanager
def _working(
    target: Path,
    out: Path | None,
    change: list[str] | None,
    jobs: int | None,
    device: Device,
    force: bool,
    quiet: bool,
) -> "Iterator[Run]":
    """The run of a target, with progress bars while the block works on it."""
    from foldstill.pipeline import open_run

    with bars(quiet=quiet) as report:
        yield open_run(target, out, changes=change or (), work=Work(jobs, device.value, force, report))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="The folder of the run; half a gigabyte of made-up EEG goes there.")] = Path(
        "runs/demo"
    ),
    jobs: Jobs = None,
    quiet: Quiet = False,
) -> None:
    """Run everything on made-up EEG in the competition's format: nothing to download, a few minutes on two cores."""
    from foldstill.commands.demo import run_demo

    with bars(quiet=quiet) as report:
        comparison, run = run_demo(out, work=Work(jobs, report=report))
    _show(comparison, run.dir)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("experiment.toml"),
) -> None:
    """Write an experiment file to start from, with every usual setting explained."""
    from foldstill.commands.demo import demo_text
    from foldstill.errors import ExperimentError
    from foldstill.files import write_text

    if path.exists():
        raise ExperimentError(f"{path} exists already: name another file, or remove it")
    write_text(path, demo_text())
    console().print(
        f"{path} is written. Its first lines say where the data come from. Then: foldstill run {path}", markup=False
    )


@app.command()
def run(
    target: Target,
    out: Out = None,
    change: Changes = None,
    jobs: Jobs = None,
    device: On = Device.AUTO,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Do all stages of an experiment: train, build the OOF table, stack, distill, compare. Finished stages are kept."""
    from foldstill.pipeline import run_all

    with _working(target, out, change, jobs, device, force, quiet) as opened:
        _announce(opened)
        comparison = run_all(opened)
    _show(comparison, opened.dir)


@app.command()
def train(
    target: Target,
    out: Out = None,
    change: Changes = None,
    jobs: Jobs = None,
    device: On = Device.AUTO,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Train every member on every fold. Goes on where it was interrupted."""
    from foldstill.pipeline import train_stage

    with _working(target, out, change, jobs, device, force, quiet) as opened:
        train_stage(opened)
    console().print(f"Members are in {opened.dir.members}. Next: foldstill oof build {opened.dir.root}")


@app.command()
def stack(
    target: Annotated[
        Path, typer.Argument(help="An OOF table (.parquet), an experiment file, or the folder of a run.")
    ],
    out: Out = None,
    combiner: Annotated[list[str] | None, typer.Option(help="Only these, by name; takes several.")] = None,
    strata: Annotated[list[str] | None, typer.Option(help="Only rows of these strata; takes several.")] = None,
    change: Changes = None,
    jobs: Jobs = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Cross-fit every combiner, then fit each to all rows."""
    from foldstill.pipeline import open_for_stacking, stack_stage

    with bars(quiet=quiet) as report:
        work = Work(jobs, force=force, report=report)
        opened = open_for_stacking(target, out, strata=strata or (), changes=change or (), work=work)
        explanation = stack_stage(opened, combiner or ())
    screen = console()
    screen.print(explanation, markup=False)
    screen.print(f"Combinations are in {opened.dir.stacking}. Next: foldstill compare {opened.dir.root}")


@app.command()
def sizes(target: Target, change: Changes = None) -> None:
    """List the named sizes of students and the experiment's own: parameters and MACs on its data, before any training."""
    from foldstill.commands.sizes import list_sizes

    console().print(list_sizes(target, change or ()).table())


@app.command()
def distill(
    target: Target,
    out: Out = None,
    change: Changes = None,
    jobs: Jobs = None,
    device: On = Device.AUTO,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Teach the student held-out predictions of the teacher, and its twin votes only, at the same budget."""
    from foldstill.pipeline import distill_stage

    with _working(target, out, change, jobs, device, force, quiet) as opened:
        _announce(opened)
        distill_stage(opened)
    console().print(f"The student is in {opened.dir.student}. Next: foldstill compare {opened.dir.root}")


@app.command()
def compare(
    target: Annotated[Path, typer.Argument(help="The folder of a run, or its experiment file.")], out: Out = None
) -> None:
    """Compare every arm with plain averaging: a table, a verdict, comparison.json, comparison.csv and report.html."""
    from foldstill.pipeline import compare_stage, find_run

    opened = find_run(target, out)
    comparison = compare_stage(opened)
    _show(comparison, opened.dir)


app.command()(apply)
app.command()(predict)
app.command()(export)


@app.command()
def tune(
    path: Annotated[Path, typer.Argument(help="An experiment file with a [tune] table.")],
    folder: Annotated[
        Path | None, typer.Option(help="Where trials are kept; runs/<name>-tune when not given.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The experiment file to write; FILE-tuned.toml when not given.")
    ] = None,
    change: Changes = None,
    trials: Annotated[int | None, typer.Option(help="Trials in all; as the file says when not given.", min=1)] = None,
    jobs: Annotated[int, typer.Option(help="Trials at once, in processes of one thread each.", min=1)] = 1,
    device: On = Device.AUTO,
    quiet: Quiet = False,
) -> None:
    """Search better settings of one member over a few folds. Goes on where it stopped; several processes may share it."""
    from foldstill.commands.tune import tune as search

    with bars(quiet=quiet) as report:
        best = search(path, folder, out, change or (), trials=trials, work=Work(jobs, device.value, report=report))
    screen = console()
    for field, value in best.values.items():
        screen.print(f"{field} = {value}", markup=False)
    screen.print(
        f"Held-out KL {best.kl:.4f}: trial {best.number}, the best of {best.trials}. The rows that chose it flatter it a little; "
        f"the locked test rows do not.\nNext: foldstill run {best.path}",
        markup=False,
    )


@app.command()
def doctor() -> None:
    """What this machine is, what foldstill will use of it, and what is missing."""
    from foldstill.machine import examine

    console().print(examine())


app.command()(prepare)
app.command()(synth_hms)


def _announce(opened: "Run") -> None:
    """What the students cost, before anything is trained."""
    from foldstill.commands.sizes import chosen_sizes

    if (sizes := chosen_sizes(opened)) is not None:
        for name in sizes.students:
            console().print(sizes.line(name), markup=False)


def _show(comparison: "Comparison", folder: "RunDir") -> None:
    from foldstill.compare import Comparison
    from foldstill.compare.table import arms_table, strata_table, students_table

    screen = console()
    screen.print(arms_table(comparison))
    for part in (strata_table(comparison), students_table(comparison)):
        if part is not None:
            screen.print()
            screen.print(part)
    screen.print(f"\n{comparison.verdict}\n", style="bold", markup=False, soft_wrap=False)
    if comparison.rows == "test" and folder.cross_validation.exists():
        validated = Comparison.read(folder.cross_validation)
        screen.print(f"Cross-validated on the {validated.n_rows} rows that are not locked", style="bold")
        screen.print(arms_table(validated))
        screen.print(f"\n{validated.verdict}\n", markup=False)
    screen.print(f"Report: {folder.report}", markup=False)


def main() -> None:
    """Run the command line: exit code 0 when done, 2 for the user's mistake, 1 for ours, 130 when interrupted."""
    arguments = spread(
        sys.argv[1:], frozenset({"--drop-members", "--classes", "--combiner", "--strata", "--view", "--set"})
    )
    try:
        app(args=arguments)
    except FoldstillError as error:
        from rich.markup import escape

        console(stderr=True).print(f"[red bold]foldstill:[/red bold] {escape(str(error))}")
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; what was finished is kept", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
