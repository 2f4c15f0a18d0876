"""The student and its twin without a teacher, taught on the same rows at the same budget, scored on the locked rows.

N rows, C classes.
"""

import shutil
from dataclasses import asdict

from foldstill.base_models.joined import resolve
from foldstill.data.simplex import row_kl
from foldstill.distill import StudentSettings, load_student, mixed_targets
from foldstill.distill.mixes import VotesOnly
from foldstill.distill.targets import explain_mix
from foldstill.distill.uncertainty import require_spread
from foldstill.distill.view_teachers import view_teachers
from foldstill.errors import DistillError
from foldstill.files import write_json
from foldstill.oof.store import write_scores
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.pipeline.cross_validation import cross_validate
from foldstill.pipeline.lessons import Lesson, learned
from foldstill.pipeline.run import Run
from foldstill.pipeline.teachers import fitted_teacher, held_out_teacher
from foldstill.pipeline.uncertainty import keep_uncertainty, keeps_uncertainty
from foldstill.pipeline.unlabelled import Unlabelled, read_unlabelled


def distill_stage(run: Run) -> None:
    """Train every student of the experiment on the out-of-fold rows; finished ones are kept, interrupted ones go on."""
    test, students = run.plan.test_rows, run.experiment.students()
    if not len(test) and not (students and all(one.cross_validate == "pairs" for one in students)):
        raise DistillError(
            "a student needs locked test rows to be scored on, the plan has none: its teachers saw the labels of each other's "
            'rows, so out-of-fold rows would be too kind to it; set folds.test_share, or student.cross_validate = "pairs"'
        )
    if not len(test) and any(one.uncertainty for one in students):
        raise DistillError("a precision head is judged on locked test rows, the plan has none: set folds.test_share")
    for lesson in learned(run, _lessons(run)):
        scored = lesson.folder / "test.parquet"
        finished = scored.exists() and (lesson.folder / "cost.json").exists()
        if finished and keeps_uncertainty(lesson.settings, lesson.folder) and not run.work.force:
            continue
        student = load_student(lesson.folder)
        view = run.dataset.view(student.view)
        write_json(lesson.folder / "cost.json", asdict(student.cost(view[:1])))
        if not len(test):
            continue
        labels = run.dataset.labels.take(test)
        proba_NC = student.predict(view[test], device=run.work.device)
        scores = ScoreTable(labels.ids, (lesson.settings.name,), labels.classes, proba_NC[:, None])
        if lesson.settings.uncertainty:
            keep_uncertainty(
                run, lesson.settings, lesson.folder, student, row_kl(target=labels.target_NC, proba=proba_NC)
            )
        write_scores(scores, scored, labels)
    cross_validate(run)
    run.refresh("students")


def _lessons(run: Run) -> list[Lesson]:
    settings = run.experiment.student
    if settings is None:
        raise DistillError('the experiment has no [student]: add one, for example with network = "small"')
    table = run.table
    sources = {(one.unlabelled, one.view) for one in run.experiment.students() if one.unlabelled}
    unlabelled = {source: read_unlabelled(run, *source) for source in sources}
    lessons = [
        lesson
        for one in run.experiment.students()
        for lesson in _lessons_of(run, one, table, unlabelled.get((one.unlabelled, one.view)))
    ]
    # All first seeds come first: whoever stops early has every student once.
    return sorted(lessons, key=lambda lesson: lesson.seed)


def _lessons_of(run: Run, settings: StudentSettings, table: OOFTable, unlabelled: Unlabelled | None) -> list[Lesson]:
    """One lesson a seed; the targets are made once."""
    if settings.uncertainty:
        require_spread(table.proba_NMC)
    place = run.student_folder(settings)
    soft = None if isinstance(settings.mix, VotesOnly) else held_out_teacher(run, settings, table)
    if soft is not None and unlabelled is not None:
        soft = unlabelled.taught_by(fitted_teacher(run, settings, table), soft)
    teachers = None
    if settings.views != "identity":
        assert soft is not None, "settings refuse views of a teacher that has no part in the mix"
        if run.work.force:
            shutil.rmtree(run.dir.teacher_bank(place), ignore_errors=True)
        of_members = table.select([m.name for m in run.experiment.member])
        teachers = view_teachers(
            run.dir.members,
            resolve(run.experiment.member),
            run.dataset,
            run.plan,
            of_members,
            soft,
            settings.mix,
            view=settings.view,
            bank=run.dir.teacher_bank(place),
            unlabelled=None if unlabelled is None else unlabelled.scores,
        )
    target, weight = mixed_targets(
        soft, table.labels, settings.mix, weight=settings.row_weight, ablation=settings.ablation
    )
    if soft is not None:
        made = explain_mix(soft, table.labels, settings.mix, ablation=settings.ablation)
        write_json(place / "targets.json", {"made": made, "teacher": settings.teacher})
    further = None if unlabelled is None else unlabelled.inputs
    hint = None
    if settings.features is not None:
        from foldstill.distill.hints import hint_teacher

        hint = hint_teacher(
            settings, resolve(run.experiment.member), run.dir.members, run.dataset, run.plan, unlabelled=further
        )
    return [
        Lesson(
            settings,
            run.plan.oof_rows,
            target,
            weight,
            run.experiment.seed + seed,
            run.dir.seed(place, seed),
            teachers,
            hint,
            further,
        )
        for seed in range(settings.seeds)
    ]
