"""Does a head with sparse probabilities (entmax 1.5) fit vote shares better than a softmax, or one with a temperature?

    python benchmarks/entmax_head.py [hms_oof.npz]

Exact zeros make KL infinite for classes that somebody voted for, so the sparse head is mixed with the uniform
distribution by a learned share. There are two experiments: a small MLP on the digits with simulated annotators, five
splits by group with three seeds each; and, if the file is given, the average of real HMS members recalibrated by a
scale and one bias per class under either head, over folds of patients. Prints held-out KL; the difference from the
softmax is paired.

N rows, B batch, F features, C classes.
"""

import harness  # noqa: F401  # isort: skip  (pins threads before numpy)

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldstill.base_models.heads import Head
from foldstill.data.digits import DigitsData
from foldstill.data.folds import make_plan
from foldstill.data.labels import Labels
from foldstill.data.simplex import kl_divergence, row_kl

EPOCHS, BATCH, WIDTH, SEEDS = 30, 64, 64, 3
HEADS = ("softmax", "temperature per row", "temperature per row and class", "entmax 1.5, learned floor")


def entmax15(z_BC: Tensor) -> Tensor:
    """Return the maximiser on the simplex of p z + Tsallis entropy of order 1.5 (Peters et al., 2019, algorithm 2)."""
    z = (z_BC - z_BC.max(dim=1, keepdim=True).values) / 2
    ordered = z.sort(dim=1, descending=True).values
    k = torch.arange(1, z.shape[1] + 1)
    mean = ordered.cumsum(1) / k
    scatter = k * ((ordered**2).cumsum(1) / k - mean**2)
    tau = mean - ((1 - scatter) / k).clamp(min=0).sqrt()
    support = (tau <= ordered).sum(dim=1, keepdim=True)
    return (z - tau.gather(1, support - 1)).clamp(min=0) ** 2


def log_head(logits_BC: Tensor, floor: Tensor | None) -> Tensor:
    """Return log-probabilities: a softmax, or entmax mixed with a share sigmoid(floor) of the uniform distribution."""
    if floor is None:
        return logits_BC.log_softmax(1)
    share = floor.sigmoid()
    return ((1 - share) * entmax15(logits_BC) + share / logits_BC.shape[1]).log()


class Model(nn.Module):
    """An MLP that returns log-probabilities (B, C) from one of the heads."""

    def __init__(self, features: int, n_classes: int, head: str) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(features, WIDTH), nn.ReLU(), nn.Dropout(0.3), nn.Linear(WIDTH, WIDTH), nn.ReLU()
        )
        self.head = Head(WIDTH, n_classes, "row" if head == HEADS[1] else "class" if head == HEADS[2] else "none", 0.3)
        # Starts at a share of 1 in 100.
        self.floor = nn.Parameter(torch.tensor(-4.6)) if head == HEADS[3] else None

    def forward(self, x_BF: Tensor) -> Tensor:
        return log_head(self.head(self.body(x_BF)), self.floor)


