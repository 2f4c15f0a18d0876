"""A run, its stages in their order, and the ways to open one: for the command line and for notebooks.

The names are imported when they are first used: a table made elsewhere needs no code for training.
"""

from typing import TYPE_CHECKING

from foldstill.late_names import late_names

if TYPE_CHECKING:
    from foldstill.pipeline.compare import compare_stage
    from foldstill.pipeline.distill import distill_stage
    from foldstill.pipeline.experiment_file import ExperimentFile
    from foldstill.pipeline.opening import find_run, open_for_stacking, open_imported, open_run, start_run
    from foldstill.pipeline.run import Run
    from foldstill.pipeline.runs_of_heads import compare_heads_of_run, head_runs, oof_heads, stack_heads
    from foldstill.pipeline.stack import apply_combination, audit_table, stack_stage
    from foldstill.pipeline.stages import run_all
    from foldstill.pipeline.train import oof_stage, train_only, train_stage

_HOMES = {
    "ExperimentFile": "foldstill.pipeline.experiment_file",
    "Run": "foldstill.pipeline.run",
    "apply_combination": "foldstill.pipeline.stack",
    "audit_table": "foldstill.pipeline.stack",
    "compare_heads_of_run": "foldstill.pipeline.runs_of_heads",
    "compare_stage": "foldstill.pipeline.compare",
    "distill_stage": "foldstill.pipeline.distill",
    "find_run": "foldstill.pipeline.opening",
    "head_runs": "foldstill.pipeline.runs_of_heads",
    "oof_heads": "foldstill.pipeline.runs_of_heads",
    "oof_stage": "foldstill.pipeline.train",
    "open_for_stacking": "foldstill.pipeline.opening",
    "open_imported": "foldstill.pipeline.opening",
    "open_run": "foldstill.pipeline.opening",
    "run_all": "foldstill.pipeline.stages",
    "stack_heads": "foldstill.pipeline.runs_of_heads",
    "stack_stage": "foldstill.pipeline.stack",
    "start_run": "foldstill.pipeline.opening",
    "train_only": "foldstill.pipeline.train",
    "train_stage": "foldstill.pipeline.train",
}

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

__getattr__, __dir__ = late_names(__name__, _HOMES, __all__)
