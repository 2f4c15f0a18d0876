"""How much the naive cross-validation of a student is too good, on data with a known truth.

    python benchmarks/student_leak.py --seeds 8

The data are 2,000 rows with 20 features and 6 classes whose true distribution is known; votes are drawn from it.
Teachers are three overfitting multilayer perceptrons over five folds; the student is a small one. Each of the five
students of a cross-validation is scored on the fold that it was not trained on (as a user would do) and on 8,000 new
rows. The difference is the optimism of the cross-validation. KL is to the votes, minus the KL of the true distribution,
so that the noise of the votes cancels.

naive: targets of all rows come from the ordinary out-of-fold table, whose models saw the votes of the scored fold.
pairs: targets come from models that saw neither the row nor the scored fold.
votes: no teacher, so nothing can leak.
"""

import harness  # noqa: F401  # isort: skip  (pins threads before numpy)

import argparse
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from foldstill.base_models import Recipe, collect, collect_without, train_members
from foldstill.base_models.architecture import Shape, channels_and_size
from foldstill.base_models.networks import Network
from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan, make_plan
from foldstill.data.labels import Labels
from foldstill.data.simplex import Float, row_kl, softmax
from foldstill.distill import DirichletMix, StudentSettings, TeacherOnly, VotesOnly, mixed_targets
from foldstill.distill.mixes import Mix
from foldstill.distill.module_member import ModuleMember
from foldstill.distill.student import student_of
from foldstill.distill.targets import average_teacher
from foldstill.distill.training import Lesson, bar_per_student, run_students, student_jobs
from foldstill.workers import Work

ROWS, NEW_ROWS, FEATURES, CLASSES = 2000, 8000, 20, 6
REGIMES = {"2 to 6 votes": (2, 6), "10 to 20 votes": (10, 20)}
MIXES: dict[str, Mix] = {"dirichlet": DirichletMix(), "teacher": TeacherOnly()}
STUDENT = StudentSettings(view="features", recipe=Recipe(epochs=30, batch_size=128, lr=1e-2, weight_decay=0.0))
WORK = Work(workers=1, device="cpu")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Mlp:
    """A member with one hidden layer, defined outside the package."""

    name: str
    family: str = "mlp"
    view: str = "features"
    width: int = 256
    recipe: Recipe = field(default_factory=lambda: Recipe(epochs=30, batch_size=128, lr=3e-3, weight_decay=0.0))

    title: ClassVar[str] = "MLP"
    summary: ClassVar[str] = "A network with one hidden layer."
    kind: ClassVar[str] = "mlp"

    def build(self, shapes: Sequence[Shape], n_classes: int) -> Network:
        channels, _ = channels_and_size(shapes[0])
        return Network(mlp(channels, self.width, n_classes), channels)


MEMBERS = [Mlp(f"mlp{i}") for i in range(3)]


def mlp(features: int, width: int, n_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(features, width), nn.ReLU(), nn.Linear(width, n_classes))


@dataclass(frozen=True)
class Drawn:
    """Rows (N, features, 1) as signals of one time step, with their true distribution and their votes."""

    signals_N: NDArray[np.float32]
    truth_NC: Floats
    labels: Labels

    def excess(self, proba_NC: Float) -> float:
        """Return the mean KL to the votes, minus the KL of the true distribution."""
        target = self.labels.target_NC
        return float((row_kl(target=target, proba=proba_NC) - row_kl(target=target, proba=self.truth_NC)).mean())


def draw(seed: int, votes: tuple[int, int]) -> tuple[Drawn, Drawn]:
    """Draw training rows and new rows from one random network."""
    rng = np.random.default_rng(seed)
    first, last = rng.normal(0, FEATURES**-0.5, (FEATURES, 64)), rng.normal(0, 64**-0.5, (64, CLASSES))

    def rows(n: int) -> Drawn:
        x = rng.normal(size=(n, FEATURES))
        truth = softmax(4 * np.tanh(2 * x @ first) @ last)
        total = rng.integers(votes[0], votes[1] + 1, n)
        counts = np.stack([rng.multinomial(k, p) for k, p in zip(total, truth, strict=True)])
        return Drawn(x[:, :, None].astype(np.float32), truth, Labels.from_votes(counts))

    return rows(ROWS), rows(NEW_ROWS)


