"""HMS preparation and reading, compared with the usual code of public notebooks: equal results first, then the ratio.

    python benchmarks/bench_hms.py [G1 G2 ... scalogram] [--real FOLDER_WITH_AN_EEG_AND_A_SPECTROGRAM]

- G1: a mel spectrogram in memory, compared with librosa.
- G2: read, compute the spectrogram and store it, compared with pandas, librosa and one file per sample.
- G3: spectrogram files to arrays, compared with pandas.
- G4: batches of 64 from the cache, compared with one float32 file per sample.
- G5: the work per item in an epoch, compared with clipping, logarithm and normalisation.
- scalogram: Morlet power, compared with PyWavelets' continuous transform.

Exits with 1 below a floor. G1 and G2 need librosa.
"""

import harness  # isort: skip  (pins threads before numpy)

import shutil
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd

from foldstill.data.wavelets import morlet_power
from foldstill.hms.chains import chain_differences
from foldstill.hms.files import HmsFolder, read_eeg, read_spectrogram
from foldstill.hms.montage import CHAINS, EEG_CHANNELS, spectrogram_columns
from foldstill.hms.prepare import prepare
from foldstill.hms.record import Record
from foldstill.hms.rows import label_rows
from foldstill.hms.storage import decode, encode
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_panels import PanelStack
from foldstill.hms.views_spectra import MelSpectrogram

VIEW = MelSpectrogram()

# numba, a dependency of librosa, imports a package of this name if there is one, and could find a script here.
sys.modules["coverage"] = None  # type: ignore[assignment]


def librosa_image(eeg: dict[str, np.ndarray]) -> np.ndarray:
    """Return the image (128, 256, 4) of the public recipe, which processes one pair of electrodes at a time."""
    import librosa

    image = np.zeros((128, 256, 4), np.float32)
    for panel, chain in enumerate(CHAINS.values()):
        for a, b in pairwise(chain):
            x = eeg[a] - eeg[b]
            x = np.nan_to_num(x, nan=np.nanmean(x)) if np.isnan(x).mean() < 1 else np.zeros_like(x)
            mel = librosa.feature.melspectrogram(
                y=x, sr=200, hop_length=len(x) // 256, n_fft=1024, n_mels=128, fmin=0, fmax=20, win_length=128
            )
            image[:, :, panel] += (librosa.power_to_db(mel, ref=np.max).astype(np.float32)[:, :256] + 40) / 40
    return image / 4


def g1(eeg_ET: np.ndarray, name: str) -> harness.Ratio:
    by_name = dict(zip(EEG_CHANNELS, eeg_ET, strict=True))

    def same(ours: np.ndarray, theirs: np.ndarray) -> None:
        difference = float(np.abs(ours - theirs).max())
        assert difference <= 1e-4, difference
        print(f"G1 maximum difference {difference:.1e}")

    record = Record(eeg_ET)
    return harness.side_by_side(
        f"G1 mel spectrogram of {name}",
        ours=lambda: VIEW.make(record),
        baseline=lambda: librosa_image(by_name),
        same=same,
        repeats=15,
    )


def g2(folder: Path, scratch: Path) -> harness.Ratio:
    source = HmsFolder(folder)
    rows = label_rows(source, "recording")

    def ours() -> np.ndarray:
        shutil.rmtree(scratch / "cache", ignore_errors=True)
        cache = prepare(folder, scratch / "cache", (VIEW,), rows="recording").cache
        return cache.views((VIEW,))["mel"]

    def baseline() -> list[Path]:
        paths = []
        for recording, offset_s in zip(rows.recordings_N, rows.eeg_offset_N, strict=True):
            frame = pd.read_parquet(source.eeg(recording))
            start = round(offset_s * 200)
            eeg = frame.iloc[start : start + 10_000]
            paths.append(scratch / f"{recording}.npy")
            np.save(paths[-1], librosa_image({c: eeg[c].to_numpy() for c in eeg.columns}))
        return paths

    def same(array: np.ndarray, paths: list[Path]) -> None:
        for stored, path in zip(array, paths, strict=True):
            assert np.abs(decode(stored, VIEW.bounds) - np.load(path)).max() <= 4e-3 + 1e-4

    name = f"G2 read, spectrogram, store, {len(rows)} EEGs"
    return harness.side_by_side(name, ours=ours, baseline=baseline, same=same, repeats=5)


def g3(paths: list[Path], name: str) -> harness.Ratio:
    columns = list(spectrogram_columns())

    def same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b.T)

    return harness.side_by_side(
        f"G3 {name}",
        ours=lambda: [read_spectrogram(p).values for p in paths],
        baseline=lambda: [pd.read_parquet(p)[columns].to_numpy() for p in paths],
        same=same,
        repeats=9,
    )


def g4(scratch: Path, rng: np.random.Generator, n: int = 1024) -> harness.Ratio:
    images = rng.uniform(-1, 1, (n, *VIEW.shape)).astype(np.float32)
    for i, image in enumerate(images):
        np.save(scratch / f"item-{i}.npy", image)
    np.save(scratch / "cache.npy", encode(images, VIEW.bounds))
    stored = np.load(scratch / "cache.npy", mmap_mode="r")
    batches = rng.permutation(n).reshape(-1, 64)
    out = np.empty((64, *VIEW.shape), np.float32)

    def ours() -> np.ndarray:
        for rows in batches:
            for batch_row, row in zip(out, rows, strict=True):
                decode(stored[row], VIEW.bounds, batch_row)
        return out

    def baseline() -> np.ndarray:
        for rows in batches:
            batch = np.stack([np.load(scratch / f"item-{i}.npy") for i in rows])
        return batch

    def same(a: np.ndarray, b: np.ndarray) -> None:
        assert np.abs(a - b).max() <= 4e-3

    return harness.side_by_side(f"G4 {n // 64} batches of 64 from a cache", ours=ours, baseline=baseline, same=same)


