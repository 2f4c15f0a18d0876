"""Spectrograms of many recordings at once: torch, here on a CPU, beside NumPy."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from foldstill.hms import prepare
from foldstill.hms.cache import Cache
from foldstill.hms.chains import ChainSpectrogram
from foldstill.hms.montage import SFREQ_HZ
from foldstill.hms.record import Record
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram, ScipySpectrogram, StftSpectrogram
from foldstill.seals import SEAL
from foldstill.workers import Progress, Work

torch = pytest.importorskip("torch")

TORCH_ON_CPU = Work(workers=1, device="cpu:0")
"""Torch's name of the CPU; the device "cpu" means NumPy."""

SPECTROGRAMS = (
    MelSpectrogram(n_mels=16, width=32),
    StftSpectrogram(),
    ScipySpectrogram(crop="whole", height=32, width=64),
    MelSpectrogram(name="normal", n_mels=16, width=32, layout="stack", normalise="panel"),
)
OTHERS = (KaggleSpectrogram(height=16, width=32), RawEeg(bin_size=20))
VIEWS = (*SPECTROGRAMS[:2], *OTHERS, *SPECTROGRAMS[2:])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten recordings of different lengths; one file is cut short."""
    out = tmp_path_factory.mktemp("hms") / "synthetic"
    write_synthetic_hms(out, patients=5, seed=4, recordings=2)
    first = min((out / "train_eegs").iterdir())
    first.write_bytes(first.read_bytes()[:5000])
    return out


@pytest.fixture(scope="module")
def by_numpy(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return prepare(folder, tmp_path_factory.mktemp("numpy"), VIEWS).cache


def sidecar(cache: Cache, name: str) -> dict[str, object]:
    return dict(json.loads(cache.arrays.sidecar_file(name).read_text()))


def check_same_cache(cache: Cache, by_numpy: Cache, device: str) -> None:
    """Same files, problems and rows; stored values one step apart at most, and that seldom."""
    for file in ("problems_file", "sources_file", "rows_file"):
        assert getattr(cache, file).read_bytes() == getattr(by_numpy, file).read_bytes()
    assert cache.manifest_file.read_bytes() == by_numpy.manifest_file.read_bytes()
    for view in OTHERS:
        assert sidecar(cache, view.name) == sidecar(by_numpy, view.name)
    for view in SPECTROGRAMS:
        made, wanted = (np.load(c.arrays.array_file(view.name)) for c in (cache, by_numpy))
        assert made.dtype == wanted.dtype
        if view.bounds is None:
            np.testing.assert_allclose(made.astype(np.float32), wanted.astype(np.float32), atol=4e-3)
        else:
            steps = np.abs(made.astype(int) - wanted)
            assert steps.max() <= 1
            assert (steps > 0).mean() < 1e-3
        ours, theirs = sidecar(cache, view.name), sidecar(by_numpy, view.name)
        assert (ours.pop("computed_by"), theirs.pop("computed_by")) == ([f"torch on {device}"], ["numpy"])
        for of_the_bytes in ("checksum", "digest", SEAL):
            ours.pop(of_the_bytes), theirs.pop(of_the_bytes)
        assert ours == theirs


def batch(view: ChainSpectrogram, rng: np.random.Generator) -> np.ndarray:
    """Signals of three records: a random walk with a gap, a loud one, and nothing at all."""
    eeg = rng.standard_normal((3, 20, 50 * SFREQ_HZ)).cumsum(axis=2).astype(np.float32)
    eeg[0, 5, 1000:2000], eeg[1, 3], eeg[2] = np.nan, 1e4 * eeg[1, 3], np.nan
    return np.stack([view.signals(Record(each)) for each in eeg])


def check_same_spectra(view: ChainSpectrogram, device: str, rng: np.random.Generator) -> None:
    x_BET = batch(view, rng)
    one_by_one = np.stack([view.spectra(x[None])[0] for x in x_BET])
    at_once = view.spectra(torch.from_numpy(x_BET).to(device))
    assert at_once.dtype == torch.float32
    assert at_once.device.type == device
    low, high = view.panels_bounds
    np.testing.assert_allclose(at_once.cpu().numpy(), one_by_one, rtol=1e-4, atol=1e-4 * (high - low))


@pytest.mark.parametrize("view", SPECTROGRAMS[:3], ids=lambda view: view.name)
def test_spectra_of_a_batch_of_tensors_are_those_of_each_array(
    view: ChainSpectrogram, rng: np.random.Generator
) -> None:
    check_same_spectra(view, "cpu", rng)


def test_a_cache_that_torch_computed_is_the_one_numpy_makes(folder: Path, tmp_path: Path, by_numpy: Cache) -> None:
    check_same_cache(prepare(folder, tmp_path, VIEWS, work=TORCH_ON_CPU).cache, by_numpy, "cpu:0")


def test_two_threads_that_read_for_a_device_make_the_same_bytes_as_one(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[prepare.__module__], "PART_ROWS", 2)
    one, two = (prepare(folder, tmp_path / str(n), VIEWS, work=Work(n, "cpu:0")).cache for n in (1, 2))
    for view in VIEWS:
        assert sidecar(one, view.name) == sidecar(two, view.name)


def test_a_preparation_goes_on_on_another_device_and_says_so(
    folder: Path, tmp_path: Path, by_numpy: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[prepare.__module__], "PART_ROWS", 2)
    view = SPECTROGRAMS[0]

    def stop(progress: Progress) -> None:
        if progress.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path, (view,), work=Work(1, "cpu:0", report=stop))
    cache = prepare(folder, tmp_path, (view,)).cache
    assert sidecar(cache, view.name)["computed_by"] == ["numpy", "torch on cpu:0"]
    made, wanted = (np.load(c.arrays.array_file(view.name)).astype(int) for c in (cache, by_numpy))
    assert np.abs(made - wanted).max() <= 1


def test_preparing_without_a_device_imports_no_torch(folder: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from foldstill.commands.hms import prepare_views
from foldstill.workers import Work
prepare_views(Path({str(folder)!r}), cache=Path({str(tmp_path)!r}), views=("mel",), work=Work(1, "cpu"))
prepare_views(Path({str(folder)!r}), cache=Path({str(tmp_path / "other")!r}), views=("raw_eeg",), work=Work(1))
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.gpu
@pytest.mark.parametrize("view", SPECTROGRAMS[:3], ids=lambda view: view.name)
def test_a_gpu_computes_the_same_spectra(view: ChainSpectrogram, rng: np.random.Generator) -> None:
    check_same_spectra(view, "cuda", rng)


@pytest.mark.gpu
def test_a_gpu_makes_the_cache_that_numpy_makes(folder: Path, tmp_path: Path, by_numpy: Cache) -> None:
    check_same_cache(prepare(folder, tmp_path, VIEWS, work=Work(2, "cuda")).cache, by_numpy, "cuda")
