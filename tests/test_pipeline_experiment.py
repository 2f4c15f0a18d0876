"""An experiment file: strict, all mistakes at once, each with its path."""

from dataclasses import replace
from pathlib import Path

import pytest

from foldstill.commands.demo import demo_text
from foldstill.errors import ExperimentError
from foldstill.pipeline.experiment_file import parse_experiment, read_experiment

GOOD = """
name = "x"
[data]
kind = "digits"
[[member]]
name = "a"
network = "test_resnet"
"""


def test_the_demo_is_a_valid_experiment() -> None:
    demo = parse_experiment(demo_text(), "the demo")
    assert demo.name == "demo"
    assert len(demo.member) == 3


def test_defaults_fill_what_a_file_leaves_out() -> None:
    experiment = parse_experiment(GOOD, "x.toml")
    assert experiment.folds.n_folds == 5
    assert experiment.student is None
    assert "auto" in [c.name for c in experiment.stacking.combiner]


def test_a_shared_recipe_is_the_default_of_every_member() -> None:
    text = (
        GOOD
        + '[recipe]\nepochs = 3\nlr = 0.01\n[[member]]\nname = "b"\nnetwork = "test_vit"\nrecipe = { epochs = 7 }\n'
    )
    a, b = parse_experiment(text, "x.toml").member
    assert (a.recipe.epochs, a.recipe.lr) == (3, 0.01)
    assert (b.recipe.epochs, b.recipe.lr) == (7, 0.01)


def test_all_mistakes_are_listed_at_once_each_with_its_path() -> None:
    text = """
name = "x"
[data]
kind = "digits"
sise = 32
[folds]
n_folds = "five"
[[member]]
name = "a"
network = "test_resnet"
[member.recipe]
epohcs = 3
lr = -1.0
"""
    with pytest.raises(ExperimentError) as caught:
        parse_experiment(text, "x.toml")
    message = str(caught.value)
    assert "x.toml" in message
    assert "data.sise: no such key; did you mean size?" in message
    assert "member.0.recipe.epohcs (member 'a'): no such key; did you mean epochs?" in message
    assert "folds.n_folds" in message
    assert '"five"' in message


def test_a_settings_own_check_is_reported_with_its_path() -> None:
    with pytest.raises(ExperimentError, match=r"member\.0\.recipe \(member 'a'\): lr must be positive"):
        parse_experiment(GOOD + "recipe = { lr = -1.0 }\n", "x.toml")


def test_an_unknown_kind_lists_the_kinds_there_are() -> None:
    with pytest.raises(ExperimentError, match=r"data.*(npz|digits)"):
        parse_experiment(GOOD.replace('"digits"', '"spreadsheet"'), "x.toml")


def test_two_members_of_one_name_are_refused() -> None:
    with pytest.raises(ExperimentError, match="appear twice"):
        parse_experiment(GOOD + '[[member]]\nname = "a"\nnetwork = "test_vit"\n', "x.toml")


@pytest.mark.parametrize(("text", "message"), [("name = ", "not valid TOML"), ("", "name: is required")])
def test_a_file_that_is_no_experiment_says_so(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(ExperimentError, match=message):
        read_experiment(path)


def test_a_missing_file_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ExperimentError, match="foldstill init"):
        read_experiment(tmp_path / "none.toml")


STUDENT = """
[recipe]
epochs = 3
[student]
network = "test_resnet"
seeds = 3
recipe = { lr = 0.01 }
[[ablation]]
name = "warm"
temperature = 4.0
recipe = { epochs = 5 }
"""


def test_an_ablation_is_the_student_but_for_what_it_says() -> None:
    experiment = parse_experiment(GOOD + STUDENT, "x.toml")
    (warm,) = experiment.ablation
    assert (warm.network, warm.seeds, warm.recipe.lr) == ("test_resnet", 3, 0.01)
    assert (warm.temperature, warm.recipe.epochs) == (4.0, 5)
    assert [s.name for s in experiment.students()] == ["student", "student without teacher", "warm"]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (STUDENT + '[[ablation]]\nname = "warm"', r"\['warm'\] appear twice"),
        ('[[ablation]]\nname = "warm"', r"\[\[ablation\]\] changes the \[student\], and there is no \[student\]"),
        (STUDENT.replace('name = "warm"', 'name = "student"'), r"\['student'\] appear twice"),
    ],
)
def test_ablations_without_a_name_of_their_own_or_a_student_are_refused(text: str, what: str) -> None:
    with pytest.raises(ExperimentError, match=what):
        parse_experiment(GOOD + text, "x.toml")


FLIPPED = 'recipe = { augment = [{ kind = "horizontal_flip" }] }\n'


