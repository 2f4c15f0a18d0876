"""G24: how CPU time and memory of `prepare`, `train`, `stack` and `compare` grow with the number of rows.

    python benchmarks/growth.py [rows ...]

Each stage is a process of its own with one worker, on images of 32 x 32 in a parquet file: two small torch modules over
two folds, one epoch each; the plain average, convex weights, the log-linear pool and the recalibrated average. CPU time
is user + system of the process, memory its peak resident set, as Linux tells it; both hold the start of the
interpreter. The exponent is the slope of the logarithms over all sizes, and, for what the rows add, the slope over the
last two after the values of 100 rows are subtracted.
"""

import harness  # noqa: F401, I001  (pins threads before numpy is loaded)

import io
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROWS = (10_000, 30_000, 100_000)
START_ROWS = 100
"""So few that only the start of the stages is measured."""

DIFFERENT = 1000
"""Number of different images; each occurs again and again."""

STAGES = ("prepare", "train", "oof build", "stack", "compare")

EXPERIMENT = """
name = "growth"
[data]
kind = "parquet_images"
path = "images.parquet"
label = "label"
size = 32
[folds]
n_folds = 2
test_share = 0.1
[recipe]
epochs = 1
batch_size = 256
[[member]]
kind = "torch"
name = "fine"
module = "pooled.py:pooled"
options = { pixels = 4 }
[[member]]
kind = "torch"
name = "coarse"
module = "pooled.py:pooled"
options = { pixels = 16 }
[[stacking.combiner]]
kind = "average"
[[stacking.combiner]]
kind = "convex"
[[stacking.combiner]]
kind = "log_pool"
[[stacking.combiner]]
kind = "recalibrated"
"""

POOLED = """
from torch import nn


def pooled(shape, n_classes, pixels):
    height, width, channels = shape
    features = channels * (height // pixels) * (width // pixels)
    return nn.Sequential(nn.AvgPool2d(pixels), nn.Flatten(), nn.Linear(features, n_classes))
"""


WITH_PEAK = """
import re
from pathlib import Path
from foldstill.cli import main
try:
    main()
finally:
    # `ru_maxrss` would be at least what the process that started this one held then.
    Path("peak.txt").write_text(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""


def write_data(folder: Path, rows: int) -> None:
    """Images whose brightness says their class, with noise, and the files of the experiment."""
    rng = np.random.default_rng(0)
    images, labels = [], rng.integers(0, 3, DIFFERENT)
    for label in labels:
        with io.BytesIO() as stream:
            pixels = np.clip(rng.normal(100 + 8 * label, 60, (32, 32, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(stream, "JPEG")
            images.append(stream.getvalue())
    index = np.arange(rows) % DIFFERENT
    noisy = np.where(rng.random(rows) < 0.2, rng.integers(0, 3, rows), labels[index])
    table = pa.table({"image": [images[i] for i in index], "label": [f"class-{k}" for k in noisy]})
    pq.write_table(table, folder / "images.parquet", row_group_size=1000)
    (folder / "pooled.py").write_text(POOLED, encoding="utf-8")
    (folder / "growth.toml").write_text(EXPERIMENT, encoding="utf-8")


def measure(folder: Path, stage: str) -> tuple[float, float]:
    """CPU seconds and peak memory in MiB of one stage."""
    target = "growth.toml" if stage in ("prepare", "train") else "run"
    out = ("--out", "run") if stage == "train" else ()
    device = ("--device", "cpu") if stage in ("train",) else ()
    workers = () if stage in ("oof build", "compare") else ("--workers", "1")
    command = [sys.executable, "-c", WITH_PEAK, *stage.split(), target, *out, *workers, *device]
    with (folder / "out.txt").open("w") as text:
        process = subprocess.Popen(command, cwd=folder, stdout=text, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{(folder / 'out.txt').read_text()}")
    return usage.ru_utime + usage.ru_stime, int((folder / "peak.txt").read_text()) / 1024


def exponent(rows: list[int], values: list[float]) -> float:
    """Slope of a line through the logarithms."""
    return float(np.polyfit(np.log(rows), np.log(values), 1)[0])


def main() -> None:
    rows = [int(each) for each in sys.argv[1:]] or list(ROWS)
    found: dict[str, list[tuple[float, float]]] = {stage: [] for stage in STAGES}
    for n in (START_ROWS, *rows):
        with tempfile.TemporaryDirectory() as name:
            write_data(Path(name), n)
            for stage in STAGES:
                found[stage].append(measure(Path(name), stage))
                cpu_s, peak_mb = found[stage][-1]
                print(f"{n:>9,} rows, {stage}: {cpu_s:.1f} CPU-s, {peak_mb:.0f} MiB", flush=True)
    for stage, values in found.items():
        for what, column in (("CPU time", 0), ("memory", 1)):
            start, *of_stage = [value[column] for value in values]
            added = [value - start for value in of_stage]
            of_added = f"{exponent(rows[-2:], added[-2:]):.2f}" if min(added[-2:]) > 0 else "unknown"
            print(f"{stage}: exponent of {what} {exponent(rows, of_stage):.2f}, of what the rows add {of_added}")


if __name__ == "__main__":
    main()
