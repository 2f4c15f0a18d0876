"""Students cross-validated over the folds of the plan: each is scored on a fold that it was not taught.

With "pairs", its teachers did not see that fold either: for a row of fold g, the student that is scored on fold f
learns from models trained without f and g, combined by a combination fitted without f. "naive" takes the targets of the
final student, whose teachers saw the votes of fold f; docs/benchmarks.md measures how optimistic that is. N rows, C
classes.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.collected import collect_without
from foldstill.base_models.jobs import JobProgress, OnJobProgress
from foldstill.distill.mixes import VotesOnly
from foldstill.distill.settings import StudentSettings
from foldstill.distill.student import load_student
from foldstill.distill.targets import mixed_targets
from foldstill.distill.training import Lesson, student_jobs
from foldstill.manifest import DONE
from foldstill.oof.store import write_scores
from foldstill.oof.table import ScoreTable
from foldstill.pipeline.run import Run
from foldstill.pipeline.students import StudentJob, train_all
from foldstill.pipeline.teachers import held_out_teacher, teacher_without
from foldstill.workers import Progress, Work


def cross_validate(run: Run) -> None:
    """Train and score the students that ask for it, one per fold and seed; finished ones are kept."""
    jobs = [job for settings in run.experiment.students() for job in _jobs(run, settings)]
    labels, rows = run.dataset.labels.take(run.plan.oof_rows), run.plan.oof_rows
    shape = (len(run.dataset.labels), len(labels.classes))
    proba: dict[Path, NDArray[np.float32]] = defaultdict(lambda: np.empty(shape, np.float32))
    scored: dict[Path, set[int]] = defaultdict(set)
    for each in jobs:
        # Scores of the students before must not stand for those that are trained now.
        if run.work.force or not (each.job.folder / DONE).exists():
            (each.job.folder.parent / "oof.parquet").unlink(missing_ok=True)
    for each in train_all(jobs, run.work, _bar_per_student(run.work, jobs)):
        assert each.fold is not None, "a cross-validated student has a fold"
        student, held = load_student(each.job.folder), run.plan.held_out(each.fold)
        of_seed = each.job.folder.parent
        proba[of_seed][held] = student.predict(run.dataset.view(student.view), held, device=run.work.device)
        scored[of_seed].add(each.fold)
        if len(scored[of_seed]) == run.plan.n_folds:
            name = each.settings.cross_validated_name
            scores = ScoreTable(labels.ids, (name,), labels.classes, proba[of_seed][rows][:, None])
            write_scores(scores, of_seed / "oof.parquet", labels)


def _jobs(run: Run, settings: StudentSettings) -> list[StudentJob]:
    """One job per seed and fold, the folds of a seed one after the other; the targets of a fold are made once."""
    if settings.cross_validate == "none":
        return []
    folder = run.dir.cross_validated(run.student_folder(settings))
    inputs, classes = run.dataset.view(settings.view), run.dataset.labels.classes
    jobs = []
    for fold in range(run.plan.n_folds):
        lesson = Lesson(run.plan.training(fold), *_targets(run, settings, fold), group_N=run.dataset.labels.groups)
        folders = {
            run.experiment.seed + seed: run.dir.seed(folder, seed) / f"fold-{fold}" for seed in range(settings.seeds)
        }
        jobs += [
            StudentJob(settings, replace(job, name=f"{job.name}, fold {fold}", folds=(fold,)), fold)
            for job in student_jobs(settings, inputs, classes, lesson, folders)
        ]
    return sorted(jobs, key=lambda each: each.job.seed)


def _targets(run: Run, settings: StudentSettings, fold: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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


def _bar_per_student(work: Work, jobs: Sequence[StudentJob]) -> OnJobProgress:
    """Reports all folds and seeds of a student as one bar."""
    student = {each.job.name: each.settings.cross_validated_name for each in jobs}
    epochs = dict.fromkeys(student, 0)
    total: dict[str, int] = defaultdict(int)
    for each in jobs:
        total[each.settings.cross_validated_name] += each.job.member.epochs

    def report(progress: JobProgress) -> None:
        epochs[progress.job] = progress.epoch
        bar = student[progress.job]
        done = sum(epoch for name, epoch in epochs.items() if student[name] == bar)
        work.report(Progress(bar, done, total[bar], f"training loss {progress.loss:.4f}"))

    return report
