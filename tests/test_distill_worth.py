"""Whether a teacher is worth having, where the truth is known: digits with annotators who confuse look-alikes."""

import sys
from pathlib import Path

import pytest

from foldstill.base_models import Recipe
from foldstill.data.simplex import kl_divergence
from foldstill.distill import DirichletMix, StudentSettings, VotesOnly, distill
from foldstill.workers import Work

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from student_losses import TRAIN_ROWS, make_task

pytestmark = pytest.mark.slow


def test_at_two_votes_a_row_a_dirichlet_mixed_student_is_nearer_the_truth_than_one_of_votes_only():
    task = make_task(seed=0)
    new = task.images[TRAIN_ROWS:]
    scores = {}
    for mix in (VotesOnly(), DirichletMix()):
        recipe = Recipe(epochs=20, batch_size=64)
        settings = StudentSettings(network="test_efficientnet", image_size=16, recipe=recipe, mix=mix)
        student = distill(task.members, task.images[:TRAIN_ROWS], task.votes, settings, work=Work(device="cpu"))
        scores[mix.kind] = kl_divergence(target=task.truth[TRAIN_ROWS:], proba=student.predict(new, device="cpu"))
    assert scores["dirichlet"] < 0.8 * scores["votes"]
