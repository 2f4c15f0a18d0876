"""A metric: how often the class with the most votes is among the two most probable classes."""

from typing import ClassVar

from foldstill.compare.metrics import Better
from foldstill.compare.predictions import Predictions


class TopTwoAccuracy:
    """Weighted share of the rows whose class with the most votes is among the two most probable classes."""

    name: ClassVar[str] = "top_two_accuracy"
    title: ClassVar[str] = "top-2 accuracy"
    better: ClassVar[Better] = "high"
    summary: ClassVar[str] = "how often the class with the most votes is among the two most probable classes"

    def score(self, predictions: Predictions) -> float:
        """The score of a whole prediction."""
        most_votes_N = predictions.target_NC.argmax(axis=1)
        top_two_N2 = predictions.proba_NC.argsort(axis=1)[:, -2:]
        return predictions.mean((top_two_N2 == most_votes_N[:, None]).any(axis=1))
