"""What foldstill expects of a member, checked on a small synthetic data set.

N samples, C classes.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.imported_member import Imported
from foldstill.base_models.member import Member, Model
from foldstill.data.dataset import Dataset
from foldstill.data.features import FeatureTable, View
from foldstill.data.labels import Labels
from foldstill.data.simplex import kl_divergence
from foldstill.data.training import FitContext, FitProgress, TrainingSet
from foldstill.errors import MemberError
from foldstill.testing.requirements import require


def synthetic_dataset(*, n_samples: int = 72, seed: int = 0) -> Dataset:
    """Return a small data set of three classes that images, signals and features all show.

    Parameters
    ----------
    n_samples
        Number of samples N; groups have three samples each. Default: 72.
    seed
        Random seed. Default: 0.

    Returns
    -------
    Dataset
        The view "image" of shape (N, 16, 16, 3), whose brightness is the class, the view "signal" of shape
        (N, 3, 64), whose frequency is the class, and the view "features" of two numbers and a category, each of which
        depends on the class and is missing in some rows.

    Examples
    --------
    >>> {name: view.shape for name, view in synthetic_dataset().views.items()}
    {'image': (72, 16, 16, 3), 'signal': (72, 3, 64), 'features': (72, 3)}
    """
    rng = np.random.default_rng(seed)
    class_N = np.arange(n_samples) // 3 % 3
    images = rng.normal(60, 20, (n_samples, 16, 16, 3)) + 60 * class_N[:, None, None, None]
    rhythm = np.sin(np.arange(64) * (0.3 + 0.4 * class_N[:, None]) + rng.uniform(0, 6, (n_samples, 1)))
    signals = rng.normal(0, 0.5, (n_samples, 3, 64)) + rhythm[:, None]
    votes = 9 * np.eye(3)[class_N] + 1
    labels = Labels.from_votes(votes, groups=np.arange(n_samples) // 3)
    size_N, color_N = class_N + rng.normal(0, 0.3, n_samples), np.array(["blue", "green", "red"], object)[class_N]
    size_N[rng.random(n_samples) < 0.1], color_N[rng.random(n_samples) < 0.1] = np.nan, None
    features = FeatureTable.of({"size": size_N, "noise": rng.normal(size=n_samples), "color": color_N})
    views: dict[str, View] = {
        "image": images.clip(0, 255).astype(np.uint8),
        "signal": signals.astype(np.float32),
        "features": features,
    }
    return Dataset(labels, views)


def check_member(member: Member, dataset: Dataset | None = None) -> None:
    """Check that a member keeps the promises that the rest of foldstill relies on.

    1. Its settings are a frozen dataclass with `kind`, `name`, `title` and `summary`. 2. It predicts distributions.
    3. It learns from the targets. 4. The same seed gives the same model. 5. Rows outside the training rows are never
    read. 6. A saved model predicts the same probabilities. 7. A fit that was interrupted ends as one that was not.
    Imported predictions keep the first two, and refuse to be loaded as a model.

    Parameters
    ----------
    member
        The member to check, of a class in foldstill or of your own. Settings that train in seconds are enough.
    dataset
        Samples that hold the views the member reads. Default: `synthetic_dataset()`.

    Raises
    ------
    AssertionError
        With the promise that is broken.

    Examples
    --------
    >>> from foldstill import TimmMember
    >>> check_member(TimmMember.example())
    """
    dataset = synthetic_dataset() if dataset is None else dataset
    name = f"member {member.name!r} (kind {member.kind!r})"
    _check_settings(member, name)
    if isinstance(member, Imported):
        _check_imported(member, dataset, name)
        return
    n = len(dataset.labels)
    rows = np.flatnonzero(np.arange(n) % 6 < 3)
    views = {view: dataset.view(view) for view in member.views}
    training_set = TrainingSet.from_labels(dataset.labels, views, rows)
    with TemporaryDirectory() as scratch:
        folders = (Path(scratch) / str(i) for i in range(9))
        require(
            member.check(training_set) >= 0, f"{name}: check() must return the work of a fit, a number of 0 or more"
        )
        model = _fit(member, training_set, next(folders))
        proba_NC = model.predict(views)
        _check_model(model, proba_NC, dataset, member, name)
        again = _fit(member, training_set, next(folders)).predict(views)
        require(np.array_equal(again, proba_NC), f"{name}: the same seed must give the same model")
        hidden = _fit(member, _changed_outside(training_set), next(folders)).predict(views)
        require(np.array_equal(hidden, proba_NC), f"{name}: rows outside the training rows must not be read")
        rotated = replace(training_set, target_NC=np.roll(training_set.target_NC, 1, axis=1))
        wrong = _fit(member, rotated, next(folders)).predict(views)
        learned, confused = (kl_divergence(target=dataset.labels.target_NC, proba=proba) for proba in (proba_NC, wrong))
        require(
            learned < confused, f"{name}: fit() must learn from the targets, got KL {learned:.3f} and {confused:.3f}"
        )
        saved = next(folders)
        model.save(saved)
        require(
            np.array_equal(member.load(saved).predict(views), proba_NC),
            f"{name}: a saved model must predict the same probabilities",
        )
        resumed = _fit(member, training_set, next(folders), interrupted=True).predict(views)
        require(
            np.array_equal(resumed, proba_NC), f"{name}: an interrupted fit must end as one that was not interrupted"
        )


def _check_imported(member: Imported, dataset: Dataset, name: str) -> None:
    """Predictions made elsewhere: distributions of the rows of the data, and no model to be loaded."""
    training_set = TrainingSet.from_labels(dataset.labels, {}, np.arange(len(dataset.labels)))
    with TemporaryDirectory() as scratch:
        model = _fit(member, training_set, Path(scratch))
        _check_model(model, model.predict({}), dataset, member, name)
        try:
            member.load(Path(scratch))
        except MemberError:
            return
    require(False, f"{name}: load() must refuse, because there is no model")


def _check_settings(member: Member, name: str) -> None:
    require(is_dataclass(member), f"{name}: a member must be a dataclass")
    for attribute in ("kind", "name", "title", "summary", "family"):
        require(bool(getattr(member, attribute, "")), f"{name} must have a {attribute}")
    require(member.summary.endswith("."), f"{name}: the summary must be one sentence with a full stop")
    try:
        setattr(member, fields(member)[0].name, None)  # type: ignore[arg-type]  # a dataclass, checked before
    except AttributeError:
        return
    require(False, f"{name}: the dataclass must be frozen")


def _check_model(model: Model, proba_NC: NDArray[np.float32], dataset: Dataset, member: Member, name: str) -> None:
    labels = dataset.labels
    require(model.classes == labels.classes, f"{name}: a model must name the classes of its training set")
    shapes = {view: tuple(dataset.view(view).shape[1:]) for view in member.views}
    require(dict(model.shapes) == shapes, f"{name}: a model must name the views it reads with the shape of a row")
    require(
        proba_NC.shape == (len(labels), len(labels.classes)) and proba_NC.dtype == np.float32,
        f"{name}: predict() must return float32 of shape {(len(labels), len(labels.classes))}, got {proba_NC.dtype} of "
        f"{proba_NC.shape}",
    )
    sums = np.abs(proba_NC.sum(axis=1) - 1).max()
    require(proba_NC.min() >= 0 and sums < 1e-4, f"{name}: predictions must be distributions")
    few = np.array([5, 1])
    some = model.predict({view: dataset.view(view) for view in member.views}, few)
    require(np.allclose(some, proba_NC[few], atol=1e-5), f"{name}: predict() must return the rows it is asked for")


def _changed_outside(training_set: TrainingSet) -> TrainingSet:
    """Other inputs and no targets in the rows that are not trained on."""
    outside = np.setdiff1d(np.arange(len(training_set)), training_set.rows)

    def changed(view: View) -> View:
        if isinstance(view, FeatureTable):
            # Codes of levels stay codes of levels.
            copy_NF = view.values_NF.copy()
            copy_NF[outside] = copy_NF[outside][::-1]
            return replace(view, values_NF=copy_NF)
        copy = view.copy()
        copy[outside] = copy[outside][::-1] // 2 if view.dtype.kind in "ui" else -copy[outside]
        return copy

    views: Mapping[str, View] = {name: changed(view) for name, view in training_set.views.items()}
    target_NC = np.array(training_set.target_NC, dtype=np.float64)
    target_NC[outside] = np.nan
    return replace(training_set, views=views, target_NC=target_NC)


class _InterruptedError(Exception):
    """Ends a fit after its first progress."""


def _fit(member: Member, training_set: TrainingSet, members: Path, *, interrupted: bool = False) -> Model:
    """A fitted model; the parts of a joined member are fitted first, in the folders where it looks for them."""
    for part in member.parts:
        folder = members / part.name / "fold-0"
        part.fit(training_set.with_views(part.views), FitContext(seed=1, folder=folder)).save(folder)
    folder = members / member.name / "fold-0"

    def stop(progress: FitProgress) -> None:
        raise _InterruptedError

    context = FitContext(seed=1, folder=folder, made_from={"member": member.name})
    if interrupted:
        try:
            member.fit(training_set, replace(context, report=stop))
        except _InterruptedError:
            pass
        else:
            raise AssertionError(f"member {member.name!r}: fit() must report its progress")
    return member.fit(training_set, context)
