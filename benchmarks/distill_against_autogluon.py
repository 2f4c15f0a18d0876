"""The student of a finished run and those of AutoGluon's `distill`, learned from the same rows, scored on locked rows.

    PYTHONPATH=src python benchmarks/distill_against_autogluon.py runs/diamonds diamonds.parquet [--limits 270 270]

AutoGluon fits its own ensemble to the features of the run's training rows, bagged over the run's folds, within the
seconds of the first limit, and distils it into one LightGBM within those of the second. Prints the log loss, the
student of the run minus each with its interval, and the time per prediction. For runs on tables with hard labels.
"""

import harness  # noqa: F401  # isort: skip  (pins the threads, for children as well)

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from bench_peers import HERE, python_of
from foldstill.compare import Comparison, paired_intervals
from foldstill.data.simplex import row_kl
from foldstill.pipeline import Run, find_run


def split(run: Run, table: Path, label: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The training rows with `label` and `fold`, and the features of the locked rows in the order of the run."""
    assert run.test_labels is not None, "the run has locked rows"
    frame = pd.read_parquet(table).set_index("id").rename(columns={label: "label"})
    learned = frame.loc[run.table.labels.ids].assign(fold=run.table.fold_N)
    return learned.reset_index(drop=True), frame.loc[run.test_labels.ids].drop(columns="label")


def distilled(run: Run, frames: tuple[pd.DataFrame, pd.DataFrame], limits: list[int]) -> dict[str, NDArray[np.float64]]:
    """What AutoGluon's models predict, and their milliseconds per prediction of 1 and 32 rows."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in ("train.parquet", "new.parquet", "out.npz")]
        for frame, path in zip(frames, paths, strict=False):
            frame.to_parquet(path)
        command = [python_of("autogluon"), HERE / "distill_autogluon.py", *paths, *map(str, limits)]
        subprocess.run(command, check=True)
        with np.load(paths[-1], allow_pickle=False) as out:
            order = [out["classes"].tolist().index(name) for name in run.table.classes]
            return {key: out[key][:, order] if key.endswith("/proba") else out[key] for key in out.files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("table", type=Path)
    parser.add_argument("--label", default="cut")
    parser.add_argument("--limits", nargs=2, type=int, default=[270, 270], help="seconds of ensemble and students")
    options = parser.parse_args()
    run = find_run(options.run)
    assert run.test_labels is not None, "the run has locked rows"
    student = Comparison.read(options.run)["student"]
    theirs = distilled(run, split(run, options.table, options.label), options.limits)
    ours_N = pd.read_parquet(options.run / "comparison-rows.parquet")["kl:student"].to_numpy()
    cost = student.cost
    assert cost is not None, "the run measured its student"
    times = f"{cost.latency_1_ms:.1f} ms for 1 row, {cost.latency_batch_ms:.1f} for {cost.batch}"
    print(f"student of the run: {student.kl:.4f}, {times}")
    for name in (key.removesuffix("/proba") for key in theirs if key.endswith("/proba")):
        loss_N = row_kl(target=run.test_labels.target_NC, proba=theirs[f"{name}/proba"])
        (gap,) = paired_intervals((ours_N - loss_N)[:, None], run.test_labels.groups)
        one, batch = theirs[f"{name}/ms"]
        print(
            f"AutoGluon, {name}: {loss_N.mean():.4f}, {one:.1f} ms for 1 row, {batch:.1f} for 32; "
            f"ours minus it {gap.estimate:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]"
        )


if __name__ == "__main__":
    main()
