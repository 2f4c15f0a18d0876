"""Members over folds, what each costs to run, and the table of what they said of rows they never saw."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from foldstill.files import write_json
from foldstill.oof.store import write_scores, write_table
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.pipeline.run import Run, table_digest
from foldstill.workers import OnProgress, Progress

if TYPE_CHECKING:
    from foldstill.base_models.jobs import JobProgress


def train_stage(run: Run) -> None:
    """Train every member on every fold, and without every two where a student asks for it; finished jobs are kept."""
    from foldstill.base_models.members import train_members

    folds = run.plan.n_folds
    bars = [(False, _bar_a_member(run.work.report, folds))]
    if any(one.cross_validate == "pairs" for one in run.experiment.students()):
        bars.append((True, _bar_a_member(run.work.report, folds * (folds - 1) // 2, pairs=True)))
    for pairs, bar in bars:
        train_members(
            run.experiment.member,
            run.dataset,
            run.plan,
            run.dir.members,
            seed=run.experiment.seed,
            jobs=run.work.workers,
            device=run.work.device,
            force=run.work.force,
            pairs=pairs,
            on_progress=bar,
        )
    _measure_costs(run)


def oof_stage(run: Run) -> tuple[OOFTable, FoldScores | None]:
    """Collect held-out rows into the OOF table, and locked test rows, by all fold models, beside it."""
    from foldstill.base_models.collected import collect

    table, test = collect(run.dir.members, run.experiment.member, run.dataset.labels, run.plan)
    # An unchanged table keeps its file, and with it what was fitted to it.
    if not (run.dir.oof.exists() and run.table_digest == table_digest(table)):
        # The table last: whoever finds it finds its test rows as well, also after a kill between the two.
        if test is not None:
            write_scores(test, run.dir.test, run.dataset.labels.take(run.plan.test_rows))
        write_table(table, run.dir.oof)
        run.refresh("table")
    return table, test


def _bar_a_member(report: OnProgress, n_models: int, *, pairs: bool = False) -> "Callable[[JobProgress], None]":
    """Progress of a member's models as one bar, with the mean held-out KL of those that are finished."""
    of, what = (", pairs of folds", "pairs") if pairs else ("", "folds")
    epochs: dict[str, dict[tuple[int, ...], int]] = {}
    held_out: dict[str, dict[tuple[int, ...], float]] = {}

    def hear(progress: "JobProgress") -> None:
        scores = held_out.setdefault(progress.member, {})
        if progress.held_out_kl is not None:
            scores[progress.folds] = progress.held_out_kl
        # The last epoch counts when the held-out rows are scored, so that a full bar has its score.
        done = progress.epoch if progress.folds in scores else min(progress.epoch, progress.epochs - 1)
        epochs.setdefault(progress.member, {})[progress.folds] = done
        note = f"training loss {progress.loss:.4f}"
        if scores:
            note = f"held-out KL {sum(scores.values()) / len(scores):.4f} over {len(scores)} of {n_models} {what}"
        done = sum(epochs[progress.member].values())
        report(Progress(progress.member + of, done, progress.epochs * n_models, note))

    return hear


def _measure_costs(run: Run) -> None:
    """Parameters, MACs, latency and bytes of one fold model of each member, measured once, on the CPU."""
    from foldstill.base_models.joined import resolve
    from foldstill.cost.measure import measure_cost
    from foldstill.distill.sizes import untrained

    for member in resolve(run.experiment.member):
        path = run.dir.member_cost(member.name)
        if path.exists() and not run.work.force:
            continue
        views = [run.dataset.view(view) for view in member.views]
        write_json(path, asdict(measure_cost(*untrained(member, views, len(run.dataset.labels.classes)))))
