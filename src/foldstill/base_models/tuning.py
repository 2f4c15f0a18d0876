"""Settings of a search over an experiment's fields, and the study that keeps its trials on disk.

Importing this imports neither torch nor Optuna.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from foldstill.digests import digest
from foldstill.errors import FileError, FoldstillError, MemberError
from foldstill.lock import SILENT_S, is_locked, remove_dead
from foldstill.settings import ByKind, KindSettings, Settings

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.trial import FrozenTrial

Value = str | int | float | bool
Score = Callable[[Mapping[str, Value], Callable[[int, float], None]], float]
"""Takes the values of the fields and a function to report (step, score so far); gives a score, lower is better."""

ERROR = "error"
"""Attribute of a failed trial that holds its error message."""
PLACE = "folder"
"""Attribute of a trial that holds the name of its folder."""


@dataclass(frozen=True)
class NumberRange(KindSettings):
    """What ranges of numbers share: two limits, and the scale between them."""

    field: str
    """Dotted path in the file, such as recipe.lr or member.NAME.drop_rate; items of a list by name or by number from
    0."""
    low: float
    """The lowest value."""
    high: float
    """The highest value."""
    log: bool = False
    """Whether to search on a logarithmic scale, as for learning rates."""

    def __post_init__(self) -> None:
        _check_range(self.field, self.low, self.high, self.log)

    @property
    def ends(self) -> tuple[Value, ...]:
        return (self.low, self.high)


@dataclass(frozen=True)
class FloatRange(NumberRange, kind="float", title="Range of numbers"):
    """A number between two limits.

    Examples
    --------
    >>> FloatRange("recipe.lr", 1e-4, 1e-2, log=True).ends
    (0.0001, 0.01)
    """

    def suggest(self, trial: Trial) -> Value:
        return trial.suggest_float(self.field, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class IntRange(NumberRange, kind="int", title="Range of whole numbers"):
    """A whole number between two limits, both included.

    Examples
    --------
    >>> IntRange("recipe.epochs", 5, 20).ends
    (5, 20)
    """

    low: int
    """The lowest value."""
    high: int
    """The highest value."""

    def suggest(self, trial: Trial) -> Value:
        return trial.suggest_int(self.field, self.low, self.high, log=self.log)


@dataclass(frozen=True)
class Choice(KindSettings, kind="choice", title="Choice of values"):
    """One of several values.

    Examples
    --------
    >>> Choice("recipe.schedule", ("cosine", "step")).ends
    ('cosine', 'step')
    """

    field: str
    """Dotted path in the file, such as recipe.schedule."""
    values: tuple[str | int | float | bool, ...]
    """The values to choose from."""

    def __post_init__(self) -> None:
        if len(set(map(repr, self.values))) < 2:
            raise MemberError(f"search of {self.field}: values must hold 2 or more, got {list(self.values)}")

    @property
    def ends(self) -> tuple[Value, ...]:
        return self.values

    def suggest(self, trial: Trial) -> Value:
        value = trial.suggest_categorical(self.field, self.values)
        assert value is not None
        return value


Search = Annotated[FloatRange | IntRange | Choice, ByKind()]
"""Told apart by `kind`."""


@dataclass(frozen=True)
class TuneSettings(Settings):
    """What is searched for one member, and for how many trials. `foldstill tune` reads it, a run ignores it.

    Examples
    --------
    >>> TuneSettings((FloatRange("recipe.lr", 1e-4, 1e-2),)).trials
    20
    """

    search: tuple[Search, ...]
    """The fields and their ranges or values, each with its `kind`."""
    member: str = ""
    """Name of the member that is trained; the first by default."""
    folds: int = 2
    """Number of folds it is trained on; the mean of their held-out KL is minimised."""
    trials: int = 20
    """Total number of trials, including those of earlier or other processes on the same folder."""
    startup: int = 5
    """Number of first trials that are drawn at random and always finished; later ones are stopped when worse than
    the median."""

    def __post_init__(self) -> None:
        fields = [each.field for each in self.search]
        if not fields or len(set(fields)) < len(fields):
            raise MemberError(f"tune.search must name different fields, got {fields}")
        for name in ("folds", "trials", "startup"):
            if getattr(self, name) < 1:
                raise MemberError(f"tune.{name} must be 1 or more, got {getattr(self, name)}")


def _check_range(field: str, low: float, high: float, log: bool) -> None:
    if not low < high or (log and low <= 0):
        raise MemberError(
            f"search of {field}: low must be less than high{' and positive' if log else ''}, got {low} and {high}"
        )


def open_study(journal: Path, settings: TuneSettings) -> Study:
    """The study in a journal file, created if it does not exist; several processes may work on it at once.

    The pruner (the median rule; Golovin et al., 2017, section 3.2.2) waits for `startup` finished trials, so whatever
    the scores are, some trial is finished. A journal is lines of JSON: nothing in it is executed when it is read.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal.parent.mkdir(parents=True, exist_ok=True)
    _check_journal(journal)
    try:
        # With a relative path, Optuna 5 waits without end for the lock of a killed process.
        return optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(journal.absolute()))),
            study_name="foldstill",
            load_if_exists=True,
            pruner=optuna.pruners.MedianPruner(n_startup_trials=settings.startup),
        )
    except (LookupError, TypeError, ValueError) as error:
        raise FileError(f"{journal} was changed after Optuna wrote it ({error!r}): {_CURE}") from error


