"""G19: members on a feature table over five folds, compared with a plain loop of scikit-learn.

    python benchmarks/bench_members.py [rows] [repeats]

Ours trains each member over the folds of a plan, predicts the held-out rows, writes models, scores and seals, and
collects the out-of-fold table, with one worker. One baseline is `cross_val_predict` over the same folds with one job,
which keeps nothing; the other does the same in a loop that keeps each model, by skops or as LightGBM's text. All get
numbers without missing values in a pipeline of the same steps, and must give the same predictions.
"""

import harness  # noqa: I001  (pins threads before numpy is loaded)

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from lightgbm import LGBMClassifier
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import foldstill as fs
from foldstill.base_models import LightGBMMember, Member, SklearnMember, collect, train_members
from foldstill.data import FoldPlan
from foldstill.workers import Work

FOLDS, FEATURES, CLASSES, ROUNDS = 5, 20, 4, 50

SCIKIT_LEARN = {
    "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)),
    "extra trees": make_pipeline(StandardScaler(), ExtraTreesClassifier(50, min_samples_leaf=5, random_state=0)),
    "histogram boosting": make_pipeline(
        StandardScaler(), HistGradientBoostingClassifier(max_iter=ROUNDS, early_stopping=False, random_state=0)
    ),
}
LIGHTGBM = LGBMClassifier(
    n_estimators=ROUNDS, n_jobs=1, verbose=-1, deterministic=True, force_row_wise=True, feature_pre_filter=False
)


def made_up(rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, classes and folds."""
    rng = np.random.default_rng(0)
    x_NF = rng.normal(size=(rows, FEATURES))
    class_N = (x_NF @ rng.normal(size=(FEATURES, CLASSES)) + rng.gumbel(size=(rows, CLASSES))).argmax(axis=1)
    return x_NF, class_N, rng.integers(0, FOLDS, rows)


def compare(name: str, member: Member, estimator: Any, data: tuple[np.ndarray, ...], repeats: int) -> None:
    x_NF, class_N, fold_N = data
    labels = fs.Labels.from_hard(class_N, classes=[str(c) for c in range(CLASSES)])
    plan, dataset = FoldPlan.from_folds(labels, fold_N), fs.Dataset(labels, {"features": x_NF})

    def ours() -> np.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            train_members([member], dataset, plan, Path(folder), work=Work(workers=1, device="cpu"))
            return collect(Path(folder), [member], labels, plan)[0].proba_NMC[:, 0]

    def nothing_kept() -> np.ndarray:
        return cross_val_predict(
            clone(estimator), x_NF, class_N, cv=PredefinedSplit(fold_N), method="predict_proba", n_jobs=1
        )

    def models_kept() -> np.ndarray:
        proba_NC = np.empty((len(x_NF), CLASSES))
        with tempfile.TemporaryDirectory() as folder:
            for fold in range(FOLDS):
                fitted = clone(estimator).fit(x_NF[fold_N != fold], class_N[fold_N != fold])
                proba_NC[fold_N == fold] = fitted.predict_proba(x_NF[fold_N == fold])
                if isinstance(fitted, LGBMClassifier):
                    fitted.booster_.save_model(Path(folder) / f"{fold}.txt")
                else:
                    skops.io.dump(fitted, Path(folder) / f"{fold}.skops")
        return proba_NC

    same: Callable[[Any, Any], None] = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5)  # noqa: E731
    for title, baseline in (("cross_val_predict", nothing_kept), ("a loop that keeps the models", models_kept)):
        named = f"G19 {name}, {len(x_NF)} rows, {FOLDS} folds, compared with {title}"
        harness.side_by_side(named, ours=ours, baseline=baseline, same=same, repeats=repeats)


def main(rows: int = 10_000, repeats: int = 3) -> None:
    data = made_up(rows)
    for name, estimator in SCIKIT_LEARN.items():
        compare(name, SklearnMember("member", estimator), estimator, data, repeats)
    member = LightGBMMember("member", rounds=ROUNDS, patience=0, bins=255)
    compare("LightGBM", member, LIGHTGBM, data, repeats)


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
