"""A run does not hold its images in memory: the issue's 100,000 images of 224 x 224 x 3 at 1/20 of their number."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

N = 5000
SIZE = 224
VIEW_MB = N * SIZE * SIZE * 3 / 2**20
"""718: a copy of the view anywhere would break the bound."""

MOST_MB = 1600
"""Interpreter and libraries take about 780 MB; a prediction holds several batches of 256 images as float32, of 147 MB
each, whatever the number of images."""

EXPERIMENT = f"""
name = "large"
[data]
kind = "folder"
path = "images"
size = {SIZE}
group = "content"
[folds]
n_folds = 2
test_share = 0.2
[recipe]
epochs = 1
batch_size = 64
[[member]]
kind = "torch"
name = "coarse"
module = "coarse.py:coarse"
[[stacking.combiner]]
kind = "average"
[student]
kind = "torch"
module = "coarse.py:coarse"
teacher = "average"
without_teacher = false
seeds = 1
"""

COARSE = """
from torch import nn


def coarse(shape, n_classes):
    return nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(147, n_classes))
"""


def peak_mb(*arguments: str | Path) -> float:
    """Highest resident memory of a command with one worker, in MiB."""
    code = (
        "import re, sys; from pathlib import Path; from foldstill.cli import main\n"
        "sys.argv = ['foldstill', *sys.argv[1:]]\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says what a process alone has used")
def test_a_run_holds_no_copy_of_its_images_in_memory(tmp_path: Path, rng: np.random.Generator) -> None:
    for number in range(N):
        path = tmp_path / "images" / ("dark", "light")[number % 2] / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (16, 16, 3)) + 100 * (number % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    (tmp_path / "coarse.py").write_text(COARSE)
    (tmp_path / "large.toml").write_text(EXPERIMENT)
    prepared = peak_mb("prepare", tmp_path / "large.toml", "--workers", "1", "-q")
    (array,) = tmp_path.glob("image-cache/*/image.npy")
    assert array.stat().st_size / 2**20 > VIEW_MB
    out = tmp_path / "run"
    trained = peak_mb("run", tmp_path / "large.toml", "--out", out, "--workers", "1", "--device", "cpu", "-q")
    assert (out / "report.html").exists()
    print(f"peak of prepare {prepared:.0f} MB, of run {trained:.0f} MB, the view has {VIEW_MB:.0f} MB")
    assert prepared < 200
    assert trained < MOST_MB