def targets(
    source: str, mix: Mix, data: Drawn, plan: FoldPlan, fold: int, folder: Path
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Return the rows outside the fold, the targets of a student for them, and their weights."""
    rows = plan.training(fold)
    if source == "votes":
        return rows, *mixed_targets(None, data.labels.take(rows), VotesOnly())
    if source == "pairs":
        table = collect_without(folder, MEMBERS, data.labels, plan, fold)
        return rows, *mixed_targets(average_teacher(table), table.labels, mix)
    table, _ = collect(folder, MEMBERS, data.labels, plan)
    target, weight = mixed_targets(average_teacher(table), table.labels, mix)
    return rows, target[rows], weight[rows]


def optimism(seed: int, votes: tuple[int, int]) -> Iterator[tuple[str, str, float, float]]:
    """Yield (source of targets, mix, cross-validated excess KL, excess KL of the same students on new rows)."""
    data, new = draw(seed, votes)
    plan = make_plan(data.labels, n_folds=5, test_share=0.0, seed=seed)
    with TemporaryDirectory() as scratch:
        folder, dataset = Path(scratch), Dataset(data.labels, {"features": data.signals_N})
        for pairs in (False, True):
            train_members(MEMBERS, dataset, plan, folder, seed=seed, pairs=pairs, work=WORK)
        for source, mixes in (("votes", ["votes"]), ("naive", list(MIXES)), ("pairs", list(MIXES))):
            for name in mixes:
                held, fresh = np.empty((ROWS, CLASSES)), []
                for fold in range(plan.n_folds):
                    rows, target, weight = targets(source, MIXES.get(name, VotesOnly()), data, plan, fold, folder)
                    torch.manual_seed(seed)
                    module = ModuleMember("student", mlp(FEATURES, 16, CLASSES), "features", STUDENT.member().recipe)
                    lesson, place = Lesson(rows, target, weight), folder / f"{source}-{name}-{fold}"
                    classes = data.labels.classes
                    [job] = student_jobs(STUDENT, data.signals_N, classes, lesson, {seed: place}, module)
                    for _ in run_students([job], WORK, bar_per_student(WORK)):
                        pass
                    student = student_of(job)
                    held[plan.held_out(fold)] = student.predict(data.signals_N[plan.held_out(fold)], device="cpu")
                    fresh.append(new.excess(student.predict(new.signals_N, device="cpu")))
                yield source, name, data.excess(held), float(np.mean(fresh))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=8)
    torch.set_num_threads(1)
    seeds = parser.parse_args().seeds
    start = time.process_time()
    print(f"{'votes':15s} {'mix':10s} {'source':6s} {'cross-validated':>16s} {'new rows':>9s} {'optimism':>22s}")
    for regime, votes in REGIMES.items():
        results = defaultdict(list)
        for seed in range(seeds):
            for source, mix, held, fresh in optimism(seed, votes):
                results[source, mix].append((held, fresh))
        for (source, mix), values in results.items():
            held_S, fresh_S = np.array(values).T
            gap_S = fresh_S - held_S
            error = f"+- {gap_S.std(ddof=1) / len(gap_S) ** 0.5:.4f}" if seeds > 1 else ""
            print(
                f"{regime:15s} {mix:10s} {source:6s} {held_S.mean():16.4f} {fresh_S.mean():9.4f} "
                f"{gap_S.mean():+12.4f} {error}"
            )
        for mix in MIXES:
            naive_S, pairs_S = (np.array([h for h, _ in results[source, mix]]) for source in ("naive", "pairs"))
            print(f"{regime:15s} {mix:10s} naive minus pairs {np.mean(naive_S - pairs_S):+.4f}")
    print(f"{time.process_time() - start:.0f} CPU-s")


if __name__ == "__main__":
    main()
