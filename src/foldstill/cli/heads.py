"""The command that summarises the heads of a multi-label problem: foldstill heads."""

from pathlib import Path
from typing import Annotated

import typer

from foldstill.cli.json_answer import AsJson, print_json
from foldstill.cli.terminal import console


def heads(
    runs: Annotated[
        list[Path], typer.Argument(help="Folders of compared runs, one per head; a head has the name of its folder.")
    ],
    as_json: AsJson = False,
) -> None:
    """Summarise the comparisons of several heads (multi-label) by the mean of their metric over heads.

    Example: foldstill heads kidney liver spleen
    """
    from dataclasses import asdict

    from foldstill.compare import Comparison, over_heads
    from foldstill.errors import CompareError

    names = [run.resolve().name for run in runs]
    if len(set(names)) < len(names):
        raise CompareError(f"folders of heads must have different names, got {names}: rename one of each")
    summary = over_heads({name: Comparison.read(run) for name, run in zip(names, runs, strict=True)})
    if as_json:
        facts = {"verdict": summary.verdict, **asdict(summary.judgement), "metric": summary.metric.name}
        print_json(facts | {"arms": summary.records()})
        return
    screen = console()
    screen.print(summary.table())
    screen.print(f"\n{summary.verdict}\n", style="bold", soft_wrap=False)
