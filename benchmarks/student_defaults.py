"""How far a student with the default settings is behind the best recipe: CIFAR-10H, diamonds and synthetic EEG.

    python benchmarks/student_defaults.py FOLDER [--only cifar10h diamonds eeg] [--shared data]

A student that names only its network, or its kind, is compared with others whose settings were chosen. On CIFAR-10H and
diamonds this is done on inner rows (see `student_recipe.py`), on EEG on the locked rows of its experiment, where
nothing was chosen. The best recipe is the one that is best on the very rows of the comparison, which favours it. Three
seeds each. About 100, 20 and 16 CPU-minutes, members included; finished stages are kept.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from foldstill.compare import Comparison
from foldstill.pipeline import ExperimentFile, run_all, start_run
from foldstill.pipeline.overrides import with_values
from foldstill.workers import Work
from student_recipe import EXPERIMENTS, ablations, inner_data, rows_to_train_on

PERCEPTRON = 'kind = "torch"\nmodule = "my_models.py:mlp"\nview = "features"\n'
DIAMONDS = {
    "a quarter of the teacher": 'mix = { kind = "fixed", share = 0.25 }\n',
    "three quarters": 'mix = { kind = "fixed", share = 0.75 }\n',
    "nine tenths": 'mix = { kind = "fixed", share = 0.9 }\n',
    "the teacher alone": 'mix = { kind = "teacher" }\n',
    "Dirichlet mix": 'mix = { kind = "dirichlet" }\n',
    "half the learning rate": "learning_rate = 0.05\n",
    "half the learning rate, nine tenths": 'learning_rate = 0.05\nmix = { kind = "fixed", share = 0.9 }\n',
}
PERCEPTRONS = {
    "perceptron, defaults": PERCEPTRON,
    "perceptron, 60 epochs of larger batches": PERCEPTRON + "recipe = { epochs = 60, batch_size = 256, lr = 5e-3 }\n",
    "perceptron, three quarters": PERCEPTRON + 'mix = { kind = "fixed", share = 0.75 }\n',
}


def with_student(text: str, student: str, others: dict[str, str]) -> str:
    """An experiment with another student, and ablations of it."""
    return text.partition("[student]\n")[0] + f"[student]\n{student}" + ablations(others)


def cifar10h(shared: Path, folder: Path) -> tuple[str, dict[str, list[str]]]:
    """The student of `cifar10h_student.toml` with its settings, and with nothing but its network."""
    outer, inner = EXPERIMENTS / "cifar10h_student.toml", folder / "inner.npz"
    if not inner.exists():
        inner_data(outer, shared / "cifar10h" / "cifar10h.npz", inner)
    text = with_values(outer.read_text(encoding="utf-8"), {"data.path": str(inner)})
    chosen = text.partition("[student]\n")[2].partition("[[ablation]]")[0]
    network = "".join(line for line in chosen.splitlines(True) if line.startswith(("kind", "module", "options")))
    tuned = chosen.replace("[student.recipe]", "[ablation.recipe]")
    return with_student(text, network + "without_teacher = false\n", {"tuned": tuned}), {"student": ["tuned"]}


def diamonds(shared: Path, folder: Path) -> tuple[str, dict[str, list[str]]]:
    """Boosted trees and perceptrons, with shares of the teacher, learning rates and lengths of training."""
    outer, inner = EXPERIMENTS / "diamonds.toml", folder / "inner.parquet"
    if not inner.exists():
        data = shared / "diamonds" / "diamonds.parquet"
        dataset, rows = rows_to_train_on(outer, data, folder)
        pd.read_parquet(data).set_index("id").loc[dataset.labels.ids[rows]].reset_index().to_parquet(inner)
    text = with_values(outer.read_text(encoding="utf-8"), {"data.path": str(inner)})
    first, *others = PERCEPTRONS
    students = {"student": list(DIAMONDS), first: others}
    student = 'kind = "lightgbm"\nview = "features"\nwithout_teacher = false\n'
    return with_student(text, student, DIAMONDS | PERCEPTRONS), students


def eeg(shared: Path, folder: Path) -> tuple[str, dict[str, list[str]]]:
    """The experiment as it is: its student has the default settings beside its augmentations."""
    text = (EXPERIMENTS / "hms_synthetic_student.toml").read_text(encoding="utf-8")
    return text, {"student": ["panels, 24 epochs"]}


DATA: dict[str, Callable[[Path, Path], tuple[str, dict[str, list[str]]]]] = {
    "cifar10h": cifar10h,
    "diamonds": diamonds,
    "eeg": eeg,
}


def show(data: str, comparison: Comparison, default: str, tuned: list[str]) -> None:
    """Print the KL of a student with the default settings beside those of others, and how far it is behind the best."""
    for name in (default, *tuned):
        print(f"{data:9} {name:42} KL {comparison[name].kl:.4f} ± {comparison[name].kl_deviation:.4f}")
    best = min(tuned, key=lambda name: comparison[name].kl)
    gap = comparison.pair(default, best)
    print(
        f"{data:9} {default}: the defaults are {gap.estimate / comparison[best].kl:+.1%} from {best}, "
        f"{gap.estimate:+.4f} [{gap.low:+.4f}, {gap.high:+.4f}]",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--shared", type=Path, default=EXPERIMENTS.parents[1] / "shared" / "data")
    options = parser.parse_args()
    for data in options.only:
        folder = (options.folder / data).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        text, students = DATA[data](options.shared.resolve(), folder)
        run = start_run(ExperimentFile(text, EXPERIMENTS, f"{data}.toml"), folder / "run", Work(device="cpu"))
        comparison = run_all(run)
        assert isinstance(comparison, Comparison), "these rows have one label each"
        for default, tuned in students.items():
            show(data, comparison, default, tuned)


if __name__ == "__main__":
    main()
