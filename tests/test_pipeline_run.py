"""A run as a value: every file is read once, nothing stale is given, and an imported table is a run as well."""

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldstill.compare import Comparison
from foldstill.data.labels import Labels
from foldstill.errors import ExperimentError, OOFError, StackError
from foldstill.manifest import DONE
from foldstill.oof import ScoreTable, oof_table, read_table, write_table
from foldstill.pipeline import (
    ExperimentFile,
    Run,
    compare_stage,
    distill_stage,
    find_run,
    oof_stage,
    open_for_stacking,
    open_run,
    run_all,
    stack_stage,
    start_run,
)
from foldstill.pipeline.stack import select_combiners
from foldstill.workers import Work
from made_up import SMOKE

pytestmark = pytest.mark.usefixtures("undrawn")

_watched: list[tuple[Path, "Counter[str]"]] = []
_HASHED = " (hashed)"


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _watched:
        path, mode, _ = arguments
        folder, counts = _watched[-1]
        if isinstance(path, str) and str(path).startswith(f"{folder}/") and mode in ("r", "rb"):
            hashed = _HASHED if {"file_digest", "_seal_holds"} & set(_callers()) else ""
            counts[f"{Path(path).relative_to(folder)}{hashed}"] += 1


def _callers() -> Iterator[str]:
    """Names of the functions that are running, innermost first."""
    frame = sys._getframe(1)
    while frame is not None:
        yield frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]


sys.addaudithook(_hook)


@contextmanager
def reads_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator["Counter[str]"]:
    """How often each file of a folder is opened for reading while the block runs."""
    import pyarrow.parquet as pq

    counts: Counter[str] = Counter()
    init, read = pq.ParquetFile.__init__, pq.read_table

    # pyarrow opens files without Python, so that the hook does not see them.
    def count(source: object) -> None:
        if isinstance(source, str | Path) and Path(source).is_relative_to(folder):
            counts[str(Path(source).relative_to(folder))] += 1

    def counted_init(self: pq.ParquetFile, source: object, *rest: object, **options: object) -> None:
        count(source)
        init(self, source, *rest, **options)

    def counted_read(source: object, **options: object) -> object:
        count(source)
        return read(source, **options)

    monkeypatch.setattr(pq.ParquetFile, "__init__", counted_init)
    monkeypatch.setattr(pq, "read_table", counted_read)
    _watched.append((folder, counts))
    try:
        yield counts
    finally:
        _watched.pop()
        monkeypatch.undo()


def repeated(counts: "Counter[str]") -> dict[str, int]:
    """Files whose content was read more than once, but for the marks that every stage checks, and files that were
    hashed more than twice: once for their seal and once for their digest."""
    return {
        name: n
        for name, n in counts.items()
        if n > (2 if name.endswith(_HASHED) else 1) and Path(name.removesuffix(_HASHED)).name != DONE
    }


@pytest.fixture
def run(smoke: tuple[Run, Comparison]) -> Run:
    return smoke[0]


def test_a_comparison_opens_every_file_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with reads_of(run.dir.root, monkeypatch) as counts:
        compare_stage(find_run(run.dir.root))
    assert {"oof.parquet", "test.parquet", "stacking/average/test.parquet", "student/test.parquet"} <= set(counts)
    assert repeated(counts) == {}


def test_a_finished_run_opens_every_file_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with reads_of(run.dir.root, monkeypatch) as counts:
        run_all(open_run(run.dir.root, work=Work(1, "cpu")))
    assert {"oof.parquet", "test.parquet", "folds.parquet", "stacking/average/combination.json"} <= set(counts)
    assert repeated(counts) == {}


def test_a_new_run_opens_every_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SMOKE.replace("[student]", "[student]\nwithout_teacher = false")
    new = start_run(ExperimentFile(text), tmp_path / "run", Work(1, "cpu"))
    with reads_of(tmp_path / "run", monkeypatch) as counts:
        run_all(new)
    assert {"oof.parquet", "test.parquet", "stacking/average/combination.json"} <= set(counts)
    assert repeated(counts) == {}


