"""Score tables on disk: wide parquet that anybody can read, one column a (member, class).

Columns `id`, `group`, `fold`, `stratum`, `votes__<class>` and `p__<member>__<class>`; names, order and digests are in
the file's metadata under `foldstill`. N rows, M members, C classes, K fold models.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.data.labels import Labels, as_ids
from foldstill.errors import OOFError
from foldstill.files import atomic_write
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable

SCHEMA_VERSION = 1

_BLOCK_ROWS = 2048


def votes_column(name: str) -> str:
    return f"votes__{name}"


def score_column(member: str, name: str) -> str:
    return f"p__{member}__{name}"


def write_table(table: OOFTable, path: Path) -> None:
    """Write an OOF table; `path` is whole or absent afterwards."""
    columns = _label_columns(table.labels) | {"fold": table.fold_N}
    meta = {"kind": "oof", "plan": table.plan_digest, "folds_assigned": table.folds_assigned} | _label_meta(
        table.labels
    )
    _write(path, columns, table.proba_NMC, table.scores, meta)


def write_scores(scores: ScoreTable | FoldScores, path: Path, labels: Labels | None = None) -> None:
    """Write scores without folds, or of K fold models (one row an id and fold model), with their labels when given."""
    repeat = scores.n_models if isinstance(scores, FoldScores) else 1
    columns: dict[str, NDArray[Any]] = {"id": np.tile(scores.ids, repeat)}
    meta: dict[str, Any] = {"kind": "scores"}
    if labels is not None:
        if not np.array_equal(labels.ids, scores.ids):
            raise OOFError("scores and labels must hold the same ids in the same order: align them by id first")
        columns = {name: np.tile(values, repeat) for name, values in _label_columns(labels).items()}
        meta |= _label_meta(labels)
    if isinstance(scores, FoldScores):
        n = len(scores)
        columns["fold_model"] = np.repeat(np.arange(repeat, dtype=np.int16), n)
        meta |= {"kind": "fold_scores", "n_models": repeat}
        _write(path, columns, scores.proba_KNMC.reshape(repeat * n, *scores.proba_KNMC.shape[2:]), scores, meta)
    else:
        _write(path, columns, scores.proba_NMC, scores, meta)


def read_table(path: Path) -> OOFTable:
    """The OOF table in a file `write_table` made."""
    file = ScoreFile(path)
    if file.meta["kind"] != "oof":
        raise OOFError(
            f"{path} holds {file.meta['kind']}, not an OOF table: it has no folds; give the table of held-out scores"
        )
    labels = file.labels()
    scores = ScoreTable(labels.ids, file.members, file.classes, file.proba(), file.families)
    fold_N = file.column("fold").astype(np.int16)
    return OOFTable(scores, labels, fold_N, file.meta["plan"], folds_assigned=file.meta["folds_assigned"])


def read_scores(path: Path) -> ScoreTable | FoldScores:
    """The scores in a file, as K fold models where it holds them; folds and labels are left unread."""
    file = ScoreFile(path)
    ids, proba = as_ids(file.column("id"), "id"), file.proba()
    if file.meta["kind"] != "fold_scores":
        return ScoreTable(ids, file.members, file.classes, proba, file.families)
    k = int(file.meta["n_models"])
    n = len(ids) // k
    return FoldScores(ids[:n], file.members, file.classes, proba.reshape(k, n, *proba.shape[1:]), file.families)


def read_labels(path: Path) -> Labels | None:
    """The labels kept beside scores, or None when the file holds none."""
    file = ScoreFile(path)
    if "labels" not in file.meta:
        return None
    return file.labels()


class ScoreFile:
    """One parquet file of scores, read column by column into arrays; a frame is never built."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_parquet(path)
        raw = (self._file.schema_arrow.metadata or {}).get(b"foldstill")
        self.meta: dict[str, Any] = json.loads(raw) if raw else {}
        if "schema_version" not in self.meta:
            raise OOFError(
                f"{path} is parquet, but no score table of foldstill: bring it in with `foldstill oof import {path}`"
            )
        if self.meta["schema_version"] != SCHEMA_VERSION:
            raise OOFError(
                f"{path} has schema version {self.meta['schema_version']}, this foldstill reads {SCHEMA_VERSION}: "
                "install the foldstill that wrote it, or import the file anew"
            )
        self.members: tuple[str, ...] = tuple(self.meta["members"])
        self.classes: tuple[str, ...] = tuple(self.meta["classes"])
        self.families: tuple[str, ...] = tuple(self.meta["families"])

    def column(self, name: str) -> NDArray[Any]:
        """One column as an array."""
        return read_columns(self._file, [name], self.path)[name]

    def proba(self) -> NDArray[np.float32]:
        """The scores, (rows, M, C)."""
        names = [score_column(member, c) for member in self.members for c in self.classes]
        return read_matrix(self._file, names, self.path).reshape(-1, len(self.members), len(self.classes))

    def labels(self) -> Labels:
        """The labels, one row a row of the file."""
        votes = [votes_column(c) for c in self.classes]
        columns = read_columns(self._file, ["id", "group", "stratum", "sample_weight", *votes], self.path)
        # Fold scores repeat their rows once a fold model.
        n = len(columns["id"]) // int(self.meta.get("n_models", 1))
        return Labels(
            ids=as_ids(columns["id"][:n], "id"),
            groups=as_ids(columns["group"][:n], "group"),
            votes_NC=np.stack([columns[name][:n] for name in votes], axis=1).astype(np.float64),
            classes=self.classes,
            stratum_N=as_ids(columns["stratum"][:n], "stratum"),
            sample_weight_N=columns["sample_weight"][:n].astype(np.float64),
            counted=bool(self.meta["counted"]),
        )


