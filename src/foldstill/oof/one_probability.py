"""Members of two classes that give one probability per row: the other class gets the rest. N rows, C classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import ROW_SUM_TOLERANCE
from foldstill.errors import OOFError
from foldstill.oof.probabilities import LOGITS, PERCENTAGES

_KNOWN = (("0", "1"), ("false", "true"))
"""Names of two classes, in lower case, of which the second is the positive one."""


def positive_class(classes: Sequence[str], named: str, name: str) -> str:
    """The class whose probability the only column of a member holds; `name` says in errors whose it is.

    It is the `named` one, else the second of 0 and 1 or of false and true. Raises OOFError where that leaves it open.

    >>> positive_class(["False", "True"], "", "scores"), positive_class(["yes", "no"], "yes", "scores")
    ('True', 'yes')
    """
    if len(classes) != 2:
        raise OOFError(
            f"{name} have one column, which is enough for two classes, the labels have {len(classes)} classes: "
            "give one column per class"
        )
    if named and named not in classes:
        raise OOFError(
            f"{name}: positive = {named!r} must be one of two classes, the labels have {list(classes)}: name one of "
            "them, or give one column per class"
        )
    known = known_positive(classes)
    if not (named or known):
        raise OOFError(
            f"{name} have one column of probabilities: name the class that they are of, one of {list(classes)}, with "
            "positive (--positive NAME), in Python by the name of a pandas Series; the other class gets the rest"
        )
    return named or known


def known_positive(classes: Sequence[str]) -> str:
    """The positive one of two classes where their names say so, else ""."""
    by_text = {name.casefold(): name for name in classes}
    return next((by_text[positive] for negative, positive in _KNOWN if set(by_text) == {negative, positive}), "")


def both_classes(
    values: NDArray[Any], name: str, classes: Sequence[str], *, named: str = "", logits: bool = False
) -> NDArray[np.float64]:
    """Scores (..., 2) in the order of the classes from those of the positive class (...).

    `named` is the positive class where its name does not say so. Of a logit, the other class has the logit 0.

    >>> both_classes(np.array([0.75]), "scores", ["no", "yes"], named="yes").tolist()
    [[0.25, 0.75]]
    """
    positive = positive_class(classes, named, name)
    # Without a fraction among them, whole numbers are rather classes than probabilities.
    if values.dtype.kind not in ("fiu" if named else "f"):
        raise OOFError(
            f"{name} must hold probabilities of {positive!r}, got {values.dtype}: write numbers between 0 and 1"
        )
    p = values.astype(np.float64)
    outside = (p < -ROW_SUM_TOLERANCE) | (p > 1 + ROW_SUM_TOLERANCE)
    if not logits and outside.any():
        # Checked here, because 1 - p of the other class would stand in the message. Logits have both signs.
        low, high = np.nanmin(p), np.nanmax(p)
        cure = PERCENTAGES if low >= 0 and 10 < high <= 100 else LOGITS
        raise OOFError(f"{name} must be probabilities in [0, 1], got values from {low:.4g} to {high:.4g}: {cure}")
    # A row without a prediction stays one.
    rest = 0 * p if logits else 1 - p
    return np.stack((rest, p) if positive == classes[1] else (p, rest), axis=-1)


def columns_of_members(raw: NDArray[Any], positive: str, members: Sequence[str] | None) -> NDArray[Any] | None:
    """Predictions (N, M) of an `.npz` with one probability per row and member; None for predictions of other forms.

    Predictions (N, C) of one member are told from (N, M) by the names of the members, or by `positive`.
    """
    if raw.dtype.kind != "f" or raw.ndim not in (1, 2, 3):
        return None
    per_member = raw.ndim == 2 and (bool(positive) or (members is not None and len(members) == raw.shape[1]))
    return raw.reshape(len(raw), -1) if raw.ndim == 1 or raw.shape[-1] == 1 or per_member else None
