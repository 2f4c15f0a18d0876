"""Members trained over folds, the cost of each, and the table of their held-out scores."""

from foldstill.lock import require_unlocked
from foldstill.oof.store import write_scores, write_table
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.pipeline.beginning import begin, over_folds
from foldstill.pipeline.durations import timed
from foldstill.pipeline.run import Run, one_writer, table_digest, test_digest
from foldstill.pipeline.rundir import remove_ensemble_files
from foldstill.pipeline.tracking import tracked


@one_writer
@timed("train")
def train_stage(run: Run) -> None:
    """Train every member on every fold, and without every two folds if a student needs that; finished jobs are kept."""
    from foldstill.base_models.members import check_members, train_members

    for folder in run.dir.members.glob("*/*/"):
        require_unlocked(folder)  # before anything is written: `train_only` may be at work there
    begin(run)
    tables = [path for path in (run.dir.oof, run.dir.head_names) if path.exists()]
    if run.work.force and tables and over_folds(run, check_members):
        # They hold scores of the members before; what needs them asks for `oof build`.
        for path in tables:
            path.unlink()
        remove_ensemble_files(run.dir)
        run.refresh("table")
    with tracked(run):
        over_folds(run, train_members)
    _measure_costs(run)


def train_only(run: Run, job: str) -> None:
    """Train one member on one fold, such as `small/0`, or without two folds, such as `small/0-3`.

    Other processes may train the others at the same time, so that nothing else is written but what all of them write
    alike. `train_stage` finds the job finished.
    """
    from foldstill.base_models.members import train_job

    require_unlocked(run.dir.root)
    begin(run)
    members, seed = run.experiment.member, run.experiment.seed
    train_job(job, members, run.dataset, run.plan, run.dir.members, seed=seed, work=run.work)


@one_writer
@timed("oof build")
def oof_stage(run: Run) -> tuple[OOFTable, FoldScores | None]:
    """Collect held-out rows into the OOF table, and locked test rows, by all fold models, beside it."""
    from foldstill.base_models.collected import collect

    table, test = collect(run.dir.members, run.experiment.member, run.dataset.labels, run.plan)
    begin(run)
    # Unchanged files stay, and with them what was made from them. The table comes last: whoever finds it finds its test
    # rows as well, also after a kill between the two.
    kept = run.test_digest if run.dir.test.exists() else None
    if test is not None:
        labels = run.dataset.labels.take(run.plan.test_rows)
        if kept != test_digest(test, labels):
            write_scores(test, run.dir.test, labels)
            run.refresh("test_file")
    elif kept is not None:
        run.dir.test.unlink(missing_ok=True)
        run.refresh("test_file")
    if not (run.dir.oof.exists() and run.table_digest == table_digest(table)):
        remove_ensemble_files(run.dir)
        write_table(table, run.dir.oof)
        run.refresh("table")
    return table, test


def _measure_costs(run: Run) -> None:
    """Measure one fold model of each member, once, on the CPU: parameters, MACs, latency and bytes."""
    from foldstill.base_models.fold_models import FoldModels
    from foldstill.base_models.imported_member import ImportedMember
    from foldstill.base_models.per_head import learners

    for member in learners(run.experiment.member, multi_label=run.dataset.labels.heads is not None):
        if isinstance(member, ImportedMember):
            continue  # nothing is known about what made its predictions
        path = run.dir.member_cost(member.name)
        if path.exists() and not run.work.force:
            continue
        views = {view: run.dataset.view(view) for view in member.views}
        FoldModels(member, run.dir.members).load(0).cost(views).write(path)
