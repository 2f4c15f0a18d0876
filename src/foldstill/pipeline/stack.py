"""Combiners over an OOF table: cross-fitted scores to be judged, and fits to all rows to be used."""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import ExperimentError, StackError
from foldstill.files import digest, write_json
from foldstill.manifest import Stage
from foldstill.oof.audit import audit
from foldstill.oof.findings import AuditReport
from foldstill.oof.store import read_labels, read_scores, read_table, write_scores, write_table
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable
from foldstill.pipeline.experiment import StackingSettings, read_experiment
from foldstill.pipeline.run import open_target, run_dir
from foldstill.pipeline.rundir import RunDir, combination_folder
from foldstill.stacking import Combiner, CombinerSettings, Fitted, crossfit, crossfit_all, fit, fit_all, load, save
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.weight_intervals import weight_intervals
from foldstill.workers import Work


@dataclass(frozen=True)
class Stacking:
    """A folder with an OOF table and the combiners to fit to it."""

    dir: RunDir
    combiners: tuple[Combiner, ...]
    work: Work = Work()


def open_stacking(
    target: Path,
    out: Path | None = None,
    *,
    combiners: Sequence[str] = (),
    strata: Sequence[str] = (),
    changes: Sequence[str] = (),
    work: Work = Work(),
) -> Stacking:
    """Stacking of a run, or of a table on its own, which is copied into `out` (<table>-stack when None).

    `combiners` picks among the experiment's (or the default) combiners by name; `strata` keeps only rows of these;
    `changes` (FIELD=VALUE) are made in the run's experiment.
    """
    if target.is_dir() or target.suffix == ".toml":
        folder = run_dir(target, out)
        folder.require(folder.oof, "oof build")
        if strata:
            raise StackError("strata are picked from a table on its own: give the run's oof.parquet and another --out")
        if changes:
            open_target(folder.root, changes=changes)
        settings = read_experiment(folder.experiment).stacking if folder.experiment.exists() else StackingSettings()
    elif changes:
        raise ExperimentError(f"--set changes an experiment, and {target} is a table: give the folder of a run")
    else:
        folder, settings = RunDir(out or target.with_name(f"{target.stem}-stack")), StackingSettings()
        table = of_strata(read_table(target), strata)
        stage = Stage(folder.stacking, {"table": table_digest(table)})
        if not stage.finished(force=work.force):
            # Combinations of another table may not stand beside those of this one.
            shutil.rmtree(folder.stacking, ignore_errors=True)
            write_table(table, folder.oof)
            stage.finish()
    return Stacking(folder, picked(settings.combiner, combiners), work)


def picked(combiners: Sequence[Combiner], names: Sequence[str]) -> tuple[Combiner, ...]:
    """The combiners of these names, all when none is named; the plain average always, because all is compared with it.

    A name may also be that of a kind that is not among them, which is then taken with its own defaults.
    """
    if not names:
        return tuple(combiners)
    known = {kind.kind: kind() for kind in get_args(CombinerSettings)} | {c.name: c for c in combiners}
    unknown = [n for n in names if n not in known]
    if unknown:
        raise StackError(f"no combiner {unknown}, there is {sorted(known)}: name some of these")
    average = [] if any(known[n].kind == "average" for n in names) else [known["average"]]
    return (*average, *(known[n] for n in names))


def of_strata(table: OOFTable, strata: Sequence[str]) -> OOFTable:
    """The rows of the named strata, all when none is named."""
    present = sorted(set(table.labels.stratum_N.tolist()))
    unknown = [s for s in strata if s not in present]
    if unknown:
        raise StackError(f"no rows of stratum {unknown}, the table has {present}: name some of these")
    return table.take(np.isin(table.labels.stratum_N, list(strata))) if strata else table


def table_digest(table: OOFTable) -> str:
    """Of everything a fit depends on."""
    return digest(table.labels.digest, list(table.members), list(table.scores.families), table.proba_NMC, table.fold_N)


