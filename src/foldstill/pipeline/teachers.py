"""What a combination says of rows that a student learns from, by models that never saw them. N rows, C classes."""

from dataclasses import asdict

from foldstill.base_models.joined import resolve
from foldstill.distill import SoftTargets, StudentSettings
from foldstill.files import digest
from foldstill.manifest import Stage
from foldstill.oof.store import read_scores, write_scores
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.pipeline.run import Run
from foldstill.pipeline.stack import table_digest
from foldstill.rundir import combination_folder
from foldstill.stacking import crossfit_all, load


def held_out_teacher(run: Run, settings: StudentSettings) -> SoftTargets:
    """The teacher's held-out scores; for the ablation those of models that saw the rows."""
    place = combination_folder(run.dir.root / settings.teacher)
    if settings.ablation == "in_sample":
        from foldstill.base_models.members import predict_members

        labels = run.dataset.labels.take(run.plan.oof_rows)
        read = {view for m in resolve(run.experiment.member) for view in m.views}
        views = {view: run.dataset.view(view)[run.plan.oof_rows] for view in sorted(read)}
        seen = predict_members(
            run.dir.members, run.experiment.member, views, labels.classes, run.device, ids=labels.ids.tolist()
        )
        return SoftTargets(labels.ids, load(place).apply(seen), settings.teacher, False, labels.classes)
    scores = read_scores(place / "oof.parquet")
    assert isinstance(scores, ScoreTable), "cross-fitted scores have no fold models"
    return SoftTargets(scores.ids, scores.proba_NMC[:, 0], settings.teacher, True, scores.classes)


def teacher_without(run: Run, teacher: str, table: OOFTable, fold: int) -> SoftTargets:
    """The same combination cross-fitted over a table that knows nothing of `fold`; kept beside the combination."""
    from joblib import cpu_count

    combiner = load(combination_folder(run.dir.root / teacher)).combiner
    place = run.dir.combiner_without(combiner.name, fold)
    settings = digest(type(combiner).__name__, asdict(combiner))  # type: ignore[call-overload]
    stage, path = Stage(place, {"table": table_digest(table), "settings": settings}), place / "oof.parquet"
    if not stage.finished(force=run.force):
        [cross] = crossfit_all([combiner], table, jobs=run.jobs or cpu_count())
        proba_NMC = cross.proba_NC[:, None].astype("float32")
        write_scores(ScoreTable(table.labels.ids, (combiner.name,), table.classes, proba_NMC), path)
        stage.finish()
    scores = read_scores(path)
    assert isinstance(scores, ScoreTable), "cross-fitted scores have no fold models"
    return SoftTargets(scores.ids, scores.proba_NMC[:, 0], combiner.name, True, scores.classes)
