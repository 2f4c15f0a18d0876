"""Whether a teacher is worth having, where the truth is known: digits with annotators who confuse look-alikes."""

import numpy as np
import pytest

from foldstill.base_models import Recipe
from foldstill.data.simplex import kl_divergence
from foldstill.distill import DirichletMix, StudentSettings, VotesOnly, distill
from foldstill.workers import Work

pytestmark = pytest.mark.slow

TAUGHT = 600


def test_at_two_votes_a_row_a_dirichlet_mixed_student_is_nearer_the_truth_than_one_of_votes_only():
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    digits = load_digits()
    flat = digits.data / 16
    centres = np.stack([flat[digits.target == k].mean(axis=0) for k in range(10)])
    truth = np.exp(-1.7 * ((flat[:, None] - centres) ** 2).sum(axis=2))
    truth /= truth.sum(axis=1, keepdims=True)
    votes = np.stack([rng.multinomial(2, p) for p in truth[:TAUGHT]]).astype(float)

    # Two members, held out over three folds, fitted to each row once a class with its votes as weight.
    fold = np.arange(TAUGHT) % 3
    members = np.zeros((TAUGHT, 2, 10))
    for k in range(3):
        seen = fold != k
        row, label = np.nonzero(votes[seen])
        for m, strength in enumerate((0.3, 10.0)):
            model = LogisticRegression(C=strength, max_iter=300)
            model.fit(flat[:TAUGHT][seen][row], label, votes[seen][row, label])
            members[~seen, m] = model.predict_proba(flat[:TAUGHT][~seen])

    images = digits.images.astype(np.uint8)[..., None]
    scores = {}
    for mix in (VotesOnly(), DirichletMix()):
        recipe = Recipe(epochs=20, batch_size=64)
        settings = StudentSettings(network="test_efficientnet", image_size=16, recipe=recipe, mix=mix)
        student = distill(members, images[:TAUGHT], votes, settings, work=Work(device="cpu"))
        scores[mix.kind] = kl_divergence(target=truth[TAUGHT:], proba=student.predict(images[TAUGHT:], device="cpu"))
    assert scores["dirichlet"] < 0.8 * scores["votes"]
