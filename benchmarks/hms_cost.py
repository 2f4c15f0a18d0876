"""The cost of a whole HMS: time and disk of `prepare` per view, and of each ready experiment, with GPU hours.

    python benchmarks/hms_cost.py [experiments/hms_NAME.toml ...]

Measured here, on one core: CPU time per row of `prepare` on synthetic recordings (including reading, digests and
checksums). Counted: bytes per row and multiply-accumulates. Taken from elsewhere: the number of rows of the
competition's train.csv, and the rates at which timm's authors trained these networks on one GPU. GPU hours are an
estimate, computed from these by `gpu_hours`.
"""

import sys
import time
from dataclasses import replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from foldstill.base_models.eeg_member import EegMember
from foldstill.base_models.joined_member import Joined, resolve
from foldstill.base_models.recipes import Recipe
from foldstill.base_models.timm_member import TimmMember
from foldstill.distill.sizes import size_of
from foldstill.hms.chains import ChainSpectrogram
from foldstill.hms.montage import CLASSES, EEG_SECONDS, SFREQ_HZ
from foldstill.hms.record import Record
from foldstill.hms.source import HmsData
from foldstill.hms.storage import stored_dtype
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.hms.views import View
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_panels import PanelStack
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram, ScipySpectrogram, StftSpectrogram
from foldstill.hms.views_wavelet import Denoised, Scalogram
from foldstill.pipeline.experiment import Experiment
from foldstill.pipeline.experiment_file import read_experiment

ROWS = {"unique_votes": 20_183, "recording": 17_089, "spectrogram": 11_138, "stationary": 21_490, "window": 106_800}
"""Number of samples in the competition's train.csv, by the definition of a sample."""

SHARE_AT_MOST = {4.0: 0.70}
SHARE_AT_LEAST = {5.0: 0.30, 10.0: 0.25}
"""Share of the rows of unique votes by number of votes: 15,124 of 20,183 have fewer than ten; others from a sample.

Of the rows with four votes, 596 with disagreement belong to the first stage of the experiment that asks for them, and
156 to its second stage.
"""

PUBLISHED = {
    "resnet34d": (1813, 224),
    "efficientnet_b0": (1752, 224),
    "efficientnet_b1": (1326, 224),
    "efficientnet_b2": (979, 256),
    "efficientnet_b3": (572, 288),
    "efficientnet_b4": (355, 320),
}
"""Images per second in training and the image side in pixels: one RTX 3090, mixed precision, channels last
(results/benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv in huggingface/pytorch-image-models)."""

OTHER_FLOPS = 4e12
"""Operations per second for networks that are not in that table: the rate that EfficientNet-B0 reaches in it."""

STEP_S = 0.01
"""Minimum duration of a step in seconds: launching its kernels."""

VIEWS: tuple[View, ...] = (
    MelSpectrogram(),
    StftSpectrogram(),
    ScipySpectrogram(),
    Scalogram(),
    RawEeg(),
    Denoised(),
    KaggleSpectrogram(),
    PanelStack(),
)


def cpu_ms_per_row(hms: Path, cache: Path, data: HmsData) -> float:
    data = replace(data, folder=str(hms), cache=str(cache))
    start = time.process_time()
    prepared = data.prepare(Path())
    return (time.process_time() - start) * 1e3 / prepared.n_rows


def spectra_ms_per_row(view: View) -> str:
    """CPU time of the part that a GPU can take over: spectra of signals that were already read and cleaned."""
    if not isinstance(view, ChainSpectrogram):
        return "-"
    eeg_ET = np.random.default_rng(0).standard_normal((20, EEG_SECONDS * SFREQ_HZ)).cumsum(axis=1).astype(np.float32)
    x_BET = view.signals(Record(eeg_ET))[None]
    start = time.process_time()
    for _ in range(50):
        view.spectra(x_BET)
    return f"{(time.process_time() - start) * 1e3 / 50:.1f}"


def bytes_per_row(view: View) -> int:
    return prod(view.shape) * stored_dtype(view.bounds).itemsize


NetworkMember = TimmMember | EegMember | Joined


