"""The wheel holds what the tree holds, though five links of the same names stand at the root."""

import ast
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from source_trees import PACKAGE, source_trees

ROOT = Path(__file__).parents[1]
STAGES = ("base_models", "oof", "stacking", "distill", "data")


def package_files() -> set[str]:
    wanted = {".py", ".toml", ".j2", ".typed"}
    return {
        p.relative_to(PACKAGE.parent).as_posix()
        for p in PACKAGE.rglob("*")
        if p.suffix in wanted or p.name == "py.typed"
    }


def test_nothing_is_pickled_or_unpickled_anywhere() -> None:
    """A pickle of a model needs the code of its day, and runs what it likes when it is read."""
    for path, tree in source_trees().items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            asked = [word for word in call.keywords if word.arg in ("allow_pickle", "weights_only")]
            function, words = ast.unparse(call.func), {word.arg: ast.unparse(word.value) for word in asked}
            assert function not in ("torch.save", "joblib.load", "load_pickle"), f"{path.name}: {function}"
            assert not function.startswith(("pickle.", "cloudpickle.", "dill.")), f"{path.name}: {function}"
            assert words.get("allow_pickle", "False") == "False", f"{path.name}: {function}"
            # With weights_only, torch reads tensors and plain containers and refuses everything else.
            assert function != "torch.load" or words.get("weights_only") == "True", f"{path.name}: {function}"


@pytest.mark.parametrize("stage", STAGES)
def test_the_root_opens_each_stage_through_a_link(stage: str) -> None:
    assert (ROOT / stage).is_symlink()
    assert (ROOT / stage).resolve() == (PACKAGE / stage).resolve()


def test_sdist_and_wheel_hold_every_file_of_the_package(tmp_path: Path) -> None:
    # No isolation: the build must not need a network; without arguments `build` makes the wheel from the sdist.
    made = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    (sdist,) = tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {n for n in archive.namelist() if n.startswith("foldstill/")}
    with tarfile.open(sdist) as archive:
        in_sdist = {n.split("/src/", 1)[1] for n in archive.getnames() if "/src/foldstill/" in n}
    assert in_wheel == package_files()
    assert package_files() <= in_sdist
