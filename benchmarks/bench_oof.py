"""G16: reading an OOF table into one array (N, M, C), wide parquet compared with pandas' pivot and pivot_table.

    python benchmarks/bench_oof.py [rows] [repeats]

The pandas baselines read a long table with one row per value: id, member and class as strings, and the score. All read
the same scores and must give the same values. The two baselines take about equally long; the goal of 80 was set against
a pivot that took three times as long as either takes in today's pandas. Exits with 1 below the floor of 20.
"""

import harness  # noqa: I001  (pins threads before numpy is loaded)

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from foldstill.oof import ScoreTable, read_scores, write_scores

MEMBERS, CLASSES = 15, 6


def main(rows: int = 100_000, repeats: int = 5) -> None:
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(CLASSES), (rows, MEMBERS)).astype(np.float32)
    ids = np.char.add("row-", np.char.zfill(np.arange(rows).astype(np.str_), 7))
    members, classes = tuple(f"m{i:02}" for i in range(MEMBERS)), tuple(f"c{i}" for i in range(CLASSES))
    with tempfile.TemporaryDirectory() as folder:
        wide, long = Path(folder) / "wide.parquet", Path(folder) / "long.parquet"
        write_scores(ScoreTable(ids, members, classes, proba), wide)
        n, m, c = (index.ravel() for index in np.indices(proba.shape))
        columns = {
            "id": pa.DictionaryArray.from_arrays(n.astype(np.int32), ids.tolist()).cast(pa.string()),
            "member": pa.DictionaryArray.from_arrays(m.astype(np.int8), list(members)).cast(pa.string()),
            "class": pa.DictionaryArray.from_arrays(c.astype(np.int8), list(classes)).cast(pa.string()),
            "p": proba.ravel(),
        }
        pq.write_table(pa.table(columns), long, compression="zstd")
        del n, m, c, columns
        print(f"{rows} rows: wide {wide.stat().st_size / 1e6:.1f} MB, long {long.stat().st_size / 1e6:.1f} MB")

        def ours() -> np.ndarray:
            scores = read_scores(wide)
            assert isinstance(scores, ScoreTable)
            return scores.proba_NMC

        def pivot() -> np.ndarray:
            frame = pd.read_parquet(long).pivot(index="id", columns=["member", "class"], values="p")
            return frame.sort_index(axis=1).to_numpy().reshape(rows, MEMBERS, CLASSES)

        def pivot_table() -> np.ndarray:
            frame = pd.read_parquet(long).pivot_table(index="id", columns=["member", "class"], values="p")
            return frame.sort_index(axis=1).to_numpy(np.float32).reshape(rows, MEMBERS, CLASSES)

        def same(a: np.ndarray, b: np.ndarray) -> None:
            assert a.dtype == b.dtype == np.float32
            assert a.tobytes() == np.ascontiguousarray(b).tobytes() == proba.tobytes()

        for baseline in (pivot, pivot_table):
            name = f"G16 OOF parquet to (N, M, C), compared with {baseline.__name__}"
            ratio = harness.side_by_side(name, ours=ours, baseline=baseline, same=same, repeats=repeats)
            harness.floor(ratio, 20)


if __name__ == "__main__":
    main(*(int(a) for a in sys.argv[1:]))
