"""A run, its stages in their order, and the ways to open one: for the command line and for notebooks."""

from foldstill.pipeline.compare import compare_stage
from foldstill.pipeline.distill import distill_stage
from foldstill.pipeline.experiment_file import ExperimentFile
from foldstill.pipeline.head_runs import compare_heads_of_run, head_runs, oof_heads, stack_heads
from foldstill.pipeline.opening import find_run, open_for_stacking, open_imported, open_run, start_run
from foldstill.pipeline.run import Run
from foldstill.pipeline.stack import apply_combination, audit_table, stack_stage
from foldstill.pipeline.stages import run_all
from foldstill.pipeline.train import oof_stage, train_only, train_stage

__all__ = [
    "ExperimentFile",
    "Run",
    "apply_combination",
    "audit_table",
    "compare_heads_of_run",
    "compare_stage",
    "distill_stage",
    "find_run",
    "head_runs",
    "oof_heads",
    "oof_stage",
    "open_for_stacking",
    "open_imported",
    "open_run",
    "run_all",
    "stack_heads",
    "stack_stage",
    "start_run",
    "train_only",
    "train_stage",
]
