"""Before the first write of a stage: everything that a run can refuse is checked, then its experiment is kept."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from foldstill.base_models.joined_member import resolve
from foldstill.data.features import FeatureTable
from foldstill.data.folds import TEST
from foldstill.data.training import TrainingSet
from foldstill.distill.mixes import VotesOnly
from foldstill.distill.settings import StudentSettings
from foldstill.errors import DistillError, ExperimentError
from foldstill.files import check_output, name_problems, refuse_unmarked
from foldstill.manifest import DONE, Stage, changes
from foldstill.pipeline.experiment import NO_LOCKED_ROWS, Experiment
from foldstill.pipeline.experiment_file import parse_experiment
from foldstill.pipeline.run import Run
from foldstill.pipeline.stack import combiner_digest
from foldstill.pipeline.synthetic import require_synthetic
from foldstill.pipeline.tracking import check_tracker
from foldstill.pipeline.unlabelled import view_of
from foldstill.workers import check_workers

T = TypeVar("T")

FREE = ("name", "seeds", "without_teacher", "control_arms", "cross_validate", "uncertainty", "foreign")
"""Settings of a student that do not change how it is trained."""


def begin(run: Run) -> None:
    """Check everything that the stages of a run can refuse, and keep its experiment and fold plan; once per run.

    Nothing is written before the last check, so that a refused command changes nothing. Stages check again what only
    they can know.
    """
    from foldstill.base_models.members import check_members

    if "begun" in vars(run):
        return
    check_output(run.dir.experiment)
    check_tracker(run)
    check_workers(run.work.cpu_workers)
    _check_kept(run)
    _check_heads(run)
    over_folds(run, check_members)
    _check_combinations(run)
    _check_students(run)
    run.keep()
    vars(run)["begun"] = True


def _check_heads(run: Run) -> None:
    """Heads of a multi-label problem must name folders, and have labels in every fold."""
    labels, fold_N = run.dataset.labels, run.plan.fold_N
    if labels.heads is None:
        return
    if problems := name_problems("head", labels.heads.names):
        raise ExperimentError(f"{problems[0]}: rename its column")
    for head in labels.heads.names:
        rows, _ = labels.of_head(head)
        if empty := sorted(set(fold_N.tolist()) - set(fold_N[rows].tolist())):
            where = "among the locked rows" if empty[0] == TEST else f"in fold {empty[0]}"
            raise ExperimentError(f"head {head!r} has no label {where}: use fewer folds, or leave the head out")


def _check_kept(run: Run) -> None:
    """The folder must hold nothing, or the run of an experiment of the same name and, of its students, settings."""
    if not run.text or run.kept_text is None or run.work.force:
        return
    if run.kept_text != run.text:
        refuse_unmarked(run.dir.experiment, run.dir.provenance.exists(), force=False)
    try:
        before = parse_experiment(run.kept_text, str(run.dir.experiment)).at(run.root)
    except ExperimentError:
        return  # kept by another version: the stages compare what they were made from
    experiment = run.experiment
    if before.name != experiment.name and run.kept_plan is not None:
        raise ExperimentError(
            f"{run.dir.root} holds the run of the experiment {before.name!r}, got {experiment.name!r}: name another "
            "--out, or use --force to replace it"
        )
    trained = _trained_students(run, before)
    for folder, settings in _trained_students(run, experiment).items():
        Stage(folder, {}).check()
        if folder in trained and (changed := changes(trained[folder], settings)):
            raise ExperimentError(
                f"{folder} was made from other settings of the student: {'; '.join(changed)}: name another run "
                "folder, or use --force to make it again"
            )


def _trained_students(run: Run, experiment: Experiment) -> dict[Path, dict[str, Any]]:
    """What decides the training of each finished student, by its folder."""
    of_experiment = Run(run.dir, experiment)
    folders = {of_experiment.student_folder(one): asdict(one) for one in experiment.students()}
    return {
        folder: {name: value for name, value in settings.items() if name not in FREE}
        for folder, settings in folders.items()
        if (folder / DONE).exists()
    }


def over_folds(run: Run, act: Callable[..., Sequence[T]]) -> list[T]:
    """Call `train_members` or `check_members` for every fold, and for every two folds if a student needs that."""
    of_pairs = any(one.cross_validate == "pairs" for one in run.experiment.students())
    return [
        each
        for pairs in ((False, True) if of_pairs else (False,))
        for each in act(
            run.experiment.member,
            run.dataset,
            run.plan,
            run.dir.members,
            seed=run.experiment.seed,
            work=run.work,
            pairs=pairs,
        )
    ]


def _check_combinations(run: Run) -> None:
    """Finished combinations must be of the same members and settings."""
    stages = [Stage(run.dir.combiner(c.name), {"settings": combiner_digest(c)}) for c in run.combiners]
    for stage in stages:
        stage.check(force=run.work.force)
    finished = [stage.folder for stage in stages if (stage.folder / DONE).exists()]
    if finished and run.dir.oof.exists() and not run.work.force:
        before, members = list(run.table.members), [m.name for m in resolve(run.experiment.member)]
        if before != members:
            raise ExperimentError(
                f"{finished[0]} combines the members {before}, and the experiment has {members}: name another run "
                "folder, or use --force to make it again"
            )


def _check_students(run: Run) -> None:
    students = run.experiment.students()
    if not len(run.plan.test_rows) and any(one.cross_validate != "pairs" for one in students):
        raise DistillError(NO_LOCKED_ROWS)
    labels = run.dataset.labels
    # Twins and control arms are the same networks.
    for one in (run.experiment.student, *run.experiment.ablation):
        if one is not None:
            view = {one.view: run.dataset.view(one.view)}
            training_set = TrainingSet.from_labels(labels, view, run.plan.oof_rows, recipes=run.dataset.recipes)
            if not isinstance(one.mix, VotesOnly):
                # The teacher's predictions are not there yet; any soft targets tell the same.
                soft_NC = (labels.target_NC + 1 / len(labels.classes)) / 2
                training_set = replace(training_set, target_NC=soft_NC)
            if isinstance(view[one.view], FeatureTable):
                _refuse_what_tables_lack(one)
            if one.synthetic is not None:
                require_synthetic(run, one)
            one.member().check(training_set)
    for one in students:
        for path in (one.unlabelled, one.foreign):
            if path:
                view_of(run.experiment.data.inputs(run.root / path), one.view, path)


def _refuse_what_tables_lack(student: StudentSettings) -> None:
    """Raises DistillError for settings that need images or signals."""
    usual = StudentSettings()
    for name in ("views", "features", "uncertainty"):
        if getattr(student, name) != getattr(usual, name):
            raise DistillError(
                f"student {student.name!r} reads a table of features, and {name} is for images and signals: leave it "
                "out"
            )
