"""Command lines with wrong options, wrong paths, damaged files and outputs that cannot be written."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from fuzz_cases import Case

BASE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "oof import": (
        ("m0.csv", "m1.csv", "labels.csv", "folds.csv"),
        ("m0.csv", "m1.csv", "--labels", "labels.csv", "--folds", "folds.csv", "--out", "new.parquet"),
    ),
    "oof audit": (("table.parquet",), ("table.parquet",)),
    "oof export": (("table.parquet",), ("table.parquet", "out.npz")),
    "oof build": (("run", "data.npz"), ("run",)),
    "stack": (("table.parquet",), ("table.parquet", "--out", "s", "--combiner", "average", "-q")),
    "compare": (("stacked",), ("stacked",)),
    "apply": (("stacked", "table.parquet"), ("stacked/convex", "table.parquet", "--out", "p.parquet")),
    "predict": (
        ("run", "new.npz"),
        ("--run", "run", "--data", "new.npz", "--arm", "a", "--out", "p.parquet", "--device", "cpu"),
    ),
    "sizes": (("experiment.toml", "data.npz"), ("experiment.toml",)),
    "tune": (("tune.toml", "data.npz"), ("tune.toml", "--folder", "trials", "--device", "cpu", "-q")),
    "train": (
        ("experiment.toml", "data.npz"),
        ("experiment.toml", "--out", "r", "--workers", "1", "--device", "cpu", "-q"),
    ),
    "run": (
        ("experiment.toml", "data.npz"),
        ("experiment.toml", "--out", "r", "--workers", "1", "--device", "cpu", "-q"),
    ),
    "distill": (("run", "data.npz"), ("run", "--workers", "1", "--device", "cpu", "-q")),
    "export": (("run", "data.npz"), ("run",)),
    "prepare": (("hms",), ("hms", "--cache", "cache", "--view", "kaggle_spectrogram", "--workers", "1", "-q")),
    "synth-hms": ((), ("new", "--patients", "2", "--recordings", "1", "-q")),
    "show view": (("hms",), ("hms", "kaggle_spectrogram", "--out", "v.png")),
    "init": ((), ("new.toml",)),
    "doctor": ((), ()),
    "demo": ((), ("--out", "d", "-q", "--workers", "1")),
}
"""Files that a valid call of each command needs, and its arguments."""

SLOW = {"demo", "export", "prepare", "distill", "doctor"}
"""Commands whose valid call is not made here: only what must be refused."""

LONG_NAME = "n" * 300


def command_cases() -> Iterator[Case]:
    for command, (_, arguments) in BASE.items():
        if command not in SLOW:
            yield _case(command, "as it should be", "valid calls", arguments, must_refuse=False)
    yield from _unknown_arguments()
    yield from _wrong_values()
    yield from _wrong_paths()
    yield from _damaged_inputs()
    yield from _damaged_artefacts()
    yield from _outputs()


def _case(command: str, name: str, kind: str, arguments: tuple[str, ...], **more: object) -> Case:
    needs = tuple(dict.fromkeys((*BASE[command][0], *more.pop("also", ()))))  # type: ignore[call-overload]
    return Case(f"{command}: {name}", kind, (*command.split(), *arguments), needs, **more)  # type: ignore[arg-type]


def _unknown_arguments() -> Iterator[Case]:
    """An option that does not exist, one without its value, one argument too many, and none at all."""
    kind = "wrong options"
    for command, (_, arguments) in BASE.items():
        yield _case(command, "an unknown option", kind, (*arguments, "--zebra", "1"), places=("--zebra",))
        yield _case(command, "an unknown short option", kind, (*arguments, "-z"), places=("-z",))
        if command != "oof import":
            yield _case(
                command, "an argument too many", kind, (*arguments, "extra1", "extra2", "extra3"), places=("extra",)
            )
        if arguments and command not in ("init", "demo"):
            yield _case(command, "no argument at all", kind, (), places=("Missing", "Usage"), must_refuse=True)
        if "--out" in arguments:
            yield _case(
                command, "--out without its value", kind, (*_without_out(arguments), "--out"), places=("--out",)
            )


def _without_out(arguments: tuple[str, ...]) -> tuple[str, ...]:
    if "--out" not in arguments:
        return arguments
    at = arguments.index("--out")
    return arguments[:at] + arguments[at + 2 :]


def _with(arguments: tuple[str, ...], option: str, value: str) -> tuple[str, ...]:
    """The arguments with one option set to another value."""
    if option in arguments:
        at = arguments.index(option)
        return (*arguments[: at + 1], value, *arguments[at + 2 :])
    return (*arguments, option, value)


WRONG_VALUES: dict[str, tuple[str, ...]] = {
    "--workers": ("0", "-1", "many", "1.5", "nan", ""),
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


def _wrong_values() -> Iterator[Case]:
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
                yield _case(
                    command,
                    f"{option} {value[:40]!r}",
                    "wrong options",
                    _with(arguments, option, value),
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
}
"""Values from the lists that a command may accept."""


def _wrong_paths() -> Iterator[Case]:
    """Every path argument of every command as a missing file, a folder, an empty file, and another kind of file."""
    for command, (needs, arguments) in BASE.items():
        inputs = [i for i, word in enumerate(arguments) if word.split("/")[0] in needs]
        for at in inputs:
            for wrong, places in (
                ("missing.bin", ("missing.bin",)),
                ("missing/folder/x.parquet", ("missing/folder",)),
                ("empty-folder", ("empty-folder",)),
                ("notes.txt", ("notes.txt",)),
                ("empty.parquet", ("empty.parquet",)),
                ("empty.csv", ("empty.csv",)),
                ("empty.npz", ("empty.npz",)),
                ("empty.toml", ("empty.toml",)),
                ("image.png", ("image.png",)),
                (LONG_NAME, (LONG_NAME[:50],)),
                (f"{LONG_NAME}.csv", (LONG_NAME[:50],)),
                ("", ()),
                ("[/x].parquet", ("[/x].parquet",)),
                ("notes.txt/inside.csv", ("notes.txt",)),
            ):
                name = f"{wrong[:15] + wrong[15:][-15:]!r} in place of {arguments[at]}"
                changed = (*arguments[:at], wrong, *arguments[at + 1 :])
                yield _case(
                    command, name, "wrong paths", changed, also=("notes.txt",), prepare=_odd_files, places=places
                )


def _odd_files(folder: Path) -> None:
    (folder / "empty-folder").mkdir()
    for suffix in ("parquet", "csv", "npz", "toml"):
        (folder / f"empty.{suffix}").touch()
    (folder / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))


def damages(name: str) -> dict[str, Callable[[Path], object]]:
    """Ways to damage the file `name` of a case's folder; none leaves what a reader may take for a whole file."""

    def changed(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
        return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))

    def replaced_by_folder(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).mkdir()

    return {
        "empty": changed(lambda content: b""),
        "cut in half": changed(lambda content: content[: len(content) // 2]),
        "cut by 20 bytes": changed(lambda content: content[:-20]),
        "of zeros": changed(lambda content: bytes(len(content))),
        "of random bytes": changed(lambda content: np.random.default_rng(0).bytes(max(len(content), 50))),
        "text": changed(lambda content: b"hello\n"),
        "JSON null": changed(lambda content: b"null\n"),
        "JSON {}": changed(lambda content: b"{}\n"),
        "a gzip": changed(lambda content: gzip.compress(content)),
        "a folder": replaced_by_folder,
    }


ACCEPTABLE_TEXT = {
    ("labels.csv", "cut in half"),
    ("m0.csv", "cut by 20 bytes"),
    ("labels.csv", "cut by 20 bytes"),
    ("folds.csv", "cut by 20 bytes"),
}
"""A cut CSV may still be a table; what it then lacks is refused by other checks, or not at all."""


def _damaged_inputs() -> Iterator[Case]:
    """Files that the user gives, damaged in every way."""
    reads: dict[str, list[tuple[tuple[str, ...], tuple[str, ...], str]]] = {}
    for command, (needs, arguments) in BASE.items():
        for name in needs:
            if "." in name:
                reads.setdefault(command, []).append((needs, arguments, name))
    pairs = [(command, name) for command, uses in reads.items() for _, _, name in uses]
    for command, name in pairs:
        for damage, prepare in damages(name).items():
            yield _case(
                command,
                f"{name} is {damage}",
                "damaged files",
                BASE[command][1],
                prepare=prepare,
                places=(name,),
                must_refuse=(name, damage) not in ACCEPTABLE_TEXT,
            )
    for name in ("scores.npz", "m0.parquet"):
        for damage, prepare in damages(name).items():
            yield Case(
                f"oof import: {name} is {damage}",
                "damaged files",
                (
                    "oof",
                    "import",
                    name,
                    *(("--labels", "labels.parquet") if "m0" in name else ()),
                    "--out",
                    "n.parquet",
                ),
                (name, "labels.parquet"),
                prepare,
                (name,),
            )
    for name in ("images.csv", "images/s003.png"):
        for damage, prepare in damages(name).items():
            yield Case(
                f"train: {name} is {damage}",
                "damaged files",
                ("train", "folder.toml", "--out", "r", "--workers", "1", "--device", "cpu", "-q"),
                ("folder.toml", "images", "images.csv"),
                prepare,
                (name.split("/")[-1],),
                # The last 20 bytes of a PNG hold no pixels.
                must_refuse=damage not in ("cut in half", "cut by 20 bytes")
                or (name[-3:], damage[-4:]) == ("png", "half"),
            )
    for name in ("hms/train.csv",):
        for damage, prepare in damages(name).items():
            yield _case(
                "prepare",
                f"{name} is {damage}",
                "damaged files",
                BASE["prepare"][1],
                prepare=prepare,
                places=("train.csv",),
                must_refuse=not damage.startswith("cut"),
            )


ARTEFACTS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("apply", "stacked/convex", "table.parquet", "--out", "p.parquet"): (
        "stacked/stacking/convex/combination.json",
        "stacked/stacking/convex/combination.npz",
        "stacked/stacking/convex/done.json",
    ),
    ("apply", "stacked/lightgbm", "table.parquet", "--out", "p.parquet"): (
        "stacked/stacking/lightgbm/combination.json",
        "stacked/stacking/lightgbm/combination.npz",
    ),
    ("compare", "stacked"): (
        "stacked/oof.parquet",
        "stacked/stacking/convex/oof.parquet",
        "stacked/stacking/convex/done.json",
        "stacked/stacking/convex/combination.npz",
        "stacked/stacking/convex/weights.json",
        "stacked/audit.json",
    ),
    ("compare", "run"): (
        "run/experiment.toml",
        "run/oof.parquet",
        "run/test.parquet",
        "run/stacking/average/test.parquet",
        "run/student/test.parquet",
        "run/student/cost.json",
        "run/student/done.json",
        "run/student/targets.json",
        "run/audit.json",
        "run/members/a/cost.json",
        "run/members/a/fold-0/history.csv",
    ),
    ("predict", "--run", "run", "--data", "new.npz", "--arm", "a", "--out", "p.parquet", "--device", "cpu"): (
        "run/experiment.toml",
        "run/members/a/fold-0/weights.safetensors",
        "run/members/a/fold-0/done.json",
        "run/provenance.json",
    ),
    ("predict", "--run", "run", "--data", "new.npz", "--arm", "student", "--out", "p.parquet", "--device", "cpu"): (
        "run/student/weights.safetensors",
        "run/student/done.json",
    ),
    ("predict", "--run", "run", "--data", "new.npz", "--arm", "convex", "--out", "p.csv", "--device", "cpu"): (
        "run/stacking/convex/combination.json",
        "run/members/a/fold-1/weights.safetensors",
    ),
    ("oof", "build", "run"): (
        "run/members/a/fold-0/oof.parquet",
        "run/members/a/fold-0/test.parquet",
        "run/folds.parquet",
    ),
    ("run", "run", "--workers", "1", "--device", "cpu", "-q"): (
        "run/folds.parquet",
        "run/provenance.json",
        "run/members/a/fold-0/done.json",
        "run/stacking/convex/done.json",
        "run/student/done.json",
    ),
    ("prepare", *BASE["prepare"][1]): tuple(
        f"cache/{name}"
        for name in (
            "kaggle_spectrogram.json",
            "kaggle_spectrogram.npy",
            "rows.parquet",
            "problems.csv",
            "sources.csv",
            "manifest.json",
        )
    ),
}
"""Command -> files of a run, a stack or a cache that it reads."""


def _damaged_artefacts() -> Iterator[Case]:
    """Files that foldstill wrote, damaged in every way, missing, and with one byte changed."""
    for arguments, files in ARTEFACTS.items():
        for name in files:
            top = name.split("/")[0]
            needs = {"stacked": ("stacked", "table.parquet"), "cache": ("cache", "hms")}.get(
                top, ("run", "data.npz", "new.npz")
            )
            ways: dict[str, Callable[[Path], object]] = damages(name)
            ways["missing"] = lambda folder, name=name: (folder / name).unlink()  # type: ignore[misc]
            for at in (0.3, 0.6, 0.9):
                ways[f"changed in one byte at {at}"] = lambda f, name=name, at=at: _flip(f / name, at)  # type: ignore[misc]
            for damage, prepare in ways.items():
                # A text whose digest is not kept anywhere may be edited by the user; what it then says is checked.
                edited = damage.startswith(("changed", "cut", "missing")) and name.endswith((".toml", ".json", ".csv"))
                # A fold plan is made again from the experiment, and every fold knows its digest.
                remade = damage == "missing" and (
                    arguments[0] in ("run", "compare", "prepare") or name.endswith("folds.parquet")
                )
                yield Case(
                    f"{' '.join(arguments[:5])}: {name} is {damage}",
                    "damaged artefacts",
                    arguments,
                    needs,
                    prepare,
                    (name.split("/")[-1], *name.split("/")[-2:-1]),
                    must_refuse=not (edited or remade),
                )


def _flip(path: Path, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(at * len(content))] ^= 0x10
    path.write_bytes(bytes(content))


OUTPUTS: dict[str, tuple[str, str]] = {
    "oof import": ("--out", "file"),
    "oof export": ("out.npz", "file"),
    "apply": ("--out", "file"),
    "predict": ("--out", "file"),
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


def _outputs() -> Iterator[Case]:
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
                _with(arguments, option, value)
                if option.startswith("-")
                else tuple(value if word == option else word for word in arguments)
            )
            yield _case(
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
    yield _case(
        "stack", "--out holds a stacking/ of the user", kind, BASE["stack"][1], prepare=own_stacking, places=("s",)
    )
    yield _case(
        "stack", "--out holds an oof.parquet of the user", kind, BASE["stack"][1], prepare=own_table, places=("s",)
    )
    for command in ("run", "train"):
        yield _case(
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
        yield _case(command, name, kind, tuple(line.split()), also=also.split(), places=tuple(places.split()))
