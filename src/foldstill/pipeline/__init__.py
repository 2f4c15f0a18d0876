"""The stages of a run in their order, each resumable; what the command line and notebooks call."""

from foldstill.pipeline.run import Report, Run, open_run, open_target, run_dir

__all__ = ["Report", "Run", "open_run", "open_target", "run_dir"]
