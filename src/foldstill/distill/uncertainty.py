"""Uncertainty of a student: a precision head that predicts how far the members of the ensemble would disagree.

The student's predictions do not change. A linear layer on its features, and on how far these lie from those of
training, predicts the precision of a Dirichlet around the prediction that describes the members' predictions. It is
fitted afterwards. After *Ensemble Distribution Distillation* (Malinin et al., 2020), with the mean held fixed. N rows,
M members, C classes, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import Float, check_rows, clip_rows
from foldstill.distill.familiarity import Gaussian, early_layers, student_features
from foldstill.errors import DistillError

if TYPE_CHECKING:
    from foldstill.distill.student import Student

MIN_MEMBERS = 4
SMOOTHING = 1e-3
"""Share of the uniform distribution mixed into the members' scores: a Dirichlet has no mass on the edge."""
RIDGE = 1e-3
_OF_GAUSSIAN = {"centre": "F", "scale": "F", "inverse": "FF"}


@dataclass(frozen=True)
class Uncertainty:
    """Uncertainty per row in nats, (N,): total, and data, the part that more training data cannot reduce."""

    total_N: NDArray[np.float64]
    data_N: NDArray[np.float64]

    @property
    def knowledge_N(self) -> NDArray[np.float64]:
        """The part that more training data could reduce: total minus data; 0 when all members agree."""
        return np.maximum(self.total_N - self.data_N, 0.0)


def of_members(proba_NMC: Float) -> Uncertainty:
    """Uncertainty of an ensemble: entropy of its mean, and mean of its members' entropies."""
    clipped = clip_rows(proba_NMC)
    return Uncertainty(_entropy(clipped.mean(axis=1)), _entropy(clipped).mean(axis=1))


def of_dirichlet(mean_NC: Float, precision_N: Float) -> Uncertainty:
    """Uncertainty of a Dirichlet with this mean and precision (Malinin and Gales, 2018, eq. 15 and appendix)."""
    from scipy.special import digamma

    mean = clip_rows(mean_NC)
    alpha = mean * np.asarray(precision_N)[:, None]
    data = (mean * (digamma(alpha.sum(axis=1, keepdims=True) + 1) - digamma(alpha + 1))).sum(axis=1)
    return Uncertainty(_entropy(mean), data)


@dataclass(frozen=True)
class PrecisionHead:
    """A linear layer on standardised features: precision = C + softplus(features @ weight + bias)."""

    centre_F: NDArray[np.float64]
    scale_F: NDArray[np.float64]
    weight_F: NDArray[np.float64]
    bias: float
    n_classes: int
    layers: tuple[str, ...] = ()
    """Names of the layers of the student whose distances follow the features of its classifier."""
    gaussians: tuple[Gaussian, ...] = ()
    """Training rows as the classifier and each of the layers see them; none in a head of an earlier version."""

    def precision_of(self, student: "Student", rows_N: NDArray[Any]) -> NDArray[np.float64]:
        """Precision per row, (N,), of rows as the student reads them."""
        return self.precision(_with_distances(student_features(student, rows_N, self.layers), self.gaussians))

    def precision(self, features_NF: Float) -> NDArray[np.float64]:
        """Precision per row, (N,), above the number of classes."""
        u_N = (features_NF - self.centre_F) / self.scale_F @ self.weight_F + self.bias
        precision: NDArray[np.float64] = self.n_classes + np.logaddexp(0.0, u_N)
        return precision

    def write(self, path: Path) -> None:
        """Write the head as safetensors."""
        import torch

        from foldstill.base_models.tensor_file import write_tensors

        columns: dict[str, NDArray[Any]] = {"centre": self.centre_F, "scale": self.scale_F, "weight": self.weight_F}
        for i, gaussian in enumerate(self.gaussians):
            columns |= {f"{i}.{name}": getattr(gaussian, f"{name}_{axes}") for name, axes in _OF_GAUSSIAN.items()}
        tensors = {name: torch.from_numpy(values) for name, values in columns.items()}
        write_tensors(path, tensors, {"bias": self.bias, "n_classes": self.n_classes, "layers": list(self.layers)})

    @classmethod
    def read(cls, path: Path) -> "PrecisionHead":
        """Read what `write` left; raises DistillError when there is no file, or a damaged one."""
        from foldstill.base_models.tensor_file import read_tensors

        if not path.exists():
            raise DistillError(f"no precision head at {path}: fit one with fit_precision")
        stored, about = read_tensors(path, error=DistillError, cure="fit the precision head again")
        centre, scale, weight = (stored[name].numpy() for name in ("centre", "scale", "weight"))
        n_gaussians = sum(name.endswith(".inverse") for name in stored)
        gaussians = (Gaussian(*(stored[f"{i}.{name}"].numpy() for name in _OF_GAUSSIAN)) for i in range(n_gaussians))
        layers = tuple(about.get("layers", ()))
        return cls(centre, scale, weight, about["bias"], about["n_classes"], layers, tuple(gaussians))


