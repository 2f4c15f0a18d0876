"""The wheel in an environment like Kaggle's: no network, no compiler, and no package but those that it requires."""

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from packaging.requirements import Requirement

from foldstill.commands.demo_predictions import write_predictions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


def required(name: str) -> dict[str, Path]:
    """The top folders and modules of a package's requirements and of theirs, without extras, by file name."""
    found: dict[str, Path] = {}
    left, seen = [Requirement(name)], set()
    while left:
        asked = left.pop()
        if str(asked) in seen:
            continue
        seen.add(str(asked))
        one = distribution(asked.name)
        # The package itself comes from the wheel.
        if asked.name != name:
            tops = {Path(path).parts[0] for path in one.files or ()} - {"..", "__pycache__"}
            found |= {top: Path(str(one.locate_file(top))) for top in tops}
        for further in map(Requirement, one.requires or ()):
            extras = ("", *asked.extras)
            if further.marker is None or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                left.append(further)
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    line = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(line, check=True, capture_output=True)
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def offline(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel; its requirements are links to packages of the environment of the tests."""
    folder = tmp_path_factory.mktemp("kaggle")
    python = folder / "venv/bin/python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    packages = next((folder / "venv/lib").glob("python*/site-packages"))
    for name, path in required("foldstill").items():
        if not (packages / name).exists():
            (packages / name).symlink_to(path)
    line = [str(python), "-m", "pip", "install", "--no-index", "--quiet", str(wheel)]
    # Without --no-deps: pip refuses where a requirement is missing.
    subprocess.run(line, check=True, env=bare(folder))
    return folder


def bare(folder: Path) -> dict[str, str]:
    """An environment whose only programs are those of the new environment: no compiler is found."""
    return {
        "PATH": str(folder / "venv/bin"),
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
        "CC": "no-compiler",
        "CXX": "no-compiler",
        "MPLCONFIGDIR": str(folder / "matplotlib"),
    }


def run(folder: Path, *line: str) -> str:
    """What a command prints, in a namespace without a network where the system allows one."""
    cut = shutil.which("unshare")
    alone = [cut, "--map-root-user", "--net"] if cut else []
    if alone and subprocess.run([*alone, "true"], capture_output=True, check=False).returncode:
        alone = []
    program = [*alone, str(folder / "venv/bin" / line[0]), *line[1:]]
    done = subprocess.run(program, cwd=folder, env=bare(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_has_neither_tests_nor_data_and_links_of_its_description_lead_somewhere(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [about] = [name for name in names if name.endswith("METADATA")]
        text = archive.read(about).decode()
    assert {name.split("/")[0] for name in names} == {"foldstill", about.split("/")[0]}
    assert not [name for name in names if re.search(r"(^|/)(tests?|data)/.*\.(npz|csv|parquet|edf)$|/test_", name)]
    assert sum(zipfile.ZipFile(wheel).getinfo(name).compress_size for name in names) < 1.5e6
    for target in re.findall(r"\]\((?!https?:|#)([^)\s#]+)", text):
        assert (ROOT / target).exists(), f"the description links to {target}"


def test_a_verdict_and_a_submission_come_from_files_without_network_and_compiler(offline: Path) -> None:
    assert "torch" not in run(offline, "python", "-c", "import sys, foldstill; print([m for m in sys.modules])")
    write_predictions(offline / "files", seed=1)
    paths = sorted(str(path) for path in (offline / "files/preds").glob("*.csv"))
    labels = str(offline / "files/train.csv")
    combiners = ("--combiner", "recalibrated", "convex", "mlp", "lightgbm", "auto")
    told = run(offline, "foldstill", "verdict", *paths, "--labels", labels, "--group", "patient", *combiners)
    assert "beats plain averaging" in told
    # Names and ids as those of a competition's test files.
    for path in map(Path, paths):
        frame = pd.read_csv(path).head(20).assign(id=lambda f: "new" + f.id)
        frame.to_csv(offline / f"test_{path.name}", index=False)
    new = sorted(path.name for path in offline.glob("test_*.csv"))
    run(offline, "foldstill", "apply", "verdict/stacking/convex", *new, "--out", "submission.csv")
    made = pd.read_csv(offline / "submission.csv")
    assert len(made) == 20
    assert np.allclose(made.iloc[:, 1:].sum(axis=1), 1, atol=1e-5)


def test_what_an_extra_brings_is_refused_with_the_command_that_installs_it(offline: Path) -> None:
    program = [str(offline / "venv/bin/foldstill"), "tune", "x.toml"]
    (offline / "x.toml").write_text(
        'name = "x"\n[data]\nkind = "digits"\n[[member]]\nname = "a"\nnetwork = "test_resnet"\n'
        '[tune]\nmember = "a"\n[tune.search]\n"recipe.lr" = { low = 1e-4, high = 1e-2, log = true }\n'
    )
    done = subprocess.run(program, cwd=offline, env=bare(offline), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "foldstill[tune]" in done.stderr + done.stdout


def test_no_compiler_can_be_found(offline: Path) -> None:
    assert [name for name in ("cc", "gcc", "clang", "c++") if shutil.which(name, path=bare(offline)["PATH"])] == []
