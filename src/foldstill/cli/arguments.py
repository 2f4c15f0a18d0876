"""Arguments and options that several commands take."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand

from foldstill.cli.json_answer import AsJson
from foldstill.cli.terminal import bars
from foldstill.errors import FileError, FoldstillError
from foldstill.workers import VARIABLE, OnProgress, Work, silent

if TYPE_CHECKING:
    from foldstill.pipeline import Run


Target = Annotated[
    Path, typer.Argument(help="Path of an experiment file, or of the folder of a run.", show_default=False)
]
Out = Annotated[Path | None, typer.Option(help="Folder of the run; runs/NAME when not given.", show_default=False)]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field of the experiment, such as recipe.epochs=5."),
]


def workers_option(title: str) -> Any:
    """The option that says where jobs run; `title` names what runs there."""
    others = "slots=cuda:0,cuda:1, dask=local, dask=tcp://HOST:8786, ray=local, ray=auto"
    return typer.Option(help=f"{title}: a number of processes of one thread each, or {others}.", envvar=VARIABLE)


Workers = Annotated[str | None, workers_option("Where jobs run; one process per core and all GPUs when not given")]


def device_name(text: str) -> str:
    """The name of a device, whether it is there or not: `work_of` asks for that."""
    from foldstill.base_models.device import check_device

    try:
        return check_device(text)
    except FoldstillError as error:
        raise typer.BadParameter(str(error)) from None


def work_of(workers: str | None, device: str, *, force: bool, report: OnProgress = silent) -> Work:
    """How a command does its work; raises MemberError for a device that is not there, before anything is read."""
    from foldstill.base_models.device import require_device

    work = Work(workers, device, force, report)
    require_device(work)
    return work


DEVICES = "auto|cpu|cuda|cuda:N|mps"
On = Annotated[str, typer.Option(metavar=DEVICES, parser=device_name, help="Device that trains and runs networks.")]
Replace = Annotated[bool, typer.Option("--force", help="Replace an output that foldstill did not write.")]
JudgedOn = Annotated[
    str,
    typer.Option(
        metavar="STRATUM",
        help='Stratum for whose rows `auto` decides, such as ">=10"; combiners are fitted to all rows as well.',
    ),
]
MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="METRIC",
        help="Metric that decides, such as auroc, macro_f1, top_3, or file.py:function; KL when not given.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress bars.")]


class Command(TyperCommand):
    """A command that refuses an empty path, as a variable of a shell script gives that was never set."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        hints = inspect.signature(self.callback).parameters if self.callback else {}
        for before, value in zip(["", *args], args, strict=False):
            named = [one.name for one in self.params if before in one.opts]
            if not value and (not named or "Path" in str(hints[str(named[0])].annotation)):
                name = before if named else "an argument"
                raise FileError(f"{name} is an empty path: give the path of a file or folder, or leave it out")
        return super().parse_args(ctx, args)


_MEMBERS = "Train again the members that were made from other inputs, are damaged or were interrupted"
MADE_AGAIN = {
    "run": f"{_MEMBERS}, and make everything after them again.",
    "train": f"{_MEMBERS}; finished ones of the same inputs are kept.",
    "stack": "Fit the combiners again, also finished ones, and replace a folder stacking that foldstill did not write.",
    "distill": "Train and score the students again, also finished ones.",
}
"""What `--force` does, per command that does stages of a run."""


@dataclass(frozen=True)
class RunOptions:
    """The options of a command that does stages of a run."""

    target: Target
    out: Out = None
    change: Changes = None
    workers: Workers = None
    device: On = "auto"
    force: bool = False
    as_json: AsJson = False
    quiet: Quiet = False

    @contextmanager
    def open(self) -> Iterator["Run"]:
        """The run, with progress bars while the block works on it."""
        from foldstill.pipeline import open_run

        with bars(quiet=self.quiet) as report:
            work = work_of(self.workers, self.device, force=self.force, report=report)
            yield open_run(self.target, self.out, changes=self.change or (), work=work)


@dataclass(frozen=True)
class TrainOptions(RunOptions):
    """The options of `train`."""

    only: Annotated[
        str | None,
        typer.Option(
            metavar="MEMBER/FOLD",
            help="Train one member on one fold (small/0), or without two folds (small/0-3), while others do others.",
            show_default=False,
        ),
    ] = None


Options = TypeVar("Options", bound=RunOptions)


def takes_run_options(command: Callable[[Options], None]) -> Callable[..., None]:
    """The command with one option per field of its options, which the function receives as one value."""
    kind = next(iter(get_type_hints(command).values()))

    @wraps(command)
    def function(**options: Any) -> None:
        command(kind(**options))

    # typer reads arguments and options from the signature.
    signature = inspect.signature(kind)
    types = {name: each.annotation for name, each in signature.parameters.items()}
    types["force"] = Annotated[bool, typer.Option("--force", help=MADE_AGAIN[command.__name__])]
    parameters = [each.replace(annotation=types[name]) for name, each in signature.parameters.items()]
    function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    function.__annotations__ = types
    return function
