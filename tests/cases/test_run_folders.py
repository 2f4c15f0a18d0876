"""Run folders: a refused command changes nothing, and scores follow what they were made from."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldstill.compare import Comparison
from foldstill.digests import file_digest
from foldstill.json_files import write_json
from foldstill.lock import SHARED
from foldstill.manifest import DONE, read_done
from foldstill.oof import oof_table, read_table, write_table
from foldstill.oof.store import read_labelled_scores, write_scores
from foldstill.oof.table import FoldScores, ScoreTable
from foldstill.pipeline import find_run
from made_up import DIGITS, call, held_by_another_thread, timm_table

ONE = ("-q", "--workers", "1")
"""One process, because a second costs more than all that it is given to do here."""

pytestmark = pytest.mark.usefixtures("undrawn")

TINY = f"""
name = "tiny"
{DIGITS.replace("240", "120")}[folds]
n_folds = 2
test_share = 0.3
[recipe]
epochs = 1
batch_size = 32
{timm_table("a")}{timm_table("b")}[[stacking.combiner]]
kind = "average"
[student]
network = "test_resnet"
teacher = "average"
seeds = 1
without_teacher = false
"""


def state(folder: Path) -> dict[str, str]:
    """Every file below a folder with its digest, and every folder."""
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): file_digest(p) if p.is_file() else "folder" for p in paths}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tiny.toml and its finished run r."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "tiny.toml").write_text(TINY)
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert call(monkeypatch, "run", folder / "tiny.toml", "--out", folder / "r", *ONE) == 0
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path / "r"


REFUSED = [
    ("run", "r", "--set", "recipe.epochs=3"),
    ("run", "r", "--set", "student.mix.kind=votes"),
    ("run", "r", "--set", "student.recipe.epochs=2"),
    ("run", "r", "--set", "name=other"),
    ("run", "r", "--set", "folds.n_folds=3"),
    ("train", "r", "--set", "member.a.view=zebra"),
    ("oof", "build", "r", "--set", "member.a.view=zebra"),
    ("distill", "r", "--set", "student.unlabelled=missing.npz"),
    ("run", "other.toml", "--out", "r"),
    ("stack", "r/oof.parquet", "--out", "r"),
    ("stack", "r", "--combiner", "zebra"),
    ("demo", "--out", "r"),
    ("run", "tiny.toml", "--out", "new", "--set", "member.a.network=zebra"),
    ("run", "tiny.toml", "--out", "new", "--set", "student.unlabelled=missing.npz"),
    ("run", "tiny.toml", "--out", "new", "--set", "student.view=zebra"),
    ("run", "tiny.toml", "--out", "new", "--set", "student.teacher=auto"),
    ("run", "tiny.toml", "--out", "tiny.toml/inside"),
    ("train", "tiny.toml", "--out", "new", "--set", "folds.n_folds=5000"),
]


def test_a_refused_command_changes_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(run.parent)
    text = TINY.replace('"tiny"', '"other"').replace('name = "b"', 'name = "c"')
    Path("other.toml").write_text(text)
    before = state(run.parent)
    for arguments in REFUSED:
        code = call(monkeypatch, *arguments, *(() if "build" in arguments else ("-q",)))
        error = capsys.readouterr().err
        assert code == 2, (arguments, error)
        assert error.startswith("foldstill:"), (arguments, error)
        assert state(run.parent) == before, arguments


def test_a_second_command_is_refused_while_one_writes_into_the_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with held_by_another_thread(run):
        before = state(run)
        for command in ("run", "train", "oof build", "stack", "distill", "compare", "export"):
            assert call(monkeypatch, *command.split(), run) == 2, command
            error = " ".join(capsys.readouterr().err.split())
            assert f"{run} is being written by process {os.getpid()} on" in error, (command, error)
            assert state(run) == before, command


def test_what_a_killed_run_left_is_removed_by_the_next(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, job = state(run), run / "members/a/fold-0"
    names = ("checkpoint-1.safetensors", "progress.json", ".oof.4711.part.parquet")
    left = [*(job / name for name in names), run / "student/checkpoint-1.safetensors", run / ".oof.1.part.parquet"]
    for path in left:
        path.touch()
    (run / SHARED / "joblib_memmapping_folder_1").mkdir(parents=True)
    assert call(monkeypatch, "run", run, "-q", "--workers", "1") == 0
    assert state(run).keys() == before.keys()


def test_a_lost_test_file_is_refused_by_compare_and_made_again_by_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = file_digest(run / "test.parquet")
    (run / "test.parquet").unlink()
    assert call(monkeypatch, "compare", run) == 2
    assert f"run `foldstill oof build {run}`" in capsys.readouterr().err
    assert call(monkeypatch, "run", run, *ONE) == 0
    assert file_digest(run / "test.parquet") == before


def test_other_scores_of_locked_rows_are_made_again_and_what_used_them_is_refused_or_forced(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = state(run)
    scores, labels = read_labelled_scores(run / "test.parquet")
    assert isinstance(scores, FoldScores)
    write_scores(replace(scores, proba_KNMC=scores.proba_KNMC[:, ::-1]), run / "test.parquet", labels)
    assert call(monkeypatch, "stack", run, *ONE) == 2
    assert "was made from other inputs: test was" in capsys.readouterr().err
    assert call(monkeypatch, "run", run, *ONE) == 0
    for name in ("test.parquet", "stacking/average/test.parquet", "student/test.parquet"):
        assert state(run)[name] == right[name]


def test_members_that_are_trained_again_need_a_new_table_and_new_combinations(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "train", run, "--force", *ONE) == 0
    assert (run / "oof.parquet").exists(), "finished members of the same inputs are kept"
    assert call(monkeypatch, "train", run, "--set", "member.0.recipe.lr=0.01", "--force", *ONE) == 0
    assert "made again, as --force says: a/fold-0, a/fold-1" in capsys.readouterr().err
    images = find_run(run).dataset.view("image")
    np.savez(run / "new.npz", image=images[:4])
    predict = ("predict", "--run", run, "--data", run / "new.npz", "--out", run / "new.csv", "--arm", "average")
    for command in (("stack", run, *ONE), ("compare", run), predict):
        assert call(monkeypatch, *command) == 2
        assert "oof.parquet is not there: run `foldstill oof build`" in capsys.readouterr().err
    assert call(monkeypatch, "oof", "build", run) == 0
    for command in (("compare", run), predict):
        assert call(monkeypatch, *command) == 2
        assert "average was fitted to another table" in capsys.readouterr().err
    assert call(monkeypatch, "stack", run, "--force", *ONE) == 0
    assert "made again, as --force says: stacking/average" in capsys.readouterr().err
    assert call(monkeypatch, *predict) == 0


def test_scores_of_an_earlier_student_are_not_those_of_the_new_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = file_digest(run / "student/test.parquet")
    scores, labels = read_labelled_scores(run / "student/test.parquet")
    assert isinstance(scores, ScoreTable)
    # As a kill leaves it between the new student and its scores.
    done = read_done(run / "student")
    write_json(run / "student" / DONE, {key: done[key] for key in done if key != "scoring"}, sealed=True)
    write_scores(replace(scores, proba_NMC=scores.proba_NMC[::-1]), run / "student/test.parquet", labels)
    assert call(monkeypatch, "compare", run) == 0
    assert "student" not in [arm.kind for arm in Comparison.read(run).arms]
    assert call(monkeypatch, "run", run, "-q", "--workers", "1") == 0
    assert file_digest(run / "student/test.parquet") == right
    assert "student" in [arm.kind for arm in Comparison.read(run).arms]


def test_compare_reads_the_audit_of_stack_and_a_table_that_changed_is_audited_again(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("audited again")

    right = find_run(run).audit
    monkeypatch.setattr("foldstill.pipeline.run.audit", fail)
    assert find_run(run).audit == right
    table = read_table(run / "oof.parquet")
    write_table(replace(table, scores=replace(table.scores, families=("x", "y"))), run / "oof.parquet")
    with pytest.raises(AssertionError, match="audited again"):
        find_run(run).audit  # noqa: B018


def test_lost_provenance_is_named_and_written_again(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "provenance.json").unlink()
    assert call(monkeypatch, "compare", run) == 2
    assert f"with `--out {run}`, which writes it again" in capsys.readouterr().err
    assert call(monkeypatch, "run", run.parent / "tiny.toml", "--out", run, *ONE) == 0
    assert (run / "provenance.json").exists()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    truth_NC, rows = rng.dirichlet(np.ones(3), 60), np.arange(60)
    scores_NMC = truth_NC[:, None] * rng.uniform(0.5, 1.5, (60, 2, 3))
    scores_NMC /= scores_NMC.sum(-1, keepdims=True)
    write_table(
        oof_table(scores_NMC, votes=rng.multinomial(5, truth_NC), groups=rows // 3, folds=rows // 3 % 3),
        tmp_path / "t.parquet",
    )
    return tmp_path / "t.parquet"


def test_stack_never_deletes_or_replaces_what_is_not_its_own(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine/stacking").mkdir(parents=True)
    (tmp_path / "mine/stacking/notes.py").write_text("mine")
    (tmp_path / "csv").mkdir()
    (tmp_path / "csv/oof.parquet").write_text("mine")
    before = state(tmp_path)
    for folder in ("mine", "csv"):
        assert call(monkeypatch, "stack", table, "--out", tmp_path / folder, "-q", "--combiner", "convex") == 2
        assert "foldstill" in capsys.readouterr().err
    assert call(monkeypatch, "stack", table, "--out", tmp_path / "new", "-q", "--combiner", "zebra") == 2
    assert state(tmp_path) == before
    forced = ("--combiner", "convex", "--force", *ONE)
    assert call(monkeypatch, "stack", table, "--out", tmp_path / "mine", *forced) == 0
    assert (tmp_path / "mine/stacking/notes.py").read_text() == "mine"
    assert (tmp_path / "mine/stacking/convex/done.json").exists()
