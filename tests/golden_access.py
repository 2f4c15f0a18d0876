"""All that the goldens know of foldstill's insides: what files hold under plain names, and which kinds there are.

Where modules, functions or columns of files get other names, this module follows and the files in `tests/golden` stay.
N rows, M members, C classes, K fold models.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray
from pyarrow import parquet

import foldstill as fs
from foldstill.base_models import MEMBERS
from foldstill.compare import Arm, compare
from foldstill.data.folds import FoldPlan
from foldstill.data.simplex import kl_divergence
from foldstill.distill.mixes import MIXES
from foldstill.distill.settings import LossName, ViewSource
from foldstill.hms.cache import Cache
from foldstill.hms.views import VIEWS
from foldstill.oof.store import read_labels, read_scores
from foldstill.oof.table import FoldScores
from foldstill.stacking import COMBINERS

Array = NDArray[Any]


@dataclass(frozen=True)
class Scores:
    """What a score file holds; with fold models the mean over them."""

    ids: Array
    members: tuple[str, ...]
    classes: tuple[str, ...]
    proba_NMC: Array
    n_models: int


@dataclass(frozen=True)
class Truth:
    """Labels of rows as shares of votes."""

    ids: Array
    groups: Array
    strata: Array
    target_NC: Array
    digest: str


def scores_of(path: Path) -> Scores:
    """The scores in a file of scores, with or without folds."""
    read = read_scores(path)
    models = read.n_models if isinstance(read, FoldScores) else 1
    mean = read.mean() if isinstance(read, FoldScores) else read
    return Scores(mean.ids, mean.members, mean.classes, mean.proba_NMC, models)


def truth_of(path: Path) -> Truth:
    """The labels in a file of scores."""
    labels = read_labels(path)
    assert labels is not None
    return Truth(labels.ids, labels.groups, labels.stratum_N, labels.target_NC, labels.digest)


def folds_of_run(run: Path) -> tuple[Array, str]:
    """The fold of each row, -1 for locked ones, and the digest of the plan."""
    plan = FoldPlan.read(run / "folds.parquet")
    return plan.fold_N, plan.digest


def columns_of(path: Path) -> list[str]:
    """Names of a parquet file's columns."""
    return list(parquet.read_schema(path).names)


def kl_of(truth: Truth, proba_NC: Array) -> float:
    return float(kl_divergence(target=truth.target_NC, proba=proba_NC))


def curve(folder: Path) -> list[dict[str, float]]:
    """What a training left of each epoch: its loss, and the KL on the inner split where there is one."""
    with (folder / "history.csv").open(encoding="utf-8", newline="") as lines:
        read = list(csv.DictReader(lines))
    inner = [{"inner_kl": float(line["inner_kl"])} if line.get("inner_kl") else {} for line in read]
    return [{"loss": float(line["loss"])} | kl for line, kl in zip(read, inner, strict=True)]


def lesson_of(student: Path) -> str:
    """One sentence on how a student's targets were made; empty without a teacher."""
    path = student / "targets.json"
    return str(json.loads(path.read_text(encoding="utf-8"))["made"]) if path.exists() else ""


def reason_of(combination: Path) -> str:
    """What a fitted combination says of its choice."""
    return str(json.loads((combination / "combination.json").read_text(encoding="utf-8"))["explanation"])


def comparison_of(folder: Path) -> dict[str, Any]:
    """A comparison without what a clock measured."""
    facts = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    strata = {s["name"]: {"rows": s["n_rows"], "groups": s["n_groups"], "floor": s["floor"]} for s in facts["strata"]}
    return {
        "verdict": without_clock(facts["verdict"]),
        "rows": facts["rows"],
        "baseline": facts["baseline"],
        "n_rows": facts["n_rows"],
        "n_groups": facts["n_groups"],
        "effective_groups": float(facts["effective_groups"]),
        "floor": facts["floor"],
        "strata": strata,
        "size_curve": [
            [p["n"], *(p[key] for key in ("mean", "low", "high", "best_first"))] for p in facts["size_curve"]
        ],
        "correlation": facts["correlation"],
        "arms": {arm["name"]: _arm(arm) for arm in facts["arms"]},
    }


def compared(table: Path, arms: Mapping[str, Path], folder: Path) -> dict[str, Any]:
    """Members of a table and combinations of them, from a file of scores each, compared and left in the folder."""
    members = fs.read_table(table)
    parts = [Arm(name, "member", members.proba_NMC[:, m]) for m, name in enumerate(members.members)]
    for name, path in arms.items():
        parts.append(Arm(name, "average" if name == "average" else "combination", scores_of(path).proba_NMC[:, 0]))
    compare(parts, members.labels, rows="oof cross-fitted", members=members.scores).write(folder)
    return comparison_of(folder)


def _arm(arm: dict[str, Any]) -> dict[str, Any]:
    cost, follows, gap = arm["cost"] or {}, arm["fidelity"], arm["difference"]
    together = arm["simultaneous"]
    result = {
        "kind": arm["kind"],
        "scores": arm["scores"],
        "class_kl": arm["class_kl_C"],
        "difference": gap and [gap["estimate"], gap["low"], gap["high"]],
        "bootstrap": [[one["low"], one["high"]] for one in arm["bootstrap"]],
        "simultaneous": together and [together["low"], together["high"], together["p"]],
        "groups_improved": arm["improved"],
        "design_effect": arm["design_effect"],
        "reducible": arm["reducible"],
        "worth": arm["worth"],
        "strata_kl": {s["stratum"]: s["scores"]["kl"] for s in arm["strata"]},
        "cost": {key: cost[key] for key in ("parameters", "macs", "bytes", "activation_bytes") if cost.get(key)},
        "note": arm["note"],
        "chosen": arm["chosen"],
        "weights": arm["weights"],
        "follows": follows and [follows["teacher"], follows["kl"], follows["agreement"]],
        "kl_by_seed": arm["kl_by_seed"],
    }
    return {key: value for key, value in result.items() if value not in (None, [], {}, "")}


def without_clock(text: str) -> str:
    """A verdict without the share of latency, which is another on every machine."""
    return re.sub(r"[\d.,]+ (%|times)( of)? its latency", "... of its latency", text)


def prepared(cache: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Views of a cache by name, and what its rows say."""
    rows, readable = Cache(cache).rows()
    result = {
        "ids": rows.ids_N,
        "readable": int(readable.sum()),
        "votes": rows.votes_NC,
    }
    return {path.stem: np.load(path) for path in sorted(cache.glob("[!.]*.npy"))}, result


def member_kinds() -> set[str]:
    return {member.kind for member in MEMBERS}


def combiner_kinds() -> set[str]:
    # Estimators of scikit-learn became a kind of experiment files after the goldens were recorded.
    return {kind.kind for kind in COMBINERS} - {"sklearn"}


def mix_kinds() -> set[str]:
    return {mix.kind for mix in MIXES}


def view_sources() -> set[str]:
    return set(get_args(ViewSource))


def losses() -> set[str]:
    return set(get_args(LossName))


def hms_view_kinds() -> set[str]:
    return {view.kind for view in VIEWS}
