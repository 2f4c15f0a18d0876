"""Members over folds, and the table of what they said of rows they never saw."""

from foldstill.oof.store import read_scores, read_table, write_scores, write_table
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.pipeline.run import Run


def train_stage(run: Run) -> None:
    """Train every member on every fold; finished (member, fold) jobs are kept."""
    from foldstill.base_models.members import train_members

    train_members(
        run.experiment.member,
        run.dataset,
        run.plan,
        run.dir.members,
        seed=run.experiment.seed,
        jobs=run.jobs,
        device=run.device,
        force=run.force,
        on_progress=run.report,
    )


def oof_stage(run: Run) -> tuple[OOFTable, FoldScores | None]:
    """Collect held-out rows into the OOF table, and locked test rows, by all fold models, beside it."""
    from foldstill.base_models.members import collect

    table, test = collect(run.dir.members, run.experiment.member, run.dataset.labels, run.plan)
    # An unchanged table keeps its file, and with it what was fitted to it.
    if not (run.dir.oof.exists() and same_table(read_table(run.dir.oof), table)):
        write_table(table, run.dir.oof)
    if test is not None:
        write_scores(test, run.dir.test, run.dataset.labels.take(run.plan.test_rows))
    return table, test


def same_table(a: OOFTable, b: OOFTable) -> bool:
    return table_digest(a) == table_digest(b)
