"""Fixtures, and one thread everywhere, set before any library starts its pool.

Two spinning threads on two busy cores are ten times slower.
"""

import os
import shutil
import signal

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
# A shell that starts tests in the background has them ignore Ctrl-C, and the commands that they start would as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from foldstill.cost.measure import measure_cost, measure_latency
from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan
from foldstill.hms.synthetic import write_synthetic_hms
from golden_files import Golden
from made_up import SMOKE, bright_pictures, folds_of, loud_student, noise_pictures, one_worker

if TYPE_CHECKING:
    from foldstill.compare import Comparison
    from foldstill.distill import Student
    from foldstill.pipeline import Run

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--regenerate-golden",
        action="store_true",
        help="Write tests/golden anew from what the code does; review the diff.",
    )


TOGETHER = (
    {  # `smoke`
        "test_pipeline.py",
        "test_pipeline_run.py",
        "test_integrity.py",
        "test_cli_json.py",
        "test_commands_export_ensemble.py",
        "test_pipeline_tracking.py",
        "test_pipeline_durations.py",
    },
    {"test_distill_export.py", "test_distill_quantise.py"},  # `exported`
    {"test_house.py", "test_errors.py", "test_packaging.py"},  # the syntax trees of the source
    # Two workers, each of which imports torch.
    {
        "test_base_models_processes.py",
        "test_stacking_crossfit.py",
        "test_hms_prepare.py",
        "test_hms_files.py",
        "test_workers_backends.py",
    },
)
"""Files whose tests share what costs seconds to make, so that one process runs them all."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadfile` the tests of a file stay in one process, and so do those of files that belong together.

    The groups of xdist 3.8 have no effect with pytest 9.2.
    """
    from xdist.scheduler import LoadFileScheduling

    class TogetherScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((min(files) for files in TOGETHER if Path(file).name in files), file)

    return TogetherScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


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
def every_epoch_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint after each epoch, as after each one that takes half a minute."""
    monkeypatch.setattr("foldstill.base_models.engine.CHECKPOINT_S", 0.0)


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
def smoke(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Run, Comparison]":
    """The finished run of experiments/smoke.toml; a test that changes files works on a copy."""
    from foldstill.pipeline import ExperimentFile, run_all, start_run

    folder = tmp_path_factory.mktemp("runs") / "smoke"
    run = start_run(ExperimentFile(SMOKE, Path(), "smoke"), folder, one_worker())
    return run, run_all(run)


@pytest.fixture(scope="session")
def hms_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten synthetic recordings of five patients, in the files of the competition."""
    folder = tmp_path_factory.mktemp("hms") / "synthetic"
    write_synthetic_hms(folder, patients=5, seed=1, recordings=2)
    return folder


@pytest.fixture
def hms_copy(hms_files: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(hms_files, tmp_path / "hms")


@pytest.fixture(scope="session", autouse=True)
def brief_latencies() -> Iterator[None]:
    """Times two calls per latency instead of thirty, which take longer than the training of a small network."""
    with pytest.MonkeyPatch.context() as patch:
        for measured in (measure_latency, measure_cost):
            patch.setitem(measured.__kwdefaults__, "repeats", 2)
        yield


@pytest.fixture(scope="module")
def undrawn() -> Iterator[None]:
    """Leaves the figures of reports empty: drawing them costs as much as the rest of a small run.

    Figures are drawn in test_compare_report, test_pipeline and test_golden_run.
    """
    from matplotlib.figure import Figure

    draw = Figure.savefig

    def leave_empty(figure: Figure, target: Any, **options: Any) -> None:
        if isinstance(target, StringIO):
            target.write("<svg></svg>")
        else:
            draw(figure, target, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", leave_empty)
        yield


@pytest.fixture(scope="session")
def student() -> "Student":
    """One that enlarges the 16 pixels of its pictures to 24."""
    return loud_student(image_size=24)


@pytest.fixture(scope="session")
def exported(student: "Student", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its ONNX file, which takes longer to make than all tests that read it."""
    path = tmp_path_factory.mktemp("onnx") / "student.onnx"
    return student.export(path, noise_pictures(), about={"teacher": "average"})
