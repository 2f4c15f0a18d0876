"""Tables of a row a sample made elsewhere: CSV and parquet files, by their suffix."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from foldstill.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def read_frame(path: Path) -> "pd.DataFrame":
    """A CSV (.csv, .csv.gz, .tsv) or parquet (.parquet, .pq) file; raises DataError when missing or something else."""
    import pandas as pd
    import pyarrow as pa

    name = path.name.lower()
    try:
        if name.endswith((".parquet", ".pq")):
            return pd.read_parquet(path)
        if name.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz")):
            return pd.read_csv(path, sep="\t" if ".tsv" in name else ",", low_memory=False)
    except FileNotFoundError:
        raise DataError(f"no file {path}: correct the path") from None
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        what = "a parquet file" if name.endswith((".parquet", ".pq")) else "a CSV file"
        raise DataError(
            f"{path} is not {what} ({str(error).rstrip('.')}): name it by what it is, .csv or .parquet"
        ) from error
    raise DataError(f"{path} must be named .csv, .csv.gz, .tsv or .parquet: that says how to read it")


def require_columns(frame: "pd.DataFrame", names: Sequence[str], path: Path) -> None:
    """Raise DataError naming the columns `frame` lacks and those it has."""
    lacking = [name for name in names if name not in frame.columns]
    if lacking:
        there = [str(column) for column in frame.columns]
        raise DataError(
            f"{path} lacks the columns {lacking}, it has {there[:12]}{'...' if len(there) > 12 else ''}: "
            "name one of these"
        )
