"""The heads of a run whose members learned several labels per row: each is stacked and compared in a run of its own."""

from collections.abc import Sequence
from dataclasses import replace

from foldstill.base_models.collected import collect_heads
from foldstill.compare import HeadsComparison, over_heads
from foldstill.json_files import write_json
from foldstill.oof.table import OOFTable
from foldstill.pipeline.beginning import begin
from foldstill.pipeline.compare import compare_stage
from foldstill.pipeline.durations import timed
from foldstill.pipeline.heads import write_summary
from foldstill.pipeline.run import Run, one_writer
from foldstill.pipeline.stack import stack_stage


@one_writer
@timed("oof build")
def oof_heads(run: Run) -> dict[str, OOFTable]:
    """Collect held-out rows into one OOF table per head, and locked test rows beside it.

    The rows of a head are those whose label is known. Unchanged tables stay, and with them what was made from them.
    """
    collected = collect_heads(run.dir.members, run.experiment.member, run.dataset.labels, run.plan)
    begin(run)
    for head, (table, test) in collected.items():
        before = Run(run.dir.head(head))
        one = Run(before.dir, work=replace(run.work, force=True), imported=table, imported_test=test)
        if not before.dir.oof.exists() or before.table_inputs != one.table_inputs:
            one.keep()
    # The last file: whoever finds it finds the tables of all heads.
    write_json(run.dir.head_names, {"heads": list(collected)}, sealed=True)
    return {head: table for head, (table, _) in collected.items()}


def head_runs(run: Run) -> dict[str, Run]:
    """The run of each head, as `oof_heads` left it, with the combiners and the metric of the experiment."""
    run.dir.require(run.dir.head_names, "oof build")
    of_heads = replace(run.experiment, track=None)
    return {head: Run(run.dir.head(head), of_heads, run.root, run.work) for head in run.heads}


@one_writer
@timed("stack")
def stack_heads(
    run: Run, names: Sequence[str] = (), accept: Sequence[str] = (), metric: str | None = None, judged_on: str = ""
) -> dict[str, str]:
    """Stack every head as `stack_stage` does, and return what its combiners chose."""
    return {head: stack_stage(one, names, accept, metric, judged_on) for head, one in head_runs(run).items()}


@one_writer
@timed("compare")
def compare_heads_of_run(run: Run, metric: str | None = None) -> HeadsComparison:
    """Compare every head as `compare_stage` does, and write the summary of all heads to heads/heads.html."""
    summary = over_heads({head: compare_stage(one, metric) for head, one in head_runs(run).items()})
    write_summary(summary, run.dir.heads)
    return summary
