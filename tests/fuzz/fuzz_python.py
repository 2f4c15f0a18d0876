"""Every public function and class of `foldstill.__all__` with one argument of a wrong type, shape or value."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fuzz_cases import Case

KIND = "Python arguments"
VALID_KIND = "valid calls"


class Zebra:
    """An object that is nothing that any function takes."""

    def __repr__(self) -> str:
        return "Zebra()"


VOTES = [[3, 0], [1, 2], [0, 1], [2, 2], [1, 0], [0, 4]]
PROBA = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.5, 0.5], [0.6, 0.4], [0.1, 0.9]]
SCORES = [[row] for row in PROBA]
GROUPS = [0, 0, 1, 1, 2, 2]
FOLDS = [0, 0, 1, 1, 0, 0]
IMAGES = np.zeros((6, 32, 32, 1), np.uint8)


def valid_calls() -> Mapping[str, tuple[Callable[..., object], dict[str, Any]]]:
    """Name -> a public function, and arguments with which it works (or reaches training)."""
    import foldstill as fs
    from foldstill.stacking.averages import Average

    def labels() -> Any:
        return fs.Labels.from_votes(VOTES, groups=GROUPS)

    def table() -> Any:
        return fs.oof_table(SCORES, votes=VOTES, groups=GROUPS, folds=FOLDS)

    return {
        "Labels": (
            fs.Labels,
            {
                "ids": np.array(list("abcdef")),
                "groups": np.array(list("aabbcc")),
                "votes_NC": np.array(VOTES, float),
                "classes": ("x", "y"),
                "stratum_N": np.array(list("uuuvvv")),
                "sample_weight_N": np.ones(6),
                "counted": True,
            },
        ),
        "Labels.from_votes": (
            fs.Labels.from_votes,
            {
                "votes_NC": VOTES,
                "ids": list("abcdef"),
                "groups": GROUPS,
                "classes": ["x", "y"],
                "stratum": list("uuuvvv"),
                "sample_weight": [1.0] * 6,
                "counted": True,
            },
        ),
        "Labels.from_shares": (fs.Labels.from_shares, {"shares_NC": PROBA, "total_N": 4, "ids": list("abcdef")}),
        "Labels.from_annotators": (
            fs.Labels.from_annotators,
            {"choice_NA": [[0, 1], [1, -1], [0, 0]], "classes": ["x", "y"]},
        ),
        "Labels.from_hard": (fs.Labels.from_hard, {"labels_N": [0, 1, 1, 0], "classes": ["x", "y"]}),
        "Dataset": (fs.Dataset, {"labels": labels(), "views": {"image": IMAGES}, "units_N": np.array(list("abcdef"))}),
        "kl_divergence": (fs.kl_divergence, {"target": PROBA, "proba": PROBA, "weight": [1.0] * 6}),
        "oof_table": (
            fs.oof_table,
            {
                "scores": SCORES,
                "votes": VOTES,
                "groups": GROUPS,
                "folds": FOLDS,
                "members": ["m"],
                "classes": ["x", "y"],
                "space": "proba",
            },
        ),
        "oof_table of a mapping": (fs.oof_table, {"scores": {"m": PROBA}, "labels": labels(), "folds": FOLDS}),
        "audit": (fs.audit, {"table": table(), "test": None, "test_labels": None}),
        "import_scores": (fs.import_scores, {"paths": ["scores.npz"], "settings": None}),
        "read_table": (fs.read_table, {"path": "table.parquet"}),
        "write_table": (fs.write_table, {"table": table(), "path": "t.parquet"}),
        "stack": (fs.stack, {"table": table(), "combiners": (Average(),), "work": fs.Work(workers=1)}),
        "train": (
            fs.train,
            {
                "views": {"image": IMAGES},
                "labels": labels(),
                "members": [fs.TimmMember("a", "test_vit")],
                "folder": "members",
                "folds": fs.FoldSettings(n_folds=2, test_share=0.0),
                "seed": 0,
                "work": fs.Work(1, "cpu"),
            },
        ),
        "distill": (
            fs.distill,
            {
                "teacher": PROBA,
                "inputs": IMAGES,
                "votes": VOTES,
                "student": "nano",
                "classes": ["x", "y"],
                "folder": "student",
                "seeds": 1,
                "work": fs.Work(1, "cpu"),
            },
        ),
        "student_sizes": (fs.student_sizes, {"inputs": IMAGES, "n_classes": 2, "student": None}),
        "write_report": (fs.write_report, {"comparison": None, "path": "report.html"}),
        "Work": (fs.Work, {"workers": 1, "device": "cpu", "force": False}),
        "FoldSettings": (fs.FoldSettings, {"n_folds": 5, "test_share": 0.15, "strategy": "grouped", "path": ""}),
        "TimmMember": (
            fs.TimmMember,
            {
                "name": "a",
                "network": "test_vit",
                "view": "image",
                "image_size": 32,
                "pretrained": False,
                "stem_stride": 1,
                "drop_rate": 0.1,
                "drop_path_rate": 0.1,
                "temperature": "none",
                "options": {},
                "family": "",
                "recipe": fs.Recipe(),
            },
        ),
        "EegMember": (fs.EegMember, {"name": "a", "view": "eeg", "drop_rate": 0.1, "recipe": fs.Recipe()}),
        "JoinedMember": (fs.JoinedMember, {"name": "a", "members": ("b", "c"), "hidden": 8, "recipe": fs.Recipe()}),
        "Recipe": (
            fs.Recipe,
            {
                "epochs": 5,
                "batch_size": 8,
                "optimizer": "adamw",
                "lr": 0.1,
                "betas": (0.9, 0.99),
                "weight_decay": 0.1,
                "schedule": "cosine",
                "warmup": 0.1,
                "ema": 0.9,
                "clip_norm": 1.0,
                "row_weight": "none",
                "augment": (),
                "early_stopping": None,
                "second_stage": None,
                "precision": "auto",
                "sampling": "uniform",
                "loss": None,
            },
        ),
        "StudentSettings": (
            fs.StudentSettings,
            {
                "network": "small",
                "name": "s",
                "view": "image",
                "image_size": 32,
                "options": {},
                "recipe": fs.Recipe(),
                "teacher": "auto",
                "temperature": 1.0,
                "loss": "kl",
                "seeds": 1,
                "bank_views": 3,
                "features": None,
                "row_weight": "effective",
                "views": "identity",
                "uncertainty": False,
                "mix": None,
                "unlabelled": "",
            },
        ),
    }


WRONG: Mapping[str, Any] = {
    "None": None,
    "an object": Zebra(),
    "a text": "zebra",
    "an empty text": "",
    "a number": 3,
    "a fraction": 1.5,
    "a negative number": -1,
    "NaN": float("nan"),
    "infinity": float("inf"),
    "a huge number": 10**30,
    "True": True,
    "a list": [1, 2],
    "an empty list": [],
    "a list of texts": ["a", "b"],
    "a list of None": [None] * 6,
    "a ragged list": [[1], [1, 2]],
    "a mapping": {"a": 1},
    "an empty mapping": {},
    "a mapping of objects": {"a": Zebra()},
    "a set": {1, 2},
    "bytes": b"zebra",
    "a complex number": 1 + 2j,
    "a function": len,
    "a class": Zebra,
    "a path": Path("missing/zebra.parquet"),
    "a scalar array": np.array(1.0),
    "an array of one dimension": np.ones(6),
    "an array of four dimensions": np.ones((2, 2, 2, 2)),
    "an array of NaN": np.full((6, 2), np.nan),
    "an array of texts": np.array([["a", "b"]] * 6),
    "an array of objects": np.array([Zebra()] * 6),
    "an array of dates": np.array(["2024-01-01"] * 6, "datetime64[D]"),
    "a complex array": np.ones((6, 2)) * 1j,
    "an empty array": np.empty((0, 2)),
    "an array of infinity": np.full((6, 2), np.inf),
    "a negative array": -np.ones((6, 2)),
    "an empty frame": pd.DataFrame(),
    "a frame of texts": pd.DataFrame({"x": list("abcdef"), "y": list("abcdef")}),
    "a frame of missing values": pd.DataFrame({"x": pd.array([1, None] * 3, "Int64"), "y": pd.array([1] * 6, "Int64")}),
    "a series of missing values": pd.Series(pd.array([1, None] * 3, "Int64")),
    "a series of categories": pd.Series(list("aabbcc"), dtype="category"),
    "pd.NA": pd.NA,
    "a masked array": np.ma.masked_array(np.ones((6, 2)), True),
    "a range": range(6),
    "a generator": (i for i in ()),
}
"""Name -> an argument that is wrong for nearly every parameter."""

NEVER = (
    "an object",
    "a function",
    "a class",
    "a complex number",
    "a mapping of objects",
    "bytes",
    "an array of objects",
)
"""No parameter takes these; every call with one of them must be refused."""


def python_cases() -> Iterator[Case]:
    import inspect

    for name, (function, arguments) in valid_calls().items():
        yield Case(
            f"{name}() with valid arguments",
            VALID_KIND,
            lambda folder, f=function, a=arguments, n=name: _call(folder, n, f, dict(a)),
            ("scores.npz", "table.parquet"),
            must_refuse=False,
        )
        for parameter in arguments:
            for way, value in WRONG.items():
                refuse = way in NEVER and not _is_allowed(parameter, way)
                yield Case(
                    f"{name}({parameter} = {way})",
                    KIND,
                    lambda folder, f=function, a=arguments, p=parameter, v=value, n=name: _call(
                        folder, n, f, {**a, p: v}
                    ),
                    ("scores.npz", "table.parquet"),
                    places=_places(parameter),
                    must_refuse=refuse,
                )
        required = [
            p.name
            for p in inspect.signature(function).parameters.values()
            if p.default is inspect.Parameter.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]
        assert set(required) <= arguments.keys() | {"rest"}, (name, required)


def _is_allowed(parameter: str, way: str) -> bool:
    return way == "an array of objects" and parameter in ("ids", "groups", "stratum", "stratum_N")


def _places(parameter: str) -> tuple[str, ...]:
    """The name of the parameter, as a message may write it."""
    plain = parameter.removesuffix("_NC").removesuffix("_NA").removesuffix("_N")
    words = {plain, parameter, plain.rstrip("s"), plain.replace("_", " ")}
    if plain == "proba":
        words.add("probabilit")
    if plain in ("choice",):
        words.add("annotators")
    if plain in ("folds", "fold"):
        words.add("fold")
    if plain in ("inputs", "views"):
        words.add("view")
    return tuple(sorted(words))


def _call(folder: Path, name: str, function: Callable[..., object], arguments: dict[str, Any]) -> object:
    """Call with relative paths inside the folder of the case."""
    import os

    before = Path.cwd()
    os.chdir(folder)
    try:
        if name == "write_report" and arguments["comparison"] is None:
            import foldstill as fs

            table = fs.oof_table(SCORES, votes=VOTES, groups=GROUPS, folds=FOLDS)
            from foldstill.stacking.averages import Average

            arguments["comparison"] = fs.stack(table, [Average()]).compare()
        return function(**{k: v for k, v in arguments.items() if not (v is None and k in ("loss", "mix"))})
    finally:
        os.chdir(before)
