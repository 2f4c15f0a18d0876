"""Commands of the command line as processes of their own, and a small experiment on a table for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

import foldstill as fs

EXPERIMENT = """
name = "shared"
[data]
kind = "table"
path = "d.csv"
label = "label"
[folds]
n_folds = {n_folds}
test_share = 0.2
[[member]]
kind = "sklearn"
name = "regression"
estimator = "LogisticRegression"
[[member]]
kind = "sklearn"
name = "slow"
estimator = "HistGradientBoostingClassifier"
options = {{ max_iter = {rounds} }}
"""
"""A fold of the regression is finished first. There is no network, so that no process imports torch."""


def write_experiment(folder: Path, *, n_folds: int, rounds: int, more: str = "") -> None:
    """Write `e.toml` with `more` tables at its end, and the data that it reads."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(300, 6)), columns=[f"x{i}" for i in range(6)])
    rows["label"] = np.where(rows["x0"] + rng.normal(size=300) > 0, "yes", "no")
    rows.to_csv(folder / "d.csv", index=False)
    (folder / "e.toml").write_text(EXPERIMENT.format(n_folds=n_folds, rounds=rounds) + more)


def start_process(folder: Path, *arguments: str, code: str = "") -> subprocess.Popen[str]:
    """A command, or a Python text that runs one, in a process group of its own, as a shell starts it."""
    # A relative PYTHONPATH would start at the folder of the command.
    environment = {**os.environ, "PYTHONPATH": str(Path(fs.__file__).parents[1])}
    command = [sys.executable, *(("-c", code) if code else ("-m", "foldstill")), *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, start_new_session=True, **pipes)
