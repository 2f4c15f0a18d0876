"""What a student says of how sure it is, and whether that can be trusted. N locked rows."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.distill import Student
from foldstill.distill.corruptions import corrupted
from foldstill.distill.uncertainty import (
    Uncertainty,
    keep_spread,
    of_members,
    ood_auroc,
    rejection_curve,
    student_uncertainty,
)
from foldstill.files import read_json, write_json
from foldstill.oof.store import read_scores, read_table
from foldstill.oof.table import FoldScores
from foldstill.pipeline.run import Run

HEAD, SCORES = "precision.safetensors", "uncertainty.json"


def keep_uncertainty(run: Run, folder: Path, student: Student, error_N: NDArray[np.float64]) -> None:
    """A precision head beside the student, and three questions about it, answered on the locked rows.

    Does it foretell the KL (`error_N`) of a row: area under the rejection curve and prediction-rejection ratio. Does it
    rise on rows that are broken: AUROC against the same rows intact. Does it rank rows as the ensemble's spread does:
    Spearman's correlation. The head is fitted to out-of-fold rows.
    """
    from scipy.stats import spearmanr

    view, rows = run.dataset.view(student.view), run.plan.test_rows
    head = keep_spread(student, view[run.plan.oof_rows], read_table(run.dir.oof).proba_NMC)
    head.write(folder / HEAD)
    said = student_uncertainty(student, head, view[rows])
    broken = {name: student_uncertainty(student, head, bad) for name, bad in corrupted(view[rows]).items()}
    test = read_scores(run.dir.test)
    assert isinstance(test, FoldScores), "locked rows are scored by every fold model"
    ensemble = _parts(of_members(test.mean().proba_NMC))
    facts: dict[str, Any] = {}
    for part, said_N in _parts(said).items():
        curve = rejection_curve(error_N, said_N)
        facts[part] = {
            "area_under_risk_kl": curve.area,
            "prediction_rejection_ratio": curve.prediction_rejection_ratio,
            "auroc": {name: ood_auroc(said_N, _parts(bad)[part]) for name, bad in broken.items()},
            "rank_correlation_with_ensemble": float(spearmanr(said_N, ensemble[part]).statistic),
        }
    write_json(folder / SCORES, facts)


def uncertainty_note(folder: Path) -> str:
    """One sentence on the uncertainty of the student in a folder; empty where it keeps none."""
    if not (folder / SCORES).exists():
        return ""
    facts = read_json(folder / SCORES)
    knowledge, total = facts["knowledge"], facts["total"]
    broken = ", ".join(f"{name} {auroc:.2f}" for name, auroc in knowledge["auroc"].items())
    return (
        f"uncertainty: prediction-rejection ratio {total['prediction_rejection_ratio']:.2f} by total, "
        f"{knowledge['prediction_rejection_ratio']:.2f} by knowledge; AUROC of broken rows by knowledge: {broken}; "
        f"rank correlation with the ensemble's knowledge {knowledge['rank_correlation_with_ensemble']:.2f}"
    )


def _parts(said: Uncertainty) -> dict[str, NDArray[np.float64]]:
    return {"total": said.total_N, "data": said.data_N, "knowledge": said.knowledge_N}
