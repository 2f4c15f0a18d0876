"""The command line. Every command imports what it needs when it runs, so that `--help` answers at once."""

import sys
from collections.abc import Callable

import typer

from foldstill.cli.hms import prepare, show_app, synth_hms
from foldstill.cli.oof import oof_app
from foldstill.cli.stages import compare, distill, run, stack, train
from foldstill.cli.start import demo, doctor, init, sizes, tune
from foldstill.cli.terminal import console, print_warnings, repeat_options
from foldstill.cli.use import apply, export, predict
from foldstill.errors import FoldstillError

LIST_OPTIONS = frozenset({"--drop-members", "--classes", "--combiner", "--strata", "--view", "--set"})
"""Options that take several values after one name."""

app = typer.Typer(
    name="foldstill",
    help="Find out which combination of your models is best, whether it beats plain averaging, and how small a "
    "student can be without losing the ensemble's accuracy.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(oof_app, name="oof")
app.add_typer(show_app, name="show")
# In the order in which `foldstill --help` lists them.
COMMANDS: list[Callable[..., None]] = [
    demo,
    init,
    run,
    train,
    stack,
    sizes,
    distill,
    compare,
    apply,
    predict,
    export,
    tune,
    doctor,
    prepare,
    synth_hms,
]
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    """Run the command line: exit code 0 when done, 2 for the user's mistake, 1 for ours, 130 when interrupted."""
    print_warnings()
    try:
        app(args=repeat_options(sys.argv[1:], LIST_OPTIONS))
    except FoldstillError as error:
        from rich.markup import escape

        console(stderr=True).print(f"[red bold]foldstill:[/red bold] {escape(str(error))}")
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; finished work is kept", file=sys.stderr)
        sys.exit(130)
