"""How near the estimated vote-noise floor is to the truth, on simulated votes.

    python benchmarks/noise_floor.py            # a quarter of a minute on one core

Truths are softmaxes of normal logits. Predictions know the logits up to noise and are too flat; every row has the same
number of votes. The floor is estimated from votes and predictions alone and divided by the mean KL(votes || truth).
"""

import harness  # noqa: F401  # isort: skip  (pins threads before numpy)

import numpy as np

from foldstill.compare import noise_floor
from foldstill.data.simplex import row_kl, softmax

ROWS = 4000


def ratio(rng: np.random.Generator, *, classes: int, spread: float, noise: float, votes: int) -> float:
    """The estimated floor divided by the true one."""
    logits = spread * rng.standard_normal((ROWS, classes))
    truth = softmax(logits)
    proba = softmax(0.7 * (logits + noise * rng.standard_normal(logits.shape)))
    true = np.mean([row_kl(target=rng.multinomial(votes, truth) / votes, proba=truth).mean() for _ in range(10)])
    floor_N = noise_floor(rng.multinomial(votes, truth).astype(float), proba.astype(float))
    assert floor_N is not None, "every row has two votes or more"
    return float(floor_N.mean() / true)


def main() -> None:
    rng, found = np.random.default_rng(0), []
    print("estimated floor divided by the true one; columns: votes per row")
    print(f"{'classes spread noise':22}" + "".join(f"{votes:>7}" for votes in (2, 3, 5, 10, 20)))
    for classes in (3, 6):
        for spread in (0.7, 1.5, 3.0):
            for noise in (0.3, 1.0, 2.0):
                row = [ratio(rng, classes=classes, spread=spread, noise=noise, votes=v) for v in (2, 3, 5, 10, 20)]
                print(f"{classes:7} {spread:6} {noise:5}  " + "".join(f"{value:7.2f}" for value in row), flush=True)
                found += row
    near = np.mean(np.abs(np.array(found) - 1) <= 0.05)
    print(f"{min(found):.2f} to {max(found):.2f}; within 5 % in {near:.0%} of {len(found)}")


if __name__ == "__main__":
    main()