def stack_stage(stacking: Stacking) -> str:
    """Cross-fit every combiner, fit each to all rows, and keep both; finished combiners are kept.

    Returns what the combiner that chooses says of its choice. Raises StackError when the table fails a hard audit.
    """
    folder, work = stacking.dir, stacking.work
    table = read_table(folder.oof)
    refuse_leaks(audit_run(folder))
    test = read_scores(folder.test) if folder.test.exists() else None
    mark = table_digest(table)
    stages = {
        c.name: Stage(folder.combiner(c.name), {"table": mark, "settings": digest(type(c).__name__, asdict(c))})  # type: ignore[call-overload]
        for c in stacking.combiners
    }
    pending = [c for c in stacking.combiners if not stages[c.name].finished(force=work.force)]
    crossed = crossfit_all(pending, table, jobs=work.n_workers, on_progress=work.report)
    fitted = fit_all(pending, table, jobs=work.n_workers, on_progress=work.report)
    for one, cross in zip(fitted, crossed, strict=True):
        place = folder.combiner(one.name)
        save(one, place)
        if one.combiner.kind == "convex":
            write_json(folder.weights(one.name), _weights(one, table))
        write_scores(one_arm(table.scores, one.name, cross.proba_NC), place / "oof.parquet")
        if test is not None:
            write_scores(one_arm(test, one.name, one.apply(test)), place / "test.parquet")
        stages[one.name].finish(kl_cross_fitted=cross.kl, explanation=one.explanation)
    explanations = [load(folder.combiner(c.name)).explanation for c in stacking.combiners]
    return " ".join(e for e in explanations if e)


def _weights(fitted: Fitted, table: OOFTable) -> list[dict[str, float | str]]:
    """One record a member: its weight and the interval over resampled groups."""
    low_M, high_M = weight_intervals(fitted.combiner, table)
    weight_M = fitted.weight_M
    assert weight_M is not None, "intervals are of combiners with weights"
    names = ("arm", "member", "weight", "low", "high")
    columns = zip(table.members, weight_M.tolist(), low_M.tolist(), high_M.tolist(), strict=True)
    return [dict(zip(names, (fitted.name, *values), strict=True)) for values in columns]


def refuse_leaks(report: AuditReport) -> None:
    """Raise StackError when a hard check failed: cross-fitting cannot rescue a leaked table."""
    if report.failed_hard:
        told = "; ".join(f"{f.id} {f.name}: {f.evidence} Cure: {f.cure}" for f in report.hard_failures)
        raise StackError(f"the table fails a hard check, so no combination of it can be trusted: {told}")


def one_arm(scores: ScoreTable | FoldScores, name: str, proba_NC: NDArray[np.float64]) -> ScoreTable:
    """Combined scores as a table with a single member."""
    return ScoreTable(scores.ids, (name,), scores.classes, proba_NC[:, None, :].astype(np.float32))


def apply_combination(combination: Path, table: Path, out: Path) -> ScoreTable:
    """Combine the scores in `table` (labels beside them are kept) and write them to `out`."""
    fitted: Fitted = load(combination_folder(combination))
    scores = read_scores(table)
    combined = one_arm(scores, fitted.name, fitted.apply(scores))
    write_scores(combined, out, read_labels(table))
    return combined


def audit_run(folder: RunDir, *, deep: bool = False) -> AuditReport:
    """Every check of a run's table, with its locked test rows where it has some."""
    return audit_table(folder.oof, folder.test if folder.test.exists() else None, deep=deep)


def audit_table(table: Path, test: Path | None = None, *, deep: bool = False) -> AuditReport:
    """Every check of a table on disk, with the scores of locked test rows when there are some.

    `deep` also refits a combiner, on row folds, on its own rows and on permuted labels (A8, A11, A12).
    """
    held = read_scores(test) if test is not None else None
    if held is not None and not isinstance(held, FoldScores):
        raise StackError(f"{test} holds no fold models: give the test scores of a run")
    labels = read_labels(test) if test is not None else None
    return audit(read_table(table), test=held, test_labels=labels, deep=deep, combine=_log_pool if deep else None)


def _log_pool(table: OOFTable, folds: NDArray[np.int16] | None) -> NDArray[np.float64]:
    """Scores of the log-linear pool, the freest combiner that is cheap: cross-fitted, or of the rows it was fitted to."""
    if folds is None:
        return fit(LogPool(), table).apply(table.scores)
    return crossfit(LogPool(), table, folds=folds).proba_NC
