"""Which loss a student learns best with, on data with a known truth: digits with annotators who confuse similar digits.

    python benchmarks/student_losses.py --seeds 3

600 rows with 2 votes each, two held-out members over three folds, a small network. Prints the KL of its predictions to
the true distribution of 1,197 other digits, as the mean over seeds (of votes and student) with the standard deviation
of its difference from `kl` at T = 1. Takes about three CPU-minutes.
"""

import argparse
import os
from dataclasses import dataclass

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models import Recipe
from foldstill.data.simplex import kl_divergence
from foldstill.distill import StudentSettings, VotesOnly, distill
from foldstill.distill.settings import LossName
from foldstill.workers import Work

TRAIN_ROWS, FOLDS = 600, 3
LOSSES: tuple[tuple[LossName, float], ...] = (
    ("kl", 1.0),
    ("kl", 2.0),
    ("mse", 1.0),
    ("standardised", 2.0),
    ("dist", 1.0),
    ("dkd", 1.0),
    ("dkd", 2.0),
    ("jsd", 1.0),
)


WORK = Work(workers=1, device="cpu")


@dataclass(frozen=True)
class Task:
    """Images with their true distributions, and votes and held-out member scores of the first rows."""

    images: NDArray[np.uint8]
    truth: NDArray[np.float64]
    votes: NDArray[np.float64]
    members: NDArray[np.float64]


def make_task(seed: int) -> Task:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(seed)
    digits = load_digits()
    order = rng.permutation(len(digits.target))
    flat, label = digits.data[order] / 16, digits.target[order]
    centres = np.stack([flat[label == k].mean(axis=0) for k in range(10)])
    truth = np.exp(-1.7 * ((flat[:, None] - centres) ** 2).sum(axis=2))
    truth /= truth.sum(axis=1, keepdims=True)
    votes = np.stack([rng.multinomial(2, p) for p in truth[:TRAIN_ROWS]]).astype(float)
    fold = np.arange(TRAIN_ROWS) % FOLDS
    members = np.zeros((TRAIN_ROWS, 2, 10))
    for k in range(FOLDS):
        seen = fold != k
        row, named = np.nonzero(votes[seen])
        for m, strength in enumerate((0.3, 10.0)):
            model = LogisticRegression(C=strength, max_iter=300)
            model.fit(flat[:TRAIN_ROWS][seen][row], named, votes[seen][row, named])
            members[~seen, m] = model.predict_proba(flat[:TRAIN_ROWS][~seen])
    return Task(digits.images[order].astype(np.uint8)[..., None], truth, votes, members)


def main(seeds: int) -> None:
    arms = [("votes only, kl", StudentSettings(mix=VotesOnly()))]
    arms += [(f"{loss}, T = {t:g}", StudentSettings(loss=loss, temperature=t)) for loss, t in LOSSES]
    kl: dict[str, list[float]] = {name: [] for name, _ in arms}
    for seed in range(seeds):
        task = make_task(seed)
        for name, arm in arms:
            settings = StudentSettings(
                network="test_efficientnet",
                image_size=16,
                recipe=Recipe(epochs=20, batch_size=64),
                mix=arm.mix,
                loss=arm.loss,
                temperature=arm.temperature,
            )
            student = distill(task.members, task.images[:TRAIN_ROWS], task.votes, settings, seeds=[seed], work=WORK)
            proba = student.predict(task.images[TRAIN_ROWS:], device="cpu")
            kl[name].append(kl_divergence(target=task.truth[TRAIN_ROWS:], proba=proba))
    reference = np.asarray(kl["kl, T = 1"])
    for name, each in kl.items():
        difference = np.asarray(each) - reference
        text = "" if name == "kl, T = 1" or seeds < 2 else f"{difference.mean():+.4f}, sd {difference.std(ddof=1):.4f}"
        print(f"{name:20} {np.mean(each):.4f}  {text}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=3)
    main(parser.parse_args().seeds)
