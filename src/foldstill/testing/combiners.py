"""What foldstill expects of a combiner, checked on a small synthetic table.

N samples, M members, C classes.
"""

import inspect
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from foldstill.data.labels import Labels
from foldstill.data.simplex import row_kl
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.settings import type_adapter
from foldstill.stacking import COMBINERS, Combiner, FittedCombiner, crossfit, fit, load, save
from foldstill.testing.requirements import require


def synthetic_table(
    *,
    n_samples: int = 240,
    n_groups: int = 24,
    noise: tuple[float, ...] = (0.4, 0.4, 1.0, 2.0),
    seed: int = 0,
) -> OOFTable:
    """Return a small out-of-fold table of three classes, three folds and one member per entry of `noise`.

    Parameters
    ----------
    n_samples
        Number of samples N. Default: 240.
    n_groups
        Number of groups; each group is in one fold. Default: 24.
    noise
        Standard deviation of the noise that is added to the true logits, per member. Default: two good and two worse
        members, in the families "cnn" and "eeg".
    seed
        Random seed. Default: 0.

    Returns
    -------
    OOFTable
        Scores of shape (N, M, 3) and 3 to 12 votes per sample.

    Examples
    --------
    >>> synthetic_table().proba_NMC.shape
    (240, 4, 3)
    """
    rng = np.random.default_rng(seed)
    truth_NC = rng.normal(0, 1.2, (n_samples, 3))
    group_N = np.arange(n_samples) % n_groups
    noise_NMC = rng.normal(0, 1, (n_samples, len(noise), 3)) * np.asarray(noise)[:, None]
    logits_NMC = 0.7 * truth_NC[:, None] + noise_NMC
    proba_NMC = np.exp(logits_NMC) / np.exp(logits_NMC).sum(axis=2, keepdims=True)
    share_NC = np.exp(truth_NC) / np.exp(truth_NC).sum(axis=1, keepdims=True)
    votes_NC = rng.multinomial(rng.integers(3, 13, n_samples), share_NC)
    labels = Labels.from_votes(votes_NC, groups=group_N)
    families = tuple(("cnn", "cnn", "eeg", "eeg", "cnn")[m % 5] for m in range(len(noise)))
    members = tuple(f"m{m}" for m in range(len(noise)))
    scores = ScoreTable(labels.ids, members, labels.classes, proba_NMC.astype(np.float32), families)
    return OOFTable(scores, labels, (group_N % 3).astype(np.int16))


def check_combiner(combiner: Combiner, table: OOFTable | None = None) -> None:
    """Check that a combiner keeps the promises that the rest of foldstill relies on.

    1. Its settings are a frozen dataclass with `kind`, `name`, `title`, `summary` and `example()`, and unknown keys are
    refused. 2. It returns distributions, and the same ones again. 3. A saved combination returns the same scores.
    4. Members are matched by name, and another number of members is refused. 5. Held-out scores do not depend on the
    labels of their fold. 6. Labels that are permuted between groups teach it nothing.

    Parameters
    ----------
    combiner
        The combiner to check, of a class in foldstill or of your own.
    table
        Table to check it on, with groups of equal size. Default: `synthetic_table()`.

    Raises
    ------
    AssertionError
        When a promise is broken; the message says which.

    Examples
    --------
    >>> from foldstill.stacking.averages import Average
    >>> check_combiner(Average())
    """
    table = synthetic_table() if table is None else table
    fitted = fit(combiner, table)
    _check_settings(combiner)
    _check_distributions(fitted, table)
    _check_saving(fitted, table)
    _check_members(fitted, table)
    _check_held_out(combiner, table)
    _check_permuted_labels(combiner, table)


def _check_settings(combiner: Combiner) -> None:
    from pydantic import ValidationError

    settings = type(combiner)
    name = settings.__name__
    parameters = vars(settings).get("__dataclass_params__")
    require(getattr(parameters, "frozen", False), f"{name} must be a frozen dataclass")
    for field in ("kind", "name", "title", "summary"):
        text = getattr(combiner, field, "")
        require(isinstance(text, str) and text != "", f"{name}.{field} must be a text that is not empty, got {text!r}")
    require(
        inspect.getattr_static(settings, "kind", None) == combiner.kind, f"{name}.kind must be a constant of the class"
    )
    require(isinstance(settings.example(), settings), f"{name}.example() must return a {name}")
    reader = type_adapter(settings, {"combiner": (settings, *COMBINERS)})
    try:
        reader.validate_python({"kind": combiner.kind, "no_such_key": 3})
    except ValidationError as error:
        places = [detail["loc"] for detail in error.errors()]
        require(places == [("no_such_key",)], f"{name} must refuse the unknown key alone, it refuses {places}")
    else:
        raise AssertionError(f"{name} must refuse unknown keys: derive it from foldstill.settings.Settings")


