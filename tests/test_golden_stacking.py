"""Every kind of combiner over a made-up table: its cross-fitted KL, and that of its fit on rows it never saw."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import foldstill as fs
import golden_access as access
from golden_files import COMPUTED, FITTED, Golden
from made_up import call

COMBINERS = """
name = "combiners"
[data]
kind = "digits"
[[member]]
name = "unused"
network = "test_resnet"
[stacking]
combiner = [
    { kind = "average" },
    { kind = "best_member" },
    { kind = "geometric" },
    { kind = "median" },
    { kind = "trimmed" },
    { kind = "recalibrated" },
    { kind = "recalibrated", name = "recalibrated classes", slope = "per_class", of = { kind = "geometric" } },
    { kind = "recalibrated", name = "recalibrated convex", of = { kind = "convex", tied = true } },
    { kind = "convex" },
    { kind = "convex", name = "convex tied", tied = true, row_weight = "log1p" },
    { kind = "greedy", picks = 10, bags = 3 },
    { kind = "pruned", budget = 2 },
    { kind = "pruned", name = "pruned by cost", budget = 2, costs = [["m0", 2.0], ["m1", 3.0]] },
    { kind = "log_pool" },
    { kind = "log_pool", name = "log_pool tied", tied = true, row_weight = "clamp" },
    { kind = "gated", folds = 2 },
    { kind = "gated", name = "gated average", over = "average", ridges = [0.1] },
    { kind = "logistic", ridges = [0.1, 0.01], folds = 2 },
    { kind = "mlp", epochs = 3, bags = 2, folds = 3, batch = 64, hidden = [8] },
    { kind = "mlp", name = "mlp free", features = "family_statistics", anchor = "none", kl_weight = 2.0, epochs = 3, bags = 1, folds = 3, batch = 64, hidden = [8] },
    { kind = "lightgbm", rounds = 4, folds = 3, rows_per_leaf = 10 },
    { kind = "lightgbm", name = "lightgbm all", features = "statistics_and_members", anchor = "average", rounds = 4, folds = 3, rows_per_leaf = 10 },
    { kind = "auto", folds = 3, ladder = [{ kind = "recalibrated" }, { kind = "convex", tied = true }, { kind = "log_pool" }] },
    { kind = "super", folds = 3, library = [{ kind = "recalibrated" }, { kind = "convex", tied = true }, { kind = "log_pool" }] },
    { kind = "super", name = "super average", mode = "average", keep = 2, folds = 3, library = [{ kind = "recalibrated" }, { kind = "convex", tied = true }, { kind = "log_pool" }] },
    { kind = "tempered" },
    { kind = "tempered", name = "tempered pool", of = { kind = "log_pool", tied = true } },
    { kind = "thresholded", folds = 3 },
]
"""
CLOSED = ("average", "best_member", "geometric", "median", "trimmed")
"""What needs no optimiser."""


def write_table(path: Path, seed: int) -> None:
    """Five members of two families whose logits are the truth plus noise; 3 to 12 votes a row, 24 groups, three folds."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.2, (240, 3))
    noise = rng.normal(0, 1, (240, 5, 3)) * np.asarray([0.4, 0.4, 1.0, 2.0, 0.7])[:, None]
    logits = 0.7 * truth[:, None] + noise
    proba = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
    share = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
    group = np.arange(240) % 24
    table = fs.oof_table(
        proba,
        votes=rng.multinomial(rng.integers(3, 13, 240), share),
        groups=group,
        classes=["no", "maybe", "yes"],
        folds=group % 3,
        members=["m0", "m1", "m2", "m3", "m4"],
    )
    families = ("cnn", "cnn", "eeg", "eeg", "cnn")
    fs.write_table(replace(table, scores=replace(table.scores, families=families)), path)


@pytest.fixture(scope="module")
def stacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a run with a table of its own, stacked."""
    run = tmp_path_factory.mktemp("golden") / "run"
    run.mkdir()
    (run / "experiment.toml").write_text(COMBINERS)
    (run / "provenance.json").write_text(json.dumps({"root": str(run)}))
    write_table(run / "oof.parquet", seed=0)
    write_table(run / "new.parquet", seed=1)
    with pytest.MonkeyPatch.context() as patch:
        assert call(patch, "stack", run, "--workers", "1", "-q") == 0
    return run


def test_every_combiner_scores_as_it_did(stacked: Path, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tomllib.loads(COMBINERS)["stacking"]["combiner"]
    assert {one["kind"] for one in settings} == access.combiner_kinds()
    known, new = access.truth_of(stacked / "oof.parquet"), access.truth_of(stacked / "new.parquet")
    closed, fitted = {}, {}
    for one in settings:
        name = one.get("name", one["kind"])
        place, out = stacked / "stacking" / name, stacked / "applied.parquet"
        assert call(monkeypatch, "apply", place, stacked / "new.parquet", "--out", out) == 0
        crossed, applied = (access.scores_of(path).proba_NMC[:, 0] for path in (place / "oof.parquet", out))
        values = {
            "cross_fitted_kl": access.kl_of(known, crossed),
            "applied_kl": access.kl_of(new, applied),
            "applied_row": applied[0],
        }
        (closed if name in CLOSED else fitted)[name] = values | {"says": access.reason_of(place)}
    golden("combiners_closed", closed, COMPUTED)
    golden("combiners_fitted", fitted, FITTED)


def test_their_comparison_says_what_it_said(stacked: Path, golden: Golden, tmp_path: Path) -> None:
    arms = {name: stacked / "stacking" / name / "oof.parquet" for name in (*CLOSED, "log_pool")}
    comparison = access.compared(stacked / "oof.parquet", arms, tmp_path)
    golden("comparison_of_a_table", comparison, FITTED)


def test_the_audit_of_the_table_finds_what_it_found(stacked: Path, golden: Golden) -> None:
    report = fs.audit(fs.read_table(stacked / "oof.parquet"))
    golden("audit_of_a_table", {f.name: [f.verdict, f.evidence] for f in report.findings}, FITTED)
