"""A valid call of every command, and how cases differ from it."""

from fuzz_cases import Case

BASE: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "oof import": (
        ("m0.csv", "m1.csv", "labels.csv", "folds.csv"),
        ("m0.csv", "m1.csv", "--labels", "labels.csv", "--folds", "folds.csv", "--out", "new.parquet"),
    ),
    "verdict": (
        ("m0.csv", "m1.csv", "labels.csv", "folds.csv"),
        (
            "m0.csv",
            "m1.csv",
            "--labels",
            "labels.csv",
            "--folds",
            "folds.csv",
            "--combiner",
            "average",
            "--out",
            "v",
            "-q",
        ),
    ),
    "heads": (("stacked", "other"), ("stacked", "other")),
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


def command_case(command: str, name: str, kind: str, arguments: tuple[str, ...], **more: object) -> Case:
    needs = tuple(dict.fromkeys((*BASE[command][0], *more.pop("also", ()))))  # type: ignore[call-overload]
    return Case(f"{command}: {name}", kind, (*command.split(), *arguments), needs, **more)  # type: ignore[arg-type]


def without_out(arguments: tuple[str, ...]) -> tuple[str, ...]:
    if "--out" not in arguments:
        return arguments
    at = arguments.index("--out")
    return arguments[:at] + arguments[at + 2 :]


def with_option(arguments: tuple[str, ...], option: str, value: str) -> tuple[str, ...]:
    """The arguments with one option set to another value."""
    if option in arguments:
        at = arguments.index(option)
        return (*arguments[: at + 1], value, *arguments[at + 2 :])
    return (*arguments, option, value)
