"""The uncertainty of a student, and whether it can be trusted. N locked rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.device import device_for
from foldstill.base_models.fold_models import FoldModels
from foldstill.base_models.joined_member import resolve
from foldstill.base_models.member import blind_to
from foldstill.compare.rejection import rejection_curve
from foldstill.data.features import array_of
from foldstill.distill import Student, StudentSettings
from foldstill.distill.corruptions import corrupted, recombined
from foldstill.distill.uncertainty import (
    Uncertainty,
    keep_spread,
    of_members,
    ood_auroc,
    student_uncertainty,
)
from foldstill.errors import DistillError
from foldstill.json_files import read_json, write_json
from foldstill.manifest import CURE, check_files, has_file
from foldstill.pipeline.run import Run

HEAD, SCORES = "precision.safetensors", "uncertainty.json"


def keep_uncertainty(
    run: Run, settings: StudentSettings, folder: Path, student: Student, error_N: NDArray[np.float64]
) -> list[Path]:
    """Fit a precision head for the student on out-of-fold rows and on recombined ones, write it, and evaluate it on the
    locked rows.

    Does uncertainty predict the KL per row (`error_N`)? Area under the rejection curve and prediction-rejection ratio.
    Does it rise on corrupted rows, and on foreign rows where there are some? AUROC against the locked rows, beside that
    of the ensemble where every member can be shown these rows.
    Does it rank rows as the ensemble's uncertainty does? Spearman's correlation. Returns the paths of what was written.
    """
    from scipy.stats import spearmanr

    view, rows = array_of(run.dataset.view(student.view), student.view), run.plan.test_rows
    learned = view[run.plan.oof_rows]
    head = keep_spread(student, learned, run.table.proba_NMC, _unlike(run, student.view, learned))
    head.write(folder / HEAD)
    uncertainty = student_uncertainty(student, head, view[rows])
    unusual_rows = corrupted(view[rows]) | _foreign(run, settings)
    unusual = {name: student_uncertainty(student, head, inputs) for name, inputs in unusual_rows.items()}
    assert run.test is not None, "locked rows are scored by every fold model"
    ensemble = _parts(of_members(run.test.mean().proba_NMC))
    unusual_to_ensemble = _of_ensemble(run, student.view, unusual_rows)
    facts: dict[str, Any] = {}
    for part, value_N in _parts(uncertainty).items():
        curve = rejection_curve(error_N, value_N)
        facts[part] = {
            "area_under_risk_kl": curve.area,
            "prediction_rejection_ratio": curve.prediction_rejection_ratio,
            "auroc": {name: ood_auroc(value_N, _parts(each)[part]) for name, each in unusual.items()},
            "auroc_of_ensemble": {
                name: ood_auroc(ensemble[part], _parts(each)[part]) for name, each in unusual_to_ensemble.items()
            },
            "rank_correlation_with_ensemble": float(spearmanr(value_N, ensemble[part]).statistic),
        }
    write_json(folder / SCORES, facts, sealed=True)
    return [folder / HEAD, folder / SCORES]


def uncertainty_note(folder: Path) -> str:
    """One sentence on the uncertainty of the student in a folder; empty where it has no precision head."""
    if not has_file(folder / SCORES):
        return ""
    check_files(folder, SCORES)
    facts = read_json(folder / SCORES, {"knowledge": dict, "total": dict}, error=DistillError, cure=CURE)
    knowledge, total = facts["knowledge"], facts["total"]
    auroc = ", ".join(f"{name} {total['auroc'][name]:.2f} / {value:.2f}" for name, value in knowledge["auroc"].items())
    of_ensemble = ", ".join(
        f"{name} {total['auroc_of_ensemble'][name]:.2f} / {value:.2f}"
        for name, value in knowledge["auroc_of_ensemble"].items()
    )
    ratio, correlation = "prediction_rejection_ratio", "rank_correlation_with_ensemble"
    return (
        f"uncertainty by entropy / by knowledge: prediction-rejection ratio {total[ratio]:.2f} / "
        f"{knowledge[ratio]:.2f}; AUROC against locked rows, where one half is chance: {auroc}; "
        + (f"that of the ensemble: {of_ensemble}; " if of_ensemble else "")
        + f"rank correlation with the ensemble {total[correlation]:.2f} / {knowledge[correlation]:.2f}"
    )


def _unlike(run: Run, view: str, rows_N: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.float32]] | None:
    """Recombined out-of-fold rows and their scores (U, M, C) by the fold models that saw none of their parts.

    None unless all members can be shown these rows.
    """
    members = resolve(run.experiment.member)
    if blind_to(members, view):
        return None
    rows_U, fold_U = recombined(rows_N, run.plan.fold_N[run.plan.oof_rows])
    classes, device = run.dataset.labels.classes, device_for(members, run.work.device)
    proba_UMC = np.empty((len(rows_U), len(members), len(classes)), np.float32)
    for m, member in enumerate(members):
        models = FoldModels(member, run.dir.members)
        for fold in np.unique(fold_U).tolist():
            of_fold = np.flatnonzero(fold_U == fold)
            model = models.load_for(fold, {view: rows_U}, classes)
            proba_UMC[of_fold, m] = model.predict({view: rows_U}, of_fold, device=device)
    return rows_U, proba_UMC


def _of_ensemble(run: Run, view: str, unusual: Mapping[str, NDArray[Any]]) -> dict[str, Uncertainty]:
    """The ensemble's uncertainty of rows that exist in the student's view alone; empty unless all members read it."""
    from foldstill.base_models.members import predict_members

    members = resolve(run.experiment.member)
    if blind_to(members, view):
        return {}
    classes, device = run.dataset.labels.classes, run.work.device
    return {
        name: of_members(predict_members(run.dir.members, members, {view: rows_N}, classes, device).mean().proba_NMC)
        for name, rows_N in unusual.items()
    }


def _foreign(run: Run, settings: StudentSettings) -> dict[str, NDArray[Any]]:
    """The student's view of the foreign inputs, by the name of their file; empty where the settings name none."""
    if not settings.foreign:
        return {}
    path, familiar = run.root / settings.foreign, run.dataset.view(settings.view)
    views = run.experiment.data.inputs(path).views
    if settings.view not in views or views[settings.view].shape[1:] != familiar.shape[1:]:
        shapes = {name: each.shape[1:] for name, each in views.items()}
        raise DistillError(
            f"foreign inputs must hold the view {settings.view!r} in rows of shape {familiar.shape[1:]}, got {shapes} "
            f"from {path}: prepare them as the training data were prepared"
        )
    return {_foreign_name(settings.foreign): array_of(views[settings.view], settings.view)}


def _foreign_name(foreign: str) -> str:
    return f"foreign ({Path(foreign).stem})"


def _parts(uncertainty: Uncertainty) -> dict[str, NDArray[np.float64]]:
    return {"total": uncertainty.total_N, "data": uncertainty.data_N, "knowledge": uncertainty.knowledge_N}
