"""How near the estimated vote-noise floor is to the truth, and whether its bounds hold it, on simulated votes.

    python benchmarks/noise_floor.py            # half a minute on one core

Truths are softmaxes of normal logits of three spreads, a mixture of sure and unsure rows, or Dirichlet. Predictions
know the logits up to noise and are too flat; every row has the same number of votes. Floor and bounds are estimated
from votes and predictions alone, and divided by the mean KL(votes || truth).
"""

import harness  # noqa: F401  # isort: skip  (pins threads before numpy)

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from foldstill.compare.floor import floor_bounds, floor_parts
from foldstill.data.simplex import row_kl, softmax

ROWS = 4000
VOTES = (2, 3, 5, 10, 20)
Floats = NDArray[np.float64]


def ratios(rng: np.random.Generator, logits: Floats, *, noise: float, votes: int) -> tuple[float, float, float]:
    """The estimated floor and its two bounds, divided by the true one."""
    truth = softmax(logits)
    # A truth of almost zero is one of 1e-4 to members.
    known = np.maximum(logits, logits.max(axis=1, keepdims=True) - 9)
    proba = softmax(0.7 * (known + noise * rng.standard_normal(logits.shape)))
    true = np.mean([row_kl(target=rng.multinomial(votes, truth) / votes, proba=truth).mean() for _ in range(10)])
    parts = floor_parts(rng.multinomial(votes, truth).astype(float), proba, None)
    assert parts is not None, "every row has two votes or more"
    low, high = floor_bounds(*parts, np.ones(ROWS))
    return float(sum(parts).mean() / true), float(low / true), float(high / true)


def populations(rng: np.random.Generator) -> Iterator[tuple[str, float, Floats]]:
    """Name, noise of the predictions, and logits of the truth."""
    for classes in (3, 6):
        normal = rng.standard_normal((ROWS, classes))
        for spread in (0.7, 1.5, 3.0):
            for noise in (0.3, 1.0, 2.0):
                yield f"normal, {classes} classes, spread {spread}, noise {noise}", noise, spread * normal
        sure = rng.random((ROWS, 1)) < 0.6
        yield f"60 % sure rows, {classes} classes, noise 1.0", 1.0, np.where(sure, 4.0, 0.5) * normal
        for alpha in (0.1, 0.5, 2.0):
            truth = rng.dirichlet(np.full(classes, alpha), ROWS) + 1e-9
            yield f"Dirichlet({alpha}), {classes} classes, noise 1.0", 1.0, np.log(truth)


def main() -> None:
    rng = np.random.default_rng(0)
    found: list[tuple[float, float, float]] = []
    print("estimated floor divided by the true one; columns: votes per row")
    print(f"{'':46}" + "".join(f"{votes:>7}" for votes in VOTES))
    for name, noise, logits in populations(rng):
        row = [ratios(rng, logits, noise=noise, votes=votes) for votes in VOTES]
        print(f"{name:46}" + "".join(f"{estimate:7.2f}" for estimate, _, _ in row), flush=True)
        found += row
    estimate, low, high = np.array(found).T
    near, held = np.mean(np.abs(estimate - 1) <= 0.05), np.mean((low <= 1) & (high >= 1))
    print(f"{estimate.min():.2f} to {estimate.max():.2f}; within 5 % in {near:.0%} of {len(found)}")
    print(f"the bounds hold the truth in {held:.0%}, from {low.min():.2f} to {high.max():.2f} times the truth")
    print(f"the upper one is {np.median(high - low):.0%} of the truth above the lower one (median)")


if __name__ == "__main__":
    main()
