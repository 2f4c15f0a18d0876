"""What a member of a table cannot be is one sentence before anything is trained, and no folder is left."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from foldstill.errors import FoldstillError
from foldstill.pipeline import ExperimentFile, run_all, start_run
from made_up import one_worker
from test_base_models_tables import EXPERIMENT, write_table

MODULES = """
from torch import nn


def mlp(shape, n_classes):
    return nn.Linear(*shape, n_classes)


def five(shape, n_classes):
    return nn.Linear(*shape, 5)


def number(shape, n_classes):
    return 3
"""
TORCH = 'kind = "torch"\nview = "features"\nmodule = "my_models.py:'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refused")
    write_table(folder, 120)
    (folder / "my_models.py").write_text(MODULES, encoding="utf-8")
    frame = pd.read_csv(folder / "d.csv")
    frame.assign(lost=np.nan).to_csv(folder / "lost.csv", index=False)
    scores = pd.DataFrame({"id": frame["id"], "a": 0.2, "b": 0.3, "c": 0.5})
    scores.iloc[5:].to_csv(folder / "few.csv", index=False)
    scores.rename(columns={"c": "z"}).to_csv(folder / "others.csv", index=False)
    for fold in range(3):
        torch.save({"weight": torch.zeros(3, 9), "bias": torch.zeros(3)}, folder / f"nine-{fold}.pt")
        torch.save({"model": torch.nn.Linear(2, 2)}, folder / f"objects-{fold}.pt")
    return folder


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (
            'kind = "sklearn"\nestimator = "KMeans"',
            "must be the name of a classifier or regressor of scikit-learn",
        ),
        ('kind = "sklearn"\nestimator = "Ridge"\noptions = { alhpa = 1 }', "options of sklearn do not fit Ridge"),
        ('kind = "sklearn"\nestimator = "Ridge"\noptions = { alpha = -1 }', "'k': options of sklearn do not fit Ridge"),
        ('kind = "lightgbm"\nround = 3', r"member\.1\.round \(member 'k'\): no such key; did you mean rounds"),
        (f'{TORCH}five"', r"'k': my_models\.py:five must give logits of shape \(2, 3\)"),
        (f'{TORCH}number"', r"'k': my_models\.py:number must return a torch\.nn\.Module, got int"),
        (f'{TORCH}mlp"\nweights = "nine-{{fold}}.pt"', r"'k': .*nine-0\.pt does not fit the network: weight has shape"),
        (f'{TORCH}mlp"\nweights = "objects-{{fold}}.pt"', r"'k': .*objects-0\.pt needs unpickling"),
        ('kind = "imported"\noof = "few.csv"', r"'k': .*few\.csv lacks 5 of 120 rows; first ids"),
        ('kind = "imported"\noof = "others.csv"', r"'k': .*others\.csv has no column for the classes \['c'\]"),
        ('kind = "lightgbm"\nview = "image"', r"no view 'image', the dataset has \['features'\]"),
    ],
)
def test_a_member_that_cannot_be_is_refused(folder: Path, tmp_path: Path, member: str, message: str) -> None:
    refused(folder, tmp_path, f'[[member]]\nname = "k"\n{member}\n', message)


def test_a_feature_without_any_value_is_refused(folder: Path, tmp_path: Path) -> None:
    refused(folder, tmp_path, "", "feature 'lost' is missing in every row: leave the column out", "lost.csv")


def refused(folder: Path, tmp_path: Path, member: str, message: str, data: str = "d.csv") -> None:
    head = EXPERIMENT.split("[[member]]")[0].replace("d.csv", data)
    text = f'{head}[[member]]\nkind = "lightgbm"\nname = "boosted"\n{member}[[stacking.combiner]]\nkind = "average"\n'
    with pytest.raises(FoldstillError, match=message) as error:
        run_all(start_run(ExperimentFile(text, folder, "e.toml"), tmp_path / "run", one_worker()))
    assert str(error.value).count("\n") <= 1  # a file has a heading above its mistakes
    assert not (tmp_path / "run").exists()
