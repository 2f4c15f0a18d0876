"""Every stage of a run on the smallest data that has all its parts."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldstill.commands.predict import predict_inputs
from foldstill.compare import Comparison
from foldstill.errors import ExperimentError, FoldstillError
from foldstill.oof import read_scores, read_table
from foldstill.pipeline import ExperimentFile, Run, compare_stage, find_run, open_run, run_all, start_run
from foldstill.workers import Work
from made_up import SMOKE


def opened(folder: Path, text: str = SMOKE, **options: bool) -> Run:
    return start_run(ExperimentFile(text, Path(), "smoke"), folder, Work(1, "cpu", **options))


def test_a_run_ends_with_every_arm_and_a_report(smoke: tuple[Run, Comparison]) -> None:
    run, comparison = smoke
    folder = run.dir.root
    names = {arm.name for arm in comparison.arms}
    assert names == {
        "class prior",
        "resnet",
        "efficientnet",
        "average",
        "recalibrated",
        "convex",
        "student",
        "student without teacher",
    }
    assert comparison.rows == "test"
    assert comparison.verdict
    for file in (
        "experiment.toml",
        "provenance.json",
        "folds.parquet",
        "comparison.json",
        "comparison.csv",
        "report.html",
    ):
        assert (folder / file).stat().st_size > 0
    assert all(arm.cost is not None and arm.cost.macs for arm in comparison.arms if arm.kind != "prior")


def test_a_student_is_compared_with_its_own_teacher(smoke: tuple[Run, Comparison]) -> None:
    _, comparison = smoke
    followed = comparison["student"].fidelity
    assert followed is not None
    assert followed.teacher == "recalibrated"
    assert comparison["student without teacher"].fidelity is None


def test_the_ensemble_costs_all_its_fold_models(smoke: tuple[Run, Comparison]) -> None:
    _, comparison = smoke
    members = [comparison["resnet"].cost, comparison["efficientnet"].cost]
    ensemble = comparison["average"].cost
    student = comparison["student"].cost
    assert ensemble is not None
    assert student is not None
    assert ensemble.parameters == sum(c.parameters or 0 for c in members if c is not None)
    assert members[0] is not None
    assert members[0].parameters == 2 * (student.parameters or 0)  # two folds of the student's own network


def test_no_test_row_is_in_the_oof_table_and_no_group_in_both(smoke: tuple[Run, Comparison]) -> None:
    folder = smoke[0].dir.root
    from foldstill.oof import read_labels

    table, test = read_table(folder / "oof.parquet"), read_labels(folder / "test.parquet")
    assert test is not None
    assert not set(table.labels.ids.tolist()) & set(test.ids.tolist())
    assert not set(table.labels.groups.tolist()) & set(test.groups.tolist())


def test_a_second_run_does_nothing_again(smoke: tuple[Run, Comparison], undrawn: None) -> None:
    folder, first = smoke[0].dir.root, smoke[1]
    made = {
        p: p.stat().st_mtime_ns
        for p in folder.rglob("*")
        if p.suffix in (".safetensors", ".npz") or p.name == "done.json"
    }
    assert made
    again = run_all(open_run(folder, work=Work(1)))
    assert {p: p.stat().st_mtime_ns for p in made} == made
    assert np.array_equal(again.row_loss_NA, first.row_loss_NA)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [('name = "smoke"', 'name = "smoke"\nseed = 1', "fold plan"), ("epochs = 1", "epochs = 2", "recipe")],
)
def test_other_inputs_are_refused_by_name(
    smoke: tuple[Run, Comparison], tmp_path: Path, old: str, new: str, named: str
) -> None:
    import shutil

    folder = smoke[0].dir.root
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    with pytest.raises(FoldstillError, match=named):
        run_all(opened(copy, SMOKE.replace(old, new)))


@pytest.mark.parametrize("arm", ["resnet", "recalibrated", "student"])
def test_any_arm_predicts_new_rows_as_it_did_the_test_rows(
    smoke: tuple[Run, Comparison], tmp_path: Path, arm: str
) -> None:
    folder = smoke[0].dir.root
    run = open_run(folder)
    rows = run.plan.test_rows
    np.savez(tmp_path / "new.npz", image=run.dataset.view("image")[rows])
    predicted = predict_inputs(folder, tmp_path / "new.npz", tmp_path / "out.csv", arm=arm, work=Work(device="cpu"))
    scores = predicted.scores
    files = {"resnet": folder / "test.parquet", "recalibrated": folder / "stacking" / arm / "test.parquet"}
    before = read_scores(files.get(arm, folder / "student" / "test.parquet"))
    wanted = before.mean().select([arm]) if arm == "resnet" else before  # type: ignore[union-attr]
    np.testing.assert_allclose(scores.proba_NMC, wanted.proba_NMC, atol=1e-6)  # type: ignore[union-attr]
    assert (tmp_path / "out.csv").read_text().count("\n") == len(rows) + 1
    assert predicted.recipe == [
        "Inputs, as in training: view 'image', rows (16, 16, 1) of uint8; channels gray, resampling pixels repeated, "
        "scaling paper 0, ink 255, size 16 x 16; models scale them"
    ]


def test_an_unknown_arm_is_refused_with_the_names_of_those_there_are(
    smoke: tuple[Run, Comparison], tmp_path: Path
) -> None:
    np.savez(tmp_path / "new.npz", image=open_run(smoke[0].dir.root).dataset.view("image")[:2])
    members, students = r"a member \['resnet', 'efficientnet'\]", r"a student \['student'"
    message = rf"no arm 'best': name {members}, a combination \['average', .*\] or {students}"
    with pytest.raises(ExperimentError, match=message):
        predict_inputs(
            smoke[0].dir.root, tmp_path / "new.npz", tmp_path / "out.csv", arm="best", work=Work(device="cpu")
        )


def test_predictions_in_an_unknown_form_are_refused_before_anything_is_scored(
    smoke: tuple[Run, Comparison], tmp_path: Path
) -> None:
    with pytest.raises(FoldstillError, match=r"must be one of \.parquet, \.csv"):
        predict_inputs(smoke[0].dir.root, tmp_path / "new.npz", tmp_path / "out.xlsx")


def test_a_run_folder_keeps_no_pickle(smoke: tuple[Run, Comparison]) -> None:
    """A pickled model can be read only by the code that wrote it, and may run anything."""
    suffixes = {p.suffix for p in smoke[0].dir.root.rglob("*") if p.is_file()}
    assert suffixes <= {".toml", ".json", ".parquet", ".csv", ".safetensors", ".npz", ".txt", ".html", ".md"}


def test_a_notebook_needs_no_folder(smoke: tuple[Run, Comparison]) -> None:
    import foldstill as fs
    from foldstill.stacking.averages import Average, Geometric

    table = read_table(smoke[0].dir.oof)
    stacked = fs.stack(table, [Average(), Geometric()])
    comparison = stacked.compare()
    assert comparison.rows == "oof cross-fitted"
    np.testing.assert_allclose(stacked["average"].apply(table.scores), table.proba_NMC.mean(axis=1), atol=1e-6)


def test_every_public_name_can_be_had_and_none_needs_torch_to_import() -> None:
    import subprocess
    import sys

    code = "import sys, foldstill; [getattr(foldstill, n) for n in foldstill.__all__]; sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


def test_ablations_seeds_and_thinned_votes_go_through_all_stages(tmp_path: Path, undrawn: None) -> None:
    text = SMOKE.replace("[data]", "thin_votes = 2\n[data]").replace("seeds = 1", "seeds = 2")
    text = text.replace("[student]", "[student]\ncontrol_arms = true")
    text += '\n[[ablation]]\nname = "seen"\nablation = "in_sample"\nseeds = 1\n'
    run = opened(tmp_path / "run", text)
    comparison = run_all(run)
    controls = ("average as teacher", "in-sample teacher", "permuted teacher")
    assert {comparison[name].kind for name in ("seen", *controls)} == {"ablation"}
    # The student and these three have two seeds, and the same twin without a teacher to be compared with.
    assert {len(comparison[name].kl_by_seed) for name in ("student", *controls)} == {2}
    assert set(comparison.teacher_gains()) == {"student", "seen", *controls}
    # Said of the arm itself too, whatever its name.
    assert "taught by recalibrated, in-sample: " in comparison["seen"].note
    assert "taught by recalibrated, class-permuted: " in comparison["permuted teacher"].note
    # One trained from its first seed on in-sample targets, the other from the first of two.
    assert comparison["in-sample teacher"].kl_by_seed[0] == pytest.approx(comparison["seen"].kl, abs=1e-6)
    assert len(comparison["student"].kl_by_seed) == 2
    assert comparison["seen"].kl_by_seed == ()
    labels = run.dataset.labels
    assert labels.total_N[run.plan.oof_rows].max() == 2
    full = opened(tmp_path / "full").dataset.labels
    assert np.array_equal(labels.votes_NC[run.plan.test_rows], full.votes_NC[run.plan.test_rows])
    # Seeds and ablations that are asked for no longer are not compared, though they lie there.
    fewer, _, _ = text.replace("seeds = 2", "seeds = 1").partition("[[ablation]]")
    left = compare_stage(opened(tmp_path / "run", fewer))
    assert (run.dir.student / "seed-1" / "test.parquet").exists()
    assert left["student"].kl_by_seed == ()
    assert left["student"].kl == pytest.approx(comparison["student"].kl_by_seed[0])
    assert "seen" not in {arm.name for arm in left.arms}
    # Fewer votes are other labels, so what was made from others is refused.
    with pytest.raises(FoldstillError, match="made from other inputs: labels"):
        run_all(opened(tmp_path / "run", text.replace("thin_votes = 2", "thin_votes = 1")))


def test_a_teacher_is_fitted_to_members_that_were_calibrated_without_the_rows_it_teaches(
    smoke: tuple[Run, Comparison],
) -> None:
    from foldstill.pipeline.teachers import fitted_teacher, held_out_teacher
    from foldstill.stacking import crossfit, fit
    from foldstill.stacking.recalibrate import Recalibrated
    from foldstill.stacking.tempered import Tempered

    run, table = open_run(smoke[0].dir.root), read_table(smoke[0].dir.oof)
    taught = run.experiment.student
    assert taught is not None
    assert taught.calibrate_members
    as_fitted = replace(taught, calibrate_members=False)
    calibrated = Tempered(of=Recalibrated())
    for settings, combiner in ((taught, calibrated), (as_fitted, Recalibrated())):
        held = held_out_teacher(run, settings, table)
        np.testing.assert_allclose(held.proba_NC, crossfit(combiner, table).proba_NC, atol=1e-6)
        wanted = fit(combiner, table).apply(table.scores)
        np.testing.assert_allclose(fitted_teacher(run, settings, table).apply(table.scores), wanted, atol=1e-9)
    assert run.dir.teacher("recalibrated", calibrated=True).is_dir()


def test_a_student_learns_from_rows_nobody_voted_on(
    smoke: tuple[Run, Comparison], tmp_path: Path, undrawn: None
) -> None:
    import shutil

    from foldstill.pipeline import distill_stage

    folder, before = smoke[0].dir.root, smoke[1]
    shutil.copytree(folder, tmp_path / "run")
    run = open_run(folder)
    images = run.dataset.view("image")
    np.savez(tmp_path / "more.npz", image=255 - images[run.plan.oof_rows[:40]])
    student = f'[student]\nunlabelled = "{tmp_path / "more.npz"}"'
    text = SMOKE.replace("[student]", student) + '\n[[ablation]]\nname = "live"\nviews = "live"\n'
    shutil.rmtree(tmp_path / "run" / "student")
    distill_stage(opened(tmp_path / "run", text))
    comparison = compare_stage(find_run(tmp_path / "run"))
    # More rows to learn from are other weights; the twin without a teacher has no use for them and is kept.
    assert comparison["student"].kl != before["student"].kl
    assert comparison["student without teacher"].kl == before["student without teacher"].kl
    assert comparison["live"].kl != comparison["student"].kl

    np.savez(tmp_path / "more.npz", image=images[run.plan.test_rows[:3]])
    with pytest.raises(FoldstillError, match="3 rows whose image is that of a locked row"):
        distill_stage(opened(tmp_path / "run", text))
