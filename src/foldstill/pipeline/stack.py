"""Combiners over an OOF table: cross-fitted scores to be judged, and fits to all rows to be used."""

import shlex
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import Labels
from foldstill.data.submission import SampleSubmission, submission_like
from foldstill.digests import digest
from foldstill.errors import StackError
from foldstill.json_files import write_json
from foldstill.manifest import Stage, note_made_again
from foldstill.oof.audit import audit
from foldstill.oof.exports import check_score_output, write_scores_as
from foldstill.oof.findings import AuditReport
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.imports import require_effect
from foldstill.oof.locked_scores import read_test_scores
from foldstill.oof.new_scores import import_new_scores
from foldstill.oof.one_probability import known_positive
from foldstill.oof.store import is_score_file, read_labelled_scores, read_table, write_scores
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.pipeline.durations import timed
from foldstill.pipeline.results import CombinationResult, single_scores
from foldstill.pipeline.run import Run, one_writer
from foldstill.pipeline.rundir import combination_folder, refuse_run_file
from foldstill.stacking import COMBINERS, Combiner, FittedCombiner, crossfit, crossfit_all, fit, fit_all, save
from foldstill.stacking.auto import Auto
from foldstill.stacking.convex import Convex
from foldstill.stacking.kinds import deciding_by
from foldstill.stacking.log_pool import LogPool
from foldstill.stacking.metric_search import is_kl
from foldstill.stacking.weight_intervals import weight_intervals


@one_writer
@timed("stack")
def stack_stage(
    run: Run,
    names: Sequence[str] = (),
    accept: Sequence[str] = (),
    metric: str | None = None,
    judged_on: str = "",
) -> str:
    """Cross-fit every combiner, fit each to all rows, and keep both; finished combiners are kept.

    `names` selects combiners as in `select_combiners`; those that choose decide by `metric` in place of the
    experiment's, and `auto` decides for the stratum `judged_on`. Returns the explanation of every combiner that makes a
    choice.
    Raises StackError when the table fails a hard check of the audit that is not among the ids in `accept`.
    """
    combiners = select_by_metric(run.combiners, names, run.metric if metric is None else metric)
    if judged_on:
        combiners = judged_on_stratum(combiners, judged_on, run.table)
    report = run.audit.accept(accept)
    refuse_leaked_table(report)
    stages = {
        c.name: Stage(
            run.dir.combiner(c.name),
            {"table": run.table_digest, "test": run.test_digest, "settings": combiner_digest(c)},
        )
        for c in combiners
    }
    for stage in stages.values():
        stage.check(force=run.work.force)
    run.keep()
    run.keep_audit(report)
    if run.work.force:
        note_made_again(stages.values())
    pending = [c for c in combiners if not stages[c.name].finished(force=run.work.force)]
    crossed = crossfit_all(pending, run.table, workers=run.work.workers, on_progress=run.work.report)
    fitted = fit_all(pending, run.table, workers=run.work.workers, on_progress=run.work.report)
    for one, cross in zip(fitted, crossed, strict=True):
        folder = run.dir.combiner(one.name)
        run.dir.ensemble_file(one.name).unlink(missing_ok=True)  # of the combination before
        save(one, folder)
        files = [folder / "combination.json", folder / "oof.parquet"]
        if isinstance(one.combiner, Convex) and is_kl(one.combiner.metric):
            files.append(run.dir.weights(one.name))
            write_json(run.dir.weights(one.name), _weights(one, run.table))
        write_scores(single_scores(run.table.scores, one.name, cross.proba_NC), folder / "oof.parquet")
        if run.test is not None:
            files.append(folder / "test.parquet")
            write_scores(single_scores(run.test, one.name, one.apply(run.test)), folder / "test.parquet")
        stages[one.name].finish(files, kl_cross_fitted=cross.kl, explanation=one.explanation)
    run.refresh("combinations")
    explanation = {one.folder: one.fitted.explanation for one in run.combinations}
    return " ".join(text for c in combiners if (text := explanation[run.dir.combiner(c.name)]))


def combiner_digest(combiner: Combiner) -> str:
    """Digest of the settings of a combiner."""
    return digest(type(combiner).__name__, asdict(combiner))  # type: ignore[call-overload]


def select_combiners(combiners: Sequence[Combiner], names: Sequence[str]) -> tuple[Combiner, ...]:
    """The combiners with these names, all when no name is given; the plain average is always added.

    A name may also be that of a kind that is not among them, which is then taken with its default settings.
    """
    if not names:
        return tuple(combiners)
    kinds = {str(c.kind): c for c in COMBINERS}
    by_name = {kind: kinds[kind]() for kind in (*names, "average") if kind in kinds} | {c.name: c for c in combiners}
    unknown = [n for n in names if n not in by_name]
    if unknown:
        choices = sorted(kinds.keys() | by_name.keys())
        raise StackError(f"no combiner is called {' or '.join(map(repr, unknown))}: choose from {choices}")
    # Everything is compared with the plain average.
    average = [] if any(by_name[n].kind == "average" for n in names) else [by_name["average"]]
    return (*average, *(by_name[n] for n in names))


