"""Every field of an experiment file with values of a wrong type or outside its range, through `foldstill run`."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from fuzz_cases import Case
from fuzz_world import EXPERIMENT

KIND = "experiment files"
NUMBERS = ("nan", "inf", "-inf", "-1", "0", "1e308", "-0.5", "9223372036854775808")
WRONG_TYPES = {
    "int": ('"many"', "1.5", "true", "[1]", "{a = 1}", '""', "2024-01-01"),
    "float": ('"many"', "true", "[1.0]", "{a = 1}", '""', "2024-01-01"),
    "bool": ('"yes"', "1", "[true]", "{a = 1}"),
    "str": ("1", "true", '["a"]', "{a = 1}", "1.5"),
    "Literal": ('"zebra"', '""', "1", "true", "[]"),
    "tuple": ('"many"', "1", "true"),
    "table": ('"many"', "1", "true", "[]"),
}
"""Values in TOML by the type that is wanted; each is of another type."""


def settings_cases() -> Iterator[Case]:
    for prefix, kind, fixed in _tables():
        hints = get_type_hints(kind, include_extras=True)
        for field in dataclasses.fields(kind):
            if field.name == "kind" or field.name in fixed:
                continue
            for value, must_refuse in _values(hints[field.name]):
                yield _case(prefix, field.name, value, must_refuse=must_refuse)
        yield _case(prefix, "zebra", "1")
    yield from _texts()


def _tables() -> Iterator[tuple[str, type, tuple[str, ...]]]:
    """The tables of an experiment: dotted path, settings class, fields that other cases change."""
    from foldstill.base_models.kinds import MEMBERS
    from foldstill.base_models.recipes import EarlyStopping, Recipe, SecondStage
    from foldstill.data.augment import AUGMENTATIONS
    from foldstill.data.npz import NpzData
    from foldstill.distill.settings import FeatureHint, StudentSettings
    from foldstill.pipeline.experiment import Experiment, FoldSettings
    from foldstill.stacking.kinds import COMBINERS

    yield "", Experiment, ()
    yield "data", NpzData, ()
    yield "folds", FoldSettings, ()
    yield "recipe", Recipe, ()
    yield "member.a", MEMBERS[0], ("recipe",)
    yield "student", StudentSettings, ("recipe",)
    yield "recipe.early_stopping", EarlyStopping, ()
    yield "recipe.second_stage", SecondStage, ()
    yield "student.features", FeatureHint, ()
    for combiner in COMBINERS:
        yield f"stacking.combiner:{combiner.kind}", combiner, ()
    for augmentation in AUGMENTATIONS:
        yield f"recipe.augment:{augmentation.kind}", augmentation, ()


def _values(hint: Any) -> Iterator[tuple[str, bool]]:
    """Values for a field of this type hint, and whether each must be refused."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    parts = [
        part
        for part in (get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,))
        if part is not type(None)
    ]
    names = {_name(part) for part in parts}
    for value in WRONG_TYPES[_name(parts[0])]:
        if not any(_fits(value, name) for name in names):
            yield value, True
    if names & {"int", "float"}:
        for value in NUMBERS:
            endless = value in ("nan", "inf", "-inf")
            yield value, endless or (names == {"int"} and value in ("1e308", "-0.5"))


