"""LightGBM's trees as one ONNX node. Converters of other packages know no objective of our own.

Thresholds stay float64, so that a row goes the same way as in LightGBM.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from foldstill.data.boosting import Trees

_EMPTY = {"leaf_value": 0.0}
"""The structure of a tree that adds nothing."""


def tree_ensemble(trees: Trees) -> dict[str, Any]:
    """The attributes of a `TreeEnsembleRegressor` (ai.onnx.ml) that gives the sums of the trees, one per class."""
    from onnx import numpy_helper

    lists: dict[str, list[Any]] = defaultdict(list)
    for tree, structure in enumerate(trees.structures() or [_EMPTY]):
        _add_tree(lists, tree, tree % trees.n_classes, structure)
    as_tensor = {
        f"{name}_as_tensor": numpy_helper.from_array(np.asarray(lists.pop(name), np.float64), name)
        for name in ("nodes_values", "target_weights")
    }
    return {**lists, **as_tensor, "n_targets": trees.n_classes}


def _add_tree(lists: dict[str, list[Any]], tree: int, target: int, root: Mapping[str, Any]) -> None:
    """Append the nodes of one tree; `target` is the class that its leaves add to."""
    n_nodes, open_nodes = 1, [(0, root)]

    def add(node: int, mode: str, feature: int, value: float, branches: tuple[int, int], *, missing: bool) -> None:
        entries = {
            "treeids": tree,
            "nodeids": node,
            "modes": mode,
            "featureids": feature,
            "values": value,
            "truenodeids": branches[0],
            "falsenodeids": branches[1],
            "missing_value_tracks_true": int(missing),
        }
        for name, entry in entries.items():
            lists[f"nodes_{name}"].append(entry)

    while open_nodes:
        node, structure = open_nodes.pop()
        if "leaf_value" in structure:
            add(node, "LEAF", 0, 0.0, (0, 0), missing=False)
            leaf = {"treeids": tree, "nodeids": node, "ids": target, "weights": structure["leaf_value"]}
            for name, entry in leaf.items():
                lists[f"target_{name}"].append(entry)
            continue
        left, right, feature = n_nodes, n_nodes + 1, structure["split_feature"]
        n_nodes += 2
        open_nodes += [(left, structure["left_child"]), (right, structure["right_child"])]
        if structure["decision_type"] == "<=":
            threshold = structure["threshold"]
            # Without missing values in training, LightGBM takes a missing value for 0.
            to_left = structure["default_left"] if structure["missing_type"] == "NaN" else threshold >= 0
            add(node, "BRANCH_LEQ", feature, threshold, (left, right), missing=to_left)
            continue
        # One node per level of the set; a missing value, and a level outside it, goes right.
        levels = [float(level) for level in structure["threshold"].split("||")]
        for level in levels[:-1]:
            add(node, "BRANCH_EQ", feature, level, (left, n_nodes), missing=False)
            node, n_nodes = n_nodes, n_nodes + 1
        add(node, "BRANCH_EQ", feature, levels[-1], (left, right), missing=False)