def select_by_metric(combiners: Sequence[Combiner], names: Sequence[str], metric: Any) -> tuple[Combiner, ...]:
    """The combiners with these names, as `select_combiners` gives them, deciding by a metric where it is not the KL."""
    if is_kl(metric):
        return select_combiners(combiners, names)
    # A kind that is selected by its name alone is not among the combiners.
    return deciding_by(select_combiners(deciding_by(combiners, metric), names), metric, thresholds=False)


def judged_on_stratum(combiners: Sequence[Combiner], stratum: str, table: OOFTable) -> tuple[Combiner, ...]:
    """The combiners, of which `auto` decides for the rows of one stratum of the table."""
    strata = np.unique(table.labels.stratum_N).tolist()
    if stratum not in strata:
        raise StackError(f"--judged-on must name a stratum of the table, got {stratum!r}, the table has {strata}")
    if not any(isinstance(one, Auto) for one in combiners):
        raise StackError(
            "--judged-on says for which rows `auto` decides, and auto is not among the combiners "
            f"{[one.name for one in combiners]}: add --combiner auto, or leave --judged-on out"
        )
    return tuple(replace(one, judged_on=stratum) if isinstance(one, Auto) else one for one in combiners)


def _weights(fitted: FittedCombiner, table: OOFTable) -> list[dict[str, float | str]]:
    """One record per member: its weight and the interval over resampled groups."""
    low_M, high_M = weight_intervals(fitted.combiner, table)
    weight_M = fitted.weight_M
    assert weight_M is not None, "intervals are of combiners with weights"
    names = ("arm", "member", "weight", "low", "high")
    columns = zip(table.members, weight_M.tolist(), low_M.tolist(), high_M.tolist(), strict=True)
    return [dict(zip(names, (fitted.name, *values), strict=True)) for values in columns]


def refuse_leaked_table(report: AuditReport) -> None:
    """Raise StackError when a hard check failed: cross-fitting cannot rescue a leaked table."""
    if report.failed_hard:
        failures = "; ".join(f"{f.id} {f.name}: {f.evidence} Cure: {f.cure}" for f in report.hard_failures)
        raise StackError(
            f"the OOF table fails a hard check, so no combination of it can be trusted: {failures}. If you know the "
            f"reason and it is harmless, accept it with "
            f"`--accept {shlex.join(f.id for f in report.hard_failures)}`, which the report records"
        )


class Combined(NamedTuple):
    """Scores of a combination for new rows, and the combination."""

    scores: ScoreTable
    fitted: FittedCombiner


def apply_combination(
    combination: Path,
    tables: Sequence[Path],
    out: Path,
    settings: ImportSettings | None = None,
    *,
    like: Path | None = None,
    force: bool = False,
) -> Combined:
    """Combine the scores in a table, or in one file per member, and write them to `out`.

    `out` is .parquet, with the labels that the table holds, or .csv; with a sample file `like` it is .csv with the rows
    and columns of the sample. `settings` are for files that foldstill did not write. `force` replaces an output that
    foldstill did not write.
    """
    refuse_run_file(out)
    check_score_output(out, inputs=[*tables, *([like] if like else [])], force=force)
    fitted = CombinationResult(combination_folder(combination)).fitted
    submission = None if like is None else _submission(like, out, fitted.classes, settings)
    labels: Labels | None = None
    if len(tables) == 1 and is_score_file(tables[0]):
        require_effect(tables[0], settings or ImportSettings())
        scores, labels = read_labelled_scores(tables[0])
    else:
        scores = import_new_scores(tables, fitted.members, fitted.classes, settings)
    combined = single_scores(scores, fitted.name, fitted.apply(scores))
    if submission is None:
        write_scores_as(combined, out, labels)
    else:
        submission.write(combined.ids.tolist(), combined.proba_NMC[:, 0], combined.classes, out)
    return Combined(combined, fitted)


def _submission(like: Path, out: Path, classes: Sequence[str], settings: ImportSettings | None) -> SampleSubmission:
    """The form of a sample file, checked before anything is combined."""
    positive = (settings.positive if settings else "") or known_positive(classes)
    submission = submission_like(like, out, positive)
    submission.columns(classes)
    return submission


def audit_table(table: Path, test: Path | None = None, *, deep: bool = False) -> AuditReport:
    """Every check of a table on disk, with the scores of locked test rows when there are some.

    `deep` also refits a combiner: on row folds, on its own rows and on permuted labels (A8, A11, A12).
    """
    own = read_table(table)
    test_scores, test_labels = read_test_scores(test, own) if test is not None else (None, None)
    combine = _log_pool if deep else None
    return audit(own, test=test_scores, test_labels=test_labels, deep=deep, combine=combine)


def _log_pool(table: OOFTable, folds: NDArray[np.int16] | None) -> NDArray[np.float64]:
    """Scores of the log-linear pool, the most flexible cheap combiner: cross-fitted, or in-sample without folds."""
    if folds is None:
        return fit(LogPool(), table).apply(table.scores)
    return crossfit(LogPool(), table, folds=folds).proba_NC
