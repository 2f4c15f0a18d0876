"""Fixtures, and one thread everywhere, set before any library starts its pool.

Two spinning threads on two busy cores are ten times slower.
"""

import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan
from golden_files import Golden
from made_up import bright_pictures, folds_of, loud_student, noise_pictures

if TYPE_CHECKING:
    from foldstill.distill import Student

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden",
        action="store_true",
        help="Write tests/golden anew from what the code does; review the diff.",
    )


@pytest.fixture(scope="session")
def golden(request: pytest.FixtureRequest) -> Golden:
    """`golden(name, value)` holds a value to tests/golden/NAME.json."""
    return Golden(regenerate=request.config.getoption("--regenerate-golden"))


@pytest.fixture
def real() -> Path:
    """The folder with real development data; it is not part of the project, so tests that read it skip without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real development data is not beside this checkout")
    return SHARED_DATA


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def pictures() -> Dataset:
    """90 pictures of three classes, in groups of three."""
    return bright_pictures()


@pytest.fixture(scope="session")
def three_folds(pictures: Dataset) -> FoldPlan:
    return folds_of(pictures, 3)


@pytest.fixture(scope="session")
def student() -> "Student":
    """One that enlarges the 16 pixels of its pictures to 24."""
    return loud_student(image_size=24)


@pytest.fixture(scope="session")
def exported(student: "Student", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its ONNX file, which takes longer to make than all tests that read it."""
    path = tmp_path_factory.mktemp("onnx") / "student.onnx"
    return student.export(path, noise_pictures(), about={"teacher": "average"})
