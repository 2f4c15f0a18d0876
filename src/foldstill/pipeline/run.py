"""An experiment opened in its folder: data, fold plan, and how to work."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan
from foldstill.data.thinning import thin_votes
from foldstill.errors import ExperimentError
from foldstill.files import read_json, write_json, write_text
from foldstill.machine import versions
from foldstill.pipeline.experiment import (
    Experiment,
    experiment_text,
    parse_experiment,
    read_experiment,
    run_folder,
    told,
)
from foldstill.pipeline.rundir import RunDir
from foldstill.workers import Work


@dataclass(frozen=True)
class Run:
    """One experiment and where and how it is worked on. Relative paths of the experiment start at `root`."""

    experiment: Experiment
    dir: RunDir
    root: Path
    work: Work = Work()

    @cached_property
    def _given(self) -> Dataset:
        return self.experiment.data.load(self.root)

    @cached_property
    def dataset(self) -> Dataset:
        """The data as the run learns from it: with `thin_votes`, rows that are not locked have fewer votes."""
        votes, given = self.experiment.thin_votes, self._given
        if votes is None:
            return given
        return replace(given, labels=thin_votes(given.labels, self.plan.oof_rows, votes, seed=self.experiment.seed))

    @cached_property
    def plan(self) -> FoldPlan:
        """The plan on disk if there is one, which must be the one the experiment asks for; else made and written."""
        plan = self.experiment.folds.plan(self._given.labels, self.experiment.seed, self.root)
        if self.dir.folds.exists():
            before = FoldPlan.read(self.dir.folds)
            if before.digest == plan.digest:
                return plan
            if not self.work.force:
                raise ExperimentError(
                    f"{self.dir.folds} holds another fold plan (digest {before.digest}) than the experiment asks for "
                    f"({plan.digest}): data, groups, folds or seed changed; name another run folder, or use --force"
                )
        plan.write(self.dir.folds)
        return plan


def open_run(
    experiment: Experiment,
    text: str,
    root: Path,
    out: Path | None = None,
    work: Work = Work(),
) -> Run:
    """A run of `experiment` in `out` (runs/<name> when None); its text and what it depends on are kept there."""
    folder = run_folder(experiment, out)
    if folder.root.exists() and not folder.root.is_dir():
        raise ExperimentError(f"{folder.root} is a file: name a folder for the run")
    if not folder.experiment.exists() or folder.experiment.read_text(encoding="utf-8") != text:
        write_text(folder.experiment, text)
        write_json(folder.provenance, {"versions": versions(), "root": str(root.resolve())})
    return Run(experiment, folder, root, work)


def open_target(
    target: Path,
    out: Path | None = None,
    changes: Sequence[str] = (),
    work: Work = Work(),
) -> Run:
    """The run of an experiment file, or the run that lives in a folder, some fields changed as FIELD=VALUE says.

    What is changed is kept in the run's own experiment.toml.
    """
    experiment, text, root = read_target(target, changes)
    out = target if target.is_dir() else out
    return open_run(experiment, text, root, out, work)


def read_target(target: Path, changes: Sequence[str] = ()) -> tuple[Experiment, str, Path]:
    """The experiment of a file or of a run's folder, its text, and where its relative paths start; nothing is written."""
    if not target.is_dir():
        text = experiment_text(target, changes)
        return parse_experiment(text, told(target, changes)), text, target.parent
    folder = RunDir(target)
    if not folder.experiment.exists():
        raise ExperimentError(f"{target} holds no experiment.toml: give the folder of a run, or an experiment file")
    text = experiment_text(folder.experiment, changes)
    return parse_experiment(text, told(folder.experiment, changes)), text, Path(read_json(folder.provenance)["root"])


def run_dir(target: Path, out: Path | None = None) -> RunDir:
    """The folder of a run, from the folder itself or from its experiment file; nothing is written."""
    if target.is_dir():
        return RunDir(target)
    return run_folder(read_experiment(target), out)
