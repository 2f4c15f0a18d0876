"""What a comparison over few groups can tell, said before anything is trained."""

import math

import numpy as np

from foldstill.data.folds import FoldPlan

ENOUGH = 20
"""Groups from which a 95 % interval is at most 7 % wider than with a known standard deviation, and its coverage is
measured (docs/benchmarks.md)."""


def few_groups_note(plan: FoldPlan) -> str:
    """A sentence on a comparison that will rest on too few groups, and what would be enough; empty when there are many.

    >>> from foldstill.data.folds import make_plan
    >>> from foldstill.data.labels import Labels
    >>> labels = Labels.from_hard(np.arange(80) % 2, groups=np.arange(80) // 2)
    >>> note = few_groups_note(make_plan(labels, n_folds=5, test_share=0.15, strategy="grouped", seed=0))
    >>> print(note.partition(":")[0])
    The comparison will rest on 6 locked groups, and intervals over fewer than 20 are wide
    >>> few_groups_note(make_plan(labels, n_folds=5, test_share=0.5, strategy="grouped", seed=0))
    ''
    """
    n_all = len(np.unique(plan.groups))
    n_locked = len(np.unique(plan.groups[plan.test_rows]))
    judged = n_locked or n_all
    if judged >= ENOUGH:
        return ""
    rests = f"The comparison will rest on {judged} {'locked ' if n_locked else ''}groups, and intervals over fewer "
    rests += f"than {ENOUGH} are wide: "
    share = math.ceil(100 * ENOUGH / n_all) / 100
    cures = [f"set folds.test_share = {share:g} to lock about {ENOUGH}"] if n_locked and share <= 0.5 else []
    if n_locked and n_all >= ENOUGH:
        cures.append(f"folds.test_share = 0 to compare on all {n_all}, cross-fitted")
    return rests + (", or ".join(cures) or f"there are {n_all} in all, so add data of other groups") + "."
