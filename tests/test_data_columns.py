import gzip
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldstill.data.columns import read_columns, read_npz
from foldstill.data.text import as_strings
from foldstill.errors import DataError


def _csv(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_numbers_are_numbers_and_text_is_exact(tmp_path):
    file = read_columns(_csv(tmp_path, "id,n,x,label,flag\n007,1,0.5,NA,True\n010,2,,None,False\n"))
    assert file.get("n", "votes").tolist() == [1, 2]
    np.testing.assert_array_equal(file.get("x", "votes"), [0.5, np.nan])
    assert file.get("flag", "votes").tolist() == [True, False]
    assert file.text("id", "id").tolist() == ["007", "010"]
    assert file.text("label", "label").tolist() == ["NA", "None"]


def test_whole_numbers_written_as_floats_are_the_same_ids_as_whole_numbers(tmp_path):
    file = read_columns(_csv(tmp_path, "id,g,h\n7.0,a,1\n8.0,,\n"))
    assert file.text("id", "id").tolist() == ["7", "8"]
    for column in ("g", "h"):
        with pytest.raises(DataError, match=r"holds (missing values|NaN)"):
            as_strings(file.text(column, "group"), "group")


@pytest.mark.parametrize(
    "data",
    [
        "id;p;n\n007;0,25;3\n008;0,75;4\n",
        "id\tp\tn\n007\t0.25\t3\n008\t0.75\t4\n",
        "id, p, n\n007, 0.25, 3\n008, 0.75, 4\n",
        "\ufeffid,p,n\n007,0.25,3\n008,0.75,4\n",
        "id,p,n\r\n007,0.25,3\r\n008,0.75,4\r\n",
        "id,p,n\n007,0.25,3\n008,0.75,4\n".encode("utf-16"),
        '"id","p","n"\n"007","0.25","3"\n"008","0.75","4"\n',
    ],
    ids=["semicolons", "tabs", "comma and space", "BOM", "CRLF", "UTF-16", "quotes"],
)
def test_other_separators_and_encodings_are_read_right(tmp_path, data):
    file = read_columns(_csv(tmp_path, data))
    assert list(file.arrays) == ["id", "p", "n"]
    assert file.text("id", "id").tolist() == ["007", "008"]
    assert file.get("p", "scores").tolist() == [0.25, 0.75]
    assert file.get("n", "votes").tolist() == [3, 4]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"id,p\n\xe9,1\n", r"t.csv is not UTF-8 text \(.*at byte 5\): save it as UTF-8"),
        ("id,p\na,1\n".encode("utf-16-le"), r"zero bytes, as UTF-16 without its mark"),
        ("id,p\na,1,2\n", r"is not a CSV separated by ',', as its header is \(CSV parse error: .*Expected 2 columns"),
        ("id,p\na;1\n", r"separated by ','"),
        ("id,p,p\na,1,2\n", r"several columns named \['p'\]"),
        ("", r"t.csv is not a CSV file, it is empty"),
        ("id,p\n", r"t.csv has no rows"),
    ],
)
def test_files_that_cannot_be_read_are_refused_with_separator_or_encoding(tmp_path, data, message):
    with pytest.raises(DataError, match=message):
        read_columns(_csv(tmp_path, data)).get("p", "scores")


CELLS = {
    "whole": ("i", ["7", "8"] * 40),
    "leading zeros": ("i", ["007", "010"] * 40),
    "whole then fractions": ("f", ["7"] * 40 + ["0.5"] * 40),
    "whole then a hexadecimal": ("i", ["7"] * 79 + ["0x1f"]),
    "a hexadecimal then fractions": ("O", ["0x1f"] * 40 + ["0.5"] * 40),
    "fractions then whole": ("f", ["0.5"] * 40 + ["7"] * 40),
    "fractions then text": ("O", ["0.5"] * 79 + ["a"]),
    "fractions then true": ("O", ["0.5"] * 79 + ["true"]),
    "fractions then blanks and NA": ("f", ["0.5"] * 40 + ["", " NA", "nan", "0.25"] * 10),
    "NA then fractions": ("f", ["NA"] * 40 + ["0.5"] * 40),
    "NA then whole": ("f", ["NA"] * 40 + ["7"] * 40),
    "NA alone": ("O", ["NA"] * 80),
    "empty": ("f", [""] * 80),
    "floats that are whole": ("f", ["7.0", "8.00"] * 40),
    "infinity": ("f", ["0.5", "inf"] * 40),
    "truth": ("b", ["True", "false"] * 40),
    "text then fractions": ("O", ["a"] * 40 + ["0.5"] * 40),
    "decimal commas": ("f", ["0,5", "7"] * 40),
    "points then commas": ("O", ["0.5"] * 40 + ["0,5"] * 40),
    "commas then points": ("O", ["0,5"] * 40 + ["0.5"] * 40),
    "commas then whole and points": ("O", ["1,5"] * 30 + ["7"] * 30 + ["1e-3"] * 19 + ["1.5"]),
}


