"""Stacking at scale, compared with usual code: G9 convex weights, G10 greedy, G12 LightGBM, G13 MLP, G18 growth.

    PYTHONPATH=src python benchmarks/bench_stacking.py [--only g9 g10 g12 g13 g18] [--check]

Six classes, 15 members, votes of few annotators (about 37 % of the entries have a vote). `--check` exits with 1 below a
floor. CPU time of this process, one thread, both sides in turn.
"""

import harness  # isort: skip  (pins the threads, so it comes first)

import argparse
import time
from collections.abc import Callable
from math import log
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from foldstill.data.boosting import new_booster, soft_objective
from foldstill.data.labels import Labels
from foldstill.data.simplex import clip_rows, row_kl, softmax
from foldstill.oof.table import OOFTable, ScoreTable
from foldstill.stacking.averages import mean
from foldstill.stacking.convex import simplex_minimum
from foldstill.stacking.features import statistics
from foldstill.stacking.greedy import greedy_picks
from foldstill.stacking.mlp import ce_plus_kl
from foldstill.stacking.voted_entries import columns_of, voted_entries

Array = NDArray[np.float64]
CLASSES, MEMBERS = 6, 15


def votes_table(rows: int, members: int = MEMBERS, seed: int = 0) -> OOFTable:
    """Make a table of members with unequal noise around the truth: 1 to 7 votes per row, one row per group, float32."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1.5, (rows, CLASSES)).astype(np.float32)
    votes = rng.multinomial(rng.integers(1, 8, rows), softmax(truth))
    proba = np.empty((rows, members, CLASSES), np.float32)
    for m, noise in enumerate(np.linspace(0.5, 1.6, members)):
        proba[:, m] = softmax(0.8 * truth + noise * rng.standard_normal(truth.shape, np.float32))
    labels = Labels.from_votes(votes)
    names = tuple(f"m{m}" for m in range(members))
    return OOFTable(ScoreTable(labels.ids, names, labels.classes, proba), labels, np.zeros(rows, np.int16))


def g9() -> harness.Ratio:
    """Convex weights, 100,000 x 15 x 6, compared with SLSQP with a numeric gradient on the whole table."""
    table = votes_table(100_000)
    # float64: a numeric gradient of float32 sums is mostly noise, and the baseline would stop far from the optimum.
    target_NC, proba_NCM = table.labels.target_NC, table.proba_NMC.transpose(0, 2, 1).astype(np.float64)

    def loss(weight_M: Array) -> float:
        return float(row_kl(target=target_NC, proba=proba_NCM @ weight_M).mean())

    def theirs() -> Array:
        start = np.full(MEMBERS, 1 / MEMBERS)
        simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
        return minimize(loss, start, method="SLSQP", bounds=[(0, 1)] * MEMBERS, constraints=simplex).x

    def ours() -> tuple[Array, float]:
        return simplex_minimum(voted_entries(table, columns_of(table.members, tied=False)))

    def same(mine: tuple[Array, float], other: Array) -> None:
        assert mine[1] <= 1e-6, f"duality gap {mine[1]}"
        assert loss(mine[0]) <= loss(other) + 1e-7
        print(f"G9: KL {loss(mine[0]):.7f} with gap {mine[1]:.1e}, baseline {loss(other):.7f}")

    return harness.side_by_side("G9 convex weights", ours=ours, baseline=theirs, same=same, repeats=5)


def g10() -> harness.Ratio:
    """Greedy selection, 50 picks of 15 members on 100,000 rows, compared with recomputing the average each time."""
    table = votes_table(100_000)
    target_NC, proba_MNC = table.labels.target_NC, table.proba_NMC.transpose(1, 0, 2).astype(np.float64)

    def theirs() -> list[int]:
        sum_NC, picks = np.zeros(target_NC.shape), []
        for count in range(1, 51):
            losses = [row_kl(target=target_NC, proba=(sum_NC + member) / count).mean() for member in proba_MNC]
            picks.append(int(np.argmin(losses)))
            sum_NC = sum_NC + proba_MNC[picks[-1]]
        return picks

    def ours() -> list[int]:
        entries = voted_entries(table, columns_of(table.members, tied=False))
        return greedy_picks(entries, 50, start=1, allowed=np.arange(MEMBERS))

    def same(mine: list[int], other: list[int]) -> None:
        assert mine == other

    return harness.side_by_side("G10 greedy, 50 picks", ours=ours, baseline=theirs, same=same, repeats=3)


def g12() -> harness.Ratio:
    """LightGBM on 30 statistics, 60 rounds, 80,000 rows: soft objective compared with six weighted copies per row."""
    table = votes_table(100_000)
    target_NC = table.labels.target_NC
    features_NF, start_NC = statistics(table.proba_NMC), np.log(clip_rows(mean(table.proba_NMC)))
    train, held = slice(0, 80_000), slice(80_000, None)
    settings: dict[str, float] = {"num_leaves": 15, "learning_rate": 0.1, "min_data_in_leaf": 20}

    def ours() -> float:
        booster = new_booster(features_NF[train], start_NC[train], settings)
        objective = soft_objective(target_NC[train], np.ones(80_000))
        for _ in range(60):
            booster.update(fobj=objective)
        return kl(softmax(start_NC[held] + booster.predict(features_NF[held], raw_score=True)))

    def theirs() -> float:
        fixed = {"objective": "multiclass", "num_class": CLASSES, "num_threads": 1, "max_bin": 63, "verbose": -1}
        fixed |= {"deterministic": True, "force_row_wise": True, **settings}
        copies = np.repeat(features_NF[train], CLASSES, axis=0)
        labels = np.tile(np.arange(CLASSES), 80_000)
        weights = np.maximum(target_NC[train].ravel(), 1e-12)
        booster = lightgbm.train(fixed, lightgbm.Dataset(copies, labels, weight=weights, params=fixed), 60)
        return kl(booster.predict(features_NF[held]))

    def kl(proba_NC: Array) -> float:
        return float(row_kl(target=target_NC[held], proba=proba_NC).mean())

    def same(mine: float, other: float) -> None:
        assert mine <= other + 1e-3
        print(f"G12: held-out KL {mine:.4f}, baseline {other:.4f}")

    return harness.side_by_side("G12 LightGBM, soft labels", ours=ours, baseline=theirs, same=same, repeats=3)


def g13() -> harness.Ratio:
    """Three MLP epochs on 90 log-probabilities, batch size 1,024, compared with a DataLoader over the same tensors."""
    table = votes_table(100_000)
    logs_NF = np.log(np.maximum(table.proba_NMC, 1e-7)).reshape(100_000, -1)
    x = torch.from_numpy((logs_NF - logs_NF.mean(axis=0)) / logs_NF.std(axis=0))
    y = torch.from_numpy(table.labels.target_NC.astype(np.float32))
    train, held = slice(0, 80_000), slice(80_000, None)

    def epochs(batches: Callable[[], Any]) -> float:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(90, 64), torch.nn.ReLU(), torch.nn.Linear(64, CLASSES))
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, foreach=False)
        for _ in range(3):
            for x_BF, y_BC in batches():
                optimizer.zero_grad()
                ce_plus_kl(net(x_BF), y_BC, 0.0).mean().backward()
                optimizer.step()
        with torch.no_grad():
            proba = torch.softmax(net(x[held]), dim=1).numpy()
        return float(row_kl(target=y[held].numpy(), proba=proba).mean())

    def slices() -> Any:
        return ((x[rows], y[rows]) for rows in torch.randperm(80_000).split(1024))

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x[train], y[train]), 1024, shuffle=True)

    def same(mine: float, other: float) -> None:
        assert abs(mine - other) <= 2e-3
        print(f"G13: held-out KL {mine:.4f}, baseline {other:.4f}")

    return harness.side_by_side(
        "G13 MLP epochs", ours=lambda: epochs(slices), baseline=lambda: epochs(lambda: iter(loader)), same=same
    )


def g18() -> float:
    """Return the exponent of the time of one evaluation of convex weights from 100,000 to 1,000,000 rows.

    An evaluation computes loss and gradient. Also prints the time and memory of whole fits, up to 1,000,000 rows of 50
    members.
    """
    fastest = []
    for rows, members in ((100_000, MEMBERS), (1_000_000, MEMBERS), (1_000_000, 50)):
        table = votes_table(rows, members)
        assert len(table.labels.target_NC) == rows  # computed once and stored in the table
        start = time.process_time()
        entries, taken = peak_growth(lambda table=table: voted_entries(table, columns_of(table.members, tied=False)))
        (_, gap), solving = peak_growth(lambda entries=entries: simplex_minimum(entries))
        print(
            f"G18: {rows:,} x {members}: {time.process_time() - start:.3f} CPU-s, gap {gap:.1e}; table "
            f"{(table.proba_NMC.nbytes + table.labels.target_NC.nbytes) / 2**20:.0f} MB, "
            f"entries with votes {taken:.0f} MB, solving {solving:.0f} MB"
        )
        weight_M = np.full(members, 1 / members)
        seconds = []
        for _ in range(7):
            start = time.process_time()
            entries.cross_entropy(weight_M)
            seconds.append(time.process_time() - start)
        fastest.append(min(seconds))
        del table, entries
    exponent = log(fastest[1] / fastest[0]) / log(10)
    print(
        f"G18: {fastest[0] * 1e3:.2f} ms per evaluation at 100k rows, {fastest[1] * 1e3:.2f} ms at 1M: "
        f"exponent {exponent:.2f}"
    )
    return exponent


def peak_growth(work: Callable[[], Any]) -> tuple[Any, float]:
    """Return the result of `work` and the peak growth of resident memory in MB (Linux only)."""

    def status(key: str) -> float:
        [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
        return int(line.split()[1]) / 1024

    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = status("VmRSS")
    return work(), status("VmHWM") - before


FLOORS = {"g9": (g9, 40), "g10": (g10, 12), "g12": (g12, 3.5), "g13": (g13, 1.8)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[*FLOORS, "g18"], choices=[*FLOORS, "g18"])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name in options.only:
        if name == "g18":
            exponent = g18()
            if options.check and exponent > 1.3:
                raise SystemExit(f"G18: exponent {exponent:.2f} is above its ceiling of 1.3")
            continue
        run, at_least = FLOORS[name]
        ratio = run()
        if options.check:
            harness.floor(ratio, at_least)


if __name__ == "__main__":
    main()
