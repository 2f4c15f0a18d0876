"""Students cross-validated over the folds of the plan: each is scored on a fold that it was not taught.

With "pairs" its teachers did not see that fold either: of a row in fold g the student scored on f learns from models
trained without f and g, combined by a combination fitted without f. "naive" takes the targets of the student that is
shipped, whose teachers saw the votes of fold f: how much that flatters is measured in docs/benchmarks.md. N rows, C classes.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.collected import collect_without
from foldstill.distill import StudentSettings, load_student, mixed_targets
from foldstill.distill.mixes import VotesOnly
from foldstill.oof.store import write_scores
from foldstill.oof.table import ScoreTable
from foldstill.pipeline.lessons import Lesson, learned
from foldstill.pipeline.run import Run
from foldstill.pipeline.teachers import held_out_teacher, teacher_without
from foldstill.workers import OnProgress, Progress

Targets = tuple[NDArray[np.float64], NDArray[np.float64]]


def cross_validate(run: Run) -> None:
    """Train and score, one a fold and seed, the students that ask for it; finished ones are kept."""
    lessons = [lesson for settings in run.experiment.students() for lesson in _lessons(run, settings)]
    if not lessons:
        return
    labels, rows = run.dataset.labels.take(run.plan.oof_rows), run.plan.oof_rows
    proba_NC = np.empty((len(run.dataset.labels), len(labels.classes)), np.float32)
    for lesson in learned(
        replace(run, work=replace(run.work, report=_one_bar_a_student(run.work.report, lessons))), lessons
    ):
        student, held = load_student(lesson.folder), run.plan.held_out(_fold(lesson))
        proba_NC[held] = student.predict(run.dataset.view(student.view)[held], device=run.work.device)
        if _fold(lesson) == run.plan.n_folds - 1:
            name = lesson.settings.cross_validated_name
            scores = ScoreTable(labels.ids, (name,), labels.classes, proba_NC[rows][:, None])
            write_scores(scores, lesson.folder.parent / "oof.parquet", labels)


def _lessons(run: Run, settings: StudentSettings) -> Iterator[Lesson]:
    """One a seed and fold, the folds of a seed one after the other; the targets of a fold are made once."""
    if settings.cross_validate == "none":
        return
    place = run.dir.cross_validated(run.student_folder(settings))
    targets = [_targets(run, settings, fold) for fold in range(run.plan.n_folds)]
    for seed in range(settings.seeds):
        for fold, (target_NC, weight_N) in enumerate(targets):
            yield Lesson(
                settings,
                run.plan.training(fold),
                target_NC,
                weight_N,
                run.experiment.seed + seed,
                run.dir.seed(place, seed) / f"fold-{fold}",
                fold=fold,
            )


def _targets(run: Run, settings: StudentSettings, fold: int) -> Targets:
    """Targets and weights of the rows outside the fold, in the order of the plan."""
    labels, rows = run.dataset.labels, run.plan.training(fold)
    if isinstance(settings.mix, VotesOnly):
        return mixed_targets(None, labels.take(rows), settings.mix, weight=settings.row_weight)
    if settings.cross_validate == "pairs":
        table = collect_without(run.dir.members, run.experiment.member, labels, run.plan, fold)
        soft = teacher_without(run, settings, table, fold)
        return mixed_targets(soft, table.labels, settings.mix, weight=settings.row_weight, ablation=settings.ablation)
    target_NC, weight_N = mixed_targets(
        held_out_teacher(run, settings, run.table),
        labels.take(run.plan.oof_rows),
        settings.mix,
        weight=settings.row_weight,
        ablation=settings.ablation,
    )
    taught = run.plan.fold_N[run.plan.oof_rows] != fold
    return target_NC[taught], weight_N[taught] / weight_N[taught].mean()


def _fold(lesson: Lesson) -> int:
    assert lesson.fold is not None, "a cross-validated student has a fold"
    return lesson.fold


def _one_bar_a_student(report: OnProgress, lessons: list[Lesson]) -> OnProgress:
    """One bar for all folds and seeds of a student."""
    student = {lesson.name: lesson.settings.cross_validated_name for lesson in lessons}
    epochs = dict.fromkeys(student, 0.0)
    total: dict[str, float] = {}
    for lesson in lessons:
        name = student[lesson.name]
        total[name] = total.get(name, 0.0) + lesson.settings.recipe.epochs

    def hear(progress: Progress) -> None:
        epochs[progress.task] = progress.done
        bar = student[progress.task]
        done = sum(done for each, done in epochs.items() if student[each] == bar)
        report(Progress(bar, done, total[bar], progress.note))

    return hear
