"""durations.json: seconds per stage, of this process and its workers, that no result depends on."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from foldstill.compare import Comparison
from foldstill.errors import CompareError, ExperimentError
from foldstill.oof import write_table
from foldstill.pipeline import Run, compare_stage, find_run, oof_stage, open_for_stacking, run_all, stack_stage
from foldstill.pipeline.durations import Duration, durations, timed
from foldstill.testing import synthetic_table
from foldstill.workers import Work, cpu_of_workers, spread
from foldstill.workers.choice import Workers

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture
def finished(smoke: tuple[Run, Comparison], tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(smoke[0].dir.root, tmp_path / "run"))


def test_every_stage_of_a_run_has_its_time_and_the_report_shows_it(finished: Path) -> None:
    compare_stage(find_run(finished))
    run = find_run(finished)
    found = durations(run)
    assert [one.stage for one in found] == ["train", "oof build", "stack", "distill", "compare"]
    assert all(one.calls >= 1 and one.cpu_s > 0 and one.wall_s > 0 for one in found)
    shown = dict(zip(("train", "stack"), (found[0], found[2]), strict=True))
    html = run.dir.report.read_text(encoding="utf-8")
    for stage, one in shown.items():
        assert f"{stage} {one.wall_s:.1f} s (CPU {one.cpu_s:.1f} s)" in html


def test_calls_add_up_force_begins_again_and_a_refused_call_changes_nothing(finished: Path) -> None:
    first = {one.stage: one for one in durations(find_run(finished))}
    compare_stage(find_run(finished))
    oof_stage(find_run(finished))  # which is finished
    second = {one.stage: one for one in durations(find_run(finished))}
    assert second["compare"].calls == first["compare"].calls + 1
    assert second["compare"].wall_s > first["compare"].wall_s
    assert {**second, "compare": None} == {**first, "compare": None}
    compare_stage(find_run(finished, work=Work(1, "cpu", force=True)))
    assert {one.stage: one.calls for one in durations(find_run(finished))}["compare"] == 1

    before = (finished / "durations.json").read_bytes()
    with pytest.raises(CompareError):
        compare_stage(find_run(finished), "no_such_file.py:metric")
    assert (finished / "durations.json").read_bytes() == before


def test_stages_that_find_everything_finished_change_nothing_before_a_later_one_is_refused(finished: Path) -> None:
    mark = finished / "student" / "done.json"
    mark.write_bytes(mark.read_bytes().replace(b"seed", b"sead"))
    before = (finished / "durations.json").read_bytes()
    with pytest.raises(ExperimentError):
        run_all(find_run(finished, work=Work(1, "cpu")))
    assert (finished / "durations.json").read_bytes() == before


def test_an_interrupted_call_counts(finished: Path) -> None:
    @timed("distill")
    def interrupted(run: Run) -> None:
        raise KeyboardInterrupt

    calls = {one.stage: one.calls for one in durations(find_run(finished))}["distill"]
    with pytest.raises(KeyboardInterrupt):
        interrupted(find_run(finished))
    assert {one.stage: one.calls for one in durations(find_run(finished))}["distill"] == calls + 1


def test_the_times_belong_to_no_digest_and_a_damaged_file_names_its_cure(finished: Path) -> None:
    (finished / "durations.json").write_text(json.dumps({"train": {"calls": 1, "wall_s": 2.5, "cpu_s": 3.5}}))
    assert durations(find_run(finished)) == [Duration("train", 1, 2.5, 3.5)]
    compare_stage(find_run(finished))  # what was made is not stale
    for content in ("[]", '{"train": {"calls": 1}}', "{"):
        (finished / "durations.json").write_text(content)
        with pytest.raises(ExperimentError, match=r"durations\.json .*: remove it, nothing depends on it"):
            durations(find_run(finished))
    (finished / "durations.json").unlink()
    assert durations(find_run(finished)) == []


def test_a_table_on_its_own_has_times_too(tmp_path: Path) -> None:
    write_table(synthetic_table(), tmp_path / "t.parquet")
    run = open_for_stacking(tmp_path / "t.parquet", tmp_path / "s", work=Work(1))
    stack_stage(run, ["average"])
    assert [one.stage for one in durations(run)] == ["stack"]


def burn(seconds: float) -> float:
    end = time.process_time() + seconds
    while time.process_time() < end:
        np.sqrt(2.0)
    return seconds


def test_seconds_of_workers_are_counted_and_those_of_this_process_are_not_counted_twice() -> None:
    before = cpu_of_workers()
    assert sorted(spread(burn, [(0.2,), (0.3,)], Workers.parse("1"))) == [(0, 0.2), (1, 0.3)]
    assert sorted(spread(burn, [(0.2,), (0.3,)], Workers.parse("2"), threads=True)) == [(0, 0.2), (1, 0.3)]
    assert cpu_of_workers() == before
    assert sorted(spread(burn, [(0.2,), (0.3,)], Workers.parse("2"))) == [(0, 0.2), (1, 0.3)]
    assert 0.5 <= cpu_of_workers() - before < 0.7
