"""Ways to a run: from an experiment, from its folder, or from a table that was imported."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import numpy as np

from foldstill.data.labels import Labels
from foldstill.errors import ExperimentError, StackError
from foldstill.manifest import DONE, Stage
from foldstill.oof.exports import check_score_output
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.imports import import_scores
from foldstill.oof.locked_scores import read_test_scores
from foldstill.oof.store import read_table
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.pipeline.run import Run
from foldstill.pipeline.rundir import RunDir
from foldstill.workers import Work

if TYPE_CHECKING:
    from foldstill.pipeline.experiment import Experiment
    from foldstill.pipeline.experiment_file import ExperimentFile


def start_run(file: "ExperimentFile", out: Path | None = None, work: Work = Work()) -> Run:
    """The run of an experiment in `out` (runs/<name> when None); the first stage keeps its text there."""
    folder = _run_folder(file.experiment, out)
    if folder.root.exists() and not folder.root.is_dir():
        raise ExperimentError(f"{folder.root} is a file: name a folder for the run")
    return Run(folder, file.experiment, file.root, work, file.text)


def open_run(path: Path, out: Path | None = None, *, changes: Sequence[str] = (), work: Work = Work()) -> Run:
    """Start or continue the run of an experiment file, or of a run's folder, some fields changed as FIELD=VALUE says.

    The first stage keeps the changed text in the run's own experiment.toml.
    """
    from foldstill.pipeline.experiment_file import ExperimentFile

    file = ExperimentFile.read(path, changes)
    if path.is_dir() and not changes:
        return Run(RunDir(path), file.experiment, file.root, work)
    return start_run(file, path if path.is_dir() else out, work)


def find_run(path: Path, out: Path | None = None, *, work: Work = Work()) -> Run:
    """The run in a folder, or in the folder of an experiment file, as its stages left it; nothing is written.

    The experiment is the one that the run's folder holds. A run of an imported table has none.
    """
    if path.is_dir() and not RunDir(path).experiment.exists():
        return Run(RunDir(path), work=work)
    # An experiment knows every kind of member and student; a table needs none of them.
    from foldstill.pipeline.experiment_file import ExperimentFile

    folder = RunDir(path) if path.is_dir() else _run_folder(ExperimentFile.read(path).experiment, out)
    if not folder.experiment.exists():
        return Run(folder, work=work)
    file = ExperimentFile.read(folder.root)
    return Run(folder, file.experiment, file.root, work)


def open_for_stacking(
    path: Path,
    out: Path | None = None,
    *,
    strata: Sequence[str] = (),
    test: Path | None = None,
    changes: Sequence[str] = (),
    work: Work = Work(),
) -> Run:
    """The run whose table is stacked: of an experiment file, of a run's folder, or of a table on its own.

    A table on its own is copied into `out` (<table>-stack when None) by the stage; `strata` keeps only rows of these
    strata, and `test` holds scores and labels of locked rows, on which combinations are then compared. `changes`
    (FIELD=VALUE) are made in the run's experiment.
    """
    if path.is_dir() or path.suffix == ".toml":
        run = find_run(path, out, work=work)
        if not run.heads:
            run.dir.require(run.dir.oof, "oof build")
        if strata:
            raise StackError(
                f"--strata selects rows of a table on its own, got the run {run.dir.root}: give its oof.parquet and "
                "another --out"
            )
        if test is not None:
            raise StackError(f"--test belongs to a table on its own, and {run.dir.root} has test scores of its own")
        return open_run(run.dir.root, changes=changes, work=work) if changes else run
    if changes:
        raise ExperimentError(f"--set changes an experiment, and {path} is a table: give the folder of a run")
    folder = RunDir(out or path.with_name(f"{path.stem}-stack"))
    _refuse_foreign(folder, work)
    return _of_table(read_table(path), folder, strata, work, test)


def open_imported(
    paths: Sequence[Path],
    settings: ImportSettings,
    out: Path,
    *,
    strata: Sequence[str] = (),
    test: Path | None = None,
    work: Work = Work(),
) -> Run:
    """The run of a table that is imported from predictions made elsewhere, in the folder `out`.

    The stage writes the table there. `strata` and `test` are those of `open_for_stacking`.
    """
    folder = RunDir(out)
    _refuse_foreign(folder, work)
    return _of_table(import_scores(paths, settings), folder, strata, work, test)


def _of_table(table: OOFTable, folder: RunDir, strata: Sequence[str], work: Work, test: Path | None) -> Run:
    locked = None if test is None else _locked_rows(test, table, strata)
    if locked is None and folder.test.exists():
        raise StackError(f"{folder.test} holds the test scores of an earlier call: give --test again, or another --out")
    run = Run(folder, work=work, imported=_rows_of_strata(table, strata), imported_test=locked)
    Stage(folder.stacking, run.table_inputs).check(force=work.force)
    return run


def _locked_rows(test: Path, table: OOFTable, strata: Sequence[str]) -> tuple[FoldScores, Labels]:
    """The locked rows of a file, of the named strata only."""
    scores, labels = read_test_scores(test, table)
    if not strata:
        return scores, labels
    kept_N = np.isin(labels.stratum_N, list(strata))
    if not kept_N.any():
        raise StackError(f"--test {test} has no row of the strata {list(strata)}: leave --strata out, or --test")
    return replace(scores, ids=scores.ids[kept_N], proba_KNMC=scores.proba_KNMC[:, kept_N]), labels.take(kept_N)


def _refuse_foreign(folder: RunDir, work: Work) -> None:
    """Raise ExperimentError where a table and its combinations would replace what is not theirs."""
    check_score_output(folder.oof, (".parquet",), force=work.force)
    if folder.experiment.exists():
        raise ExperimentError(
            f"{folder.root} holds the run of an experiment, whose table is its own: name another --out, or stack it "
            f"with `foldstill stack {quote(str(folder.root))}`"
        )
    foreign = folder.stacking.exists() and any(folder.stacking.iterdir()) and not (folder.stacking / DONE).exists()
    if foreign and not work.force:
        raise ExperimentError(
            f"{folder.stacking} was not made by foldstill, or not finished: name another --out, or use --force to "
            "write combinations beside what it holds"
        )


def _run_folder(experiment: "Experiment", out: Path | None) -> RunDir:
    return RunDir(out if out is not None else Path("runs") / experiment.name)


def _rows_of_strata(table: OOFTable, strata: Sequence[str]) -> OOFTable:
    """The rows of the named strata; all rows when none is named."""
    present = sorted(set(table.labels.stratum_N.tolist()))
    unknown = [s for s in strata if s not in present]
    if unknown:
        raise StackError(f"--strata must name strata of the table, got {unknown}, the table has {present}")
    return table.take(np.isin(table.labels.stratum_N, list(strata))) if strata else table
