"""Predictions and labels that contradict themselves, or that a reader could take for something else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fuzz_cases import Case

KIND = "odd tables"
MEMBERS = ("m0.csv", "m1.csv", "labels.csv", "folds.csv")
PLAIN = ("oof", "import", "m0.csv", "m1.csv", "--labels", "labels.csv", "--out", "o.parquet")
WITH_FOLDS = (*PLAIN, "--folds", "folds.csv")


def table_cases() -> Iterator[Case]:
    yield from _columns_of_csv()
    yield from _keys_of_npz()
    yield from _forms_of_text()
    yield from _whole_tables()


def _edit(name: str, change: Callable[[pd.DataFrame], pd.DataFrame | None], **settings: Any) -> Callable[[Path], None]:
    """Read a CSV with every column as it is, change it, and write it again."""

    def prepare(folder: Path) -> None:
        frame = pd.read_csv(folder / name)
        changed = change(frame)
        (frame if changed is None else changed).to_csv(folder / name, **({"index": False} | settings))

    return prepare


def _set(column: str, row: int, value: Any) -> Callable[[pd.DataFrame], None]:
    def change(frame: pd.DataFrame) -> None:
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value

    return change


ODD_NUMBERS: dict[str, Any] = {
    "many": "many",
    "1,000": "1,000",
    "-1": -1,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
    "a complex number": "1+2j",
    "1e400": "1e400",
    "empty text": " ",
    "True": True,
    "a date": "2024-01-01",
    "50 %": "50 %",
}


def _columns_of_csv() -> Iterator[Case]:
    """One wrong value in one column of one file: the message names the file and the column."""
    for name, value in ODD_NUMBERS.items():
        for row in (0, 37):
            for file, column in (("labels.csv", "cat_vote"), ("m1.csv", "dog_prediction")):
                yield Case(
                    f"{column} of {file} is {name} in row {row}",
                    KIND,
                    PLAIN,
                    MEMBERS,
                    _edit(file, _set(column, row, value)),
                    (file, column, "m1"),
                    must_refuse=name != "True",
                )

        def weighted(frame: pd.DataFrame, value: Any = value) -> None:
            frame["sample_weight"] = pd.Series([1.0] * len(frame), dtype=object)
            frame.loc[5, "sample_weight"] = value

        yield Case(
            f"sample_weight is {name}",
            KIND,
            PLAIN,
            MEMBERS,
            _edit("labels.csv", weighted),
            ("labels.csv", "weight"),
            must_refuse=name != "True",
        )

        def totals(frame: pd.DataFrame, value: Any = value) -> pd.DataFrame:
            votes = frame[["cat_vote", "dog_vote", "owl_vote"]]
            for column in votes:
                frame[column.replace("_vote", "_share")] = votes[column] / votes.sum(axis=1)
            frame["total"] = pd.Series([8] * len(frame), dtype=object)
            frame.loc[5, "total"] = value
            return frame.drop(columns=list(votes))

        yield Case(
            f"total is {name}",
            KIND,
            PLAIN,
            MEMBERS,
            _edit("labels.csv", totals),
            ("labels.csv", "total"),
            must_refuse=name != "True",
        )
    for name, fold in (ODD_NUMBERS | {"0.5": 0.5, "-2": -2, "2**40": 2**40, "1e30": 1e30}).items():
        yield Case(
            f"fold is {name}",
            KIND,
            WITH_FOLDS,
            MEMBERS,
            _edit("folds.csv", _set("fold", 3, fold)),
            ("folds.csv", "fold"),
            must_refuse=name in ("nan", "inf", "-inf", "-1", "empty text", "1e400", "0.5", "-2"),
        )
    changes: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame | None], tuple[str, ...]]] = {
        "an id twice in a member": ("m1.csv", lambda f: _set("id", 1, f["id"][0])(f), ("m1",)),
        "an id twice in the labels": ("labels.csv", lambda f: _set("id", 1, f["id"][0])(f), ("labels.csv",)),
        "an id twice in the folds": ("folds.csv", lambda f: _set("id", 1, f["id"][0])(f), ("folds.csv",)),
        "a row twice in the folds": ("folds.csv", lambda f: pd.concat([f, f[:1].assign(fold=2)]), ("folds.csv",)),
        "an id missing in a member": ("m1.csv", lambda f: f[1:], ("m1",)),
        "an id missing in the labels": ("labels.csv", lambda f: f[1:], ("labels.csv", "m0")),
        "an id missing in the folds": ("folds.csv", lambda f: f[1:], ("folds.csv",)),
        "an empty id": ("m1.csv", lambda f: _set("id", 1, "")(f), ("m1",)),
        "an empty group": ("labels.csv", lambda f: _set("group", 1, "")(f), ("labels.csv",)),
        "ids with blanks around": ("m1.csv", lambda f: f.assign(id=" " + f["id"]), ("m1",)),
        "no rows in a member": ("m1.csv", lambda f: f[:0], ("m1.csv",)),
        "no rows in the labels": ("labels.csv", lambda f: f[:0], ("labels.csv",)),
        "one row only": ("labels.csv", lambda f: f[:1], ("labels.csv", "m0")),
        "a member without a class": ("m1.csv", lambda f: f.drop(columns="owl_prediction"), ("m1",)),
        "a member with another class": ("m1.csv", lambda f: f.assign(emu_prediction=0.0), ("m1",)),
        "a member without ids": ("m1.csv", lambda f: f.drop(columns="id"), ("m1.csv",)),
        "probabilities above 1": ("m1.csv", lambda f: f.assign(cat_prediction=f["cat_prediction"] + 1), ("m1",)),
        "probabilities in per cent": (
            "m1.csv",
            lambda f: f.assign(**{c: f[c] * 100 for c in f if "_pred" in c}),
            ("m1",),
        ),
        "negative probabilities": ("m1.csv", lambda f: f.assign(cat_prediction=-f["cat_prediction"]), ("m1",)),
        "rows that sum to 0.9": ("m1.csv", lambda f: f.assign(**{c: f[c] * 0.9 for c in f if "_pred" in c}), ("m1",)),
        "rows of zeros": ("m1.csv", lambda f: f.assign(**{c: 0.0 for c in f if "_pred" in c}), ("m1",)),
        "a row without votes": (
            "labels.csv",
            lambda f: f.assign(**{c: f[c].where(f.index != 4, 0) for c in f if "_vote" in c}),
            ("labels.csv",),
        ),
        "two columns of one name": (
            "m1.csv",
            lambda f: f.rename(columns={"dog_prediction": "cat_prediction"}),
            ("m1",),
        ),
        "a group in two folds": (
            "folds.csv",
            lambda f: f.assign(fold=[i % 3 for i in range(len(f))]),
            ("p00", "group"),
        ),
        "one fold only": ("folds.csv", lambda f: f.assign(fold=0), ("fold",)),
        "labels that are predictions": (
            "labels.csv",
            lambda f: f.rename(columns={c: c.replace("_vote", "_prediction") for c in f}),
            ("labels.csv",),
        ),
    }
    for name, (file, change, places) in changes.items():
        yield Case(name, KIND, WITH_FOLDS, MEMBERS, _edit(file, change), places)

    def fold_beside(frame: pd.DataFrame) -> None:
        frame["fold"] = np.arange(len(frame)) // 4 % 3

    yield Case(
        "a member with other folds than the folds file",
        KIND,
        WITH_FOLDS,
        MEMBERS,
        _edit("m1.csv", fold_beside),
        ("m1", "fold"),
        must_refuse=False,  # the user names the folds to use, and a note says that m1 has others
    )
    yield Case(
        "predictions without any labels",
        KIND,
        ("oof", "import", "m0.csv", "--out", "o.parquet"),
        ("m0.csv",),
        places=("m0.csv", "labels"),
    )
    yield Case(
        "two members without any labels",
        KIND,
        ("oof", "import", "m0.csv", "m1.csv", "--out", "o.parquet"),
        ("m0.csv", "m1.csv"),
        places=("m0.csv", "labels"),
    )
    yield Case(
        "one member twice",
        KIND,
        ("oof", "import", "m0.csv", "m0.csv", "--labels", "labels.csv", "--out", "o.parquet"),
        MEMBERS,
        places=("m0",),
    )
    yield Case(
        "a CSV and a parquet of one name",
        KIND,
        ("oof", "import", "m0.csv", "m0.parquet", "--labels", "labels.csv", "--out", "o.parquet"),
        ("m0.csv", "m0.parquet", "labels.csv"),
        places=("m0",),
    )


def _repacked(change: Callable[[dict[str, np.ndarray]], object]) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        with np.load(folder / "scores.npz") as loaded:
            arrays = dict(loaded)
        change(arrays)
        np.savez(folder / "scores.npz", **arrays)  # type: ignore[arg-type]

    return prepare


def _key(key: str, change: Callable[[np.ndarray], Any]) -> Callable[[dict[str, np.ndarray]], object]:
    return lambda arrays: arrays.update({key: change(arrays[key])})


def _keys_of_npz() -> Iterator[Case]:
    """Every key of an .npz with the wrong shape, type or values: the message names the key."""
    ways: dict[str, Callable[[np.ndarray], Any]] = {
        "one row short": lambda a: a[:-1],
        "one row long": lambda a: np.concatenate([a, a[:1]]),
        "without rows": lambda a: a[:0],
        "a scalar": lambda a: a.ravel()[0],
        "of one more dimension": lambda a: a[..., None],
        "transposed": lambda a: a.T if a.ndim > 1 else a[None],
        "of Python objects": lambda a: a.astype(object),
        "complex": lambda a: a.astype(np.complex128) * (1 + 1j) if a.dtype.kind in "if" else a.astype("S"),
        "of NaN": lambda a: np.full(a.shape, np.nan),
        "of infinity": lambda a: np.full(a.shape, np.inf),
        "of text": lambda a: np.full(a.shape, "many"),
        "of dates": lambda a: np.full(a.shape, np.datetime64("2024-01-01")),
        "of bytes": lambda a: np.full(a.shape, b"\xff\xfe"),
        "of booleans": lambda a: np.ones(a.shape, bool),
        "of records": lambda a: np.zeros(a.shape, [("x", "f4"), ("y", "f4")]),
        "negative": lambda a: -np.abs(a) - 1 if a.dtype.kind in "if" else np.full(a.shape, "-1"),
        "of 1e30": lambda a: np.full(a.shape, 1e30),
        "all the same": lambda a: np.full(a.shape, a.ravel()[0]),
    }
    may_pass = {
        ("group", w)
        for w in ways
        if w
        not in (
            "one row short",
            "one row long",
            "without rows",
            "a scalar",
            "of one more dimension",
            "transposed",
            "of NaN",
            "of infinity",
            "of Python objects",
            "of records",
            "of bytes",
        )
    } | {
        ("votes", "of booleans"),
        ("votes", "of 1e30"),
        ("votes", "all the same"),
        ("fold", "of booleans"),
        ("fold", "of text"),
        ("pred", "all the same"),
        ("classes", "negative"),
        ("fold", "of dates"),
        ("fold", "of bytes"),
        ("fold", "of records"),
        ("members", "of booleans"),
        ("classes", "complex"),
        ("members", "complex"),
        ("id", "complex"),
        ("group", "complex"),
        ("votes", "transposed"),
        ("fold", "negative"),
        ("fold", "complex"),
        ("pred", "all the same"),
    }
    places = {"pred": ("pred", "score"), "id": ("id",), "members": ("member",), "classes": ("class",)}
    for key in ("pred", "votes", "id", "group", "fold", "members", "classes"):
        for way, change in ways.items():
            yield Case(
                f"{key} in an .npz is {way}",
                KIND,
                ("oof", "import", "scores.npz", "--out", "o.parquet"),
                ("scores.npz",),
                _repacked(_key(key, change)),
                places.get(key, (key,)),
                must_refuse=(key, way) not in may_pass,
            )
        yield Case(
            f"{key} is missing in an .npz",
            KIND,
            ("oof", "import", "scores.npz", "--out", "o.parquet"),
            ("scores.npz",),
            _repacked(lambda arrays, key=key: arrays.pop(key)),
            ("scores.npz", key),
            must_refuse=key in ("pred", "votes"),
        )


def _forms_of_text() -> Iterator[Case]:
    """Encodings and separators: read right, or refused with the separator or the encoding."""
    for file in ("m1.csv", "labels.csv"):
        for name, settings in {
            "UTF-16": {"encoding": "utf-16"},
            "UTF-8 with a byte order mark": {"encoding": "utf-8-sig"},
            "Latin-1": {"encoding": "latin-1"},
            "semicolons and decimal commas": {"sep": ";", "decimal": ","},
            "tabs": {"sep": "\t"},
            "bars": {"sep": "|"},
            "an index column": {"index": True},
            "quotes around everything": {"quoting": 1},
            "Windows line ends": {"lineterminator": "\r\n"},
            "no header": {"header": False},
        }.items():
            places = (file, "separator", "encoding", "m1") + (("m0",) if file == "labels.csv" else ())
            yield Case(
                f"{file} with {name}",
                KIND,
                PLAIN,
                MEMBERS,
                _edit(file, lambda f: None, **settings),
                places,
                must_refuse=name == "no header",
            )
        for name, before in {"a comment line": "# made by me\n", "two empty lines": "\n\n", "a NUL": "\0"}.items():
            yield Case(
                f"{file} begins with {name}",
                KIND,
                PLAIN,
                MEMBERS,
                lambda folder, file=file, before=before: (folder / file).write_text(
                    before + (folder / file).read_text()
                ),
                (file, "m1"),
                must_refuse=name == "a comment line",
            )
        for name, line in {
            "a longer line": "a,b,c,d,e,f,g,h\n",
            "a shorter line": "x\n",
            "a broken quote": '"x,1,2,3\n',
        }.items():
            yield Case(
                f"{file} ends with {name}",
                KIND,
                PLAIN,
                MEMBERS,
                lambda folder, file=file, line=line: (folder / file).write_text((folder / file).read_text() + line),
                (file, "m1", "line"),
            )


def _named(odd: str, what: str, key: str, others: tuple[str, ...], *, must_refuse: bool = False) -> Case:
    """A file whose first class or member has an odd name."""
    return Case(
        f"a {what} named {odd!r}",
        KIND,
        ("oof", "import", "scores.npz", "--out", "o.parquet"),
        ("scores.npz",),
        _repacked(_key(key, lambda a: np.asarray([odd, *others]))),
        (what,),
        must_refuse=must_refuse,
    )


def _whole_tables() -> Iterator[Case]:
    """Labels and scores whose names and positions disagree."""
    classes = [str(c) for c in range(12)]

    def twelve(folder: Path, labels: Any, columns: list[str]) -> None:
        rng = np.random.default_rng(0)
        frame = pd.DataFrame(rng.dirichlet(np.ones(12), 120), columns=columns)
        frame.insert(0, "id", [f"r{i}" for i in range(120)])
        frame.to_csv(folder / "m0.csv", index=False)
        pd.DataFrame({"id": frame["id"], "label": labels}).to_csv(folder / "labels.csv", index=False)

    one = ("oof", "import", "m0.csv", "--labels", "labels.csv", "--out", "o.parquet")
    cycle = np.arange(120) % 12
    wrong = {
        "a label that is no column": (np.where(cycle == 3, 99, cycle), classes),
        "labels -1 for missing": (np.where(cycle == 3, -1, cycle), classes),
        "labels from 1 under columns from 0": (cycle + 1, classes),
        "text labels under numbered columns": ([f"c{i}" for i in cycle], classes),
        "numbers under named columns": (cycle, [f"c{i}" for i in range(12)]),
        "fractions as labels": (cycle + 0.5, classes),
        "a missing label": ([None, *cycle[1:].tolist()], classes),
    }
    for name, (labels, columns) in wrong.items():
        yield Case(
            name,
            KIND,
            one,
            (),
            lambda folder, labels=labels, columns=columns: twelve(folder, labels, columns),
            ("label", "labels.csv"),
            must_refuse=name != "numbers under named columns",
        )
    unusual = {
        "[/x]",
        "=cmd()",
        "a:b",
        "ü ñ",
        "NA",
        "None",
        "id",
        "fold",
        "<script>",
        "a%3Ab",
        "\t",
        " ",
        "a\nb",
        "p:x",
        "1.0",
        "-0",
    }
    for odd in sorted(unusual):
        yield _named(odd, "class", "classes", ("dog", "owl"))
        yield _named(odd, "member", "members", ("m1",))
    for odd in ("", "..", ".", "a/b"):
        yield _named(odd, "member", "members", ("m1",), must_refuse=odd == "")
