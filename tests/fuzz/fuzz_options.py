"""Command lines with wrong options."""

from collections.abc import Iterator

from fuzz_calls import BASE, LONG_NAME, SLOW, command_case, with_option, without_out
from fuzz_cases import Case

WRONG_VALUES: dict[str, tuple[str, ...]] = {
    "--workers": (
        "0",
        "-1",
        "many",
        "1.5",
        "nan",
        "",
        "slots=cpu",
        "slots=",
        "dask=nowhere",
        "ray=",
        "processes=0",
        "[/x]",
    ),
    "--device": ("gpu", "", "cuda:99", "CPU!"),
    "--combiner": ("zebra", "", "..", "average,convex", "[/x]", LONG_NAME),
    "--strata": ("zebra", "", "[/x]"),
    "--set": (
        "",
        "=",
        "recipe.epochs",
        "recipe.epochs=",
        "zebra=1",
        "recipe.zebra=1",
        "recipe.epochs=many",
        "recipe=1",
        "recipe=x",
        "name=..",
        "name=a/b",
        "member.9.network=x",
        "member.a.zebra=1",
        "folds.n_folds=1",
        "folds.n_folds=100",
        "folds.test_share=1.5",
        "folds.test_share=nan",
        "seed=-1",
        "recipe.lr=inf",
        "recipe.lr=[",
        "..=1",
        "member=1",
        "data=1",
        "student.teacher=zebra",
        "student.unlabelled=missing.npz",
        "student.features={member='zebra'}",
        "member.a.name=average",
        "student.name=a",
        "data.path=missing.npz",
        "data.images=zebra",
        "data.votes=zebra",
        "data.group=zebra",
        "member.a.view=zebra",
        "member.a.network=zebra",
        "recipe.augment=[{kind='zebra'}]",
        "stacking.combiner=[]",
        "stacking.combiner=[{kind='zebra'}]",
        "member.a.name=..",
        "member.a.name=con/x",
        "member.a.name=",
        "thin_votes=0",
        "student.network=zebra",
    ),
    "--space": ("odds", ""),
    "--smoothing": ("2", "-1", "nan", "much", "0"),
    "--labels": ("missing.csv", "m0.csv", "notes.txt", ".", ""),
    "--folds": ("missing.csv", "m0.csv", "notes.txt", ".", ""),
    "--id": ("zebra",),
    "--group": ("zebra",),
    "--fold": ("zebra",),
    "--stratum": ("zebra",),
    "--label": ("zebra",),
    "--votes": ("zebra", "{class}_zebra", "{zebra}"),
    "--shares": ("zebra", "{class}_zebra"),
    "--total": ("zebra",),
    "--scores": ("zebra", "{class}_zebra", "{zebra}", "{class"),
    "--sample-weight": ("zebra",),
    "--classes": ("zebra", "cat", ""),
    "--drop-members": ("m*", "zebra"),
    "--test": ("missing.parquet", "notes.txt", "table.parquet", "."),
    "--format": ("xlsx", "", "NPZ"),
    "--arm": ("zebra", "", "..", "[/x]"),
    "--onnx": ("missing.onnx", "notes.txt", "."),
    "--like": ("missing.csv", "notes.txt"),
    "--data": ("missing.npz", "notes.txt", ".", ""),
    "--run": ("missing", "notes.txt", "."),
    "--precision": ("fp8", ""),
    "--metric": ("zebra", "", "[/x]"),
    "--judged-on": ("zebra", ">=1000000", "[/x]"),
    "--accept": ("zebra", "A99", ""),
    "--positive": ("zebra", ""),
    "--margin": ("-1", "nan", "much"),
    "--trials": ("0", "-1", "many"),
    "--folder": ("notes.txt",),
    "--patients": ("0", "-1", "many", "1.5"),
    "--recordings": ("0", "many"),
    "--test-patients": ("-1", "many"),
    "--seed": ("-1", "many"),
    "--view": ("zebra", "", ".."),
    "--rows": ("zebra", ""),
    "--sample": ("zebra",),
    "--cache": ("notes.txt",),
}

NO_PLACE_NEEDED = ("", ".")


VALID: set[tuple[str, str, str]] = {
    *((command, option, "") for command in BASE for option in ("--id", "--labels", "--folds", "--classes")),
    *((command, "--combiner", "") for command in BASE),
    *((command, "--strata", "") for command in BASE),
    # Settings of parts that the command does not use, or values that are unusual only.
    *((command, "--set", value) for command in BASE for value in ("stacking.combiner=[]",)),
    *(("prepare", "--view", value) for value in ("",)),
    *(("show view", "--sample", value) for value in ("",)),
    ("oof import", "--drop-members", "zebra"),
    ("oof import", "--data", ""),
    # These commands read no student.
    *(
        (command, "--set", value)
        for command in ("oof build", "tune", "sizes")
        for value in ("student.teacher=zebra", "student.features={member='zebra'}", "student.unlabelled=missing.npz")
    ),
    *((command, "--set", "student.network=zebra") for command in ("oof build", "tune")),
    ("synth-hms", "--seed", "0"),
    *((command, "--positive", "") for command in BASE),
    ("heads", "--metric", ""),
}
"""Values from the lists that a command may accept."""


def unknown_arguments() -> Iterator[Case]:
    """An option that does not exist, one without its value, one argument too many, and none at all."""
    kind = "wrong options"
    for command, (_, arguments) in BASE.items():
        yield command_case(command, "an unknown option", kind, (*arguments, "--zebra", "1"), places=("--zebra",))
        yield command_case(command, "an unknown short option", kind, (*arguments, "-z"), places=("-z",))
        if command != "oof import":
            yield command_case(
                command, "an argument too many", kind, (*arguments, "extra1", "extra2", "extra3"), places=("extra",)
            )
        if arguments and command not in ("init", "demo"):
            yield command_case(command, "no argument at all", kind, (), places=("Missing", "Usage"), must_refuse=True)
        if "--out" in arguments:
            yield command_case(
                command, "--out without its value", kind, (*without_out(arguments), "--out"), places=("--out",)
            )


def wrong_values() -> Iterator[Case]:
    """Every option of every command with values that it cannot have."""
    import typer

    from foldstill.cli.app import app

    root = typer.main.get_command(app)
    for command, (_, arguments) in BASE.items():
        found = root
        for word in command.split():
            found = found.commands[word]  # type: ignore[attr-defined]
        options = {name for parameter in found.params for name in parameter.opts if name.startswith("--")}
        for option in sorted(options & WRONG_VALUES.keys()):
            for value in WRONG_VALUES[option]:
                refuse = (command, option, value) not in VALID
                if not refuse and command in SLOW:
                    continue
                yield command_case(
                    command,
                    f"{option} {value[:40]!r}",
                    "wrong options",
                    with_option(arguments, option, value),
                    also=("notes.txt",),
                    places=(option, *_words(option, value)),
                    must_refuse=refuse,
                )


def _words(option: str, value: str) -> tuple[str, ...]:
    """The value of an option and its name as Python has it, and for FIELD=VALUE the field, a step of it, the value."""
    field, _, changed = value.partition("=")
    words = (value, field, field.rpartition(".")[0], field.split(".")[-1], changed.strip("'\""))
    name = option.strip("-").replace("-", "_")
    plain = (f"{name} would have no effect", f"{name} {value!r}", f"{name} = ", *(name,) * (len(name) > 5))
    return (*(word for word in words if word not in NO_PLACE_NEEDED), *plain, f"foldstill: {value or '?'} ")
