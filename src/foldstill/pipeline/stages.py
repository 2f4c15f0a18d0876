"""All stages of a run in their order."""

from foldstill.compare import Comparison, HeadsComparison
from foldstill.pipeline.beginning import begin
from foldstill.pipeline.compare import compare_stage
from foldstill.pipeline.distill import distill_stage
from foldstill.pipeline.run import Run, one_writer
from foldstill.pipeline.runs_of_heads import compare_heads_of_run, oof_heads, stack_heads
from foldstill.pipeline.stack import stack_stage
from foldstill.pipeline.tracking import tracked
from foldstill.pipeline.train import oof_stage, train_stage


@one_writer
def run_all(run: Run) -> Comparison | HeadsComparison:
    """Run every stage of an experiment; finished stages are kept.

    Where the labels are heads (multi-label), each head is stacked and compared, and the result is their summary.
    """
    begin(run)
    # Opened once for all stages; each of them opens the tracker when it is done alone.
    with tracked(run):
        train_stage(run)
        if run.dataset.labels.heads is not None:
            oof_heads(run)
            stack_heads(run)
            return compare_heads_of_run(run)
        oof_stage(run)
        stack_stage(run)
        if run.experiment.student is not None:
            distill_stage(run)
        return compare_stage(run)
