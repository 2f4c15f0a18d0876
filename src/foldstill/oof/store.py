"""Scores on disk: one parquet format for every file of scores, one column per member and class.

Columns are `id`, `group`, `stratum`, `sample_weight`, `fold`, `fold_model`, `votes__<class>` and
`p__<member>__<class>`. Where two pairs of a member and a class would share a name, the score columns of the file are
numbered: `p__0__1`. The metadata of the file, under `foldstill`, lists members, classes and the column of each score,
and the reader follows it.

N rows, M members, C classes, K fold models.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.arguments import require_types
from foldstill.data.labels import Labels
from foldstill.data.text import as_strings
from foldstill.digests import digest
from foldstill.errors import OOFError
from foldstill.files import check_output, write_parquet
from foldstill.json_files import Kind, check_shape, parse_json
from foldstill.oof.column_names import label_columns, score_columns, votes_column
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable
from foldstill.seals import SEAL, check_seal

SCHEMA_VERSION = 2

_BLOCK_ROWS = 2048
_MOST_ROWS, _MOST_NUMBERS = 2**16, 2**21
"""Rows and numbers that are turned into columns and written at a time: a large table is not copied as a whole."""
_CURE = "restore it from a copy, or run the command that wrote it again with --force"


def write_table(table: OOFTable, path: str | Path) -> None:
    """Write an OOF table to a parquet file.

    The file appears under its name only when it is complete. `read_table` gives back an equal table, bit by bit.

    Parameters
    ----------
    table : OOFTable
        Held-out scores with labels and folds.
    path : str or Path
        The file to write; missing folders are made.

    Examples
    --------
    >>> import tempfile, foldstill as fs
    >>> scores = [[[0.9, 0.1]], [[0.2, 0.8]], [[0.3, 0.7]]]
    >>> table = fs.oof_table(scores, votes=[[3, 0], [1, 2], [0, 1]], folds=[0, 1, 0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fs.write_table(table, f"{folder}/oof.parquet")
    ...     fs.read_table(f"{folder}/oof.parquet").proba_NMC.shape
    (3, 1, 2)
    """
    require_types(write_table, locals())
    columns = label_columns(table.labels) | {"fold": table.fold_N}
    metadata = {"kind": "oof", "plan": table.plan_digest, "folds_assigned": table.folds_assigned}
    if table.made_elsewhere:
        metadata["made_elsewhere"] = list(table.made_elsewhere)
    if table.n_unscored:
        metadata["n_unscored"] = table.n_unscored
    _write(Path(path), columns, table.proba_NMC, table.scores, metadata | _label_metadata(table.labels))


def write_scores(scores: ScoreTable | FoldScores, path: str | Path, labels: Labels | None = None) -> None:
    """Write scores without folds to a parquet file, with their labels if there are any.

    Scores of K fold models take one row per id and fold model. Raises OOFError when the labels are not of the same ids
    in the same order.
    """
    repeat = scores.n_models if isinstance(scores, FoldScores) else 1
    columns: dict[str, NDArray[Any]] = {"id": np.tile(scores.ids, repeat)}
    metadata: dict[str, Any] = {"kind": "scores"}
    if labels is not None:
        if not np.array_equal(labels.ids, scores.ids):
            raise OOFError(
                f"scores ({len(scores)} rows) and labels ({len(labels)} rows) written to {path} must hold "
                "the same ids in the same order: align them by id first"
            )
        columns = {name: np.tile(values, repeat) for name, values in label_columns(labels).items()}
        metadata |= _label_metadata(labels)
    if isinstance(scores, FoldScores):
        n = len(scores)
        columns["fold_model"] = np.repeat(np.arange(repeat, dtype=np.int16), n)
        metadata |= {"kind": "fold_scores", "n_models": repeat}
        proba = scores.proba_KNMC.reshape(repeat * n, *scores.proba_KNMC.shape[2:])
        _write(Path(path), columns, proba, scores, metadata)
    else:
        _write(Path(path), columns, scores.proba_NMC, scores, metadata)


def read_table(path: str | Path) -> OOFTable:
    """Read an OOF table from a file that `write_table` made.

    Parameters
    ----------
    path : str or Path
        The parquet file.

    Returns
    -------
    OOFTable
        Scores, labels and folds as they were written.

    Raises
    ------
    OOFError
        If the file is missing, is not parquet, was written by another program, or holds no folds.

    Examples
    --------
    >>> import tempfile, foldstill as fs
    >>> table = fs.oof_table([[[0.9, 0.1]], [[0.2, 0.8]]], votes=[[3, 0], [1, 2]], folds=[0, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fs.write_table(table, f"{folder}/oof.parquet")
    ...     fs.read_table(f"{folder}/oof.parquet").labels.total_N.tolist()
    [3.0, 3.0]
    """
    require_types(read_table, locals())
    file = ScoreFile(Path(path))
    if file.metadata["kind"] != "oof":
        raise OOFError(
            f"{path} holds {file.metadata['kind']}, not an OOF table: it has no folds; "
            "give the table of held-out scores"
        )
    labels = file.labels()
    scores = ScoreTable(labels.ids, file.members, file.classes, file.proba(), file.families)
    fold_N = file.column("fold").astype(np.int16)
    return OOFTable(
        scores,
        labels,
        fold_N,
        file.metadata["plan"],
        folds_assigned=file.metadata["folds_assigned"],
        made_elsewhere=tuple(file.metadata.get("made_elsewhere", ())),
        n_unscored=file.metadata.get("n_unscored", 0),
    )


def read_scores(path: str | Path) -> ScoreTable | FoldScores:
    """Read the scores in a file, those of K fold models as `FoldScores`; folds and labels are not read."""
    return ScoreFile(Path(path)).scores()


def read_labels(path: str | Path) -> Labels | None:
    """Read the labels that are stored beside scores; None when the file holds no labels."""
    file = ScoreFile(Path(path))
    return file.labels() if file.has_labels else None


def read_labelled_scores(path: str | Path) -> tuple[ScoreTable | FoldScores, Labels | None]:
    """Read scores and the labels stored beside them, None when the file holds no labels; the file is opened once."""
    file = ScoreFile(Path(path))
    return file.scores(), file.labels() if file.has_labels else None


class ScoreFile:
    """One parquet file of scores, read column by column into arrays; no frame is built."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = open_parquet(path)
        raw = (self._file.schema_arrow.metadata or {}).get(b"foldstill")
        self.metadata: dict[str, Any] = parse_json(raw or b"{}", {}, path, error=OOFError, cure=_CURE)
        if "schema_version" not in self.metadata:
            raise OOFError(
                f"{path} is parquet, but no score table of foldstill: bring it in with "
                f"`foldstill oof import {quote(str(path))}`"
            )
        if self.metadata["schema_version"] != SCHEMA_VERSION:
            raise OOFError(
                f"{path} has schema version {self.metadata['schema_version']}, this foldstill reads {SCHEMA_VERSION}: "
                "make the file again with this version, or install the foldstill that wrote it"
            )
        _check_metadata(self.metadata, path)
        self.members: tuple[str, ...] = tuple(self.metadata["members"])
        self.classes: tuple[str, ...] = tuple(self.metadata["classes"])
        self.families: tuple[str, ...] = tuple(self.metadata["families"])
        self.n_models: int | None = self.metadata.get("n_models")
        # Other programs write no seal, but they keep the metadata.
        sealed = SEAL.encode() in (self._file.metadata.metadata or {})
        if not sealed and not self._has_content_of_metadata():
            raise OOFError(
                f"{path} was changed after foldstill wrote it: its values are not those of its metadata; {_CURE}, or "
                "export it, and import what was changed with `foldstill oof import`"
            )

    def _has_content_of_metadata(self) -> bool:
        scores = [name for of_member in self.metadata["columns"] for name in of_member]
        others = [name for name in self._file.schema_arrow.names if name not in scores]
        proba = read_matrix(self._file, scores, self.path)
        return _content_digest(read_columns(self._file, others, self.path), proba) == self.metadata.get("content")

    def column(self, name: str) -> NDArray[Any]:
        """One column as an array."""
        return read_columns(self._file, [name], self.path)[name]

    def proba(self) -> NDArray[np.float32]:
        """The scores, (rows, M, C)."""
        names = [name for of_member in self.metadata["columns"] for name in of_member]
        return read_matrix(self._file, names, self.path).reshape(-1, len(self.members), len(self.classes))

    def scores(self) -> ScoreTable | FoldScores:
        """The scores, those of K fold models as `FoldScores`."""
        ids, proba = as_strings(self.column("id"), f"id in {self.path}"), self.proba()
        if self.n_models is None:
            return ScoreTable(ids, self.members, self.classes, proba, self.families)
        n = len(ids) // self.n_models
        proba_KNMC = proba.reshape(self.n_models, n, *proba.shape[1:])
        return FoldScores(ids[:n], self.members, self.classes, proba_KNMC, self.families)

    @property
    def has_labels(self) -> bool:
        return "labels" in self.metadata

    def labels(self) -> Labels:
        """The labels, one row per id."""
        votes = [votes_column(c) for c in self.classes]
        columns = read_columns(self._file, ["id", "group", "stratum", "sample_weight", *votes], self.path)
        # Scores of fold models repeat the rows once per fold model.
        n = len(columns["id"]) // (self.n_models or 1)
        return Labels(
            ids=as_strings(columns["id"][:n], f"id in {self.path}"),
            groups=as_strings(columns["group"][:n], f"group in {self.path}"),
            votes_NC=np.stack([columns[name][:n] for name in votes], axis=1).astype(np.float64),
            classes=self.classes,
            stratum_N=as_strings(columns["stratum"][:n], f"stratum in {self.path}"),
            sample_weight_N=columns["sample_weight"][:n].astype(np.float64),
            counted=bool(self.metadata["counted"]),
        )


def is_score_file(path: Path) -> bool:
    """Whether foldstill wrote this parquet file."""
    return path.suffix == ".parquet" and b"foldstill" in (open_parquet(path).schema_arrow.metadata or {})


def open_parquet(path: Path) -> Any:
    """Open a parquet file; raises OOFError when it is missing or something else, such as a CSV."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # Read and not mapped: the pages of a mapped file count as memory of the process, beside the arrays.
        file = pq.ParquetFile(path, memory_map=False, pre_buffer=False)
    except FileNotFoundError:
        raise OOFError(f"no file {path}: correct the path, or run the stage that makes it") from None
    except (pa.ArrowException, OSError) as error:
        raise OOFError(
            f"{path} is not a parquet file ({str(error).rstrip('.')}): a CSV must be named .csv, "
            "or write it with pandas.to_parquet"
        ) from error
    check_seal(path, error=OOFError, cure=_CURE, required=SEAL.encode() in (file.metadata.metadata or {}))
    return file


def read_columns(file: Any, names: Sequence[str], path: Path) -> dict[str, NDArray[Any]]:
    """Columns of an open parquet file as arrays; raises OOFError naming those it lacks."""
    _require_columns(file, names, path)
    table = file.read(columns=list(names), use_threads=False)
    return {name: table[name].to_numpy() for name in names}


def read_matrix(file: Any, names: Sequence[str], path: Path) -> NDArray[np.float32]:
    """Number columns of an open parquet file as one float32 array (rows, columns)."""
    _require_columns(file, names, path)
    matrix = np.empty((file.metadata.num_rows, len(names)), dtype=np.float32)
    # Block by block, so that what is written in strides stays in the cache, and columns are never in memory as a whole.
    start = 0
    for batch in file.iter_batches(_BLOCK_ROWS, columns=list(names), use_threads=False):
        rows = slice(start, start + len(batch))
        for i, name in enumerate(names):
            matrix[rows, i] = batch[name].to_numpy(zero_copy_only=False)
        start += len(batch)
    return matrix


def _require_columns(file: Any, names: Sequence[str], path: Path) -> None:
    present = set(file.schema_arrow.names)
    lacking = [name for name in names if name not in present]
    if lacking:
        raise OOFError(
            f"{path} lacks {len(lacking)} columns, first: {lacking[:3]}; "
            f"it has {file.schema_arrow.names[:8]}...: write it anew"
        )


def _check_metadata(metadata: dict[str, Any], path: Path) -> None:
    """Raise OOFError for metadata that another program changed so that they describe no scores."""
    shape: dict[str, Kind] = {"kind": str, "content": str}
    shape |= dict.fromkeys(("members", "classes", "families", "columns"), list)
    if metadata.get("kind") == "oof":
        shape |= {"plan": (str, NoneType), "folds_assigned": bool}
    if metadata.get("kind") == "oof" or "labels" in metadata:
        shape |= {"labels": str, "counted": bool}
    check_shape(metadata, shape, path, error=OOFError, cure=_CURE)
    members, classes, families, columns = (metadata[name] for name in ("members", "classes", "families", "columns"))
    fits = len(members) == len(families) == len(columns) and all(
        isinstance(names, list) and len(names) == len(classes) for names in columns
    )
    texts = [members, classes, families, *columns] if fits else []
    if not texts or not members or not classes or not all(isinstance(text, str) for part in texts for text in part):
        raise OOFError(
            f"the metadata of {path} must name members and classes, the family of each member, and the column of each "
            f"member and class: {_CURE}"
        )


def _label_metadata(labels: Labels) -> dict[str, Any]:
    return {"labels": labels.digest, "counted": labels.counted}


def _content_digest(columns: Mapping[str, NDArray[Any]], proba: NDArray[np.float32]) -> str:
    """Digest of the values in a file: of its scores (rows, M * C), and of all other columns by name."""
    text = {name: as_strings(values, name) for name, values in columns.items() if values.dtype.kind in "OU"}
    return digest(proba, *(part for name in sorted(columns) for part in (name, text.get(name, columns[name]))))


def _write(
    path: Path,
    columns: dict[str, NDArray[Any]],
    proba_NMC: NDArray[Any],
    scores: ScoreTable | FoldScores,
    metadata: dict[str, Any],
) -> None:
    import pyarrow as pa

    check_output(path, (".parquet",))
    by_member = score_columns(scores.members, scores.classes)
    names = [name for of_member in by_member for name in of_member]
    group_rows = min(_MOST_ROWS, max(_BLOCK_ROWS, _MOST_NUMBERS // len(names)))

    def row_group(start: int) -> Any:
        rows = slice(start, start + group_rows)
        others = {name: values[rows] for name, values in columns.items()}
        # One contiguous run per column, so that arrow takes each without another copy.
        flat = np.ascontiguousarray(proba_NMC[rows].reshape(-1, len(names)).T, dtype=np.float32)
        return pa.table(
            {name: pa.array(values.tolist() if values.dtype.kind == "U" else values) for name, values in others.items()}
            | dict(zip(names, flat, strict=True))
        )

    metadata = metadata | {
        "schema_version": SCHEMA_VERSION,
        "members": list(scores.members),
        "classes": list(scores.classes),
        "families": list(scores.families),
        "columns": by_member,
        "content": _content_digest(columns, np.asarray(proba_NMC, np.float32).reshape(len(proba_NMC), -1)),
    }
    write_parquet(
        path,
        row_group(0).replace_schema_metadata({"foldstill": json.dumps(metadata, sort_keys=True)}),
        further=(row_group(start) for start in range(group_rows, len(proba_NMC), group_rows)),
        # Files are 3 to 4 % larger than with zstd on split bytes, and are read and written twice as fast.
        compression="lz4",
        # A dictionary of floats that all differ costs time and saves nothing.
        use_dictionary=[name for name in ("group", "stratum") if name in columns],
        use_byte_stream_split=names,
    )
