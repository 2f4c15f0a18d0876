"""Students with every mix, view mode and loss, after an epoch or two, under two members of one epoch."""

import tomllib
from pathlib import Path

import numpy as np
import pytest

import golden_access as access
from golden_files import Golden
from made_up import ON_CPU, TWO_VIEWS, call, eeg_table, timm_table, write_two_views

RUN = f"""
name = "students"
{TWO_VIEWS}[folds]
n_folds = 3
test_share = 0.2
strategy = "grouped"
[recipe]
epochs = 1
batch_size = 16
{timm_table("resnet")}{eeg_table("eeg", "image", kernel=3, blocks=0)}[stacking]
combiner = [{{ kind = "average" }}, {{ kind = "recalibrated" }}, {{ kind = "convex" }}]
[student]
network = "eeg"
options = {{ widths = [8, 16], kernel = 3, features = 8, heads = 2, blocks = 0 }}
teacher = "recalibrated"
seeds = 1
views = "identity"
recipe = {{ ema = 0.0, optimizer = "sgd", lr = 0.05, augment = [{{ kind = "horizontal_flip" }}, {{ kind = "cutmix" }}] }}
without_teacher = false
"""

STUDENTS = {
    "dirichlet fitted": 'mix = { kind = "dirichlet" }',
    "dirichlet fitted, live": 'mix = { kind = "dirichlet" }\nviews = "live"',
    "dirichlet of 4 votes, naive": 'mix = { kind = "dirichlet", votes = 4.0 }\ncross_validate = "naive"',
    "dirichlet of 4 votes, bank": 'mix = { kind = "dirichlet", votes = 4.0 }\nviews = "bank"',
    "fixed, pairs": 'mix = { kind = "fixed", share = 0.3 }\ncross_validate = "pairs"',
    "fixed, bank": 'mix = { kind = "fixed", share = 0.3 }\nviews = "bank"\nbank_views = 1\nrecipe = { epochs = 2 }',
    "teacher alone": 'mix = { kind = "teacher" }',
    "teacher alone, live": 'mix = { kind = "teacher" }\nviews = "live"',
    "votes alone": 'mix = { kind = "votes" }',
    "loss kl": 'loss = "kl"\ntemperature = 2.0',
    "loss mse": 'loss = "mse"\nrow_weight = "none"',
    "loss standardised": 'loss = "standardised"\nrow_weight = "votes"',
    "loss dist": 'loss = "dist"\ntemperature = 2.0\nrow_weight = "log1p"',
    "loss dkd": 'loss = "dkd"\ntemperature = 2.0',
    "loss jsd": 'loss = "jsd"\ntemperature = 2.0',
    "taught by convex, members as they are": 'teacher = "convex"\ncalibrate_members = false',
    "features": 'features = { member = "resnet", weight = 0.5 }',
    "unlabelled": 'unlabelled = "more.npz"',
    "unlabelled, live": 'unlabelled = "more.npz"\nviews = "live"',
    "saw the rows": 'ablation = "in_sample"',
    "permuted": 'ablation = "class_permuted"',
    "of signals": 'view = "signal"\noptions = { kernel = 5, blocks = 1 }\nrecipe = { augment = [{ kind = "time_shift" }] }',
}
"""Every mix, view mode, loss and weight of rows, and what else changes what a student is taught; each is an ablation."""
EXPERIMENT = RUN + "".join(f'[[ablation]]\nname = "{name}"\n{lines}\n' for name, lines in STUDENTS.items())


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden")
    write_two_views(folder / "two-views.npz")
    write_two_views(folder / "more.npz", n=24, seed=1)
    (folder / "students.toml").write_text(EXPERIMENT)
    with pytest.MonkeyPatch.context() as patch:
        at = (folder / "students.toml", "--out", folder / "run")
        assert call(patch, "train", *at, "--workers", "1", *ON_CPU) == 0
        assert call(patch, "oof", "build", *at) == 0
        assert call(patch, "stack", *at, "--workers", "1", "-q") == 0
        assert call(patch, "distill", *at, "--workers", "1", *ON_CPU) == 0
    return folder / "run"


def test_every_way_to_teach_has_a_student() -> None:
    asked = tomllib.loads(EXPERIMENT)["ablation"]
    assert {one["mix"]["kind"] for one in asked if "mix" in one} == access.mix_kinds()
    # auto is one of the others, by what the members read.
    assert {one.get("views", "identity") for one in asked} == access.view_sources() - {"auto"}
    assert {one["loss"] for one in asked if "loss" in one} == access.losses()


def test_every_student_learns_what_it_learned(taught: Path, golden: Golden) -> None:
    truth = access.truth_of(taught / "test.parquet")
    result = {}
    for name in ("student", *STUDENTS):
        place = taught / "student" if name == "student" else taught / "ablations" / name
        proba_NC = access.scores_of(place / "test.parquet").proba_NMC[:, 0]
        result[name] = {
            "kl": access.kl_of(truth, proba_NC),
            "mean_p_log_p": float((proba_NC * np.log(proba_NC)).sum(axis=1).mean()),
            "row": proba_NC[0],
            "loss": [epoch["loss"] for epoch in access.curve(place)],
        }
    golden("students", result)
    golden("lessons", {name: lesson for name in result if (lesson := access.lesson_of(taught / "ablations" / name))})


@pytest.mark.parametrize("name", ["dirichlet of 4 votes, naive", "fixed, pairs"])
def test_a_cross_validated_student_says_what_it_said(taught: Path, golden: Golden, name: str) -> None:
    table = taught / "ablations" / name / "cross-validation" / "oof.parquet"
    scores, truth = access.scores_of(table), access.truth_of(table)
    proba_NC = scores.proba_NMC[:, 0]
    result = {"name": scores.members[0], "kl": access.kl_of(truth, proba_NC), "rows": proba_NC[:3]}
    golden(f"cross_validated_{name.split(', ')[1]}", result)