def is_score_file(path: Path) -> bool:
    """Whether foldstill wrote this parquet file."""
    return path.suffix == ".parquet" and b"foldstill" in (open_parquet(path).schema_arrow.metadata or {})


def open_parquet(path: Path) -> Any:
    """The parquet file; raises OOFError when it is missing or something else, such as a CSV of another name."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, memory_map=True)
    except FileNotFoundError:
        raise OOFError(f"no file {path}: correct the path, or run the stage that makes it") from None
    except (pa.ArrowException, OSError) as error:
        raise OOFError(
            f"{path} is not a parquet file ({str(error).rstrip('.')}): a CSV must be named .csv, "
            "or write it with pandas.to_parquet"
        ) from error


def read_columns(file: Any, names: Sequence[str], path: Path) -> dict[str, NDArray[Any]]:
    """Columns of an open parquet file as arrays; raises OOFError naming those it lacks."""
    present = set(file.schema_arrow.names)
    lacking = [name for name in names if name not in present]
    if lacking:
        raise OOFError(
            f"{path} lacks {len(lacking)} columns, first: {lacking[:3]}; "
            f"it has {file.schema_arrow.names[:8]}...: write it anew"
        )
    table = file.read(columns=list(names), use_threads=False)
    return {name: table[name].to_numpy() for name in names}


def read_matrix(file: Any, names: Sequence[str], path: Path) -> NDArray[np.float32]:
    """Number columns of an open parquet file as one float32 array (rows, columns)."""
    columns = read_columns(file, names, path)
    n_rows = len(columns[names[0]])
    matrix = np.empty((n_rows, len(names)), dtype=np.float32)
    # Block by block, so that what is written in strides stays in the cache.
    for start in range(0, n_rows, _BLOCK_ROWS):
        rows = slice(start, start + _BLOCK_ROWS)
        for i, name in enumerate(names):
            matrix[rows, i] = columns[name][rows]
    return matrix


def _label_columns(labels: Labels) -> dict[str, NDArray[Any]]:
    votes = {votes_column(c): labels.votes_NC[:, i] for i, c in enumerate(labels.classes)}
    columns = {
        "id": labels.ids,
        "group": labels.groups,
        "stratum": labels.stratum_N,
        "sample_weight": labels.sample_weight_N,
    }
    return columns | votes


def _label_meta(labels: Labels) -> dict[str, Any]:
    return {"labels": labels.digest, "counted": labels.counted}


def _write(
    path: Path,
    columns: dict[str, NDArray[Any]],
    proba_NMC: NDArray[Any],
    scores: ScoreTable | FoldScores,
    meta: dict[str, Any],
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [score_column(member, c) for member in scores.members for c in scores.classes]
    # One contiguous run a column, so that arrow takes each without another copy.
    flat = np.ascontiguousarray(proba_NMC.reshape(len(proba_NMC), -1).T, dtype=np.float32)
    table = pa.table(
        {name: pa.array(values.tolist() if values.dtype.kind == "U" else values) for name, values in columns.items()}
        | dict(zip(names, flat, strict=True))
    )
    meta = meta | {
        "schema_version": SCHEMA_VERSION,
        "members": list(scores.members),
        "classes": list(scores.classes),
        "families": list(scores.families),
    }
    with atomic_write(path) as part:
        pq.write_table(
            table.replace_schema_metadata({"foldstill": json.dumps(meta, sort_keys=True)}),
            part,
            # Of the size of zstd on split bytes (3 to 4 % more), read and written twice as fast.
            compression="lz4",
            # A dictionary of floats that all differ costs time and saves nothing.
            use_dictionary=[name for name in ("group", "stratum") if name in columns],
            use_byte_stream_split=names,
        )