@pytest.mark.parametrize(
    ("changed", "views"),
    [
        ("", "bank"),
        ('mix = { kind = "votes" }\n', "auto"),
        ('cross_validate = "pairs"\n', "auto"),
        ('view = "other"\n', "auto"),
        ('views = "identity"\n', "identity"),
    ],
)
def test_teachers_predict_augmented_images_wherever_they_can(changed: str, views: str) -> None:
    text = GOOD + '[student]\nnetwork = "test_resnet"\n' + FLIPPED
    student = parse_experiment(text + changed, "x.toml").student
    assert student is not None
    assert student.views == views
    assert parse_experiment(text.replace(FLIPPED, ""), "x.toml").student.views == "auto"  # type: ignore[union-attr]
    boosted = text.replace("[student]", '[[member]]\nkind = "sklearn"\nname = "b"\nestimator = "GaussianNB"\n[student]')
    assert parse_experiment(boosted + changed, "x.toml").student.views != "bank"  # type: ignore[union-attr]


def test_a_student_is_patient_unless_the_file_says_otherwise() -> None:
    recipes = {
        "": (100, 0.998),
        "recipe = { lr = 1e-3 }": (100, 0.998),
        "recipe = { epochs = 7 }": (7, 0.998),
        "recipe = { ema = 0.0 }": (100, 0.0),
    }
    for own, expected in recipes.items():
        student = parse_experiment(GOOD + f'[student]\nnetwork = "test_resnet"\n{own}\n', "x.toml").student
        assert student is not None
        assert (student.recipe.epochs, student.recipe.ema) == expected
    shared = parse_experiment(GOOD + '[recipe]\nepochs = 9\n[student]\nnetwork = "nano"\n', "x.toml")
    assert shared.student is not None
    assert (shared.student.recipe.epochs, shared.student.recipe.ema) == (9, 0.998)


def test_thinning_to_no_vote_is_refused() -> None:
    with pytest.raises(ExperimentError, match="thin_votes must be 1 or more"):
        parse_experiment("thin_votes = 0" + GOOD, "x.toml")


def test_control_arms_are_the_student_with_other_teachers_only() -> None:
    text = GOOD + STUDENT.replace("seeds = 3", "control_arms = true\nrow_weight = 'none'")
    experiment = parse_experiment(text, "x.toml")
    names = [
        "student",
        "student without teacher",
        "average as teacher",
        "in-sample teacher",
        "permuted teacher",
        "warm",
    ]
    assert [s.name for s in experiment.students()] == names
    asked, _, average, seen, permuted, warm = experiment.students()
    assert asked.teacher == "auto"
    assert average.teacher == "average"
    assert (seen.ablation, permuted.ablation) == ("in_sample", "class_permuted")
    for arm in (average, seen, permuted):
        of_student = replace(
            arm, name="student", teacher="auto", ablation="none", without_teacher=True, control_arms=True
        )
        assert of_student == asked
    assert not warm.control_arms


def test_a_student_of_the_average_is_controlled_by_a_stacker_and_one_of_views_by_one_of_rows() -> None:
    text = GOOD + '[student]\nnetwork = "test_resnet"\nteacher = "average"\nviews = "bank"\ncontrol_arms = true\n'
    _, _, stacker, whole, seen, permuted = parse_experiment(text, "x.toml").students()
    assert (stacker.name, stacker.teacher, stacker.views) == ("auto as teacher", "auto", "bank")
    assert {(one.teacher, one.views) for one in (whole, seen, permuted)} == {("average", "identity")}
    chosen = '[[stacking.combiner]]\nkind = "average"\n[[stacking.combiner]]\nkind = "convex"\n'
    assert parse_experiment(text + chosen, "x.toml").students()[2].name == "convex as teacher"


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ('[student]\ncontrol_arms = true\nmix = { kind = "votes" }\n', "other teachers"),
        ("[student]\ncontrol_arms = true\n[folds]\ntest_share = 0.0\n", "locked samples"),
        ('[student]\n[[ablation]]\nname = "a"\ncontrol_arms = true\n', r"\[\[ablation\]\]"),
        ('[student]\ncontrol_arms = true\n[[ablation]]\nname = "permuted teacher"\n', "appear twice"),
    ],
)
def test_control_arms_that_cannot_be_are_refused(text: str, what: str) -> None:
    with pytest.raises(ExperimentError, match=what):
        parse_experiment(GOOD + text, "x.toml")


def test_a_student_whose_recipe_is_text_is_refused_beside_an_ablation():
    text = 'name = "x"\n[data]\nkind = "digits"\n[[member]]\nname = "a"\nnetwork = "test_resnet"\n'
    text += '[student]\nnetwork = "test_resnet"\nrecipe = "x"\n[[ablation]]\nname = "b"\n'
    with pytest.raises(ExperimentError, match=r"student\.recipe"):
        parse_experiment(text, "x.toml")
