"""Every kind of tracker that an experiment file can name."""

from foldstill.pipeline.mlflow_tracker import MlflowTracker
from foldstill.pipeline.tensorboard_tracker import TensorboardTracker
from foldstill.pipeline.wandb_tracker import WandbTracker

TRACKERS = (MlflowTracker, TensorboardTracker, WandbTracker)
"""Add a class here, and experiment files, documentation and contract tests find it by its `kind`."""
