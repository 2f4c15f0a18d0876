"""The stages of a run in their order, each resumable: what the command line and notebooks call."""

from foldstill.compare.comparison import Comparison
from foldstill.pipeline.compare import compare_stage
from foldstill.pipeline.demo import run_demo
from foldstill.pipeline.distill import distill_stage
from foldstill.pipeline.export import export_stage
from foldstill.pipeline.predict import predict_inputs
from foldstill.pipeline.run import Report, Run, open_run, open_target, run_dir
from foldstill.pipeline.sizes import chosen_sizes, list_sizes
from foldstill.pipeline.stack import Stacking, apply_combination, audit_table, open_stacking, stack_stage
from foldstill.pipeline.stages import run_all
from foldstill.pipeline.train import oof_stage, train_stage

__all__ = [
    "Comparison",
    "Report",
    "Run",
    "Stacking",
    "apply_combination",
    "audit_table",
    "chosen_sizes",
    "compare_stage",
    "distill_stage",
    "export_stage",
    "list_sizes",
    "oof_stage",
    "open_run",
    "open_stacking",
    "open_target",
    "predict_inputs",
    "run_all",
    "run_demo",
    "run_dir",
    "stack_stage",
    "train_stage",
]
