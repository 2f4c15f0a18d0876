"""The student and its twin without a teacher, trained on the same rows at the same budget and scored on the locked
rows.

N rows, C classes.
"""

import shutil
from dataclasses import replace
from typing import Any

from foldstill.base_models.fold_models import FoldModels
from foldstill.base_models.joined_member import resolve
from foldstill.data.features import view_digest
from foldstill.data.simplex import row_kl
from foldstill.distill.mixes import VotesOnly
from foldstill.distill.settings import StudentSettings
from foldstill.distill.student import load_student
from foldstill.distill.targets import SoftTargets, explain_mix, mixed_targets
from foldstill.distill.training import Lesson, bar_per_student, student_jobs
from foldstill.distill.uncertainty import require_spread
from foldstill.distill.view_teachers import ViewTeachers, view_teachers
from foldstill.errors import DistillError
from foldstill.json_files import write_json
from foldstill.manifest import Scoring
from foldstill.oof.store import write_scores
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.pipeline.beginning import begin
from foldstill.pipeline.cross_validation import cross_validate
from foldstill.pipeline.durations import timed
from foldstill.pipeline.experiment import NO_LOCKED_ROWS
from foldstill.pipeline.run import Run, one_writer
from foldstill.pipeline.rundir import remove_exports
from foldstill.pipeline.students import StudentJob, train_all
from foldstill.pipeline.synthetic import synthetic_rows
from foldstill.pipeline.teachers import fitted_teacher, held_out_teacher
from foldstill.pipeline.tracking import tracked
from foldstill.pipeline.uncertainty import keep_uncertainty
from foldstill.pipeline.unlabelled import Unlabelled, read_unlabelled


@one_writer
@timed("distill")
def distill_stage(run: Run) -> None:
    """Train every student of the experiment on the out-of-fold rows; finished ones are kept, interrupted ones
    continue."""
    test, students = run.plan.test_rows, run.experiment.students()
    if not len(test) and not (students and all(one.cross_validate == "pairs" for one in students)):
        raise DistillError(NO_LOCKED_ROWS)
    if not len(test) and any(one.uncertainty for one in students):
        raise DistillError("a precision head is judged on locked test rows, the plan has none: set folds.test_share")
    begin(run)
    with tracked(run):
        for each in train_all(_jobs(run), run.work, bar_per_student(run.work)):
            _score(run, each)
        cross_validate(run)
    run.refresh("students")


def _score(run: Run, each: StudentJob) -> None:
    """Measure the cost of a trained student, and score it on the locked rows; what exists already is kept."""
    folder, settings, test = each.job.folder, each.settings, run.plan.test_rows
    view = run.dataset.view(settings.view)
    made_from: dict[str, Any] = {"labels": run.dataset.labels.digest, "data": view_digest(view, test)}
    if not isinstance(settings.mix, VotesOnly):
        made_from["taught_from"] = run.table_digest
    if settings.uncertainty:
        made_from |= {"ensemble": run.test_digest, "foreign": settings.foreign}
    scoring = Scoring(folder, made_from)
    if scoring.finished() and not run.work.force:
        return
    if not scoring.begun:
        remove_exports(folder)  # of the student that was trained before
    student = load_student(folder)
    files = [folder / "cost.json"]
    student.cost(view[:1]).write(folder / "cost.json")
    if len(test):
        labels = run.dataset.labels.take(test)
        proba_NC = student.predict(view, test, device=run.work.device)
        if settings.uncertainty:
            kl_N = row_kl(target=labels.target_NC, proba=proba_NC)
            files += keep_uncertainty(run, settings, folder, student, kl_N)
        scores = ScoreTable(labels.ids, (settings.name,), labels.classes, proba_NC[:, None])
        files.append(folder / "test.parquet")
        write_scores(scores, folder / "test.parquet", labels)
    scoring.finish(files)


