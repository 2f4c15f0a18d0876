"""Students scored on every row that is not locked, by the smallest run that can: three folds, one epoch."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldstill.base_models import collect_without
from foldstill.commands.export import export_stage
from foldstill.compare import Comparison
from foldstill.distill import load_student, mixed_targets
from foldstill.errors import DistillError, ExperimentError, MemberError
from foldstill.oof import ScoreTable, read_scores
from foldstill.pipeline import (
    ExperimentFile,
    Run,
    distill_stage,
    oof_stage,
    run_all,
    stack_stage,
    start_run,
    train_stage,
)
from foldstill.pipeline.cross_validation import _targets
from foldstill.pipeline.experiment_file import parse_experiment
from foldstill.pipeline.teachers import teacher_without
from foldstill.stacking import crossfit
from foldstill.stacking.recalibrate import Recalibrated
from foldstill.stacking.tempered import Tempered
from foldstill.workers import Work
from made_up import DIGITS, timm_table

pytestmark = pytest.mark.usefixtures("undrawn")

TEXT = f"""
name = "validated"
{DIGITS}[folds]
n_folds = 3
test_share = 0.3
[recipe]
epochs = 1
batch_size = 32
{timm_table("resnet")}[stacking]
combiner = [{{ kind = "average" }}, {{ kind = "recalibrated" }}]
[student]
network = "test_resnet"
teacher = "recalibrated"
seeds = 1
cross_validate = "pairs"
"""
NAIVE = TEXT.replace("pairs", "naive")


def opened(folder: Path, text: str = TEXT) -> Run:
    return start_run(ExperimentFile(text, Path(), "test"), folder, Work(1, "cpu"))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Comparison]:
    run = opened(tmp_path_factory.mktemp("runs") / "validated")
    return run, run_all(run)


def test_a_student_is_scored_on_every_row_that_is_not_locked_beside_its_twin(done: tuple[Run, Comparison]) -> None:
    run, comparison = done
    assert {"student", "student without teacher"} <= {arm.name for arm in comparison.arms}
    validated = Comparison.read(run.dir.cross_validation)
    assert [arm.name for arm in validated.arms] == [
        "class prior",
        "average",
        "cross-validated student",
        "cross-validated student without teacher",
    ]
    assert validated.n_rows == len(run.plan.oof_rows)
    assert validated.verdict.startswith("The student")
    assert list(validated.teacher_gains()) == ["cross-validated student"]
    report = run.dir.report.read_text(encoding="utf-8")
    assert "Cross-validated students" in report
    assert "optimistic" not in report


def test_each_fold_is_scored_by_the_student_that_was_not_taught_it(done: tuple[Run, Comparison]) -> None:
    run, _ = done
    folder = run.dir.cross_validated(run.dir.student)
    scores = read_scores(folder / "oof.parquet")
    assert isinstance(scores, ScoreTable)
    for fold in range(3):
        held = run.plan.held_out(fold)
        wanted = load_student(folder / f"fold-{fold}").predict(run.dataset.view("image")[held])
        at = np.isin(scores.ids, run.dataset.labels.ids[held])
        np.testing.assert_array_equal(scores.proba_NMC[at, 0], wanted)


def test_what_a_student_is_taught_knows_nothing_of_the_fold_it_is_scored_on(
    done: tuple[Run, Comparison], tmp_path: Path
) -> None:
    run, _ = done
    settings = run.experiment.student
    assert settings is not None
    rows = run.plan.training(1)
    target, weight = _targets(run, settings, 1)
    table = collect_without(run.dir.members, run.experiment.member, run.dataset.labels, run.plan, 1)
    assert table.labels.ids.tolist() == run.dataset.labels.ids[rows].tolist()
    soft = teacher_without(run, settings, table, 1)
    calibrated = Tempered(of=Recalibrated())
    np.testing.assert_allclose(soft.proba_NC, crossfit(calibrated, table).proba_NC, atol=1e-6)
    raw = teacher_without(run, replace(settings, calibrate_members=False), table, 1)
    np.testing.assert_allclose(raw.proba_NC, crossfit(Recalibrated(), table).proba_NC, atol=1e-6)
    np.testing.assert_array_equal(target, mixed_targets(soft, table.labels, settings.mix)[0])
    # The scored fold's votes reach models of the ordinary table, and no target of the pairs.
    votes = run.dataset.labels.votes_NC.copy()
    votes[run.plan.held_out(1)] = votes[run.plan.held_out(1)][:, ::-1]
    other = opened(tmp_path / "other")
    other.__dict__["plan"] = run.plan
    other.__dict__["dataset"] = replace(run.dataset, labels=replace(run.dataset.labels, votes_NC=votes))
    train_stage(other)
    oof_stage(other)
    stack_stage(other)
    np.testing.assert_array_equal(_targets(other, settings, 1)[0], target)
    np.testing.assert_array_equal(_targets(other, settings, 1)[1], weight)
    leaky = replace(settings, cross_validate="naive")
    assert (_targets(other, leaky, 1)[0] != _targets(run, leaky, 1)[0]).any()


@pytest.fixture(scope="module")
def naive(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = opened(tmp_path_factory.mktemp("runs") / "naive", NAIVE)
    run_all(run)
    return run


def test_naive_cross_validation_is_called_optimistic_wherever_it_is_shown(naive: Run) -> None:
    run = naive
    assert not list(run.dir.members.glob("*/pair-*"))
    facts = json.loads((run.dir.cross_validation / "comparison.json").read_text())
    arms = {arm["name"]: arm["kind"] for arm in facts["arms"]}
    assert arms == {
        "class prior": "prior",
        "average": "average",
        "optimistic student (naive cross-validation)": "ablation",
        "cross-validated student without teacher": "student_without_teacher",
    }
    assert facts["verdict"].startswith("Naive cross-validation of a student is optimistic")
    assert "optimistic student (naive cross-validation)" in run.dir.report.read_text(encoding="utf-8")
    assert "optimistic student (naive cross-validation)" in (run.dir.cross_validation / "comparison.csv").read_text()


def test_without_locked_rows_pairs_are_the_only_way_to_score_a_student(tmp_path: Path) -> None:
    run = opened(tmp_path / "run", TEXT.replace("test_share = 0.3", "test_share = 0.0").replace("240", "180"))
    comparison = run_all(run)
    assert comparison.rows == "oof cross-fitted"
    assert {"cross-validated student", "cross-validated student without teacher", "resnet"} <= {
        arm.name for arm in comparison.arms
    }
    assert "The student" in comparison.verdict
    assert not run.dir.cross_validation.exists()
    with pytest.raises(DistillError, match="an export is reported on locked test rows"):
        export_stage(run)
    with pytest.raises(ExperimentError, match=r'set folds.test_share, or student.cross_validate = "pairs"'):
        opened(tmp_path / "naive", NAIVE.replace("test_share = 0.3", "test_share = 0.0"))


def test_pairs_that_were_not_trained_are_asked_for(naive: Run) -> None:
    with pytest.raises(MemberError, match="folds 0 and 1 is not trained"):
        distill_stage(opened(naive.dir.root, TEXT))


def test_what_cannot_be_cross_validated_is_refused() -> None:
    for line in ('views = "live"', 'ablation = "in_sample"', 'unlabelled = "more.npz"'):
        with pytest.raises(ExperimentError, match='set cross_validate = "none" for this student'):
            parse_experiment(f"{TEXT}{line}\n", "test")
