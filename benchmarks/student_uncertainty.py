"""Whether a student knows what it does not know: its precision head compared with the spread of its ensemble.

    python benchmarks/student_uncertainty.py FOLDER [--seeds 0 1]

Five small networks learn the digits of scikit-learn, of which each has 1 to 28 votes, over five folds; one student
learns from their combination and gets a precision head. Both are asked about locked digits, about corrupted ones, and
about foreign pictures: crops of the two photographs of scikit-learn, as gray and as wide as the digits. It prints the
AUROC with which entropy and knowledge uncertainty tell these from locked digits, for student and ensemble, per seed of
data, folds and networks.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_sample_images

from foldstill.pipeline import ExperimentFile, run_all, start_run
from foldstill.workers import Work

NETWORKS = ("test_resnet", "test_byobnet", "test_efficientnet", "test_efficientnet_gn", "test_convnext")
SIDE, CROPS = 32, 400
EXPERIMENT = """
name = "digits-uncertainty"
seed = {seed}
[data]
kind = "digits"
seed = {seed}
[recipe]
epochs = 10
batch_size = 32
lr = 4e-3
augment = [{{ kind = "shift" }}]
{members}
[[stacking.combiner]]
kind = "average"
[[stacking.combiner]]
kind = "recalibrated"
[student]
network = "test_resnet"
options = {{ channels = [16, 24, 32, 64], stem_width = 12 }}
teacher = "recalibrated"
seeds = 1
without_teacher = false
uncertainty = true
foreign = "photographs.npz"
recipe = {{ epochs = 30 }}
"""


def photographs(seed: int) -> NDArray[np.uint8]:
    """Crops of photographs, (CROPS, SIDE, SIDE, 1), each averaged down from four times its side."""
    rng, pictures = np.random.default_rng(seed), load_sample_images().images
    crops = []
    for _ in range(CROPS):
        gray = pictures[rng.integers(len(pictures))].mean(axis=2)
        top, left = (int(rng.integers(length - 4 * SIDE)) for length in gray.shape)
        crops.append(gray[top : top + 4 * SIDE, left : left + 4 * SIDE].reshape(SIDE, 4, SIDE, 4).mean(axis=(1, 3)))
    return np.round(crops).astype(np.uint8)[..., None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    np.savez(options.folder / "photographs.npz", image=photographs(0))
    members = "".join(f'[[member]]\nname = "{network}"\nnetwork = "{network}"\n' for network in NETWORKS)
    for seed in options.seeds:
        file = ExperimentFile(EXPERIMENT.format(seed=seed, members=members), options.folder, "digits-uncertainty")
        run = start_run(file, options.folder / f"seed-{seed}", Work(device="cpu"))
        comparison = run_all(run)
        print(f"seed {seed}: student {comparison['student'].kl:.4f}, average {comparison['average'].kl:.4f}")
        facts = json.loads((run.dir.student / "uncertainty.json").read_text(encoding="utf-8"))
        for part in ("total", "knowledge"):
            for name, auroc in facts[part]["auroc"].items():
                ensemble = facts[part]["auroc_of_ensemble"][name]
                print(f"  {part:9} {name:24} {auroc:.3f}, ensemble {ensemble:.3f}, {auroc - ensemble:+.3f}", flush=True)


if __name__ == "__main__":
    main()
