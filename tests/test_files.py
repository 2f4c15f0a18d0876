import errno
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from foldstill.csv_files import csv_text, write_csv
from foldstill.errors import FileError
from foldstill.files import atomic_write, check_output


def test_a_file_that_the_system_does_not_let_grow_is_one_sentence_whoever_writes_it(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from safetensors.numpy import save_file

    values = np.random.default_rng(0).normal(size=20_000)
    writers = {
        "a.safetensors": lambda part: save_file({"w": values}, part),
        "a.parquet": lambda part: pq.write_table(pa.table({"w": values}), part),
        "a.npz": lambda part: np.savez(part, w=values),
        "a.txt": lambda part: part.write_text(str(values.tolist())),
    }
    limits, ignored = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        for name, write in writers.items():
            with (
                pytest.raises(FileError, match=rf"{name}: the file would be larger"),
                atomic_write(tmp_path / name) as p,
            ):
                write(p)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    assert not list(tmp_path.iterdir()), "nothing is left half-written"


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_a_file_may_be_read_by_whoever_may_read_other_new_files(tmp_path: Path, umask: int) -> None:
    from safetensors.numpy import save_file

    before = os.umask(umask)
    try:
        (tmp_path / "ordinary").touch()
        with atomic_write(tmp_path / "weights.safetensors") as part:
            save_file({"w": np.ones(2)}, part)
        with atomic_write(tmp_path / "private") as part:
            part.touch(mode=0o600)
    finally:
        os.umask(before)
    ordinary = (tmp_path / "ordinary").stat().st_mode
    assert (tmp_path / "weights.safetensors").stat().st_mode == ordinary
    assert (tmp_path / "private").stat().st_mode == ordinary


def test_a_file_that_could_not_be_written_leaves_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("before")

    def write() -> None:
        with atomic_write(kept) as part:
            part.write_text("half")
            raise OSError("disk full")

    with pytest.raises(FileError, match=r"kept\.txt: disk full"):
        write()
    assert kept.read_text() == "before"
    assert list(tmp_path.iterdir()) == [kept]


def test_csv_keeps_every_digit_and_type_and_ends_lines_alike(tmp_path: Path) -> None:
    records = [{"name": "a, b", "n": 1, "x": 0.1 + 0.2, "y": None}, {"name": 'q"', "n": 2, "x": 1e-9, "y": True}]
    expected = 'name,n,x,y\n"a, b",1,0.30000000000000004,\n"q""",2,1e-09,True\n'
    assert csv_text(records) == expected
    assert csv_text({key: [record[key] for record in records] for key in records[0]}) == expected
    write_csv(tmp_path / "new" / "t.csv", records)
    assert (tmp_path / "new" / "t.csv").read_bytes() == expected.encode()
    assert csv_text({"p": np.array([1 / 3], np.float32)}, float_format="%.9g") == "p\n0.333333343\n"
    assert csv_text({"file": [], "digest": []}) == "file,digest\n"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "it is a folder"),
        ("file/inside.csv", "is a file, not a folder|part of the path is a file"),
        ("x" * 300 + ".csv", "the name is too long"),
        ("table.xlsx", r"must be one of \.csv, \.parquet"),
        ("input.csv", "is an input of this command"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    for file in ("file", "input.csv"):
        (tmp_path / file).write_text("kept")
    suffixes = () if name == "folder" else (".csv", ".parquet")
    with pytest.raises(FileError, match=message):
        check_output(tmp_path / name, suffixes, inputs=[tmp_path / "input.csv"])
    if name not in ("table.xlsx", "input.csv"):
        with pytest.raises(FileError, match=r"folder|too long"):
            write_csv(tmp_path / name, {"a": [1]})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder", "input.csv"]
    assert (tmp_path / "input.csv").read_text() == "kept"


def test_a_full_disk_is_one_sentence_whatever_the_writer_raises(tmp_path: Path) -> None:
    class WriterError(Exception):
        pass

    full = (OSError(errno.ENOSPC, "No space left on device"), WriterError("I/O error: No space left on device"))
    for error in full:
        with pytest.raises(FileError, match=r"t\.csv: the disk is full"), atomic_write(tmp_path / "t.csv"):
            raise error
    assert list(tmp_path.iterdir()) == []
