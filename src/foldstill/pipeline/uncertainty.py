"""What a student says of how sure it is, and whether that can be trusted. N locked rows."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.rejection import rejection_curve
from foldstill.distill import Student, StudentSettings
from foldstill.distill.corruptions import corrupted
from foldstill.distill.uncertainty import (
    Uncertainty,
    keep_spread,
    of_members,
    ood_auroc,
    student_uncertainty,
)
from foldstill.errors import DistillError
from foldstill.files import read_json, write_json
from foldstill.pipeline.run import Run

HEAD, SCORES = "precision.safetensors", "uncertainty.json"


def keep_uncertainty(
    run: Run, settings: StudentSettings, folder: Path, student: Student, error_N: NDArray[np.float64]
) -> None:
    """A precision head beside the student, and three questions about it, answered on the locked rows.

    Does it foretell the KL (`error_N`) of a row: area under the rejection curve and prediction-rejection ratio. Does it
    rise on rows that are broken, and on foreign ones where there are some: AUROC against the locked rows as they are. Does
    it rank rows as the ensemble's spread does: Spearman's correlation. The head is fitted to out-of-fold rows.
    """
    from scipy.stats import spearmanr

    view, rows = run.dataset.view(student.view), run.plan.test_rows
    head = keep_spread(student, view[run.plan.oof_rows], run.table.proba_NMC)
    head.write(folder / HEAD)
    said = student_uncertainty(student, head, view[rows])
    outside = corrupted(view[rows]) | _foreign(run, settings)
    odd = {name: student_uncertainty(student, head, inputs) for name, inputs in outside.items()}
    assert run.test is not None, "locked rows are scored by every fold model"
    ensemble = _parts(of_members(run.test.mean().proba_NMC))
    facts: dict[str, Any] = {}
    for part, said_N in _parts(said).items():
        curve = rejection_curve(error_N, said_N)
        facts[part] = {
            "area_under_risk_kl": curve.area,
            "prediction_rejection_ratio": curve.prediction_rejection_ratio,
            "auroc": {name: ood_auroc(said_N, _parts(each)[part]) for name, each in odd.items()},
            "rank_correlation_with_ensemble": float(spearmanr(said_N, ensemble[part]).statistic),
        }
    write_json(folder / SCORES, facts)


def keeps_uncertainty(settings: StudentSettings, folder: Path) -> bool:
    """Whether what the settings ask of the student's uncertainty lies in its folder."""
    if not settings.uncertainty:
        return True
    known = read_json(folder / SCORES)["total"]["auroc"] if (folder / SCORES).exists() else {}
    return bool(known) and (not settings.foreign or _named(settings.foreign) in known)


def uncertainty_note(folder: Path) -> str:
    """One sentence on the uncertainty of the student in a folder; empty where it keeps none."""
    if not (folder / SCORES).exists():
        return ""
    facts = read_json(folder / SCORES)
    knowledge, total = facts["knowledge"], facts["total"]
    odd = ", ".join(f"{name} {total['auroc'][name]:.2f} / {auroc:.2f}" for name, auroc in knowledge["auroc"].items())
    return (
        f"uncertainty by entropy / by knowledge: prediction-rejection ratio {total['prediction_rejection_ratio']:.2f} / "
        f"{knowledge['prediction_rejection_ratio']:.2f}; AUROC against locked rows, where one half is chance: {odd}; "
        f"rank correlation with the ensemble {total['rank_correlation_with_ensemble']:.2f} / "
        f"{knowledge['rank_correlation_with_ensemble']:.2f}"
    )


def _foreign(run: Run, settings: StudentSettings) -> dict[str, NDArray[Any]]:
    """The student's view of foreign inputs, under the name of their file; nothing where none are named."""
    if not settings.foreign:
        return {}
    path, known = run.root / settings.foreign, run.dataset.view(settings.view)
    views = run.experiment.data.inputs(path).views
    if settings.view not in views or views[settings.view].shape[1:] != known.shape[1:]:
        got = {name: each.shape[1:] for name, each in views.items()}
        raise DistillError(
            f"foreign inputs must hold the view {settings.view!r} in rows of {known.shape[1:]}, {path} has {got}: prepare them "
            "as the data were"
        )
    return {_named(settings.foreign): views[settings.view]}


def _named(foreign: str) -> str:
    return f"foreign ({Path(foreign).stem})"


def _parts(said: Uncertainty) -> dict[str, NDArray[np.float64]]:
    return {"total": said.total_N, "data": said.data_N, "knowledge": said.knowledge_N}
