"""The command line as a person uses it: what it prints, what it leaves, and what it says to bad input."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foldstill.cli.terminal import repeat_options
from made_up import call


@pytest.fixture
def npz(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Held-out scores of four members, one much worse than the others, over 60 groups of 5 rows."""
    truth = rng.dirichlet([1.0, 1.0, 1.0], 300)
    noise = np.asarray([0.4, 0.4, 0.4, 2.0])[:, None]
    logits = np.log(truth)[:, None] + noise * rng.normal(size=(300, 4, 3))
    pred = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    path = tmp_path / "scores.npz"
    np.savez(
        path,
        pred=pred.astype(np.float32),
        votes=rng.multinomial(8, truth),
        patient=np.arange(300) // 5,
        fold=np.arange(300) // 5 % 3,
        members=["a", "b", "c_tta", "d_tta"],
        classes=["x", "y", "z"],
    )
    return path


def test_help_imports_neither_torch_nor_numpy() -> None:
    code = "import sys, foldstill.cli; sys.exit(bool({'torch', 'numpy', 'pandas', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_verdict_on_imported_predictions_needs_no_torch(npz: Path, tmp_path: Path) -> None:
    code = """
import sys
from foldstill.cli import main
lines = (
    "oof import {npz} --group patient --out t.parquet",
    "stack t.parquet --combiner recalibrated convex auto -q --workers 1",
    "compare t-stack",
)
for line in lines:
    sys.argv = ["foldstill", *line.format(npz=sys.argv[-1] if "{npz}" in line else "").split()]
    try:
        main()
    except SystemExit as end:
        assert not end.code, end.code
assert "torch" not in sys.modules
""".replace("sys.argv[-1]", repr(str(npz)))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "average" in done.stdout
    assert "Report:" in done.stdout
    assert (tmp_path / "t-stack" / "report.html").exists()


def test_members_are_dropped_by_several_patterns(npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from foldstill.oof import read_table

    out = tmp_path / "t.parquet"
    code = call(monkeypatch, "oof", "import", npz, "--group", "patient", "--drop-members", "c_*", "d_*", "--out", out)
    assert code == 0
    assert read_table(out).members == ("a", "b")


def test_apply_scores_a_new_table_of_the_same_members(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from foldstill.oof import read_scores, read_table

    table, stack, out = tmp_path / "t.parquet", tmp_path / "s", tmp_path / "scores.parquet"
    assert call(monkeypatch, "oof", "import", npz, "--group", "patient", "--out", table) == 0
    assert call(monkeypatch, "stack", table, "--out", stack, "--combiner", "convex", "-q", "--workers", "1") == 0
    assert call(monkeypatch, "apply", stack / "convex", table, "--out", out) == 0
    scores = read_scores(out)
    assert scores.ids.tolist() == read_table(table).labels.ids.tolist()
    assert scores.members == ("convex",)


def test_a_folder_stacked_from_another_table_is_refused(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, stack = tmp_path / "1.parquet", tmp_path / "2.parquet", tmp_path / "s"
    call(monkeypatch, "oof", "import", npz, "--group", "patient", "--out", one)
    call(monkeypatch, "oof", "import", npz, "--group", "patient", "--drop-members", "d_tta", "--out", two)
    assert call(monkeypatch, "stack", one, "--out", stack, "--combiner", "convex", "-q", "--workers", "1") == 0
    before = (stack / "oof.parquet").read_bytes()
    assert call(monkeypatch, "stack", two, "--out", stack, "--combiner", "convex", "-q", "--workers", "1") == 2
    assert "made from other inputs: table" in capsys.readouterr().err
    assert (stack / "oof.parquet").read_bytes() == before
    assert (
        call(monkeypatch, "stack", two, "--out", stack, "--combiner", "recalibrated", "-q", "--workers", "1", "--force")
        == 0
    )
    assert sorted(p.name for p in (stack / "stacking").iterdir() if p.is_dir()) == ["average", "recalibrated"]


def test_a_combiner_is_picked_by_its_kind_though_it_is_not_among_the_usual(
    npz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table, stack = tmp_path / "t.parquet", tmp_path / "s"
    call(monkeypatch, "oof", "import", npz, "--group", "patient", "--out", table)
    assert (
        call(monkeypatch, "stack", table, "--out", stack, "--combiner", "median", "trimmed", "-q", "--workers", "1")
        == 0
    )
    assert sorted(p.name for p in (stack / "stacking").iterdir() if p.is_dir()) == ["average", "median", "trimmed"]
    assert call(monkeypatch, "stack", table, "--out", stack, "--combiner", "medium", "-q") == 2
    assert "no combiner is called 'medium': choose from ['auto', 'average'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "none.toml"), "foldstill init"),
        (("oof", "import", "none.npz"), "none.npz"),
        (("stack", "none.parquet"), "none.parquet"),
        (("compare", "."), "oof"),
        (("predict", "--run", ".", "--data", "x.npz"), "experiment.toml"),
        (("apply", "s/auto", "t.parquet"), "no combination"),
    ],
)
def test_a_mistake_is_one_sentence_and_exit_code_2(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("foldstill:")
    assert message in error
    assert "Traceback" not in error
    assert not list(tmp_path.iterdir())


def test_a_csv_named_parquet_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "t.parquet"
    path.write_text("id,a\n1,2\n")
    assert call(monkeypatch, "stack", path) == 2
    assert "not a parquet file" in capsys.readouterr().err


def test_doctor_names_what_it_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(monkeypatch, "doctor") == 0
    message = capsys.readouterr().out
    assert "lightgbm" in message
    assert "CUDA" in message


def test_an_option_that_takes_several_values_ends_at_the_next_option() -> None:
    wanted = ["x", "--drop", "a", "--drop", "b", "--out", "c"]
    assert repeat_options(["x", "--drop", "a", "b", "--out", "c"], frozenset({"--drop"})) == wanted


def test_forced_colours_make_no_terminal_of_a_pipe(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A notebook sets FORCE_COLOR: a bar that is drawn again and again would fill it."""
    from foldstill.cli.terminal import bars, console
    from foldstill.workers import Progress

    monkeypatch.setenv("FORCE_COLOR", "1")
    assert console().width == 120
    with bars() as report:
        for done in range(4):
            report(Progress("cross-fit", done, 3, "KL 0.5"))
    assert capsys.readouterr().err == "cross-fit: done, KL 0.5\n"
