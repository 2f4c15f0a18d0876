"""Which true gains `auto` takes with its two rules, and how often it harms, on generated tables whose gain is known.

    python benchmarks/auto_power.py [--tables 20] [--rows 8]

Six members of three classes in two families, three to eight votes per row, groups of about `--rows` rows that share a
part of every error. The error of one family is smaller by an amount that sets what the best combination of many groups
gains over the plain average: nothing, 0.005 or 0.02 KL. Each table is stacked by `auto` with both rules, and scored on
600 new groups. A gain is taken when KL there is lower by half of the true gain; harm is a KL that is higher by 1.96
standard errors over groups.
"""

import harness  # noqa: F401  # isort: skip  (pins threads before numpy)

import argparse

import numpy as np

from foldstill.data.simplex import row_kl, softmax
from foldstill.oof.arrays import oof_table
from foldstill.stacking.auto import Auto

GAINS = {0.0: 0.0, 0.005: 0.2, 0.02: 0.5}
"""True gain to the difference of the families: their errors are exp(-d) and exp(d) times the usual one."""
CELLS = ((0.0, 100), (0.02, 100), (0.005, 400), (0.02, 400), (0.0, 400), (0.005, 100))
FRESH_GROUPS = 600


def made(
    rng: np.random.Generator, n_groups: int, difference: float, rows: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the members' probabilities (N, 6, 3), the votes (N, 3) and the group per row."""
    group_N = np.repeat(np.arange(n_groups), np.maximum(1, rng.poisson(rows, n_groups)))
    n, classes = len(group_N), 3

    def error(per_row: float, per_group: float) -> np.ndarray:
        of_row = per_row * rng.standard_normal((n, classes))
        return of_row + per_group * rng.standard_normal((n_groups, classes))[group_N]

    truth = 1.2 * rng.standard_normal((n_groups, classes))[group_N] + rng.standard_normal((n, classes))
    shared, families = error(0.5, 0.3), [error(0.5, 0.3) for _ in range(2)]
    noise_M = np.exp(np.repeat([-difference, difference], 3))
    logits = [truth + shared + noise * (families[m // 3] + error(0.5, 0.3)) for m, noise in enumerate(noise_M)]
    # Members are overconfident by as much as makes their plain average calibrated.
    proba = softmax(0.8 * np.stack(logits, axis=1)).astype(np.float32)
    return proba, rng.multinomial(rng.integers(3, 9, n), softmax(truth)), group_N


def scored(auto: Auto, gain: float, n_groups: int, rows: int, seed: int) -> tuple[str, float, float]:
    """Return what `auto` chose, its KL minus the average's on new groups, and the standard error of that."""
    rng = np.random.default_rng([seed, n_groups, int(100 * GAINS[gain])])
    proba, votes, group_N = made(rng, n_groups, GAINS[gain], rows)
    fresh, fresh_votes, fresh_group_N = made(rng, FRESH_GROUPS, GAINS[gain], rows)
    table = oof_table({f"m{m}": proba[:, m] for m in range(6)}, votes=votes, groups=group_N, folds=group_N % 5)
    fitted = auto.fit(table)
    target = fresh_votes / fresh_votes.sum(axis=1, keepdims=True)
    difference = row_kl(target=target, proba=fitted(fresh)) - row_kl(target=target, proba=fresh.mean(axis=1))
    mean = difference.mean()
    of_group = np.bincount(fresh_group_N, difference - mean)
    return fitted.choice, float(mean), float(np.sqrt((of_group**2).sum()) / len(difference))


def main(tables: int, rows: int) -> None:
    print(f"{tables} tables per line, groups of about {rows} rows")
    print(f"{'gain':>6} {'groups':>6} {'rule':>9} {'left average':>13} {'taken':>6} {'harmed':>7} {'mean gain':>10}")
    for gain, n_groups in CELLS:
        for auto in (Auto(), Auto(rule="expected")):
            found = [scored(auto, gain, n_groups, rows, 100 + seed) for seed in range(tables)]
            left = sum(choice != "average" for choice, _, _ in found)
            taken = sum(mean < -gain / 2 for _, mean, _ in found) if gain else 0
            harmed = sum(choice != "average" and mean > 1.96 * error for choice, mean, error in found)
            print(
                f"{gain:6} {n_groups:6} {auto.rule:>9} {left:13} {taken:6} {harmed:7} "
                f"{-np.mean([mean for _, mean, _ in found]):10.5f}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=20)
    parser.add_argument("--rows", type=int, default=8)
    arguments = parser.parse_args()
    main(arguments.tables, arguments.rows)
