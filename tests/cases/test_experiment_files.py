"""Mistakes in an experiment file: one line each, found before anything is trained, and never guessed."""

import pytest

from foldstill.errors import ExperimentError, FoldstillError
from foldstill.pipeline.experiment_file import parse_experiment

GOOD = 'name = "x"\n[data]\nkind = "digits"\n[[member]]\nname = "a"\nnetwork = "test_resnet"\n'
TWO_COMBINERS = '[stacking]\ncombiner = [{kind = "average"}, {kind = "recalibrated"}]\n'


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            '[recipe]\naugment = [{kind = "flip"}]\n',
            "recipe.augment.0.kind: no kind 'flip'; the kinds are horizontal_flip",
        ),
        ('[recipe]\naugment = [{kind = "cutmx"}]\n', "recipe.augment.0.kind: no kind 'cutmx'; did you mean cutmix?"),
        ('[recipe]\naugment = ["shift"]\n', "recipe.augment.0: "),
        ('[recipe]\nloss = {kind = "zebra"}\n', "recipe.loss.kind: no kind 'zebra'; the kinds are kl, ce_kl"),
        ("[student]\nmix = {share = 0.5}\n", "student.mix: needs a table with a `kind`"),
        (
            '[[stacking.combiner]]\nkind = "average"\nrounds = 5\n',
            'stacking.combiner.0.rounds: is a key of kind = "lightgbm", not of kind = "average"; change the kind, or',
        ),
        (
            '[[member]]\nname = "mine"\nmodule = "my_models.py:residual"\n',
            'member.1.module (member \'mine\'): is a key of kind = "torch"; add kind = "torch"',
        ),
        ("[student]\nrounds = 40\n", 'student.rounds: is a key of kind = "lightgbm"; add kind = "lightgbm"'),
        ('[[member]]\nmodule = "my_models.py:residual"\n', 'member.1.module: is a key of kind = "torch"; add kind'),
        (
            '[[member]]\nname = "both"\nmembers = ["a", "b"]\nview = "image"\n',
            'member.1.members (member \'both\'): is a key of kind = "joined"; add kind = "joined"',
        ),
        (
            '[recipe]\naugment = [{kind = "cutmix", share = 0.5}]\n',
            'recipe.augment.0.share: is a key of kind = "shift", "time_shift", "time_mask" or "frequency_mask", not of',
        ),
        ('[[member]]\nname = "b"\nkind = "sklearn"\n', "member.1.estimator (member 'b'): is required and missing"),
        (
            '[[member]]\nname = "b"\nkind = "joined"\nmembers = ["a", "a"]\nview = "image"\n',
            "member.1.view (member 'b'): no such key in this table",
        ),
        ('[[member]]\nname = "b"\nnetwork = 3\n', "member.1.network (member 'b'): input should be a valid string"),
        ("[folds]\nn_fold = 3\n", "folds.n_fold: no such key; did you mean n_folds?"),
        ("[recipe]\nclip_norm = inf\n", "recipe.clip_norm: input should be a finite number, got Infinity"),
        ("[recipe]\nlr = nan\n", "recipe.lr: input should be a finite number, got NaN"),
        ('[[member]]\nname = ".."\nnetwork = "test_resnet"\n', "member name '..' begins with a dot"),
        ('[[member]]\nname = "A"\nnetwork = "test_resnet"\n', "member names 'a' and 'A' differ only in case"),
        ('[[member]]\nname = "average"\nnetwork = "test_resnet"\n', "'average' names a member and a combiner"),
        ('[student]\nname = "a"\n', "'a' names a member and a student"),
        ('[student]\nteacher = "zebra"\n', "student 'student': teacher 'zebra' is no combiner of this experiment"),
        (TWO_COMBINERS + "[student]\n", "teacher 'auto' is no combiner of this experiment, which has ['average'"),
        ('[student]\nfeatures = {member = "zebra"}\n', "features.member 'zebra' is none of the members ['a']"),
        ("[folds]\ntest_share = 0.0\n[student]\n", "a student is scored on locked samples, and there are none"),
        ('[[stacking.combiner]]\nkind = "convex"\n', 'add one of kind = "average"'),
        ('[student]\nrecipe = "x"\n[[ablation]]\nname = "z"\n', "student.recipe: input should be an object"),
    ],
)
def test_one_mistake_is_one_line_that_names_its_place(more: str, message: str) -> None:
    with pytest.raises(ExperimentError) as caught:
        parse_experiment(GOOD + more, "x.toml")
    lines = str(caught.value).splitlines()
    assert lines[0] == "x.toml has 1 mistake:"
    assert message in lines[1]
    assert len(lines) == 2
    assert len(lines[1]) < 400


@pytest.mark.parametrize("recipe", ["recipe = 1", 'recipe = "x"', "[[recipe]]\nepochs = 3"])
def test_a_recipe_that_is_no_table_is_refused(recipe: str) -> None:
    lines = GOOD.splitlines()
    text = "\n".join([lines[0], recipe, *lines[1:]]) if "[[" not in recipe else GOOD + recipe
    with pytest.raises(ExperimentError, match=r"x\.toml: recipe must be one table"):
        parse_experiment(text, "x.toml")


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\\\\b", ".hidden", " a", "a\\n"])
@pytest.mark.parametrize("place", ["experiment", "member", "combiner", "student"])
def test_names_that_cannot_safely_name_a_folder_are_refused(name: str, place: str) -> None:
    text = {
        "experiment": GOOD.replace('name = "x"', f'name = "{name}"'),
        "member": GOOD.replace('name = "a"', f'name = "{name}"'),
        "combiner": GOOD + TWO_COMBINERS.replace('"recalibrated"', f'"recalibrated", name = "{name}"'),
        "student": GOOD + f'[student]\nname = "{name}"\n',
    }[place]
    with pytest.raises(FoldstillError, match=f"{place} name "):
        parse_experiment(text, "x.toml")


@pytest.mark.parametrize("seed", ["seed = -1\n", "data = {kind = 'digits', seed = -1}\n"])
def test_negative_seeds_are_refused(seed: str) -> None:
    text = seed + (GOOD if "data" not in seed else GOOD.replace('[data]\nkind = "digits"\n', ""))
    with pytest.raises(ExperimentError, match="seed must be 0 or more, got -1"):
        parse_experiment(text, "x.toml")


def test_a_key_of_another_kind_hides_no_mistake_where_the_kind_is_written() -> None:
    member = '[[member]]\nname = "b"\nkind = "timm"\nmodule = "my_models.py:Net"\n'
    with pytest.raises(ExperimentError) as caught:
        parse_experiment(GOOD + member, "x.toml")
    assert str(caught.value).splitlines()[1:] == [
        "  member.1.network (member 'b'): is required and missing",
        '  member.1.module (member \'b\'): is a key of kind = "torch", not of kind = "timm"; change the kind, or leave '
        "the key out",
    ]


def test_two_tables_with_the_same_mistake_are_two_mistakes_each_with_the_name_of_its_member() -> None:
    members = "".join(f'[[member]]\nname = "{name}"\nrounds = 3\n' for name in ("b", "c"))
    with pytest.raises(ExperimentError) as caught:
        parse_experiment(GOOD + members, "x.toml")
    assert [line.split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "  member.1.rounds (member 'b')",
        "  member.2.rounds (member 'c')",
    ]
