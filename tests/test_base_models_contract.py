"""Every kind of member keeps the promises of the contract suite, and the suite notices members that do not."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from foldstill.base_models import MEMBERS, Member
from foldstill.cost import Cost
from foldstill.data.training import FitContext, FitProgress, TrainingSet
from foldstill.testing import check_member


@pytest.mark.parametrize("kind", MEMBERS, ids=lambda kind: kind.kind)
def test_every_kind_keeps_its_promises(kind: Any) -> None:
    member = kind.example()
    assert (member.kind, member.title, member.summary) == (kind.kind, kind.title, kind.summary)
    check_member(member)


def test_kinds_differ() -> None:
    assert len({kind.kind for kind in MEMBERS}) == len(MEMBERS)


@dataclass(frozen=True, eq=False)
class Nearest:
    """The model of the member below: the mean image of each class."""

    classes: tuple[str, ...]
    shapes: dict[str, tuple[int, ...]]
    mean_C: NDArray[np.float64]
    facts: ClassVar[dict[str, Any]] = {}

    def predict(
        self, views: dict[str, NDArray[Any]], rows: NDArray[np.intp] | None = None, *, device: str = "auto"
    ) -> NDArray[np.float32]:
        image = views["image"] if rows is None else views["image"][rows]
        distance = np.abs(image.mean(axis=(1, 2, 3), dtype=np.float64)[:, None] - self.mean_C)
        proba = np.exp(-distance / 20)
        return (proba / proba.sum(axis=1, keepdims=True)).astype(np.float32)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / "model.npz", mean=self.mean_C, shape=self.shapes["image"], classes=self.classes)

    def cost(self, views: dict[str, NDArray[Any]]) -> Cost:
        return Cost(parameters=len(self.mean_C))


@dataclass(frozen=True)
class NearestMean:
    """A member without torch: the class whose mean brightness is nearest."""

    name: str = "nearest"
    family: str = "nearest"
    reads_all: bool = False
    views: ClassVar[tuple[str, ...]] = ("image",)
    parts: ClassVar[tuple[Member, ...]] = ()
    kind: ClassVar[str] = "nearest"
    title: ClassVar[str] = "nearest mean"
    summary: ClassVar[str] = "The class whose mean brightness is nearest."
    epochs: ClassVar[int] = 1
    uses_device: ClassVar[bool] = False

    def check(self, training_set: TrainingSet) -> float:
        return 1.0

    def fit(self, training_set: TrainingSet, context: FitContext) -> Nearest:
        rows = np.arange(len(training_set)) if self.reads_all else training_set.rows
        image, target_NC = training_set.views["image"], np.nan_to_num(training_set.target_NC[rows])
        brightness = image[rows].mean(axis=(1, 2, 3), dtype=np.float64)
        context.report(FitProgress(1, 1, 0.0))
        shapes = {"image": tuple(image.shape[1:])}
        mean_C = (target_NC**4 * brightness[:, None]).sum(axis=0) / (target_NC**4).sum(axis=0)
        return Nearest(training_set.classes, shapes, mean_C)

    def load(self, folder: Path) -> Nearest:
        stored = np.load(folder / "model.npz")
        shapes = {"image": tuple(stored["shape"].tolist())}
        return Nearest(tuple(stored["classes"].tolist()), shapes, stored["mean"])


def test_a_member_without_torch_keeps_them_too() -> None:
    check_member(NearestMean())


def test_a_member_that_reads_other_rows_is_caught() -> None:
    with pytest.raises(AssertionError, match="rows outside the training rows must not be read"):
        check_member(NearestMean(reads_all=True))
