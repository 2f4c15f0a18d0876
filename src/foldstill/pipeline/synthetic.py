"""Synthetic rows of a run: made within each fold, and labelled by the models and the combination that never saw it.

S rows, M members, C classes.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.fold_models import FoldModels
from foldstill.base_models.joined_member import resolve
from foldstill.data.features import FeatureTable
from foldstill.data.folds import FoldPlan
from foldstill.digests import digest
from foldstill.distill import SoftTargets, StudentSettings
from foldstill.distill.synthetic_rows import SyntheticRows, munge
from foldstill.errors import DistillError
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.pipeline.run import Run
from foldstill.pipeline.teachers import teacher_of_fold


@dataclass(frozen=True)
class Synthetic:
    """Synthetic rows, the fold and the group of the training rows they were made of, and the teacher's prediction."""

    inputs: FeatureTable
    group_S: NDArray[np.str_]
    proba_SC: NDArray[np.float64]

    def after(self, soft: SoftTargets) -> SoftTargets:
        """`soft` with these rows after its own."""
        ids = np.asarray([f"synthetic-{row}" for row in range(len(self.inputs))])
        proba_NC = np.concatenate([soft.proba_NC, self.proba_SC])
        return replace(soft, ids=np.concatenate([soft.ids, ids]), proba_NC=proba_NC)


def require_synthetic(run: Run, settings: StudentSettings) -> FeatureTable:
    """The table that synthetic rows are made of.

    Raises DistillError for a view of another sort, and for members that cannot label such rows.
    """
    table = run.dataset.view(settings.view)
    if not isinstance(table, FeatureTable):
        raise DistillError(
            f"student {settings.name!r}: synthetic rows are made of a table of features, and the view "
            f"{settings.view!r} is none: leave `synthetic` out"
        )
    others = {m.name: m.views for m in resolve(run.experiment.member) if tuple(m.views) != (settings.view,)}
    if others:
        raise DistillError(
            f"student {settings.name!r}: every member must label synthetic rows, and {list(others)[:3]} do not read "
            f"the view {settings.view!r} alone: leave these members or `synthetic` out"
        )
    return table


def synthetic_rows(run: Run, settings: StudentSettings, oof: OOFTable) -> Synthetic:
    """Synthetic rows of each fold, labelled by the models that never saw it and a combination fitted without it."""
    assert settings.synthetic is not None, "only students with synthetic rows ask"
    table, plan = require_synthetic(run, settings), run.plan
    parts = [_of_fold(run, settings, oof, table, plan, fold) for fold in range(plan.n_folds)]
    inputs, groups, proba = (list(each) for each in zip(*parts, strict=True))
    return Synthetic(
        FeatureTable(np.concatenate([each.values_NF for each in inputs]), table.features),
        np.concatenate(groups),
        np.concatenate(proba),
    )


def _of_fold(
    run: Run, settings: StudentSettings, oof: OOFTable, table: FeatureTable, plan: FoldPlan, fold: int
) -> tuple[FeatureTable, NDArray[np.str_], NDArray[np.float64]]:
    made_as: SyntheticRows = settings.synthetic  # type: ignore[assignment]
    seed = int(digest(run.experiment.seed, "synthetic", fold), 16) % 2**31
    made, source_S = munge(table, plan.held_out(fold), made_as, seed=seed)
    members, views = resolve(run.experiment.member), {settings.view: made}
    proba_SMC = np.stack(
        [FoldModels(member, run.dir.members).load(fold).predict(views, device=run.work.device) for member in members],
        axis=1,
    )
    ids = np.arange(len(made)).astype(np.str_)
    families = tuple(member.family for member in members)
    scores = FoldScores(ids, tuple(m.name for m in members), oof.classes, proba_SMC[None], families)
    return made, run.dataset.labels.groups[source_S], teacher_of_fold(run, settings, oof, fold).apply(scores)