def held_out_kl(x_NF: NDArray[np.float32], labels: Labels, head: str, split: int, seed: int) -> float:
    plan = make_plan(labels, n_folds=5, test_share=0.0, strategy="grouped", seed=0)
    rows, held = plan.training(split), plan.held_out(split)
    mean, std = x_NF[rows].mean(axis=0), x_NF[rows].std(axis=0) + 1e-6
    x, target = torch.from_numpy((x_NF - mean) / std), torch.from_numpy(labels.target_NC.astype(np.float32))
    torch.manual_seed(seed)
    model = Model(x.shape[1], target.shape[1], head)
    steps = len(rows) // BATCH * EPOCHS
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        order = torch.from_numpy(rows)[torch.randperm(len(rows), generator=generator)]
        for batch in order[: len(rows) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            (-(target[batch] * model(x[batch])).sum(dim=1)).mean().backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        proba = model(x[torch.from_numpy(held)]).exp().numpy()
    return kl_divergence(target=labels.target_NC[held], proba=proba / proba.sum(axis=1, keepdims=True))


def compare(name: str, x_NF: NDArray[np.float32], labels: Labels) -> None:
    print(f"{name}: {len(labels):,} rows, {labels.total_N.mean():.1f} votes per row")
    runs = [(split, seed) for split in range(5) for seed in range(SEEDS)]
    softmax = np.asarray([held_out_kl(x_NF, labels, HEADS[0], *run) for run in runs])
    print(f"  {HEADS[0]:30} {softmax.mean():.4f}")
    for head in HEADS[1:]:
        kl = np.asarray([held_out_kl(x_NF, labels, head, *run) for run in runs])
        by_split = (kl - softmax).reshape(5, SEEDS).mean(axis=1)
        print(
            f"  {head:30} {kl.mean():.4f}, {by_split.mean():+.4f} "
            f"(standard deviation over splits {by_split.std(ddof=1):.4f})"
        )


class Recalibration(nn.Module):
    """Log-probabilities (N, C) of averaged scores, scaled and shifted per class before a softmax or entmax 1.5."""

    def __init__(self, n_classes: int, *, sparse: bool) -> None:
        super().__init__()
        self.scale, self.bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.zeros(n_classes))
        self.floor = nn.Parameter(torch.tensor(-4.6)) if sparse else None

    def forward(self, log_proba_NC: Tensor) -> Tensor:
        return log_head(self.scale * log_proba_NC + self.bias, self.floor)


def recalibrated_kl(
    score_NC: Tensor, target_NC: Tensor, fold_N: NDArray[np.int8], *, sparse: bool
) -> NDArray[np.float64]:
    """Return the held-out KL per row."""
    kl_N = np.empty(len(fold_N))
    for fold in np.unique(fold_N):
        rows, held = torch.from_numpy(fold_N != fold), torch.from_numpy(fold_N == fold)
        model = Recalibration(score_NC.shape[1], sparse=sparse).double()
        optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, line_search_fn="strong_wolfe")

        def loss(rows: Tensor = rows, model: nn.Module = model, optimizer: torch.optim.Optimizer = optimizer) -> Tensor:
            optimizer.zero_grad()
            value = -(target_NC[rows] * model(score_NC[rows])).sum(dim=1).mean()
            value.backward()
            return value

        optimizer.step(loss)
        with torch.no_grad():
            proba = model(score_NC[held]).exp().numpy()
        kl_N[held.numpy()] = row_kl(target=target_NC[held].numpy(), proba=proba / proba.sum(axis=1, keepdims=True))
    return kl_N


def recalibrate(path: Path) -> None:
    with np.load(path, allow_pickle=False) as file:
        kept = [m for m, name in enumerate(file["members"]) if not str(name).endswith(("_nb", "_nbtta"))]
        proba_NC = file["pred"][:, kept].astype(np.float64).mean(axis=1)
        target_NC, fold_N, quality_N = file["target"].astype(np.float64), file["fold"], file["quality"]
    target_NC /= target_NC.sum(axis=1, keepdims=True)
    score, target = torch.from_numpy(np.log(proba_NC.clip(1e-7))), torch.from_numpy(target_NC)
    for title, rows in (
        ("all rows", quality_N >= 0),
        ("3 votes or more", quality_N >= 1),
        ("10 or more", quality_N == 2),
    ):
        soft, sparse = (recalibrated_kl(score[rows], target[rows], fold_N[rows], sparse=s) for s in (False, True))
        difference = sparse - soft
        error = difference.std(ddof=1) / len(difference) ** 0.5
        print(
            f"HMS average, {title}: softmax {soft.mean():.4f}, entmax {sparse.mean():.4f}, "
            f"difference {difference.mean():+.4f} (standard error {error:.4f})"
        )


def main() -> None:
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hms_oof", nargs="?", type=Path)
    path = parser.parse_args().hms_oof
    if path is not None:
        recalibrate(path)
    digits = DigitsData(size=8).load(Path())
    compare("digits", digits.view("image").reshape(len(digits.labels), -1).astype(np.float32), digits.labels)


if __name__ == "__main__":
    main()
