"""A finished run and other libraries on the same predictions: fitted to out-of-fold rows, scored on locked rows.

    PYTHONPATH=src python benchmarks/run_against_peers.py runs/diamonds [--peers autogluon sklearn]

Each peer gets the out-of-fold predictions of the run's members and its labels, and predicts the locked rows from the
members' averages over fold models: AutoGluon's greedy weighted ensemble, and scikit-learn's logistic regression on all
probabilities side by side, the final estimator of its StackingClassifier. Peers run in their own environments; see
bench_peers.py. Then the student of the run: against the same student without a teacher, and its time per row as a share
of the ensemble's. Exits with 1 unless `auto` is no worse than the best peer beyond noise.
"""

import harness  # noqa: F401  # isort: skip  (pins the threads, for children as well)

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench_peers import HERE, PEERS, python_of, write_problem
from foldstill.compare import Comparison, Interval, paired_intervals
from foldstill.data.simplex import row_kl
from foldstill.pipeline import Run, find_run


def peer_losses(run: Run, peers: list[str]) -> dict[str, NDArray[np.float64]]:
    """KL per locked row of every method of the peers."""
    assert run.test is not None, "the run has locked rows"
    assert run.test_labels is not None, "the run has locked rows"
    losses = {}
    with tempfile.TemporaryDirectory() as folder:
        problem, out = Path(folder) / "problem.npz", Path(folder) / "out.npz"
        write_problem(problem, run.table, run.test.mean().select(run.table.members).proba_NMC)
        for peer in peers:
            subprocess.run([python_of(peer), HERE / f"fit_{peer}.py", "1", problem, out], check=True)
            with np.load(out, allow_pickle=False) as results:
                for key in results.files:
                    name, what = key.rsplit("/", 1)
                    if what == "proba":
                        losses[f"{peer} {name}"] = row_kl(target=run.test_labels.target_NC, proba=results[key])
    return losses


def shown(interval: Interval) -> str:
    return f"{interval.estimate:+.5f} [{interval.low:+.5f}, {interval.high:+.5f}]"


def student_lines(comparison: Comparison) -> list[str]:
    """The students against their twins without a teacher, and their time per row."""
    lines = []
    ensemble = comparison["average"].cost
    for arm in comparison.arms:
        gain = comparison.teacher_gain(arm.name)
        if arm.kind != "student" or gain is None:
            continue
        lines.append(f"{arm.name}: KL {arm.kl:.5f}, minus without teacher {shown(gain)}")
        for field, batch in (("latency_1_ms", "one row"), ("latency_batch_ms", "a batch")):
            own, all_members = (getattr(cost, field, None) for cost in (arm.cost, ensemble))
            if own and all_members:
                lines.append(f"  {batch}: {own:.2f} ms, the ensemble {all_members:.1f} ms, 1/{all_members / own:.0f}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--peers", nargs="*", default=["autogluon", "sklearn"], choices=PEERS)
    options = parser.parse_args()
    run = find_run(options.run)
    comparison = Comparison.read(options.run)
    assert run.test_labels is not None, "the run has locked rows"
    theirs = peer_losses(run, options.peers)
    target_NC = run.test_labels.target_NC
    ours = {one.fitted.name: row_kl(target=target_NC, proba=one.test_proba_NC) for one in run.combinations}
    auto_N = ours["auto"]
    print(f"{comparison.n_rows} locked rows of {comparison.n_groups} groups; log loss, and auto minus the method")
    failed = False
    both = ours | theirs
    gaps = paired_intervals(np.stack([auto_N - loss_N for loss_N in both.values()], axis=1), run.test_labels.groups)
    for (name, loss_N), gap in sorted(zip(both.items(), gaps, strict=True), key=lambda one: float(one[0][1].mean())):
        print(f"{name:32s}{loss_N.mean():9.5f}   {shown(gap)}")
        failed |= name in theirs and gap.low > 0
    print(*student_lines(comparison), sep="\n")
    if failed:
        sys.exit("a peer is better than auto")


if __name__ == "__main__":
    main()
