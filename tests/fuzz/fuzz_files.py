"""Command lines with wrong paths and damaged files."""

import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from fuzz_calls import BASE, LONG_NAME, command_case
from fuzz_cases import Case


def wrong_paths() -> Iterator[Case]:
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
                yield command_case(
                    command, name, "wrong paths", changed, also=("notes.txt",), prepare=odd_files, places=places
                )


def odd_files(folder: Path) -> None:
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


def damaged_inputs() -> Iterator[Case]:
    """Files that the user gives, damaged in every way."""
    reads: dict[str, list[tuple[tuple[str, ...], tuple[str, ...], str]]] = {}
    for command, (needs, arguments) in BASE.items():
        for name in needs:
            if "." in name:
                reads.setdefault(command, []).append((needs, arguments, name))
    pairs = [(command, name) for command, uses in reads.items() for _, _, name in uses]
    for command, name in pairs:
        for damage, prepare in damages(name).items():
            yield command_case(
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
            yield command_case(
                "prepare",
                f"{name} is {damage}",
                "damaged files",
                BASE["prepare"][1],
                prepare=prepare,
                places=("train.csv",),
                must_refuse=not damage.startswith("cut"),
            )
