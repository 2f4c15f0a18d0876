"""Files that foldstill wrote, damaged."""

from collections.abc import Callable, Iterator
from pathlib import Path

from fuzz_calls import BASE
from fuzz_cases import Case
from fuzz_files import damages

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


def damaged_artefacts() -> Iterator[Case]:
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
