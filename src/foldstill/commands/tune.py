"""Search for better settings of one member: trials over a few folds, and an experiment file with the best values."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from foldstill.base_models.gpu_slots import check_slots
from foldstill.base_models.imported_member import ImportedMember
from foldstill.base_models.joined_member import JoinedMember
from foldstill.base_models.tuning import (
    ERROR,
    TuneSettings,
    Value,
    end_killed_trials,
    n_finished,
    open_study,
    run_trial,
    trials_of,
)
from foldstill.csv_files import write_csv
from foldstill.data.dataset import Dataset
from foldstill.data.source import DataSource
from foldstill.errors import ExperimentError, MemberError, require_package
from foldstill.files import check_output, refuse_unmarked, write_text
from foldstill.lock import sole_writer
from foldstill.manifest import changes
from foldstill.pipeline.experiment import Experiment
from foldstill.pipeline.experiment_file import ExperimentFile, parse_experiment
from foldstill.pipeline.overrides import with_values
from foldstill.workers import Progress, Work, spread

if TYPE_CHECKING:
    from optuna import Study

MADE_FROM = "experiment"
MARK = "`foldstill tune`"
"""In the first line of every file that a search writes."""


@dataclass(frozen=True)
class Tuned:
    """The best trial of a search."""

    number: int
    kl: float
    """Held-out KL in nats per row."""
    values: Mapping[str, Value]
    """The value of each field that was searched."""
    path: Path
    """The experiment file with these values."""
    trials: int
    """Number of all trials of the search."""


@dataclass(frozen=True)
class Tuning:
    """One search, as a value that every process working on it holds."""

    text: str
    where: str
    root: Path
    folder: Path
    device: str

    @property
    def base(self) -> Experiment:
        return parse_experiment(self.text, self.where)

    @property
    def settings(self) -> TuneSettings:
        settings = self.base.tune
        if settings is None:
            raise ExperimentError(f"{self.where} has no [tune] table: say there which fields to search")
        return settings

    def experiment(self, values: Mapping[str, Value]) -> Experiment:
        return parse_experiment(with_values(self.text, values), f"{self.where} with {_listed(values)}")

    def study(self) -> "Study":
        return open_study(self.folder / "journal.log", self.settings)


def tune(
    path: Path,
    folder: Path | None = None,
    out: Path | None = None,
    changes: Sequence[str] = (),
    *,
    trials: int | None = None,
    work: Work = Work(workers=1),
) -> Tuned:
    """Search the fields that [tune] of the experiment file names, and write the file with the best values beside it.

    Each trial trains the member on the first `tune.folds` folds; the mean KL of their held-out rows is minimised.
    Locked test rows are not looked at, so they stay fit to judge the result; held-out scores of a tuned member are a
    little too good. Trials are kept in `folder` (runs/<name>-tune): a later call goes on, and several may work on it at
    once; several workers do so from here. Raises ExperimentError for fields that do not exist, have no effect on the
    member, or change which rows are scored.
    """
    require_package("optuna", "tune", purpose="tuning", error=MemberError)
    _LOADED.clear()
    file = ExperimentFile.read(path, changes)
    base = file.experiment
    folder = folder or Path("runs") / f"{base.name}-tune"
    tuning = Tuning(file.text, str(path), path.parent, folder, work.device)
    settings = tuning.settings
    out = out or path.with_name(f"{path.stem}-tuned.toml")
    _check_output(out, path, folder, force=work.force)
    check_slots(work)
    check_search(tuning, base, settings)
    _check_data(tuning, base, settings)
    study = tuning.study()
    _same_search(study, tuning, base)
    end_killed_trials(study, folder)
    wanted = trials or settings.trials

    def report_progress() -> None:
        done = n_finished(study)
        work.report(Progress("trials", min(done, wanted), wanted, _note(study)))

    report_progress()
    todo = range(max(0, wanted - n_finished(study)))
    for _ in spread(_work, [(tuning, wanted)] * len(todo), work.chosen_workers or work.cpu_workers):
        report_progress()
    _write_trials(study, folder / "trials.csv")
    finished = _finished(study)
    if not finished:
        errors = [t.user_attrs[ERROR] for t in study.trials if ERROR in t.user_attrs]
        raise ExperimentError(f"none of {len(trials_of(study))} trials could be trained; the last one: {errors[-1]}")
    kl, number, params = min(finished)
    best = Tuned(number, kl, params, out, n_finished(study))
    write_text(best.path, _tuned_text(tuning, settings, best))
    return best


def _member_index(experiment: Experiment, settings: TuneSettings) -> int:
    names = [m.name for m in experiment.member]
    if settings.member and settings.member not in names:
        raise ExperimentError(f"tune.member {settings.member!r} is none of {names}: name one of them")
    index = names.index(settings.member) if settings.member else 0
    if isinstance(experiment.member[index], JoinedMember):
        raise ExperimentError(
            f"tune.member {names[index]!r} joins trained members, and a trial trains one member alone: tune a member "
            "that it joins"
        )
    if isinstance(experiment.member[index], ImportedMember):
        raise ExperimentError(f"tune.member {names[index]!r} is imported and not trained: tune another member")
    return index


def _check_output(out: Path, path: Path, folder: Path, *, force: bool) -> None:
    """Raise FileError unless both the experiment file with the best values and the trials can be written."""
    check_output(out, (".toml",), inputs=[path])
    check_output(folder / "journal.log")
    refuse_unmarked(out, out.exists() and MARK in out.read_text(encoding="utf-8", errors="replace"), force=force)


def _check_data(tuning: Tuning, base: Experiment, settings: TuneSettings) -> None:
    """Raise what the first trial would raise before it trains, while no trial is kept yet."""
    from foldstill.base_models.members import check_members

    dataset = _load(base.data, tuning.root)
    plan = base.folds.plan(dataset.labels, base.seed, tuning.root, dataset.fold_N)
    member = base.member[_member_index(base, settings)]
    check_members([member], dataset, plan, tuning.folder, seed=base.seed, work=Work(workers=1, device=tuning.device))


def check_search(tuning: Tuning, base: Experiment, settings: TuneSettings) -> None:
    """Raises ExperimentError unless both ends of every range give a valid experiment that changes the member, not
    the folds."""
    index = _member_index(base, settings)
    if settings.folds > base.folds.n_folds and not base.folds.path:
        raise ExperimentError(
            f"tune.folds is {settings.folds}, the experiment has {base.folds.n_folds} folds: lower it"
        )
    for each in settings.search:
        tried = [tuning.experiment({each.field: value}) for value in each.ends]
        if any((e.folds, e.seed) != (base.folds, base.seed) for e in tried):
            raise ExperimentError(
                f"search of {each.field}: trials on other folds or seeds cannot be compared; leave it out"
            )
        if base.data.needs_preparation and any(e.data != base.data for e in tried):
            raise ExperimentError(
                f"search of {each.field}: these data are prepared once; give each setting a view of its own name "
                "and search the member's `view`"
            )
        if all((e.member[index], e.data) == (base.member[index], base.data) for e in tried):
            raise ExperimentError(
                f"search of {each.field}: it changes nothing of the member {base.member[index].name!r}: "
                "name a field of that member, or one that it does not set itself"
            )


def _same_search(study: "Study", tuning: Tuning, base: Experiment) -> None:
    """Raises ExperimentError if the journal holds trials of another experiment, which cannot be compared."""
    assert base.tune is not None
    parts: dict[str, Any] = {
        "data": base.data,
        "folds": base.folds,
        "member": base.member[_member_index(base, base.tune)],
        "tune": replace(base.tune, trials=1),  # more trials continue the same search
    }
    made_from = {"seed": base.seed} | {name: asdict(part) for name, part in parts.items()}
    made_from = json.loads(json.dumps(made_from, default=str))
    before = study.user_attrs.get(MADE_FROM)
    if before is None:
        study.set_user_attr(MADE_FROM, made_from)
    elif changed := changes(before, made_from):
        raise ExperimentError(
            f"{tuning.folder} holds trials of another experiment: {'; '.join(changed[:5])}: name another folder"
        )


_LOADED: list[tuple[DataSource, Path, Dataset]] = []


def _load(data: DataSource, root: Path) -> Dataset:
    """The data of the experiment and of the last trial are kept, so that each is loaded once per process."""
    for settings, loaded_root, dataset in _LOADED:
        if (settings, loaded_root) == (data, root):
            return dataset
    dataset = data.load(root)
    _LOADED[1:] = [(data, root, dataset)]
    return dataset


def _work(tuning: Tuning, wanted: int) -> None:
    """Run one trial, unless other processes have finished the search."""
    study = tuning.study()
    if n_finished(study) >= wanted:
        return
    tuning.folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=tuning.folder, prefix="trial-") as place, sole_writer(Path(place)):
        score = partial(_score, tuning, Path(place))
        run_trial(study, tuning.settings, score, seed=tuning.base.seed, place=Path(place).name)


def _score(tuning: Tuning, folder: Path, values: Mapping[str, Value], report: Callable[[int, float], None]) -> float:
    """Mean held-out KL of the member with these values over the first folds, trained in a folder."""
    from foldstill.base_models.members import train_members

    base, settings = tuning.base, tuning.settings
    labels = _load(base.data, tuning.root).labels
    experiment = tuning.experiment(values)
    dataset = _load(experiment.data, tuning.root)
    if dataset.labels.digest != labels.digest:
        raise ExperimentError(
            f"{_listed(values)} changes which rows are scored, so trials cannot be compared: leave it out"
        )
    plan = base.folds.plan(labels, base.seed, tuning.root, dataset.fold_N)
    member = experiment.member[_member_index(base, settings)]
    kl: list[float] = []
    for fold in range(settings.folds):
        work = Work(workers=1, device=tuning.device)
        [end] = train_members([member], dataset, plan, folder, seed=base.seed, work=work, folds=(fold,))
        assert end.held_out_kl is not None, "a finished fold has a score"
        kl.append(end.held_out_kl)
        if fold + 1 < settings.folds:
            report(fold, float(np.mean(kl)))
    return float(np.mean(kl))


def _finished(study: "Study") -> list[tuple[float, int, dict[str, Value]]]:
    """KL, number and values of every finished trial."""
    trials = enumerate(trials_of(study))
    return [(t.value, n, t.params) for n, t in trials if t.value is not None and t.state.name == "COMPLETE"]


def _listed(values: Mapping[str, Value]) -> str:
    return ", ".join(f"{field} = {value}" for field, value in values.items())


def _note(study: "Study") -> str:
    finished = _finished(study)
    if not finished:
        return ""
    kl, number, _ = min(finished)
    return f"best held-out KL {kl:.4f}, trial {number}"


def _write_trials(study: "Study", path: Path) -> None:
    """Write every trial in its order: state, KL (so far, for a trial that was stopped), values, and why it failed."""
    trials = trials_of(study)
    fields = list(dict.fromkeys(field for t in trials for field in t.params))
    columns: dict[str, list[Any]] = {name: [] for name in ("trial", "state", "kl", *fields, "error")}
    for number, t in enumerate(trials):
        so_far = t.intermediate_values[max(t.intermediate_values)] if t.intermediate_values else None
        state = {"COMPLETE": "finished", "PRUNED": "cut", "FAIL": "failed"}.get(t.state.name, t.state.name.lower())
        kl = t.value if t.state.name == "COMPLETE" else so_far
        line = [number, state, kl, *(t.params.get(f) for f in fields), t.user_attrs.get(ERROR)]
        for column, value in zip(columns.values(), line, strict=True):
            column.append(value)
    write_csv(path, columns)


def _tuned_text(tuning: Tuning, settings: TuneSettings, best: Tuned) -> str:
    import tomlkit

    document = tomlkit.parse(with_values(tuning.text, best.values))
    document["name"] = f"{document['name']}-tuned"
    document.remove("tune")
    head = (
        f"# {Path(tuning.where).name} with the values of trial {best.number} of {best.trials} of {MARK}: "
        f"{_listed(best.values)}.\n"
        f"# Mean KL {best.kl:.4f} on the held-out rows of the first {settings.folds} folds. Those rows chose the "
        "values: judge them\n# by the locked test rows.\n\n"
    )
    text = head + tomlkit.dumps(document)
    parse_experiment(text, "the tuned experiment")
    return text
