"""Outputs: the suffix chooses the format, inputs are never replaced, and a refused command changes nothing."""

import csv
import errno
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldstill.digests import file_digest
from foldstill.errors import FileError, OOFError
from foldstill.oof import ScoreTable, read_scores, read_table, write_table
from made_up import call


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    """Scores of three members with names that look like markup, a formula and HTML."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([1.0, 1.0, 1.0], 60)
    pred = truth[:, None] * rng.uniform(0.5, 1.5, (60, 3, 3))
    np.savez(
        tmp_path / "x.npz",
        pred=(pred / pred.sum(-1, keepdims=True)).astype(np.float32),
        votes=rng.multinomial(8, truth),
        group=np.arange(60) // 3,
        fold=np.arange(60) // 3 % 3,
        members=["resnet[tta]", "=cmd", "[/x]<b>"],
        classes=["a", "b", "[/c]"],
    )
    return tmp_path / "x.npz"


@pytest.fixture
def table(npz: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    assert call(monkeypatch, "oof", "import", npz, "--out", npz.with_name("t.parquet")) == 0
    return npz.with_name("t.parquet")


def state(folder: Path) -> dict[str, str]:
    """Every file below a folder with its digest, and every folder."""
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): file_digest(p) if p.is_file() else "folder" for p in paths}


def test_the_suffix_chooses_the_format(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (
        call(monkeypatch, "stack", table, "--out", tmp_path / "s", "--combiner", "convex", "-q", "--workers", "1") == 0
    )
    for suffix in ("csv", "parquet"):
        assert call(monkeypatch, "apply", tmp_path / "s/convex", table, "--out", tmp_path / f"o.{suffix}") == 0
    with (tmp_path / "o.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))
    assert rows[0] == ["id", "a", "b", "[/c]"]
    scores = read_scores(tmp_path / "o.parquet")
    assert isinstance(scores, ScoreTable)
    np.testing.assert_array_equal(np.float32([row[1:] for row in rows[1:]]), scores.proba_NMC[:, 0])
    for suffix in ("npz", "csv"):
        again, imported = tmp_path / f"again.{suffix}", tmp_path / f"{suffix}.parquet"
        assert call(monkeypatch, "oof", "import", table, "--out", again) == 0
        assert call(monkeypatch, "oof", "import", again, "--out", imported) == 0
        # An import divides by the sum of a row, which can change the last bit.
        np.testing.assert_allclose(read_table(imported).proba_NMC, read_table(table).proba_NMC, rtol=1e-6)
    # An export follows the suffix where no format is named.
    assert call(monkeypatch, "oof", "export", table, tmp_path / "wide.csv") == 0
    assert (tmp_path / "wide.csv").read_text().count("\n") == len(read_table(table)) + 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("oof", "import", "x.npz", "--out", "x.npz"), "x.npz is an input of this command"),
        (("oof", "import", "x.npz", "--out", "o.xlsx"), "must be one of .parquet, .csv, .npz"),
        (("oof", "import", "x.npz", "--out", "folder"), "must be one of"),
        (("oof", "import", "x.npz", "--out", "folder.parquet"), "folder.parquet: it is a folder"),
        (("oof", "import", "x.npz", "--out", "x.npz/inside.parquet"), "not a folder"),
        (("oof", "import", "x.npz", "--out", f"{'n' * 300}.parquet"), "the name is too long"),
        (("oof", "import", "x.npz", "--out", "mine.parquet"), "nothing in it says that foldstill wrote it"),
        (("oof", "export", "t.parquet", "t.parquet", "--format", "wide-csv"), "must be one of .csv"),
        (("oof", "export", "t.parquet", "t.parquet"), "must be one of .npz"),
        (("oof", "export", "t.parquet", "x.npz", "--format", "csv"), "name a folder"),
        (("apply", "s/convex", "t.parquet", "--out", "t.parquet"), "t.parquet is an input of this command"),
        (("apply", "s/convex", "t.parquet", "--out", "o.npz"), "must be one of .parquet, .csv"),
        (("predict", "--run", "s", "--data", "x.npz", "--out", "o.json"), "must be one of .parquet, .csv"),
        (("init", "x.npz/e.toml"), "not a folder"),
        (("init", "n" * 300 + ".toml"), "the name is too long"),
    ],
)
def test_a_refused_output_changes_nothing(
    table: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "mine.parquet").write_text("mine")
    (tmp_path / "s/stacking/convex").mkdir(parents=True)
    before = state(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.startswith("foldstill:")
    assert error.count("\n") == 1
    assert state(tmp_path) == before


def test_a_file_without_a_mark_of_foldstill_is_replaced_only_with_force_which_names_it(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder/members").mkdir(parents=True)
    for name in ("mine.csv", "mine.parquet", "folder/members/a.csv"):
        (tmp_path / name).write_text("mine\n")
    np.savez(tmp_path / "mine.npz", mine=1)
    named = read_table(table).select(["resnet[tta]", "=cmd"])
    write_table(replace(named, scores=replace(named.scores, members=("a", "b"))), tmp_path / "named.parquet")
    for arguments, out in (
        (("oof", "import", table, "--out", "mine.csv"), "mine.csv"),
        (("oof", "import", table, "--out", "mine.parquet"), "mine.parquet"),
        (("oof", "import", table, "--out", "mine.npz"), "mine.npz"),
        (("oof", "export", "named.parquet", "folder", "--format", "csv"), "folder/members/a.csv"),
    ):
        before = state(tmp_path)
        assert call(monkeypatch, *arguments) == 2
        assert out in capsys.readouterr().err
        assert state(tmp_path) == before
        assert call(monkeypatch, *arguments, "--force") == 0
        assert f"note: {out} is replaced" in capsys.readouterr().err
        # What foldstill wrote is replaced unasked, but for a CSV, which can hold no mark.
        assert call(monkeypatch, *arguments) == (2 if out.endswith(".csv") else 0)


@pytest.mark.parametrize("out", ["s/oof.parquet", "s/stacking/convex/oof.parquet"])
def test_the_files_of_a_run_are_no_output(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "stack", table, "--out", "s", "--combiner", "convex", "-q", "--workers", "1") == 0
    before = state(tmp_path)
    assert call(monkeypatch, "apply", "s/convex", table, "--out", out, "--force") == 2
    assert f"{out} belongs to the run or stage" in capsys.readouterr().err
    assert state(tmp_path) == before


@pytest.mark.parametrize(
    "arguments", [("oof", "audit", ""), ("stack", "t.parquet", "--out", ""), ("demo", "--out", "")]
)
def test_an_empty_path_is_refused(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments) == 2
    assert "is an empty path" in capsys.readouterr().err


def test_python_refuses_another_suffix_and_names_that_cannot_name_a_file(table: Path, tmp_path: Path) -> None:
    from foldstill.oof import export_table

    with pytest.raises(FileError, match=r"must be one of \.parquet"):
        write_table(read_table(table), tmp_path / "o.csv")
    with pytest.raises(OOFError, match=r"member name '\[/x\]<b>' contains '/'"):
        export_table(read_table(table), tmp_path / "folder", "csv")
    assert not (tmp_path / "folder").exists()


def test_names_that_look_like_markup_are_printed_as_they_are(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "[bold]s"
    assert call(monkeypatch, "stack", table, "--out", out, "--combiner", "convex", "-q", "--workers", "1") == 0
    assert call(monkeypatch, "compare", out) == 0
    shown = capsys.readouterr().out
    for name in ("resnet[tta]", "=cmd", "[/x]<b>", "[bold]s"):
        assert name in shown
    with (out / "comparison.csv").open(encoding="utf-8", newline="") as lines:
        assert "'=cmd" in {row[0] for row in csv.reader(lines)}
    assert call(monkeypatch, "oof", "audit", table) == 0
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "[/x]&lt;b&gt;" in html
    assert "[/x]<b>" not in html


@pytest.mark.parametrize(
    ("raised", "code", "message"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "t.parquet"), 2, "t.parquet: the disk is full"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "t.parquet"), 2, "t.parquet: permission denied"),
        (MemoryError(), 2, "not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB."), 2, "not enough memory"),
        (ImportError("lib.so: failed to map segment from shared object"), 2, "not enough memory"),
        (EOFError("end"), 2, "a file ends before its content is complete"),
        (KeyboardInterrupt(), 130, "interrupted; finished work is kept"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    code: int,
    message: str,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("foldstill.pipeline.audit_table", fail)
    assert call(monkeypatch, "oof", "audit", tmp_path / "t.parquet") == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_killed_worker_is_one_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    def fail(*_: object, **__: object) -> None:
        raise TerminatedWorkerError("killed")

    monkeypatch.setattr("foldstill.pipeline.audit_table", fail)
    assert call(monkeypatch, "oof", "audit", "t.parquet") == 2
    assert "a worker process was killed" in capsys.readouterr().err
