"""Command lines with outputs that cannot be written, or that belong to the user."""

from collections.abc import Iterator
from pathlib import Path

from fuzz_calls import BASE, LONG_NAME, command_case, with_option
from fuzz_cases import Case

OUTPUTS: dict[str, tuple[str, str]] = {
    "oof import": ("--out", "file"),
    "oof export": ("out.npz", "file"),
    "apply": ("--out", "file"),
    "predict": ("--out", "file"),
    "verdict": ("--out", "folder"),
    "stack": ("--out", "folder"),
    "train": ("--out", "folder"),
    "run": ("--out", "folder"),
    "tune": ("--folder", "folder"),
    "prepare": ("--cache", "folder"),
    "synth-hms": ("new", "folder"),
    "show view": ("--out", "file"),
    "init": ("new.toml", "file"),
    "demo": ("--out", "folder"),
}
"""Command -> its option or argument that names an output, and what it is."""

SUFFIXES = {
    "oof import": ".parquet",
    "oof export": ".npz",
    "apply": ".parquet",
    "predict": ".parquet",
    "show view": ".png",
    "init": ".toml",
}


def outputs() -> Iterator[Case]:
    """Outputs that are a folder, lie below a file, have too long a name, a wrong suffix, or are a file of the user."""
    for command, (option, form) in OUTPUTS.items():
        arguments = BASE[command][1]
        suffix = SUFFIXES.get(command, "")
        odd = {
            "below a file": (f"notes.txt/x{suffix}", ("notes.txt",)),
            "two levels below a file": (f"notes.txt/y/x{suffix}", ("notes.txt",)),
            "too long a name": (f"{LONG_NAME}{suffix}", (LONG_NAME[:50],)),
            "empty": ("", ("--out", "''", '""', "empty", option)),
            "in /proc": (f"/proc/nothing/x{suffix}", ("/proc/nothing",)),
            "with a NUL": (f"a\0b{suffix}", ("a",)),
        }
        if form == "file":
            odd |= {
                "a folder": (f"folder{suffix}", (f"folder{suffix}",)),
                "without a suffix": ("result", ("result",)),
                "with an unknown suffix": ("result.xlsx", ("result.xlsx", ".xlsx")),
                "with only a suffix": (suffix, (suffix,)),
                "the working folder": (".", (".",)),
            }
            if command == "init":
                odd = {name: odd[name] for name in odd if "suffix" not in name}
        else:
            odd["a file"] = ("notes.txt", ("notes.txt",))
        for name, (value, places) in odd.items():
            changed = (
                with_option(arguments, option, value)
                if option.startswith("-")
                else tuple(value if word == option else word for word in arguments)
            )
            yield command_case(
                command,
                f"the output is {name}",
                "outputs",
                changed,
                also=("notes.txt",),
                places=places,
                prepare=lambda folder: [(folder / f"folder{s}").mkdir() for s in ("", *set(SUFFIXES.values())) if s],
            )
    yield from _outputs_that_replace()


def _outputs_that_replace() -> Iterator[Case]:
    """Outputs that are an input, or a file or folder that foldstill did not write."""

    def own_stacking(folder: Path) -> None:
        (folder / "s" / "stacking").mkdir(parents=True)
        (folder / "s" / "stacking" / "notes.py").write_text("x = 1\n")

    def own_table(folder: Path) -> None:
        (folder / "s").mkdir()
        (folder / "s" / "oof.parquet").write_text("mine\n")

    def own_experiment(folder: Path) -> None:
        (folder / "r").mkdir()
        (folder / "r" / "experiment.toml").write_text("# mine\n")

    kind = "outputs"
    yield command_case(
        "stack", "--out holds a stacking/ of the user", kind, BASE["stack"][1], prepare=own_stacking, places=("s",)
    )
    yield command_case(
        "stack", "--out holds an oof.parquet of the user", kind, BASE["stack"][1], prepare=own_table, places=("s",)
    )
    for command in ("run", "train"):
        yield command_case(
            command,
            "--out holds an experiment.toml of the user",
            kind,
            BASE[command][1],
            prepare=own_experiment,
            places=("r",),
        )
    members, labels = ("m0.parquet", "m1.parquet"), "labels.parquet"
    for name, inputs, out in (
        ("its input", ("scores.npz",), "scores.npz"),
        ("a member", (*members, "--labels", labels), "m0.parquet"),
        ("the labels", (*members, "--labels", labels), labels),
    ):
        files = tuple(file for file in inputs if not file.startswith("--"))
        yield Case(f"oof import: onto {name}", kind, ("oof", "import", *inputs, "--out", out), files, places=(out,))
    tune, quick = " ".join(BASE["tune"][1]), "--workers 1 --device cpu -q"
    for command, name, line, also, places in (
        ("stack", "--out is a trained run", "table.parquet --out run --combiner average -q", "run", "run"),
        ("oof export", "onto its input", "table.parquet table.parquet --format wide-csv", "", "table.parquet"),
        ("oof export", "wide CSV onto its input", "table.parquet table.parquet", "", "table.parquet"),
        ("apply", "onto its input", "stacked/convex table.parquet --out table.parquet", "", "table.parquet"),
        (
            *("apply", "onto the combination"),
            *("stacked/convex table.parquet --out stacked/stacking/convex/oof.parquet", "", "oof.parquet"),
        ),
        ("predict", "onto its input", "--run run --data new.npz --arm a --out new.npz", "", "new.npz"),
        ("tune", "--out is the experiment itself", f"{tune} --out tune.toml", "", "tune.toml"),
        ("run", "--set changes a finished run", f"run --set recipe.epochs=3 {quick}", "run", "epochs"),
        ("train", "--set changes a finished run", f"run --set recipe.epochs=3 {quick}", "run", "epochs"),
        (
            *("run", "another experiment into a finished run"),
            *(f"experiment.toml --set recipe.lr=0.1 --out run {quick}", "run", "run lr"),
        ),
        ("demo", "--out is another run", "--out run -q --workers 1", "run data.npz", "run"),
        ("init", "the file exists", "notes.txt", "notes.txt", "notes.txt"),
        ("synth-hms", "the folder holds files", "hms --patients 2 -q", "hms", "hms"),
    ):
        yield command_case(command, name, kind, tuple(line.split()), also=also.split(), places=tuple(places.split()))
