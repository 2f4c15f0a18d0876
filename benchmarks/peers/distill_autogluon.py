"""AutoGluon's ensemble of a feature table, bagged over given folds, and the students that `distill` makes of it.

    python distill_autogluon.py TRAIN.parquet NEW.parquet OUT.npz ENSEMBLE_S STUDENT_S

TRAIN has the features, `label` and `fold`; NEW has the features. The last two limit the seconds of the fits.
OUT gets probabilities of the new rows, in the order of `classes`, and milliseconds per prediction of 1 and 32 rows.

`student` is made by AutoGluon 1.6.3 as it is. Its metric of soft labels expects the flat predictions of LightGBM 3 and
mixes up the rows of those of LightGBM 4, so that early stopping ends after a few rounds. `student, repaired` gets the
predictions flat.
"""

import sys
import tempfile
import time
from typing import Any

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor
from autogluon.tabular.models.lgb import lgb_utils

ENSEMBLE: dict[str, Any] = {"GBM": {}, "XT": {"criterion": "entropy"}, "RF": {"criterion": "entropy"}}
"""AutoGluon's default models that need no package beyond scikit-learn and LightGBM."""


def repair_metric() -> None:
    """Give AutoGluon's metric of soft labels its predictions as LightGBM 3 did: one class after the other."""
    original = lgb_utils.func_generator

    def repaired(*args: Any, **options: Any) -> Any:
        metric = original(*args, **options)

        def of_flat(proba: Any, data: Any) -> Any:
            return metric(np.ravel(proba, "F"), data)

        of_flat.__name__ = metric.__name__
        return of_flat

    lgb_utils.func_generator = repaired


def milliseconds(predictor: TabularPredictor, model: str, frame: pd.DataFrame) -> float:
    """Median time of a prediction."""
    predictor.predict_proba(frame, model=model)
    times = []
    for _ in range(20):
        start = time.perf_counter()
        predictor.predict_proba(frame, model=model)
        times.append(time.perf_counter() - start)
    return float(np.median(times) * 1e3)


def main(train: str, new: str, out: str, ensemble_s: str, student_s: str) -> None:
    learned, unseen = pd.read_parquet(train), pd.read_parquet(new)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        predictor = TabularPredictor("label", eval_metric="log_loss", groups="fold", path=folder, verbosity=2)
        predictor.fit(
            learned,
            hyperparameters=ENSEMBLE,
            num_stack_levels=0,
            dynamic_stacking=False,
            ag_args_ensemble={"fold_fitting_strategy": "sequential_local"},
            time_limit=int(ensemble_s),
            num_cpus=1,
            num_gpus=0,
        )
        models = {"ensemble": predictor.model_best}
        for name, suffix in (("student", "asis"), ("student, repaired", "repaired")):
            if suffix == "repaired":
                repair_metric()
            student = {"GBM": {"num_threads": 1}}
            made = predictor.distill(hyperparameters=student, time_limit=int(student_s), models_name_suffix=suffix)
            (models[name],) = (one for one in made if not one.startswith("WeightedEnsemble"))
        predictor.persist(list(models.values()))
        for name, model in models.items():
            proba = predictor.predict_proba(unseen, model=model)
            results["classes"] = np.asarray(proba.columns, str)
            results[f"{name}/proba"] = proba.to_numpy(float)
            results[f"{name}/ms"] = [milliseconds(predictor, model, unseen.head(rows)) for rows in (1, 32)]
    np.savez(out, **results)


if __name__ == "__main__":
    main(*sys.argv[1:])
