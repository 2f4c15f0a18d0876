"""All stages of a run in their order."""

from foldstill.compare import Comparison
from foldstill.pipeline.beginning import begin
from foldstill.pipeline.compare import compare_stage
from foldstill.pipeline.distill import distill_stage
from foldstill.pipeline.run import Run, one_writer
from foldstill.pipeline.stack import stack_stage
from foldstill.pipeline.tracking import tracked
from foldstill.pipeline.train import oof_stage, train_stage


@one_writer
def run_all(run: Run) -> Comparison:
    """Run every stage of an experiment; finished stages are kept."""
    begin(run)
    # Opened once for all stages; each of them opens the tracker when it is done alone.
    with tracked(run):
        train_stage(run)
        oof_stage(run)
        stack_stage(run)
        if run.experiment.student is not None:
            distill_stage(run)
        return compare_stage(run)