def _check_journal(journal: Path) -> None:
    """Raises FileError for a line that is no record of Optuna, which would read it as a bug of its own."""
    content = journal.read_bytes() if journal.exists() else b""
    if content and not content.endswith(b"\n"):
        time.sleep(_WRITTEN_S)
        content = journal.read_bytes()
    for number, line in enumerate(content.splitlines(keepends=True), start=1):
        try:
            is_record = line.endswith(b"\n") and "op_code" in json.loads(line)
        except (ValueError, TypeError, RecursionError):
            is_record = False
        if not is_record:
            raise FileError(f"{journal} was cut or damaged in line {number}: {_CURE}")


_WRITTEN_S = 0.2
"""Seconds after which another process has surely written the line that it had begun."""
_CURE = "restore it from a copy, or name another --folder"


def run_trial(study: Study, settings: TuneSettings, score: Score, *, seed: int, place: str = "") -> None:
    """Run one more trial, which is finished, stopped early, or failed with its error message; an interrupted trial does
    not count.

    What trial number n draws depends on the seed, on n and on the trials before it, not on which process draws it.
    `place` is the name of the folder that the process has locked for it.
    """
    from optuna import TrialPruned
    from optuna.samplers import TPESampler
    from optuna.trial import TrialState

    trial = study.ask()
    trial.set_user_attr(PLACE, place)
    number = sum(t.number < trial.number for t in trials_of(study))
    study.sampler = TPESampler(n_startup_trials=settings.startup, seed=int(digest(seed, number), 16) % 2**32)

    def report(step: int, value: float) -> None:
        trial.report(value, step)
        if trial.should_prune():
            raise TrialPruned

    try:
        value = score({each.field: each.suggest(trial) for each in settings.search}, report)
    except TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except FoldstillError as error:
        trial.set_user_attr(ERROR, str(error))
        study.tell(trial, state=TrialState.FAIL)
    except BaseException:
        study.tell(trial, state=TrialState.FAIL)
        raise
    else:
        study.tell(trial, value)


def trials_of(study: Study) -> list[FrozenTrial]:
    """The trials of a search in their order; interrupted ones do not count, so a trial's number is its index here."""
    return [t for t in study.trials if t.state.name != "FAIL" or ERROR in t.user_attrs]


def n_finished(study: Study) -> int:
    """Number of trials that are finished, were stopped early, or failed with an error of their own."""
    return sum(t.state.is_finished() for t in trials_of(study))


def end_killed_trials(study: Study, folder: Path) -> None:
    """Mark the trials whose process was killed as interrupted, and remove what it left in the folder of the search."""
    from optuna.trial import TrialState

    # A process locks its folder before it asks for a trial, so the trials are read before the folders.
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    places = {path.name: is_locked(path) for path in folder.glob("trial-*")}
    alive = {name for name, locked in places.items() if locked}
    # A trial without a folder is that of a process that has just asked for it, if there is one without a trial.
    asking = alive - {t.user_attrs.get(PLACE) for t in running}
    for t in running:
        if not (t.user_attrs[PLACE] in alive if PLACE in t.user_attrs else asking):
            study.tell(t.number, state=TrialState.FAIL, skip_if_finished=True)
    for name in places.keys() - alive:
        remove_dead(folder / name)
    # Optuna renames its lock before it removes it; young ones may belong to a process that is alive.
    for path in folder.glob("journal.log.lock*.rename"):
        with suppress(FileNotFoundError):
            if time.time() - path.lstat().st_mtime > SILENT_S:
                path.unlink()
