"""Rows without votes: further inputs, and the scores of every fold model for them.

U rows, M members, C classes, K fold models.
"""

from dataclasses import dataclass, replace

import numpy as np

from foldstill.base_models.joined_member import resolve
from foldstill.data.dataset import Inputs, content_of
from foldstill.data.features import FeatureTable, View
from foldstill.distill import SoftTargets
from foldstill.errors import DistillError
from foldstill.oof.table import FoldScores
from foldstill.pipeline.run import Run
from foldstill.stacking import FittedCombiner


@dataclass(frozen=True)
class Unlabelled:
    """Inputs of the student's view (U, ...), and the members' scores of the same rows by their K fold models."""

    inputs: View
    scores: FoldScores

    def taught_by(self, teacher: FittedCombiner, soft: SoftTargets) -> SoftTargets:
        """`soft` with these rows after its own: no fold model saw them, so the combination uses all of them."""
        proba_NC = np.concatenate([soft.proba_NC, teacher.apply(self.scores)])
        return replace(soft, ids=np.concatenate([soft.ids, self.scores.ids]), proba_NC=proba_NC)


def read_unlabelled(run: Run, path: str, view: str) -> Unlabelled:
    """The rows in `path`, in the form that `foldstill predict` reads, and the scores of every trained member for them.

    Raises DistillError when a locked row is among them: the student would be scored on an input it learned from.
    """
    from foldstill.base_models.members import predict_members

    inputs = run.experiment.data.inputs(run.root / path)
    locked = set(content_of(run.dataset.view(view), run.plan.test_rows).tolist())
    content = content_of(_like(view_of(inputs, view, path), run.dataset.view(view)))
    locked_ids = [i for i, c in zip(inputs.ids.tolist(), content.tolist(), strict=True) if c in locked]
    if locked_ids:
        raise DistillError(
            f"{path} holds {len(locked_ids)} rows whose {view} is that of a locked row, first ids {locked_ids[:3]}: "
            "the student is scored on those, so leave them out"
        )
    for read in (read for member in resolve(run.experiment.member) for read in member.views):
        view_of(inputs, read, path)
    # Ids of their own, since these rows may be numbered as the data set's are.
    ids = [f"unlabelled-{i}" for i in inputs.ids.tolist()]
    scores = predict_members(
        run.dir.members, run.experiment.member, inputs.views, run.dataset.labels.classes, run.work.device, ids=ids
    )
    return Unlabelled(view_of(inputs, view, path), scores)


def _like(rows: View, known: View) -> View:
    """Rows of features with the columns and levels of others, so that equal rows are equal."""
    return FeatureTable.of(rows).aligned(known.features) if isinstance(known, FeatureTable) else rows


def view_of(inputs: Inputs, view: str, path: str) -> View:
    if view not in inputs.views:
        raise DistillError(
            f"{path} holds the views {sorted(inputs.views)}, needs {view!r}: give every view that members and student "
            "read"
        )
    return inputs.views[view]