def macs(member: NetworkMember, views: tuple[View, ...]) -> float:
    """Multiply-accumulates per row."""
    blank = {view.name: np.zeros((1, *view.shape), np.float32) for view in views}
    return float(size_of(member, [blank[name] for name in member.views], len(CLASSES)).macs or 0)


def images(recipe: Recipe, rows: float) -> float:
    """Number of rows that the stages of a recipe process, for a training fold of `rows` rows."""
    if recipe.early_stopping is not None:
        rows *= 1 - recipe.early_stopping.share
    second = recipe.second_stage
    if second is None:
        return rows * recipe.epochs
    first = 1.0 if second.first_max_votes is None else SHARE_AT_MOST[second.first_max_votes]
    return rows * (recipe.epochs * first + second.epochs * SHARE_AT_LEAST.get(second.min_votes, 1.0))


def gpu_hours(experiment: Experiment, member: NetworkMember, rows: int) -> float:
    """Estimate GPU hours as images / rate, with at least STEP_S per step.

    Each fold trains on the rows of the other folds, and locked rows are left out. The rate is the published rate times
    the published number of pixels, divided by the number of pixels of the view.
    """
    folds, tune = experiment.folds, experiment.tune
    fits = folds.n_folds if tune is None else tune.trials * tune.folds
    passed = images(member.recipe, rows * (1 - folds.test_share) * (folds.n_folds - 1) / folds.n_folds) * fits
    seconds = sum(_seconds_per_row(part, experiment.data.views) for part in member.parts or (member,))
    return passed * max(seconds, STEP_S / member.recipe.batch_size) / 3600


def _seconds_per_row(member: NetworkMember, views: tuple[View, ...]) -> float:
    network = getattr(member, "network", "")
    if network not in PUBLISHED:
        return 6 * macs(member, views) / OTHER_FLOPS
    rate, side = PUBLISHED[network]
    height, width, _ = next(view.shape for view in views if view.name in member.views)
    return height * width / side**2 / rate


def main(arguments: list[str]) -> None:
    paths = [Path(a) for a in arguments] or sorted((Path(__file__).parents[1] / "experiments").glob("hms_*.toml"))
    with TemporaryDirectory() as name:
        hms = Path(name) / "hms"
        write_synthetic_hms(hms, patients=30, seed=0, recordings=4)
        if not arguments:
            print(
                "| view | CPU ms per row | of which spectra | 17,089 rows, CPU min | bytes per row "
                "| 17,089 rows | 20,183 rows |"
            )
            for view in VIEWS:
                ms = cpu_ms_per_row(hms, Path(name) / view.name, HmsData(folder="hms", views=(view,), rows="recording"))
                size = bytes_per_row(view)
                gigabytes = [f"{size * ROWS[rule] / 1e9:.1f} GB" for rule in ("recording", "unique_votes")]
                print(
                    f"| `{view.kind}` | {ms:.1f} | {spectra_ms_per_row(view)} | {ms * 17_089 / 6e4:.1f} | {size:,} "
                    f"| {' | '.join(gigabytes)} |"
                )
        print(
            "| ready experiment | rows | prepare, CPU min | disk | largest view | networks | 10^9 MACs per row "
            "| GPU hours |"
        )
        for path in paths:
            experiment = read_experiment(path)
            data = experiment.data
            if not isinstance(data, HmsData):
                continue
            rows = ROWS[data.rows]
            minutes = cpu_ms_per_row(hms, Path(name) / path.stem, data) * rows / 6e4
            sizes = [bytes_per_row(view) * rows / 1e9 for view in data.views]
            members = resolve(experiment.member)
            counted = ", ".join(f"{macs(m, data.views) / 1e9:.2f}" for m in members)
            hours = sum(gpu_hours(experiment, m, rows) for m in members)
            tune = experiment.tune
            fits = len(experiment.member) * experiment.folds.n_folds if tune is None else tune.trials * tune.folds
            print(
                f"| `{path.stem}` | {rows:,} | {minutes:.0f} | {sum(sizes):.1f} GB | {max(sizes):.1f} GB | {fits} "
                f"| {counted} | {hours:.1f} |"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