def g5(rng: np.random.Generator, n: int = 64) -> harness.Ratio:
    """Eight bits to float for all eight channels of an item, compared with slice, clip, log, normalise and pad."""
    power = np.exp(rng.normal(0, 2, (n, 300, 400))).astype(np.float32)
    mel = rng.uniform(-1, 1, (n, 128, 256, 4)).astype(np.float32)
    stack = PanelStack(of=(KaggleSpectrogram(width=256, height=128), VIEW))

    def item(spectrogram: np.ndarray, eeg: np.ndarray) -> np.ndarray:
        x = np.zeros((128, 256, 8), np.float32)
        for panel in range(4):
            image = np.log(np.clip(spectrogram[:, 100 * panel : 100 * panel + 100].T, np.exp(-4), np.exp(8)))
            mean, deviation = np.nanmean(image.flatten()), np.nanstd(image.flatten())
            image = np.nan_to_num((image - mean) / (deviation + 1e-6), nan=0.0)
            x[14:-14, :, panel] = image[:, 22:-22] / 2
        x[:, :, 4:] = eeg
        return x

    made = np.stack([item(p, m) for p, m in zip(power, mel, strict=True)])
    low, high = float(made.min()), float(made.max())
    stored = encode(made, (low, high))
    out = np.empty((1, *stack.shape), np.float32)

    def ours() -> float:
        return sum(float(decode(stored[i : i + 1], (low, high), out)[0, 0, 0, 0]) for i in range(n))

    def baseline() -> float:
        return sum(float(item(p, m)[0, 0, 0]) for p, m in zip(power, mel, strict=True))

    def same(a: float, b: float) -> None:
        del a, b
        assert np.abs(decode(stored, (low, high)) - made).max() <= (high - low) / 255 / 2 + 1e-5

    return harness.side_by_side(
        f"G5 work per item of an epoch, {n} items", ours=ours, baseline=baseline, same=same, repeats=9
    )


def scalogram(eeg_ET: np.ndarray) -> harness.Ratio:
    """16 differences, 64 frequencies of 0.5 to 30 Hz, 256 columns."""
    import pywt

    x_ET, hertz = np.nan_to_num(chain_differences(eeg_ET)), np.geomspace(0.5, 30, 64)
    scale = 200 / hertz

    def baseline() -> np.ndarray:
        wave, _ = pywt.cwt(x_ET, scale, "cmor0.72-1.0", method="fft", axis=1)
        amplitude = 2 * np.abs(wave[..., : x_ET.shape[1] // 256 * 256]) / np.sqrt(scale)[:, None, None]
        return np.square(amplitude.transpose(1, 0, 2)).reshape(len(x_ET), len(hertz), 256, -1).mean(axis=3)

    def same(ours: np.ndarray, theirs: np.ndarray) -> None:
        # Columns of 39 and of 39.06 samples, and different handling of the ends: as images they are the same.
        correlation = np.corrcoef(np.log(ours[..., 32:96]).ravel(), np.log(theirs[..., 32:96]).ravel())[0, 1]
        assert correlation > 0.98, correlation

    return harness.side_by_side(
        "scalogram of an EEG",
        ours=lambda: morlet_power(x_ET, hertz, sfreq_hz=200, cycles=3, order=1, columns=256),
        baseline=baseline,
        same=same,
    )


def main(arguments: list[str]) -> None:
    real = Path(arguments[arguments.index("--real") + 1]) if "--real" in arguments else None
    every = ["G1", "G2", "G3", "G4", "G5", "scalogram"]
    names = [a for a in arguments if a in every] or every
    rng = np.random.default_rng(0)
    with TemporaryDirectory() as name:
        scratch = Path(name)
        folder = scratch / "hms"
        write_synthetic_hms(folder, patients=6, seed=0, recordings=4)
        source = HmsFolder(folder)
        recording = label_rows(source).recordings_N[0]
        spectrograms = sorted(source.spectrograms.iterdir())
        if "G1" in names:
            harness.floor(g1(read_eeg(source.eeg(recording)).values[:, :10_000], "a synthetic EEG"), 6)
            for path in sorted(real.glob("*eeg*.parquet")) if real else ():
                harness.floor(g1(read_eeg(path).values, path.stem), 6)
        if "scalogram" in names:
            harness.floor(scalogram(read_eeg(source.eeg(recording)).values[:, :10_000]), 5)
        if "G2" in names:
            harness.floor(g2(folder, scratch), 4)
        if "G3" in names:
            # Without polars, pyarrow alone decodes the files.
            floor = 2.5 if find_spec("polars") else 1.5
            harness.floor(g3(spectrograms, f"{len(spectrograms)} synthetic spectrogram files to arrays"), floor)
            for path in sorted(real.glob("*spectrogram*.parquet")) if real else ():
                harness.floor(g3([path], path.stem), floor)
        if "G4" in names:
            harness.floor(g4(scratch, rng), 4)
        if "G5" in names:
            harness.floor(g5(rng), 10)


if __name__ == "__main__":
    main(sys.argv[1:])
