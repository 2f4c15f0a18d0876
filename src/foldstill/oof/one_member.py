"""Predictions of one member in a file of any form, made elsewhere, with the ids of their rows.

N samples (rows), M members, C classes, K fold models.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.columns import Columns, read_columns, read_npz
from foldstill.data.text import Strings, as_strings
from foldstill.errors import OOFError
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.imports import require_effect
from foldstill.oof.member_files import member_columns, member_name
from foldstill.oof.new_scores import import_new_scores
from foldstill.oof.one_probability import both_classes, columns_of_members
from foldstill.oof.probabilities import as_proba
from foldstill.oof.roles import role_values
from foldstill.oof.store import is_score_file, read_scores
from foldstill.oof.table import FoldScores


def read_one_member(
    path: Path, member: str, classes: Sequence[str], settings: ImportSettings
) -> tuple[Strings, NDArray[np.float32]]:
    """Ids (N,) and probabilities (K, N, C) of a member, its classes in the order of `classes`.

    K is 1 unless the file holds the scores of fold models. A file of several members is searched for `member`; in a
    file of one member its name does not count. The row numbers are the ids of a file without ids.

    Raises
    ------
    OOFError, DataError
        When the file has no such member or other classes, or scores are not probabilities.
    """
    if path.suffix == ".npz":
        require_effect(path, settings, ("scores",))
        source = read_npz(path)
        try:
            return _of_npz(source, member, classes, settings)
        finally:
            if isinstance(source.arrays, np.lib.npyio.NpzFile):
                source.arrays.close()
    if is_score_file(path):
        require_effect(path, settings)
        scores = read_scores(path)
    else:
        require_effect(path, settings, ("pred", "members", "classes"))
        per_member = "{member}" in settings.scores
        names = list(member_columns(read_columns(path), settings)) if per_member else [member_name(path.name)]
        scores = import_new_scores([path], names, classes, settings)
    order = _order(path, scores.classes, classes)
    chosen = _position(path, member, scores.members)
    proba_KNMC = scores.proba_KNMC if isinstance(scores, FoldScores) else scores.proba_NMC[None]
    return scores.ids, proba_KNMC[:, :, chosen][:, :, order]


def _of_npz(
    source: Columns, member: str, classes: Sequence[str], settings: ImportSettings
) -> tuple[Strings, NDArray[np.float32]]:
    raw = role_values(source, settings, "pred")
    if raw is None or raw.ndim not in (1, 2, 3):
        found = "" if raw is None else f"of shape {raw.shape}, "
        raise OOFError(
            f"{source.path} has no predictions (rows, members, classes), it has {found}{source.listing}: name the key "
            "with pred"
        )
    names = role_values(source, settings, "members")
    named = None if names is None else [str(name) for name in names.tolist()]
    name = f"{source.path}: predictions"
    if (columns_NM := columns_of_members(raw, settings.positive, named)) is not None:
        column_N = columns_NM[:, _position(source.path, member, named or _numbered(columns_NM))]
        logits = settings.space == "logit"
        pair_N2 = both_classes(column_N, name, classes, named=settings.positive, logits=logits)
        return _with_ids(source, as_proba(pair_N2, name, 2, settings.space, settings.smoothing), settings)
    require_effect(source.path, settings, ("positive",))
    if raw.ndim == 3:
        raw = raw[:, _position(source.path, member, named or _numbered(raw))]
    held = settings.classes or _class_names(source, settings)
    if not held:
        raise OOFError(
            f"{source.path} does not name the {raw.shape[-1]} classes of its predictions, so they cannot be matched by "
            'name: list the names in their order with classes, or set classes = "data" if they are in the order of the '
            "data's"
        )
    order = _order(source.path, held, classes)
    proba_NC = as_proba(raw, name, len(held), settings.space, settings.smoothing)
    return _with_ids(source, proba_NC[:, order], settings)


def _numbered(raw_NM: NDArray[Any]) -> list[str]:
    """Names of members that have none."""
    return [f"m{i}" for i in range(raw_NM.shape[1])]


def _class_names(source: Columns, settings: ImportSettings) -> tuple[str, ...]:
    names = role_values(source, settings, "classes")
    return () if names is None else tuple(str(name) for name in names.tolist())


def _with_ids(
    source: Columns, proba_NC: NDArray[np.float32], settings: ImportSettings
) -> tuple[Strings, NDArray[np.float32]]:
    """The ids in the file with the probabilities (1, N, C); the row numbers where there are no ids."""
    ids = role_values(source, settings, "id")
    text = as_strings(np.arange(len(proba_NC)) if ids is None else ids, f"ids in {source.path}")
    if len(text) != len(proba_NC):
        raise OOFError(f"{source.path} has {len(text)} ids and predictions of {len(proba_NC)} rows: align them")
    return text, proba_NC[None]


def _position(path: Path, member: str, members: Sequence[str]) -> int:
    if len(members) == 1:
        return 0
    if member not in members:
        listed = f"{list(members)[:12]}{f' and {len(members) - 12} more' if len(members) > 12 else ''}"
        raise OOFError(f"{path} has no member {member!r}, it has {listed}: name one of these with column")
    return list(members).index(member)


def _order(path: Path, held: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Index that brings the classes of a file into the wanted order."""
    if sorted(held) != sorted(wanted):
        raise OOFError(
            f"{path} has predictions of the classes {list(held)}, the data have {list(wanted)}: predict the classes of "
            "the data, under the same names"
        )
    return [list(held).index(name) for name in wanted]


def match_rows(ids: Strings, wanted: Strings, name: str) -> NDArray[np.intp]:
    """Index of the wanted ids among `ids`; `name` says in errors whose they are.

    Raises OOFError with counts and first ids of the wanted rows that are missing, and of those that repeat.
    """
    unique, first, count = np.unique(ids, return_index=True, return_counts=True)
    place = np.minimum(np.searchsorted(unique, wanted), max(len(unique) - 1, 0))
    missing = wanted[unique[place] != wanted] if len(unique) else wanted
    if len(missing):
        extra = unmatched(ids, wanted)
        others = f"; {len(extra)} of its {len(ids)} rows are not in the data, first ids: {extra[:3].tolist()}"
        raise OOFError(
            f"{name} lacks {len(missing)} of {len(wanted)} rows; first ids: {missing[:3].tolist()}"
            f"{others if len(extra) else ''}: predict every row, and write ids the same way everywhere"
        )
    repeated = wanted[count[place] > 1]
    if len(repeated):
        raise OOFError(
            f"{name} has {len(repeated)} ids more than once; first ids: {repeated[:3].tolist()}: keep one row per id"
        )
    index: NDArray[np.intp] = first[place]
    return index


def unmatched(ids: Strings, wanted: Strings) -> Strings:
    """The ids that are not wanted, in their order."""
    others: Strings = ids[~np.isin(ids, wanted)]
    return others
