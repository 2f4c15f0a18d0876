"""Fields of an experiment file changed on the command line: checked as if the file said so, and recorded."""

import sys
import tomllib
from pathlib import Path

import pytest

from foldstill.commands.demo import demo_text
from foldstill.errors import ExperimentError
from foldstill.pipeline.experiment_file import parse_experiment, read_experiment
from foldstill.pipeline.overrides import with_changes, with_values
from foldstill.pipeline.rundir import RunDir

FILE = """# What this file is for.
name = "x"
[data]
kind = "digits"
rows = 60
size = 16
[folds]
n_folds = 2
test_share = 0.3
[recipe]
epochs = 1
lr = 0.01     # found by hand
[[member]]
name = "cnn"
network = "test_resnet"
recipe = { epochs = 2 }
[[member]]
name = "other"
network = "test_vit"
"""
EXPERIMENTS = sorted((Path(__file__).parents[1] / "experiments").glob("*.toml"))


def run(*words: object) -> int:
    """The exit code of a command line."""
    from foldstill.cli import main

    before, sys.argv = sys.argv, ["foldstill", *map(str, words)]
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.argv = before
    return int(end.value.code or 0)


def test_places_lead_through_lists_by_name_and_number() -> None:
    text = with_values(FILE, {"member.1.recipe.lr": 0.5, "member.cnn.drop_rate": 0.1})
    assert "[member.recipe]\nlr = 0.5" in text
    assert tomllib.loads(text)["member"][0]["drop_rate"] == 0.1


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("recipe.epochs=3", 3),
        ("recipe.lr = 1e-3", 1e-3),
        ("recipe.schedule=cosine", "cosine"),
        ('recipe.schedule="cosine"', "cosine"),
        ("data.path=../a/b=c.npz", "../a/b=c.npz"),
        ("student.without_teacher=false", False),
        ("member.cnn.image_size=[32, 64]", [32, 64]),
        ('recipe.augment=[{ kind = "mixup", p = 0.5 }]', [{"kind": "mixup", "p": 0.5}]),
        ("member.cnn.recipe.second_stage.lr=1e-4", 1e-4),
        ("seed=7", 7),
    ],
)
def test_a_value_is_toml_or_a_text_without_quotes_and_lands_in_its_place(change: str, value: object) -> None:
    read: object = tomllib.loads(with_changes(FILE, [change]))
    for step in change.split("=")[0].strip().split("."):
        read = read[0] if step == "cnn" else read[step]  # type: ignore[index]
    assert read == value


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_any_ready_experiment_can_be_changed_and_keeps_all_else(path: Path) -> None:
    plain = read_experiment(path)
    first = plain.member[0].name
    changed = read_experiment(path, ["seed=99", "folds.n_folds=3", f"member.{first}.family=other"])
    assert (changed.seed, changed.folds.n_folds, changed.member[0].family) == (99, 3, "other")
    assert (changed.data, changed.member[1:], changed.student) == (plain.data, plain.member[1:], plain.student)


def test_comments_and_order_are_kept() -> None:
    text = with_changes(FILE, ["recipe.lr=0.5"])
    assert text == FILE.replace("0.01", "0.5")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "recipe.epohcs=3",
            r"x.toml with recipe.epohcs=3 has 1 mistake:\n  recipe.epohcs: no such key; did you mean epochs\?",
        ),
        ("recipe.epochs=many", r"recipe.epochs: input should be a valid integer, got \"many\""),
        ("recipe.warmup=1", r"  recipe: warmup must be a share of the steps in \[0, 1\), got 1"),
        ("member.cmm.lr=1", r"member.cmm: the list has no 'cmm', it has \['cnn', 'other'\]"),
        ("name.x.y=1", r"name.x: 'x' must be a key of a table, and it lies inside a plain value"),
        ("recipe.betas=[0.9", r"--set recipe.betas=\[0.9: the value is not valid TOML"),
        ("recipe.epochs", r"--set needs FIELD=VALUE, such as recipe.epochs=5, got 'recipe.epochs'"),
        ("=3", "--set needs FIELD=VALUE"),
    ],
)  # fmt: skip
def test_a_change_that_cannot_be_made_is_one_sentence(change: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text(FILE)
    with pytest.raises(ExperimentError, match=message):
        read_experiment(path, [change])


def test_what_a_run_was_changed_to_is_kept_with_it_and_an_unknown_field_ends_with_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "x.toml", tmp_path / "out"
    path.write_text(FILE)
    assert run("train", path, "--out", out, "--set", "recipe.epochz=2", "-q") == 2
    assert "recipe.epochz: no such key" in capsys.readouterr().err
    assert not out.exists()
    small = ("--set", "folds.test_share=0", "member.other.network=test_resnet", "--set", "recipe.batch_size=8")
    assert run("train", path, "--out", out, *small, "--workers", 1, "-q") == 0
    assert f"Next: foldstill oof build {out}" in capsys.readouterr().out.replace("\n", "")
    kept = read_experiment(RunDir(out).experiment)
    assert (kept.folds.test_share, kept.member[1].recipe.batch_size, kept.member[0].recipe.epochs) == (0, 8, 2)
    assert "# What this file is for." in RunDir(out).experiment.read_text()
    # The folder alone is enough to go on, and to change what comes after the members.
    assert run("oof", "build", out) == 0
    assert run("stack", out, "--set", 'stacking.combiner=[{ kind = "average" }]', "--workers", 1, "-q") == 0
    assert [c.kind for c in read_experiment(RunDir(out).experiment).stacking.combiner] == ["average"]
    # What members were made from is not changed behind their back.
    assert run("train", out, "--set", "recipe.lr=0.5", "-q") == 2
    assert "recipe.lr was 0.01, is 0.5" in capsys.readouterr().err


def test_what_is_no_experiment_cannot_be_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("prepare", tmp_path), ("show", "view", tmp_path, "mel"), ("stack", tmp_path / "oof.parquet")):
        assert run(*words, "--set", "seed=1") == 2
        assert "--set changes an experiment" in capsys.readouterr().err


def test_the_demo_says_what_it_says_after_a_change_to_the_same_value() -> None:
    text = with_changes(demo_text(), ["seed=14"])
    assert parse_experiment(text, "x") == parse_experiment(demo_text(), "x")
