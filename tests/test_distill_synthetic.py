"""Synthetic rows of a feature table: made of training rows of one fold, labelled by models that never saw it."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import foldstill as fs
from foldstill.distill.synthetic_rows import SyntheticRows, munge
from foldstill.errors import DistillError, ExperimentError
from foldstill.pipeline import ExperimentFile, Run, find_run, run_all, start_run
from foldstill.pipeline.experiment_file import parse_experiment
from foldstill.pipeline.synthetic import synthetic_rows
from made_up import one_worker
from test_base_models_tables import EXPERIMENT, write_table


def table_of(n: int = 200) -> fs.FeatureTable:
    rng = np.random.default_rng(0)
    side = rng.integers(0, 2, n)  # two clusters that never mix
    return fs.FeatureTable.of(
        pd.DataFrame(
            {
                "length": np.where(rng.random(n) < 0.1, np.nan, 10 * side + rng.random(n)),
                "count": 100 * side + rng.integers(0, 9, n),
                "side": np.array(["left", "right"])[side],
                "color": rng.choice(["red", "blue", None], n),
            }
        )
    )


def test_a_synthetic_row_is_made_of_near_rows_and_stays_in_the_range_of_the_data() -> None:
    table, rows = table_of(), np.arange(0, 200, 2)
    made, source_S = munge(table, rows, SyntheticRows(per_row=3, swap=0.5), seed=1)
    assert len(made) == 300
    assert set(source_S.tolist()) == set(rows.tolist())
    assert made.features == table.features
    _, count, side, _ = made.values_NF.T
    np.testing.assert_array_equal(count % 1, 0)
    np.testing.assert_array_equal(count > 50, side == 1)  # a neighbour is of the same cluster
    low, high = np.nanmin(table.values_NF[rows], axis=0), np.nanmax(table.values_NF[rows], axis=0)
    assert (np.nanmin(made.values_NF, axis=0) >= low).all()
    assert (np.nanmax(made.values_NF, axis=0) <= high).all()
    changed = (made.values_NF != table.values_NF[source_S]) & ~np.isnan(made.values_NF)
    assert 0.1 < changed.mean() < 0.5
    again, _ = munge(table, rows, SyntheticRows(per_row=3, swap=0.5), seed=1)
    np.testing.assert_array_equal(again.values_NF, made.values_NF)


def test_rows_outside_of_those_given_are_never_read() -> None:
    table, rows = table_of(), np.arange(0, 200, 2)
    values_NF = table.values_NF.copy()
    values_NF[1::2, :2] = 1e6
    values_NF[1::2, 2:] = 0
    changed = fs.FeatureTable(values_NF, table.features)
    for one, other in zip(*(munge(each, rows, SyntheticRows(), seed=1) for each in (table, changed)), strict=True):
        if isinstance(one, fs.FeatureTable):
            one, other = one.values_NF, other.values_NF  # type: ignore[union-attr]
        np.testing.assert_array_equal(one, other)


STUDENT = """
[student]
kind = "lightgbm"
teacher = "convex"
rounds = 10
rows_per_leaf = 5
patience = 0
seeds = 1
synthetic = { per_row = 2.0 }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("synthetic")
    write_table(folder)
    run_all(start_run(ExperimentFile(EXPERIMENT + STUDENT, folder), folder / "run", one_worker()))
    return find_run(folder / "run", work=one_worker())


def test_the_labels_of_a_fold_come_from_models_and_a_combination_that_never_saw_it(run: Run) -> None:
    """Damaged models of all other folds change nothing for a fold; its rows lie near its own rows."""
    student = run.experiment.student
    assert student is not None
    made = synthetic_rows(run, student, run.table)
    n_of_fold = [2 * len(run.plan.held_out(fold)) for fold in range(run.plan.n_folds)]
    assert len(made.inputs) == sum(n_of_fold)
    ends = np.cumsum([0, *n_of_fold])
    for fold in range(run.plan.n_folds):
        of_fold = slice(ends[fold], ends[fold + 1])
        assert set(made.group_S[of_fold].tolist()) <= set(run.plan.groups[run.plan.held_out(fold)].tolist())
    # Labels of fold 0 do not depend on the votes of fold 0: the combination is fitted without them.
    table, moved = run.table, run.table.labels.votes_NC.copy()
    moved[table.fold_N == 0] = np.roll(moved[table.fold_N == 0], 1, axis=1)
    from dataclasses import replace

    other = replace(table, labels=replace(table.labels, votes_NC=moved))
    again = synthetic_rows(run, student, other)
    np.testing.assert_array_equal(again.proba_SC[: ends[1]], made.proba_SC[: ends[1]])
    assert not np.array_equal(again.proba_SC[ends[1] :], made.proba_SC[ends[1] :])


def test_a_student_learns_them_and_its_twin_does_not(run: Run) -> None:
    from foldstill.manifest import read_done

    shapes = {one.settings.name: one for one in run.students}
    student, twin = shapes["student"], shapes["student without teacher"]
    assert read_done(student.folder)["inputs"]["data"] != read_done(twin.folder)["inputs"]["data"]
    assert run.comparison["student"].kl < 0.7


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"per_row": 0.0}, r"synthetic\.per_row must be positive, got 0"),
        ({"swap": 1.0}, r"synthetic\.swap must be in \(0, 1\), got 1"),
        ({"spread": -1.0}, r"synthetic\.spread must not be negative, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(DistillError, match=message):
        SyntheticRows(**settings)


def test_what_cannot_be_labelled_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="leave `synthetic` out beside a mix of votes"):
        parse_experiment(EXPERIMENT + STUDENT + 'mix = { kind = "votes" }\n', "t.toml")
    with pytest.raises(ExperimentError, match="without unlabelled or synthetic rows"):
        parse_experiment(EXPERIMENT + STUDENT + 'cross_validate = "pairs"\n', "t.toml")
    from test_pipeline_mixed import EXPERIMENT as MIXED
    from test_pipeline_mixed import MODULES, write_data

    write_data(tmp_path / "d.npz", 60, 0)
    (tmp_path / "my_models.py").write_text(MODULES, encoding="utf-8")
    text = MIXED.split("[student]")[0] + STUDENT
    with pytest.raises(DistillError, match=r"every member must label synthetic rows, and \['pictures', 'both'\]"):
        run_all(start_run(ExperimentFile(text, tmp_path), tmp_path / "run", one_worker()))
    assert not (tmp_path / "run").exists()