def test_a_file_read_in_small_blocks_has_the_columns_of_one_read_as_a_whole(tmp_path, monkeypatch):
    rows = zip(*(cells for _, cells in CELLS.values()), strict=True)
    path = _csv(tmp_path, "".join(";".join(row) + "\n" for row in [tuple(CELLS), *rows]))
    whole = read_columns(path)
    monkeypatch.setattr("foldstill.data.csv_file._BLOCK_BYTES", 800)
    in_blocks = read_columns(path)
    for name, (kind, cells) in CELLS.items():
        values, text = in_blocks.get(name, "scores"), in_blocks.text(name, "id")
        assert values.dtype.kind == kind, name
        assert values.dtype == whole.get(name, "scores").dtype, name
        np.testing.assert_array_equal(values, whole.get(name, "scores"), err_msg=name)
        np.testing.assert_array_equal(text, whole.text(name, "id"), err_msg=name)
        if kind in "iO" or name == "whole then fractions":
            assert text.tolist() == [cell or None for cell in cells], name


def test_a_byte_that_is_no_text_is_found_where_it_is_in_small_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr("foldstill.data.csv_file._PIECE", 3)
    text = "\ufeffid,p\n\u00e9\u20ac\U0001f600,1\n"
    assert read_columns(_csv(tmp_path, text)).text("id", "id").tolist() == ["\u00e9\u20ac\U0001f600"]
    with pytest.raises(DataError, match=r"is not UTF-8 text \(unexpected end of data at byte 20\)"):
        read_columns(_csv(tmp_path, text.encode() + "\u20ac".encode()[:2]))


def test_a_cut_archive_is_refused(tmp_path):
    whole = gzip.compress(b"id,p\n" + b"a,1\n" * 1000)
    assert len(read_columns(_csv(tmp_path, whole, "t.csv.gz")).get("p", "scores")) == 1000
    with pytest.raises(DataError, match=r"cut.csv.gz cannot be read"):
        read_columns(_csv(tmp_path, whole[:-20], "cut.csv.gz"))


def test_an_index_without_a_name_is_a_column_unless_it_counts_the_rows(tmp_path):
    frame = pd.DataFrame({"p": [0.1, 0.2]}, index=["x", "y"])
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_csv(tmp_path / "t.csv")
    for name in ("t.parquet", "t.csv"):
        assert read_columns(tmp_path / name).text("index", "id").tolist() == ["x", "y"]
    frame.reset_index(drop=True).to_csv(tmp_path / "t.csv")
    assert list(read_columns(tmp_path / "t.csv").arrays) == ["p"]


def test_nullable_columns_of_pandas_are_numbers_with_nan(tmp_path):
    pd.DataFrame({"n": pd.array([1, None], "Int64"), "m": pd.array([1, 2], "Int64")}).to_parquet(tmp_path / "t.parquet")
    file = read_columns(tmp_path / "t.parquet")
    np.testing.assert_array_equal(file.get("n", "votes"), [1, np.nan])
    assert file.get("m", "votes").dtype == np.int64


def test_an_array_whose_header_promises_more_than_the_file_holds_is_damaged(tmp_path: Path) -> None:
    """NumPy runs out of memory on it, which is not what is wrong."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": (10**14, 9)})
    with zipfile.ZipFile(tmp_path / "scores.npz", "w") as archive:
        archive.writestr("pred.npy", stream.getvalue() + bytes(80))
    with pytest.raises(DataError, match=r"^'pred' in .*scores\.npz is damaged \(Unable to allocate"):
        read_npz(tmp_path / "scores.npz").get("pred", "scores")
