"""Predictions of a combination for the rows that a student learns from, by models that never saw them."""

from dataclasses import asdict
from pathlib import Path

from foldstill.base_models.joined_member import resolve
from foldstill.digests import digest
from foldstill.distill import SoftTargets, StudentSettings
from foldstill.manifest import Stage, check_files
from foldstill.oof.store import read_scores, write_scores
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.pipeline.results import single_scores
from foldstill.pipeline.run import Run, table_digest
from foldstill.stacking import Combiner, FittedCombiner, crossfit_all, fit
from foldstill.stacking.tempered import Tempered

SCORES = "oof.parquet"


def held_out_teacher(run: Run, settings: StudentSettings, table: OOFTable) -> SoftTargets:
    """The teacher's held-out scores; for the in-sample ablation, those of models that saw the rows."""
    if settings.ablation == "in_sample":
        from foldstill.base_models.members import predict_members

        labels = run.dataset.labels.take(run.plan.oof_rows)
        read = {view for m in resolve(run.experiment.member) for view in m.views}
        seen = predict_members(
            run.dir.members,
            run.experiment.member,
            {view: run.dataset.view(view) for view in sorted(read)},
            labels.classes,
            run.work.device,
            ids=labels.ids.tolist(),
            rows=run.plan.oof_rows,
        )
        proba_NC = fitted_teacher(run, settings, table).apply(seen)
        return SoftTargets(labels.ids, proba_NC, f"{settings.teacher}, in-sample", False, labels.classes)
    fitted, teacher = _stacked(run, settings)
    folder = run.dir.teacher(fitted.name, calibrated=teacher != fitted.combiner)
    return _read(folder) if teacher == fitted.combiner else _cross_fitted(run, teacher, table, folder)


def fitted_teacher(run: Run, settings: StudentSettings, table: OOFTable) -> FittedCombiner:
    """The teacher fitted to every row of the table, for scores of fold models that all saw, or never saw, a row."""
    fitted, teacher = _stacked(run, settings)
    return fitted if teacher == fitted.combiner else fit(teacher, table)


def teacher_of_fold(run: Run, settings: StudentSettings, table: OOFTable, fold: int) -> FittedCombiner:
    """The teacher fitted to the rows of all other folds, for new rows that the models of this fold score."""
    _, teacher = _stacked(run, settings)
    return fit(teacher, table.take(table.fold_N != fold))


def teacher_without(run: Run, settings: StudentSettings, table: OOFTable, fold: int) -> SoftTargets:
    """The teacher cross-fitted over a table without `fold`, kept beside the combination."""
    fitted, teacher = _stacked(run, settings)
    folder = run.dir.teacher(fitted.name, calibrated=teacher != fitted.combiner, without=fold)
    return _cross_fitted(run, teacher, table, folder)


def _stacked(run: Run, settings: StudentSettings) -> tuple[FittedCombiner, Combiner]:
    """The fitted combination, and the combiner that teaches: the same, on calibrated members if the student asks for
    that."""
    fitted = run.combination(settings.teacher).fitted
    combiner = fitted.combiner
    if not settings.calibrate_members or isinstance(combiner, Tempered):
        return fitted, combiner
    return fitted, Tempered(name=combiner.name, of=combiner)


def _cross_fitted(run: Run, combiner: Combiner, table: OOFTable, folder: Path) -> SoftTargets:
    settings = digest(type(combiner).__name__, asdict(combiner))  # type: ignore[call-overload]
    stage = Stage(folder, {"table": table_digest(table), "settings": settings})
    if not stage.finished(force=run.work.force):
        [cross] = crossfit_all([combiner], table, workers=run.work.workers)
        write_scores(single_scores(table.scores, combiner.name, cross.proba_NC), folder / SCORES)
        stage.finish([folder / SCORES])
    return _read(folder)


def _read(folder: Path) -> SoftTargets:
    check_files(folder, SCORES)
    scores = read_scores(folder / SCORES)
    assert isinstance(scores, ScoreTable), "cross-fitted scores have no fold models"
    [teacher] = scores.members
    return SoftTargets(scores.ids, scores.proba_NMC[:, 0], teacher, True, scores.classes)