def table_of(path: Path, seed: int = 0, ids: str = "row", leaked: bool = False) -> Path:
    """A table of two members and 30 groups; a leaked one saw the votes of its rows."""
    rng = np.random.default_rng(seed)
    truth_NC, rows = rng.dirichlet(np.ones(3), 90), np.arange(90)
    scores_NMC = truth_NC[:, None] * rng.uniform(0.5, 1.5, (90, 2, 3))
    scores_NMC /= scores_NMC.sum(-1, keepdims=True)
    votes_NC = rng.multinomial(5, truth_NC)
    if leaked:
        scores_NMC[:, 1] = 0.9 * votes_NC / 5 + 0.1 / 3
    groups = [f"{ids}{row // 3}" for row in rows]
    labels = Labels.from_votes(votes_NC, ids=[f"{ids}{row}" for row in rows], groups=groups)
    write_table(oof_table(scores_NMC, labels=labels, folds=rows // 3 % 3), path)
    return path


def test_an_imported_table_is_a_run_without_an_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    stacked = open_for_stacking(table_of(tmp_path / "t.parquet"), out)
    with reads_of(out, monkeypatch) as counts:
        stack_stage(stacked, ["convex"])
        comparison = compare_stage(stacked)
    assert repeated(counts) == {}
    found = find_run(out)
    assert (found.settings, found.test, found.test_labels, found.students) == (None, None, None, ())
    assert [one.fitted.name for one in found.combinations] == ["average", "convex"]
    assert found.comparison.verdict == comparison.verdict
    with pytest.raises(ExperimentError, match=r"out holds no experiment\.toml: it was made from an imported table"):
        _ = found.dataset


def test_locked_rows_beside_a_table_are_audited_and_compared(tmp_path: Path) -> None:
    table, test, out = table_of(tmp_path / "t.parquet"), table_of(tmp_path / "test.parquet", 1, "new"), tmp_path / "out"
    stacked = open_for_stacking(table, out, test=test)
    stack_stage(stacked, ["convex"])
    assert stacked.audit["A7"].verdict == "pass"
    found = find_run(out)
    comparison = compare_stage(found)
    assert (comparison.rows, comparison.n_rows) == ("test", 90)
    fitted = found.combination("stacking/convex").fitted
    np.testing.assert_allclose(found.combination("stacking/convex").test_proba_NC, fitted.apply(found.test), atol=1e-6)
    # The same call continues, one without the rows would leave theirs behind.
    stack_stage(open_for_stacking(table, out, test=test), ["convex"])
    with pytest.raises(StackError, match=r"test\.parquet holds the test scores of an earlier call: give --test again"):
        open_for_stacking(table, out)


@pytest.mark.parametrize(
    ("ids", "message"), [("row", r"30 groups of --test .* are in the table as well, first \['row0'")]
)
def test_locked_rows_of_groups_in_the_table_are_refused(tmp_path: Path, ids: str, message: str) -> None:
    with pytest.raises(OOFError, match=message):
        open_for_stacking(
            table_of(tmp_path / "t.parquet"), tmp_path / "out", test=table_of(tmp_path / "test.parquet", 1, ids)
        )
    assert not (tmp_path / "out").exists()


def test_a_leaked_table_is_stacked_only_when_the_failure_is_accepted_which_the_report_says(tmp_path: Path) -> None:
    leaked = open_for_stacking(table_of(tmp_path / "t.parquet", leaked=True), tmp_path / "out")
    with pytest.raises(StackError, match=r"A5 vote-noise floor: .* accept it with `--accept A5`"):
        stack_stage(leaked, ["convex"])
    assert not (tmp_path / "out" / "stacking").exists()
    with pytest.raises(OOFError, match=r"only checks of the audit can be accepted, got \['B1'\]"):
        stack_stage(leaked, ["convex"], ["B1"])
    stack_stage(leaked, ["convex"], ["A5"])
    found = find_run(tmp_path / "out")
    assert found.audit["A5"].accepted
    compare_stage(found)
    assert "fail, accepted" in found.dir.report.read_text(encoding="utf-8")


def test_what_a_stage_writes_is_read_anew(tmp_path: Path) -> None:
    stacked = open_for_stacking(table_of(tmp_path / "t.parquet"), tmp_path / "out")
    stack_stage(stacked, ["average"])
    compare_stage(stacked)
    before = len(stacked.comparison.arms)
    stack_stage(stacked, ["geometric"])
    assert [one.fitted.name for one in stacked.combinations] == ["average", "geometric"]
    compare_stage(stacked)
    assert len(stacked.comparison.arms) == before + 1


def test_refreshing_a_part_forgets_it_and_what_depends_on_it(run: Run) -> None:
    again = find_run(run.dir.root)
    table, combinations, comparison = again.table, again.combinations, again.comparison
    again.refresh("combinations")
    assert again.table is table
    assert again.combinations is not combinations
    assert again.comparison is not comparison
    again.refresh("table")
    assert again.table is not table


def test_results_that_are_missing_name_the_command_that_makes_them(tmp_path: Path) -> None:
    run = find_run(tmp_path)
    for part, command in (("table", "oof build"), ("combinations", "stack"), ("comparison", "compare")):
        with pytest.raises(ExperimentError, match=f"run `foldstill {command}`"):
            getattr(run, part)


def test_the_plain_average_is_always_among_the_selected_combiners(run: Run) -> None:
    assert [c.name for c in select_combiners(run.combiners, ["convex"])] == ["average", "convex"]
    assert [c.name for c in select_combiners(run.combiners, [])] == [c.name for c in run.combiners]


def test_a_student_without_a_trained_model_has_no_scores(run: Run, tmp_path: Path) -> None:
    untrained = start_run(ExperimentFile(SMOKE), tmp_path / "run", Work(1, "cpu"))
    assert [one.test for one in untrained.students] == [(), ()]
    [student, _] = run.students
    assert isinstance(student.test[0], ScoreTable)
    assert student.targets["teacher"] == "recalibrated"


@pytest.mark.filterwarnings("ignore:finished work is made again:foldstill.errors.FoldstillWarning")
def test_students_of_another_table_are_not_compared_and_files_made_from_it_are_removed(
    smoke: tuple[Run, Comparison], tmp_path: Path, undrawn: None
) -> None:
    folder = Path(shutil.copytree(smoke[0].dir.root, tmp_path / "run"))
    ensembles = [folder / "stacking" / name / "ensemble.onnx" for name in ("average", "convex")]
    exports = [folder / "student" / name for name in ("student.onnx", "student.fp16.onnx", "student.pt2", "card.md")]
    theirs = folder / "student" / "notes.txt"
    for path in (*ensembles, *exports, theirs):
        path.write_bytes(b"of the models before")
    table = read_table(folder / "oof.parquet")
    # As members that were trained again leave it.
    proba_NMC = (table.proba_NMC + 0.1) / (table.proba_NMC + 0.1).sum(axis=-1, keepdims=True)
    write_table(replace(table, scores=replace(table.scores, proba_NMC=proba_NMC)), folder / "oof.parquet")

    forced = Work(1, "cpu", force=True)
    stack_stage(find_run(folder, work=forced))
    assert not any(path.exists() for path in ensembles)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ExperimentError, match=r"student learned from another table than .*: run `foldstill distill "):
        compare_stage(find_run(folder))
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    # The twin without a teacher depends on the votes alone.
    assert find_run(folder).students[1].table_digest is None

    distill_stage(find_run(folder, work=forced))
    assert not any(path.exists() for path in exports)
    assert theirs.exists()
    assert compare_stage(find_run(folder))["student"].kl > 0


def test_a_table_that_is_built_again_from_other_scores_removes_what_was_exported_from_it(
    smoke: tuple[Run, Comparison], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(smoke[0].dir.root, tmp_path / "run"))
    ensemble = folder / "stacking" / "convex" / "ensemble.onnx"
    ensemble.write_bytes(b"of the models before")
    oof_stage(find_run(folder, work=Work(1, "cpu")))
    assert ensemble.exists()  # the same table
    (folder / "oof.parquet").unlink()
    oof_stage(find_run(folder, work=Work(1, "cpu")))
    assert not ensemble.exists()
