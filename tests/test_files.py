import os
from pathlib import Path

import numpy as np
import pytest

from foldstill.files import atomic_write


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

    with pytest.raises(OSError, match="disk full"):
        write()
    assert kept.read_text() == "before"
    assert list(tmp_path.iterdir()) == [kept]
