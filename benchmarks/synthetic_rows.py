"""Do synthetic rows that the teacher labels make a better student of a table? 6,000 rows of diamonds.

    python benchmarks/synthetic_rows.py diamonds.parquet

Three members over five folds, a log-linear pool of them as the teacher, and two students over three seeds: 60 rounds of
LightGBM, and one decision tree. Prints each student's KL on locked rows with and without synthetic rows, and the
difference with its interval. Takes about three CPU-minutes.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from foldstill.compare.intervals import paired_intervals
from foldstill.data.simplex import row_kl
from foldstill.pipeline import ExperimentFile, Run, find_run, run_all, start_run
from foldstill.workers import Work

ROWS = 6000
EXPERIMENT = """
name = "synthetic_rows"
[data]
kind = "table"
path = "rows.parquet"
label = "cut"
classes = ["Fair", "Good", "Very Good", "Premium", "Ideal"]
id = "id"
group = "content"
[folds]
test_share = 0.3
[[member]]
kind = "lightgbm"
name = "leaf_boosting"
learning_rate = 0.05
[[member]]
kind = "sklearn"
name = "extra_trees"
estimator = "ExtraTreesClassifier"
options = { n_estimators = 100, min_samples_leaf = 3, max_features = 0.7 }
[[member]]
kind = "sklearn"
name = "logistic_regression"
estimator = "LogisticRegression"
options = { max_iter = 1000 }
[[stacking.combiner]]
kind = "average"
[[stacking.combiner]]
kind = "log_pool"
[student]
kind = "lightgbm"
teacher = "log_pool"
rounds = 60
patience = 0
leaves = 15
row_share = 0.8
without_teacher = false
"""
TREE = 'kind = "sklearn"\nestimator = "DecisionTreeRegressor"\noptions = { min_samples_leaf = 10 }\n'
SETTINGS = {
    "1 per row": "{ per_row = 1.0 }",
    "4 per row": "{ per_row = 4.0 }",
    "4 per row, near": "{ per_row = 4.0, swap = 0.2, spread = 0.3 }",
}


def experiment() -> str:
    students = [f'[[ablation]]\nname = "tree"\n{TREE}']
    for name, synthetic in SETTINGS.items():
        students += [
            f'[[ablation]]\nname = "{kind} {name}"\n{own}synthetic = {synthetic}\n'
            for kind, own in (("student", ""), ("tree", TREE))
        ]
    return EXPERIMENT + "".join(students)


def losses(run: Run, name: str) -> np.ndarray:
    """KL per locked row, mean over seeds."""
    (student,) = (one for one in run.students if one.settings.name == name)
    target = run.dataset.labels.take(run.plan.test_rows).target_NC
    return np.mean([row_kl(target=target, proba=scores.proba_NMC[:, 0]) for scores in student.test], axis=0)


def main(path: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pd.read_parquet(path).sample(ROWS, random_state=0).to_parquet(folder / "rows.parquet", index=False)
        work = Work(workers=1, device="cpu")
        run_all(start_run(ExperimentFile(experiment(), folder), folder / "run", work))
        run = find_run(folder / "run", work=work)
        groups = run.dataset.labels.groups[run.plan.test_rows]
        for kind in ("student", "tree"):
            without = losses(run, kind)
            print(f"{kind} without synthetic rows: KL {without.mean():.4f}")
            for name in SETTINGS:
                with_rows = losses(run, f"{kind} {name}")
                (interval,) = paired_intervals((with_rows - without)[:, None], groups)
                print(
                    f"{kind}, {name}: KL {with_rows.mean():.4f}, "
                    f"{interval.estimate:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"
                )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
