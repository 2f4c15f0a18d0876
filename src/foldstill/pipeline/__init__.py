"""The stages of a run in their order, each resumable: what the command line and notebooks call."""

from foldstill.compare.comparison import Comparison
from foldstill.pipeline.compare import compare_stage
from foldstill.pipeline.distill import distill_stage
from foldstill.pipeline.run import Run, open_run, open_target, run_dir
from foldstill.pipeline.stack import Stacking, apply_combination, audit_table, open_stacking, stack_stage
from foldstill.pipeline.stages import run_all
from foldstill.pipeline.train import oof_stage, train_stage

__all__ = [
    "Comparison",
    "Run",
    "Stacking",
    "apply_combination",
    "audit_table",
    "compare_stage",
    "distill_stage",
    "oof_stage",
    "open_run",
    "open_stacking",
    "open_target",
    "run_all",
    "run_dir",
    "stack_stage",
    "train_stage",
]
