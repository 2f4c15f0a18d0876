"""The columns of a table of scores: in its files, and as a data frame.

M members, C classes.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from numpy.typing import NDArray

from foldstill.data.labels import Labels


def votes_column(class_name: str) -> str:
    """Name of the column that holds the votes for a class.

    >>> votes_column("id")
    'votes__id'
    """
    return f"votes__{class_name}"


def score_columns(members: Sequence[str], classes: Sequence[str]) -> list[list[str]]:
    """Name of the column of each member and class; numbers stand for the names where two names would be the same.

    >>> score_columns(["net"], ["cat", "dog"])
    [['p__net__cat', 'p__net__dog']]
    >>> score_columns(["a", "a__b"], ["c", "b__c"])
    [['p__0__0', 'p__0__1'], ['p__1__0', 'p__1__1']]
    """
    named = [[f"p__{member}__{c}" for c in classes] for member in members]
    if len({name for of_member in named for name in of_member}) == len(members) * len(classes):
        return named
    return [[f"p__{m}__{c}" for c in range(len(classes))] for m in range(len(members))]


def members_by_columns(columns: Iterable[str], classes: Sequence[str]) -> tuple[str, ...]:
    """Members of which every class has a column `p__<member>__<class>`, in the order of the columns.

    Empty unless each such column belongs to exactly one member and class.

    >>> members_by_columns(["id", "p__net__cat", "p__net__dog"], ["cat", "dog"])
    ('net',)
    """
    names = [name for name in columns if name.startswith("p__")]
    candidates = dict.fromkeys(
        name.removeprefix("p__").removesuffix(f"__{c}") for name in names for c in classes if name.endswith(f"__{c}")
    )
    members = tuple(m for m in candidates if m and all(f"p__{m}__{c}" in names for c in classes))
    return members if len(names) == len(members) * len(classes) else ()


def label_columns(labels: Labels) -> dict[str, NDArray[Any]]:
    """Ids, groups, strata, sample weights and votes, by column."""
    columns = {
        "id": labels.ids,
        "group": labels.groups,
        "stratum": labels.stratum_N,
        "sample_weight": labels.sample_weight_N,
    }
    return columns | {votes_column(c): labels.votes_NC[:, i] for i, c in enumerate(labels.classes)}