def _check_distributions(fitted: FittedCombiner, table: OOFTable) -> None:
    proba_NC = fitted.apply(table.scores)
    shape = (len(table), len(table.classes))
    require(proba_NC.shape == shape, f"{fitted.name} must return shape {shape}, got {proba_NC.shape}")
    require(proba_NC.dtype == np.float64, f"{fitted.name} must return float64, got {proba_NC.dtype}")
    require(bool((np.abs(proba_NC.sum(axis=1) - 1) < 1e-9).all()), f"{fitted.name} must return rows that sum to one")
    require(bool((proba_NC > 0).all()), f"{fitted.name} must return positive probabilities")
    again_NC = fit(fitted.combiner, table).apply(table.scores)
    require(np.array_equal(proba_NC, again_NC), f"{fitted.name} must give the same scores when it is fitted again")
    weight_M = fitted.weight_M
    require(
        weight_M is None or weight_M.shape == (len(table.members),), f"{fitted.name} must have one weight per member"
    )


def _check_saving(fitted: FittedCombiner, table: OOFTable) -> None:
    with TemporaryDirectory() as root:
        folder = Path(root) / "combination"
        save(fitted, folder)
        own = type(fitted.combiner)
        again = load(folder, combiners=COMBINERS if own in COMBINERS else (own, *COMBINERS))
        suffixes = {path.suffix for path in folder.iterdir()}
    for field in ("combiner", "members", "classes", "table_digest", "explanation"):
        saved, loaded = getattr(fitted, field), getattr(again, field)
        require(saved == loaded, f"{fitted.name}: {field} was {saved} when it was saved and is {loaded} after loading")
    require(
        np.array_equal(again.apply(table.scores), fitted.apply(table.scores)),
        f"{fitted.name} must give the same scores after saving and loading: `restore` must use all of `state`",
    )
    require(suffixes <= {".json", ".npz", ".txt"}, f"{fitted.name} left files of other types: {sorted(suffixes)}")


def _check_members(fitted: FittedCombiner, table: OOFTable) -> None:
    shuffled = table.scores.select(list(reversed(table.members)))
    require(
        np.array_equal(fitted.apply(shuffled), fitted.apply(table.scores)),
        f"{fitted.name} must match members by name: another order in the table changed its scores",
    )
    try:
        fitted.combination(table.proba_NMC[:, :-1])
    except StackError:
        return
    raise AssertionError(f"{fitted.name} must refuse another number of members: call require_members")


def _check_held_out(combiner: Combiner, table: OOFTable) -> None:
    held = table.fold_N == table.fold_N.max()
    votes_NC = table.labels.votes_NC.copy()
    votes_NC[held] = np.roll(votes_NC[held], 1, axis=1) * 2
    changed = replace(table, labels=replace(table.labels, votes_NC=votes_NC))
    before, after = crossfit(combiner, table), crossfit(combiner, changed)
    require(
        np.array_equal(before.proba_NC[held], after.proba_NC[held]),
        f"{combiner.name} must not see held-out labels: scores of a fold changed with the labels of that fold",
    )


def _check_permuted_labels(combiner: Combiner, table: OOFTable) -> None:
    names, group_N = np.unique(table.labels.groups, return_inverse=True)
    require(len(set(np.bincount(group_N))) == 1, "give a table with groups of equal size")
    # The rows of each group get the labels of the rows of another group.
    other_G = np.random.default_rng(3).permutation(len(names))
    order = np.empty(len(table), np.intp)
    for g, other in enumerate(other_G):
        order[group_N == g] = np.flatnonzero(group_N == other)
    votes_NC = table.labels.votes_NC[order]
    permuted = replace(table, labels=replace(table.labels, votes_NC=votes_NC))
    prior_C = votes_NC.sum(axis=0) / votes_NC.sum()
    prior_kl = row_kl(target=permuted.labels.target_NC, proba=np.broadcast_to(prior_C, votes_NC.shape)).mean()
    kl = crossfit(combiner, permuted).kl
    require(
        kl > prior_kl - 0.02,
        f"{combiner.name} learned from labels that were permuted between groups (KL {kl:.3f}, class prior "
        f"{prior_kl:.3f}): it must remember groups",
    )