def require_spread(members_NMC: Float) -> None:
    """Raise DistillError for fewer than four members: their spread would be noise."""
    if members_NMC.ndim != 3 or members_NMC.shape[1] < MIN_MEMBERS:
        raise DistillError(
            f"a precision head needs the scores of {MIN_MEMBERS} members or more, got scores of shape "
            f"{members_NMC.shape}: train more members or seeds, or set uncertainty = false"
        )


def fit_precision(
    features_NF: Float, mean_NC: Float, members_NMC: Float, weight_N: Float | None = None
) -> PrecisionHead:
    """Fit the head that makes the members' held-out scores most likely, with `mean_NC` as the mean of each Dirichlet.

    Maximises mean_i mean_a log Dir(pi_ia | s_i p_i) over the layer's weights with a small ridge penalty, by L-BFGS; the
    mean over rows is weighted by `weight_N`. Raises DistillError for fewer than four members.
    """
    from scipy.optimize import minimize
    from scipy.special import digamma, expit, gammaln

    members = check_rows(members_NMC, "the members' scores")
    require_spread(members)
    n_classes = members.shape[2]
    if len(features_NF) != len(members) or np.shape(mean_NC) != (len(members), n_classes):
        raise DistillError(
            f"features, means and members' scores must have the same rows, got shapes {np.shape(features_NF)}, "
            f"{np.shape(mean_NC)} and {members.shape}: align them by id"
        )
    mean = clip_rows(mean_NC)
    log_members = np.log((1 - SMOOTHING) * members + SMOOTHING / n_classes).mean(axis=1, dtype=np.float64)
    pulled_N = (mean * log_members).sum(axis=1)
    centre, scale = features_NF.mean(axis=0, dtype=np.float64), features_NF.std(axis=0, dtype=np.float64)
    scale = np.where(scale > 0, scale, 1.0)
    standard = (features_NF - centre) / scale
    share_N = np.ones(len(members)) if weight_N is None else np.asarray(weight_N, dtype=np.float64)
    share_N = share_N / share_N.sum()

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        u = standard @ theta[:-1] + theta[-1]
        s = n_classes + np.logaddexp(0.0, u)
        alpha = mean * s[:, None]
        rows = gammaln(s) - gammaln(alpha).sum(axis=1) + s * pulled_N
        slope = digamma(s) - (mean * digamma(alpha)).sum(axis=1) + pulled_N
        slope = -slope * expit(u) * share_N
        gradient = np.concatenate([standard.T @ slope + 2 * RIDGE * theta[:-1], [slope.sum()]])
        return float(-(rows * share_N).sum() + RIDGE * np.square(theta[:-1]).sum()), gradient

    result = minimize(loss, np.zeros(standard.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return PrecisionHead(centre, scale, result.x[:-1], float(result.x[-1]), n_classes)


def keep_spread(
    student: "Student",
    rows_N: NDArray[Any],
    members_NMC: Float,
    unlike: tuple[NDArray[Any], Float] | None = None,
) -> PrecisionHead:
    """Fit a head for a student on rows it was trained on and the members' held-out scores of them, (N, M, C).

    `unlike` are rows unlike these, with the members' scores of them: they show how far members disagree where rows are
    not familiar, and count as much as all the others.
    """
    layers = early_layers(student, rows_N)
    parts = student_features(student, rows_N, layers)
    gaussians = tuple(Gaussian.fit(part) for part in parts)
    features, mean = _with_distances(parts, gaussians), student.predict(rows_N, device="cpu")
    weight_N = np.full(len(features), 1 / len(features))
    if unlike is not None:
        rows_U, members_UMC = unlike
        further = _with_distances(student_features(student, rows_U, layers), gaussians)
        features, mean = (
            np.concatenate([features, further]),
            np.concatenate([mean, student.predict(rows_U, device="cpu")]),
        )
        members_NMC = np.concatenate([members_NMC, members_UMC])
        weight_N = np.concatenate([weight_N, np.full(len(further), 1 / len(further))])
    return replace(fit_precision(features, mean, members_NMC, weight_N), layers=layers, gaussians=gaussians)


def student_uncertainty(student: "Student", head: PrecisionHead, rows_N: NDArray[Any]) -> Uncertainty:
    """Uncertainty of the student with its head on these rows: an estimate of the ensemble's uncertainty."""
    return of_dirichlet(student.predict(rows_N, device="cpu"), head.precision_of(student, rows_N))


def ood_auroc(familiar_N: Float, foreign_N: Float) -> float:
    """How often the uncertainty of a foreign row is higher than that of a familiar one; one half is chance."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([familiar_N, foreign_N]))
    n, m = len(familiar_N), len(foreign_N)
    return float((ranks[n:].sum() - m * (m + 1) / 2) / (n * m))


def _with_distances(parts: Sequence[Float], gaussians: Sequence[Gaussian]) -> NDArray[np.float64]:
    """The features of the classifier, and after them one distance per Gaussian."""
    distances = [gaussian.log_distance(part)[:, None] for part, gaussian in zip(parts, gaussians, strict=False)]
    return np.concatenate([parts[0].astype(np.float64), *distances], axis=1)


def _entropy(proba: Float) -> NDArray[np.float64]:
    entropy: NDArray[np.float64] = -(proba * np.log(proba)).sum(axis=-1)
    return entropy
