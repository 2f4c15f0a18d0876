"""Export a combination with all fold models of its members as one ONNX file, checked on real rows.

B rows, K fold models, M members, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foldstill.base_models.fold_models import FoldModels
from foldstill.base_models.joined_member import resolve
from foldstill.base_models.member import Member
from foldstill.data.feature_form import FeatureForm, array_in
from foldstill.data.row_form import RowForm
from foldstill.data.simplex import EPS
from foldstill.distill.export import PARITY, export_onnx
from foldstill.distill.onnx_file import OnnxStudent
from foldstill.distill.shipment import PARITY_ROWS
from foldstill.distill.sizes import is_network
from foldstill.errors import DistillError
from foldstill.pipeline.run import Run, one_writer
from foldstill.stacking import Combination
from foldstill.stacking.auto import AutoCombination
from foldstill.stacking.averages import FixedCombination, geometric_mean, mean
from foldstill.stacking.convex import WeightedAverage
from foldstill.stacking.log_pool import LogPoolCombination
from foldstill.stacking.recalibrate import RecalibratedCombination

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class EnsembleFile:
    """What `export_ensemble` wrote."""

    path: Path
    n_models: int
    difference: float
    """Largest difference of a probability from `foldstill predict`, on `n_checked` rows."""
    n_checked: int


@one_writer
def export_ensemble(run: Run, name: str) -> EnsembleFile:
    """Write a combination of networks of one view as ensemble.onnx into its folder, and compare it with `predict`.

    The file takes rows as they are stored in the data set. As in `predict`, the combination is applied to the scores of
    each fold model, and the results are averaged. Raises DistillError for other members or combinations, and when a
    probability differs by more than `PARITY`; no file is left then.
    """
    from foldstill.base_models.members import predict_members

    if run.heads:
        raise DistillError("heads of a multi-label run are combined one by one and have no one file: use predict")
    members = resolve(run.experiment.member)
    view = common_view(members)
    fitted = run.combination(name).fitted
    refuse_others(fitted.combination, name)
    of_fit = [next(one for one in members if one.name == each) for each in fitted.members]
    models = [FoldModels(member, run.dir.members) for member in of_fit]
    folds = models[0].folds
    network = _ensemble([one.networks(folds, "cpu") for one in models], fitted.combination)
    stored = run.dataset.view(view)
    rows = stored[np.arange(min(PARITY_ROWS, len(stored)))]
    form = models[0].forms()[view]
    described = form.as_json() if isinstance(form, FeatureForm) else {}
    if isinstance(form, RowForm):
        described = {"recipe": dict(form.recipe)}
    about = {**described, "experiment": run.experiment.name, "combination": name, "table": run.table_digest}
    path = run.dir.ensemble_file(name)
    export_onnx(network, array_in(form, rows, view), path, classes=fitted.classes, view=view, about=about)
    scores = predict_members(run.dir.members, of_fit, {view: rows}, fitted.classes, "cpu")
    difference = float(np.abs(OnnxStudent(path).predict(rows) - fitted.apply(scores)).max())
    if not difference <= PARITY:
        path.unlink()
        raise DistillError(
            f"the ONNX file of {name} differs from `foldstill predict` by {difference:.2g} in a probability, allowed "
            f"is {PARITY:g}: export the student"
        )
    return EnsembleFile(path, len(members) * len(folds), difference, len(rows))


def common_view(members: tuple[Member, ...]) -> str:
    """The view that all members read; raises DistillError unless each is a network of this view alone."""
    if others := [one.name for one in members if not is_network(one)]:
        raise DistillError(f"one ONNX file of an ensemble holds networks, and {others} are none: export the student")
    views = sorted({view for one in members for view in one.views})
    if joined := [one.name for one in members if len(one.views) > 1]:
        raise DistillError(f"one ONNX file of an ensemble holds no joined members, got {joined}: export the student")
    if len(views) > 1:
        raise DistillError(
            f"one ONNX file takes rows of one view, and the members read {views}: export the student, which reads one"
        )
    return views[0]


def refuse_others(combination: Combination, name: str) -> None:
    """Raise DistillError for a combination that `combine` does not know."""
    if isinstance(combination, AutoCombination | RecalibratedCombination):
        refuse_others(combination.inner, name)
        return
    known = isinstance(combination, WeightedAverage | LogPoolCombination)
    if not known and getattr(combination, "rule", None) not in (mean, geometric_mean):
        raise DistillError(
            f"the combination {name} is not linear, log-linear or a recalibration of these "
            f"({type(combination).__name__}), so it cannot be one ONNX file: name another arm, such as recalibrated, "
            "or export the student"
        )


def _ensemble(networks_MK: Sequence[Sequence["nn.Module"]], combination: Combination) -> "nn.Module":
    """A network that gives the logarithm of the ensemble's probabilities, (B, C)."""
    import torch

    class Ensemble(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.members = torch.nn.ModuleList(torch.nn.ModuleList(one) for one in networks_MK)

        def forward(self, raw: torch.Tensor) -> torch.Tensor:
            per_fold = [
                combine(combination, torch.stack([torch.softmax(one(raw).float(), dim=1) for one in models], dim=1))
                for models in zip(*self.members, strict=True)
            ]
            return torch.log(torch.stack(per_fold).mean(dim=0).clamp_min(EPS))

    return Ensemble().eval()


def combine(combination: Combination, proba_BMC: "Tensor") -> "Tensor":
    """What the combination gives for these scores, (B, C), computed by torch."""
    import torch

    def numbers(array: object) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array, np.float32))

    def log(proba: torch.Tensor) -> torch.Tensor:
        return torch.log(proba.clamp_min(EPS))

    if isinstance(combination, AutoCombination):
        inner_BC, average_BC = combine(combination.inner, proba_BMC), proba_BMC.mean(dim=1)
        return combination.share * inner_BC + (1 - combination.share) * average_BC
    if isinstance(combination, RecalibratedCombination):
        pool_BC = log(combine(combination.inner, proba_BMC))
        return torch.softmax(pool_BC * numbers(combination.slope_C) + numbers(combination.bias_C), dim=1)
    if isinstance(combination, LogPoolCombination):
        pooled_BC = (log(proba_BMC) * numbers(combination.power_M)[:, None]).sum(dim=1)
        return torch.softmax(pooled_BC + numbers(combination.bias_C), dim=1)
    if isinstance(combination, WeightedAverage):
        return (proba_BMC * numbers(combination.weight_M)[:, None]).sum(dim=1)
    assert isinstance(combination, FixedCombination), "`refuse_others` has refused all others"
    if combination.rule is geometric_mean:
        return torch.softmax(log(proba_BMC).mean(dim=1), dim=1)
    return proba_BMC.mean(dim=1)
