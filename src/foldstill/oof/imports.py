"""Predictions made elsewhere, brought in as an OOF table: one `.npz`, one file a member, or one wide file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foldstill.data.labels import Labels
from foldstill.data.npz import Npz, read_npz
from foldstill.errors import OOFError
from foldstill.oof.arrays import ASSIGNED_FOLDS, Space, as_proba, with_folds
from foldstill.oof.table import OOFTable, ScoreTable

GUESSES: dict[str, tuple[str, ...]] = {
    "pred": ("pred", "preds", "proba", "oof", "predictions", "scores"),
    "votes": ("votes", "counts"),
    "shares": ("shares", "target", "targets"),
    "total": ("total", "n_votes", "total_votes", "min_votes"),
    "label": ("label", "labels", "y", "y_true"),
    "id": ("id", "ids", "row_id", "sample_id"),
    "group": ("group", "groups"),
    "fold": ("fold", "folds"),
    "stratum": ("stratum", "strata"),
    "members": ("members", "member_names", "model_names"),
    "classes": ("classes", "class_names"),
}
"""Keys and columns tried in this order where the settings name none."""


@dataclass(frozen=True, kw_only=True)
class ImportSettings:
    """Which keys or columns hold what; an empty one is guessed from its usual names."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    pred: str = ""
    """Key of the predictions (N, M, C)."""
    votes: str = ""
    shares: str = ""
    total: str = ""
    annotators: str = ""
    label: str = ""
    id: str = ""
    group: str = ""
    fold: str = ""
    stratum: str = ""
    members: str = ""
    classes: tuple[str, ...] = ()
    drop_members: tuple[str, ...] = ()
    space: Space = "proba"
    smoothing: float | None = None
    n_folds: int = ASSIGNED_FOLDS
    seed: int = 0


def import_scores(paths: Sequence[Path], settings: ImportSettings) -> OOFTable:
    """The OOF table in files made elsewhere."""
    if len(paths) == 1 and paths[0].suffix == ".npz":
        table = _from_npz(paths[0], settings)
    else:
        raise OOFError(f"cannot import {[str(p) for p in paths]}: give one .npz")
    return table.drop(settings.drop_members) if settings.drop_members else table


def _from_npz(path: Path, settings: ImportSettings) -> OOFTable:
    arrays = read_npz(path)
    pred = _array(arrays, settings, "pred")
    if pred is None:
        raise OOFError(
            f"{path} has no predictions among {sorted(arrays.arrays)}: name their key, (rows, members, classes)"
        )
    names = _array(arrays, settings, "classes") if not settings.classes else None
    classes = settings.classes or (tuple(str(c) for c in names.tolist()) if names is not None else None)
    labels = _labels(arrays, settings, classes)
    members = _array(arrays, settings, "members")
    proba = as_proba(pred, f"{path}: predictions", len(labels.classes), settings.space, settings.smoothing)
    scores = ScoreTable(
        labels.ids,
        tuple(str(m) for m in members.tolist())
        if members is not None
        else tuple(f"m{i}" for i in range(proba.shape[1])),
        labels.classes,
        proba,
    )
    return with_folds(scores, labels, _array(arrays, settings, "fold"), n_folds=settings.n_folds, seed=settings.seed)


def _array(arrays: Npz, settings: ImportSettings, role: str) -> Any:
    named = getattr(settings, role)
    if named and isinstance(named, str):
        return arrays.get(named, role)
    found = [key for key in GUESSES[role] if key in arrays.arrays]
    return arrays.get(found[0], role) if found else None


def _labels(arrays: Npz, settings: ImportSettings, classes: tuple[str, ...] | None) -> Labels:
    rest: dict[str, Any] = {"classes": classes}
    for name, role in (("ids", "id"), ("groups", "group"), ("stratum", "stratum")):
        values = _array(arrays, settings, role)
        if values is not None:
            rest[name] = values
    if settings.annotators:
        return Labels.from_annotators(arrays.get(settings.annotators, "annotators"), **rest)
    for role in ("votes", "shares", "label"):
        values = _array(arrays, settings, role)
        if values is None:
            continue
        if role == "votes":
            return Labels.from_votes(values, **rest)
        if role == "shares":
            total = _array(arrays, settings, "total")
            return Labels.from_shares(values, 1.0 if total is None else total, **rest)
        return Labels.from_hard(np.asarray(values), **rest)
    raise OOFError(f"{arrays.path} has no labels among {sorted(arrays.arrays)}: name the key of votes, shares or label")