def _name(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "Literal"
    if get_origin(hint) is tuple:
        return "tuple"
    if hint in (int, float, bool, str):
        return str(hint.__name__)
    return "table"


def _fits(value: str, name: str) -> bool:
    """Whether a TOML value is of the type with this name."""
    if name == "str":
        return value.startswith('"')
    if name == "int":
        return value.lstrip("-").isdigit()
    if name == "float":
        return value.replace(".", "", 1).lstrip("-").isdigit()
    if name == "bool":
        return value in ("true", "false")
    if name == "tuple":
        return value.startswith("[")
    if name == "table":
        return value.startswith("{")
    return False


ARGUMENTS = ("run", "experiment.toml", "--out", "r", "--workers", "1", "--device", "cpu", "-q")


def _case(prefix: str, name: str, value: str, *, must_refuse: bool = True) -> Case:
    table, _, kind = prefix.partition(":")
    change = f"{table}.{name}={value}".lstrip(".")
    if kind:
        average = "{kind = 'average', name = 'plain'}, " if table.startswith("stacking") and kind != "average" else ""
        change = f"{table}=[{average}{{kind = '{kind}', {name} = {value}}}]"
    return Case(
        f"{prefix}.{name} = {value}",
        KIND,
        (*ARGUMENTS, "--set", change),
        ("experiment.toml", "data.npz"),
        places=(name,),
        must_refuse=must_refuse,
    )


TEXTS: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "no TOML": ("name", "name =", ("experiment.toml",)),
    "a key twice": ('name = "tiny"', 'name = "tiny"\nname = "b"', ("experiment.toml", "name")),
    "[[recipe]]": ("[recipe]", "[[recipe]]", ("recipe",)),
    "recipe is text": ("[recipe]\nepochs = 1\nbatch_size = 8", "[folds2]", ("folds2",)),
    "[[student]]": ("[student]", "[[student]]", ("student",)),
    "[member]": ("[[member]]", "[member]", ("member",)),
    "[[folds]]": ("[folds]", "[[folds]]", ("folds",)),
    "[[data]]": ("[data]", "[[data]]", ("data",)),
    "[[stacking]]": ("[[stacking.combiner]]", "[[stacking]]", ("stacking",)),
    "no [data]": ("[data]", "[daten]", ("data",)),
    "a wrong kind of data": ('kind = "npz"', 'kind = "zebra"', ("zebra",)),
    "no kind of data": ('kind = "npz"\n', "", ("kind", "data")),
    "two members of one name": (
        "[[stacking.combiner]]",
        '[[member]]\nname = "a"\nnetwork = "test_vit"\n[[stacking.combiner]]',
        ("'a'",),
    ),
    "members a and A": (
        "[[stacking.combiner]]",
        '[[member]]\nname = "A"\nnetwork = "test_vit"\n[[stacking.combiner]]',
        ("'a'", "'A'"),
    ),
    "a member named like a combiner": ('name = "a"', 'name = "average"', ("average",)),
    "a member named like the student": ('name = "a"', 'name = "student"', ("student",)),
    "no combiner named average": ('[[stacking.combiner]]\nkind = "average"', "", ("average",)),
    "the teacher is no combiner": ('teacher = "average"', 'teacher = "auto"', ("auto",)),
    "the teacher is a member": ('teacher = "average"', 'teacher = "a"', ("teacher",)),
    "no locked rows for a student": ("test_share = 0.3", "test_share = 0.0", ("test_share",)),
    "a missing unlabelled file": (
        'teacher = "average"',
        'teacher = "average"\nunlabelled = "no.npz"',
        ("no.npz", "unlabelled"),
    ),
    "an unknown member of features": (
        'teacher = "average"',
        'teacher = "average"\nfeatures = {member = "b"}',
        ("features", "'b'"),
    ),
    "an ablation without a name": (
        'teacher = "average"',
        'teacher = "average"\n[[ablation]]\nseeds = 1',
        ("student", "ablation"),
    ),
    "an ablation named ..": ('teacher = "average"', 'teacher = "average"\n[[ablation]]\nname = ".."', ("..",)),
    "a recipe that is text, with an ablation": (
        'teacher = "average"',
        'teacher = "average"\nrecipe = "x"\n[[ablation]]\nname = "b"',
        ("recipe",),
    ),
    "a network that timm lacks": ("test_vit", "resnet_zebra", ("resnet_zebra",)),
    "one mistake in the shared recipe": ("epochs = 1", 'epochs = 1\naugment = [{kind = "zebra"}]', ("augment",)),
    "a fold plan that is missing": ("n_folds = 2", 'n_folds = 2\npath = "no.parquet"', ("no.parquet",)),
    "two views of one array": ('images = "images"', 'images = "images"\nviews = {images = "image"}', ("image",)),
}
"""Name -> text in the experiment file, what replaces it, and words of which the refusal must contain one."""


def _texts() -> Iterator[Case]:
    for name, (old, new, places) in TEXTS.items():
        assert old in EXPERIMENT, old

        def prepare(folder: Path, old: str = old, new: str = new) -> None:
            text = (folder / "experiment.toml").read_text()
            (folder / "experiment.toml").write_text(text.replace(old, new))

        yield Case(name, KIND, ARGUMENTS, ("experiment.toml", "data.npz"), prepare, places)
    for odd in (
        "..",
        ".",
        "",
        "a/b",
        "a\\b",
        " ",
        " a",
        "a ",
        ".hidden",
        "x" * 300,
        "a\0b",
        "a\nb",
        "con/..",
        "[/x]",
        "=cmd()",
        "ü",
    ):
        usable = odd in ("[/x]", "=cmd()", "ü")
        for place, old in (
            ("experiment", 'name = "tiny"'),
            ("member", 'name = "a"'),
            ("combiner", 'kind = "convex"'),
            ("student", "seeds = 1"),
        ):
            new = f"name = {json.dumps(odd)}" if old.startswith("name") else f"{old}\nname = {json.dumps(odd)}"
            text = EXPERIMENT.replace(old, new)
            yield Case(
                f"a {place} named {odd[:20]!r}",
                KIND,
                ("run", "experiment.toml", "--workers", "1", "--device", "cpu", "-q"),
                ("experiment.toml", "data.npz"),
                lambda folder, text=text: (folder / "experiment.toml").write_text(text),
                ("name",),
                must_refuse=not usable,
            )
