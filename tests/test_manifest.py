"""A finished stage remembers its inputs and its files; other inputs and other bytes are refused by name."""

import os
from pathlib import Path

import pytest

from foldstill.errors import ExperimentError, FoldstillWarning
from foldstill.files import write_text
from foldstill.manifest import Stage, changes, check_files, has_file, note_made_again


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"recipe": {"epochs": 5}}, {"recipe": {"epochs": 6}}, ["recipe.epochs was 5, is 6"]),
        ({"augment": [{"p": 0.5}, 1]}, {"augment": ({"p": 0.1}, 1)}, ["augment.0.p was 0.5, is 0.1"]),
        ({"sizes": [1, 2]}, {"sizes": [1]}, ["sizes was [1, 2], is [1]"]),
        ({"ema": None}, {}, []),
        ({}, {"ema": 0.9}, ["ema was absent, is 0.9"]),
        ({"loss": "kl"}, {"loss": {"kind": "kl"}}, ['loss was "kl", is {"kind": "kl"}']),
        (1, 2, ["the value was 1, is 2"]),
    ],
)
def test_every_difference_is_named_with_its_path(before: object, after: object, lines: list[str]) -> None:
    assert changes(before, after) == lines


def test_a_finished_stage_is_skipped_refused_or_forced(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"table": "ab", "settings": {"rounds": 5}})
    assert not stage.finished()
    stage.finish(kl=0.5)
    assert stage.finished()
    other = Stage(tmp_path, {"table": "ab", "settings": {"rounds": 6}})
    with pytest.raises(ExperimentError, match=r"made from other inputs: settings\.rounds was 5, is 6.*--force"):
        other.finished()
    assert stage.finished(), "a refused stage changes nothing"
    assert not other.finished(force=True)


def test_a_note_names_the_finished_work_that_is_made_again(tmp_path: Path) -> None:
    stages = [Stage(tmp_path / "resnet" / f"fold-{k}", {"seed": 0}) for k in range(8)]
    note_made_again(stages)  # nothing is finished, and a warning would be an error here
    for stage in stages[:2]:
        stage.finish()
    with pytest.warns(FoldstillWarning, match=r"made again, as --force says: resnet/fold-0, resnet/fold-1$"):
        note_made_again(stages)
    for stage in stages[2:]:
        stage.finish()
    with pytest.warns(FoldstillWarning, match=r"resnet/fold-5 and 2 more$"):
        note_made_again(stages)


def test_a_file_that_changed_is_missing_or_is_not_listed_is_refused(tmp_path: Path) -> None:
    stage, path = Stage(tmp_path, {"seed": 0}), tmp_path / "weights.txt"
    write_text(path, "1 2 3")
    stage.finish([path])
    assert stage.finished()
    path.write_text("1 2 4")
    with pytest.raises(ExperimentError, match=r"weights\.txt was damaged or changed .*--force"):
        stage.finished()
    path.unlink()
    with pytest.raises(ExperimentError, match=r"weights\.txt is missing"):
        stage.finished()
    write_text(path, "1 2 3")
    later = tmp_path / "later.txt"
    write_text(later, "4")
    assert not has_file(later)
    with pytest.raises(ExperimentError, match=r"later\.txt does not belong"):
        check_files(tmp_path, "later.txt")


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="names of open files come from /proc")
def test_every_file_and_folder_is_on_the_disk_before_the_mark_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []
    sync, replace = os.fsync, os.replace

    def synced(handle: int) -> None:
        calls.append(("sync", os.readlink(f"/proc/self/fd/{handle}")))
        sync(handle)

    def replaced(source: str | Path, target: str | Path) -> None:
        calls.append(("replace", str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    folder = tmp_path / "members" / "a"
    write_text(folder / "weights.txt", "1")
    (folder / "of_another_writer.txt").write_text("2")
    Stage(folder, {"seed": 0}).finish([folder / "weights.txt", folder / "of_another_writer.txt"])
    part = calls.index(("replace", str(folder / "weights.txt"))) - 1
    assert calls[part][0] == "sync", "the content before the name"
    assert "weights" in calls[part][1]
    mark = calls.index(("replace", str(folder / "done.json")))
    assert ("sync", str(folder)) in calls[part:mark], "the name before the mark"
    before = calls[:mark]
    for path in (tmp_path, tmp_path / "members", folder, folder / "of_another_writer.txt"):
        assert ("sync", str(path)) in before, "new folders are names in their parents"
    assert calls[mark:] == [("replace", str(folder / "done.json")), ("sync", str(folder))], "nothing comes later"


def test_work_without_files_of_its_own_can_be_finished_in_a_new_folder(tmp_path):
    stage = Stage(tmp_path / "run" / "stacking", {"table": "abc"})
    stage.finish()
    assert stage.finished()