def _jobs(run: Run) -> list[StudentJob]:
    if run.experiment.student is None:
        raise DistillError('the experiment has no [student]: add one, for example with network = "small"')
    table = run.table
    if run.work.force:
        shutil.rmtree(run.dir.teacher_banks, ignore_errors=True)
    sources = {(one.unlabelled, one.view) for one in run.experiment.students() if one.unlabelled}
    unlabelled = {source: read_unlabelled(run, *source) for source in sources}
    jobs = [
        job
        for one in run.experiment.students()
        for job in _jobs_of(run, one, table, unlabelled.get((one.unlabelled, one.view)))
    ]
    _remove_other_banks(run, jobs)
    # All first seeds come first: if the run is stopped early, every student has been trained once.
    return sorted(jobs, key=lambda each: each.job.seed)


def _remove_other_banks(run: Run, jobs: list[StudentJob]) -> None:
    """Remove the banks that no student asks for any more: of other members, rows or augmentations."""
    if not run.dir.teacher_banks.exists():
        return
    from foldstill.distill.bank import BankTeacher

    teachers = [each.job.training_set.teacher for each in jobs]
    asked = {teacher.folder for teacher in teachers if isinstance(teacher, BankTeacher)}
    for bank in set(run.dir.teacher_banks.iterdir()) - asked:
        shutil.rmtree(bank)


def _jobs_of(run: Run, settings: StudentSettings, table: OOFTable, unlabelled: Unlabelled | None) -> list[StudentJob]:
    """One job per seed; the targets are made once."""
    if settings.uncertainty:
        require_spread(table.proba_NMC)
    folder = run.student_folder(settings)
    soft = None if isinstance(settings.mix, VotesOnly) else held_out_teacher(run, settings, table)
    if soft is not None and unlabelled is not None:
        soft = unlabelled.taught_by(fitted_teacher(run, settings, table), soft)
    synthetic = None
    if soft is not None and settings.synthetic is not None:
        synthetic = synthetic_rows(run, settings, table)
        soft = synthetic.after(soft)
    if soft is not None:
        made = explain_mix(soft, table.labels, settings.mix, ablation=settings.ablation)
        write_json(folder / "targets.json", {"made": made, "teacher": settings.teacher}, sealed=True)
    lesson = _lesson(run, settings, table, soft, unlabelled)
    if synthetic is not None:
        lesson = replace(lesson, unlabelled=synthetic.inputs, unlabelled_group_N=synthetic.group_S)
    inputs, classes = run.dataset.view(settings.view), run.dataset.labels.classes
    folders = {run.experiment.seed + seed: run.dir.seed(folder, seed) for seed in range(settings.seeds)}
    return [StudentJob(settings, job) for job in student_jobs(settings, inputs, classes, lesson, folders)]


def _lesson(
    run: Run, settings: StudentSettings, table: OOFTable, soft: SoftTargets | None, unlabelled: Unlabelled | None
) -> Lesson:
    models = [FoldModels(member, run.dir.members) for member in resolve(run.experiment.member)]
    target_NC, weight_N = mixed_targets(
        soft, table.labels, settings.mix, weight=settings.row_weight, ablation=settings.ablation
    )
    hint = None
    if settings.features is not None:
        from foldstill.distill.hints import hint_teacher

        n_unlabelled = 0 if unlabelled is None else len(unlabelled.inputs)
        hint = hint_teacher(settings, models, run.plan, n_unlabelled=n_unlabelled)
    return Lesson(
        run.plan.oof_rows,
        target_NC,
        weight_N,
        _view_teachers(run, settings, models, table, soft, unlabelled),
        run.dir.teacher_banks,
        hint,
        None if unlabelled is None else unlabelled.inputs,
        run.dataset.recipes.get(settings.view, {}),
        run.dataset.labels.groups,
    )


def _view_teachers(
    run: Run,
    settings: StudentSettings,
    models: list[FoldModels],
    table: OOFTable,
    soft: SoftTargets | None,
    unlabelled: Unlabelled | None,
) -> ViewTeachers | None:
    """The teachers of augmented images, where the settings ask for them."""
    if not settings.teachers_see_views:
        return None
    assert soft is not None, "settings refuse teachers of augmented images for a mix of votes only"
    return view_teachers(
        models,
        run.dataset,
        run.plan,
        table.select([one.member.name for one in models]),
        soft,
        settings.mix,
        view=settings.view,
        unlabelled=None if unlabelled is None else unlabelled.scores,
    )
