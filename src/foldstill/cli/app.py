"""The command line. Every command imports what it needs when it runs, so that `--help` answers at once."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from foldstill.cli.arguments import Command
from foldstill.cli.heads import heads
from foldstill.cli.hms import prepare, show_app, synth_hms
from foldstill.cli.log import LOG, end_log, start_log
from foldstill.cli.oof import oof_app
from foldstill.cli.stages import compare, distill, run, stack, train
from foldstill.cli.start import demo, doctor, init, sizes, tune
from foldstill.cli.terminal import console, print_warnings, repeat_options
from foldstill.cli.use import apply, export, predict
from foldstill.cli.verdict import verdict
from foldstill.errors import FoldstillError, lacks_memory

INTERRUPTED = 130
LIST_OPTIONS = frozenset(
    {"--drop-members", "--classes", "--combiner", "--heads", "--strata", "--accept", "--view", "--set"}
)
"""Options that take several values after one name."""


class Commands(TyperGroup):
    """All commands. What the system refuses, such as a full disk, ends as one sentence, whatever the command."""

    def invoke(self, ctx: Any) -> Any:
        from foldstill.files import file_error

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise file_error(error) from error
        except EOFError as error:
            raise FoldstillError(f"a file ends before its content is complete ({error}): make it again") from error
        except BrokenExecutor as error:
            raise FoldstillError(
                "a worker process was killed, usually because the memory was used up: run the command again, which "
                "continues from the last epoch, with fewer --workers"
            ) from error


app = typer.Typer(
    name="foldstill",
    cls=Commands,
    help="Find out which combination of your models is best, whether it beats plain averaging, and how small a "
    "student can be without losing the ensemble's accuracy.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"foldstill {version('foldstill')}")
        raise typer.Exit


@app.callback()
def before_every_command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    log: Annotated[
        Path | None,
        typer.Option(help="File (.log) to append to: the command, finished tasks, notes, errors and times."),
    ] = None,
) -> None:
    """Options that stand before the name of the command."""
    if log is not None:
        start_log(log, sys.argv[1:])


app.add_typer(oof_app, name="oof")
app.add_typer(show_app, name="show")
# In the order in which `foldstill --help` lists them.
COMMANDS: list[Callable[..., None]] = [
    verdict,
    demo,
    init,
    run,
    train,
    stack,
    sizes,
    distill,
    compare,
    heads,
    apply,
    predict,
    export,
    tune,
    doctor,
    prepare,
    synth_hms,
]
for command in COMMANDS:
    app.command(cls=Command)(command)


def main() -> None:
    """Run the command line: exit code 0 when done, 2 for the user's mistake, 1 for ours, 130 when interrupted."""
    print_warnings()
    threading.excepthook = _report_thread
    try:
        app(args=repeat_options(sys.argv[1:], LIST_OPTIONS))
    except FoldstillError as error:
        _refuse(str(error))
    except (MemoryError, RuntimeError, ImportError) as error:
        if not lacks_memory(error):
            raise
        _refuse("not enough memory: use fewer --workers or a machine with more memory")
    except KeyboardInterrupt:
        _say_interrupted()
        sys.exit(INTERRUPTED)
    except SystemExit as end:
        # typer turns an interruption into this exit code.
        if end.code == INTERRUPTED:
            _say_interrupted()
        raise
    finally:
        end_log(sys.exc_info()[1])


def _refuse(message: str) -> None:
    """End with the message of the user's mistake."""
    from rich.text import Text

    LOG.error("%s", message)
    console(stderr=True).print(Text.assemble(("foldstill:", "red bold"), f" {message}"))
    sys.exit(2)


def _say_interrupted() -> None:
    LOG.error("interrupted")
    print("interrupted; finished work is kept", file=sys.stderr)


def _report_thread(failure: threading.ExceptHookArgs) -> None:
    """Print what failed in a thread, except for the thread of joblib that loses its processes in an interruption."""
    if failure.thread is None or not type(failure.thread).__name__.startswith("_ExecutorManagerThread"):
        threading.__excepthook__(failure)
