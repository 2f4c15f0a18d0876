"""How the recipe of `experiments/cifar10h_student.toml` was chosen, without a look at its locked pictures.

    python benchmarks/student_recipe.py FOLDER [--data cifar10h.npz] [--unlabelled more.npz]

The pictures that the experiment trains on become a data set of their own, with folds, members and locked pictures of
its own. On these inner locked pictures, networks at about a fifteenth and a fiftieth of the ensemble's
multiply-accumulates are compared on the votes alone, and shares of the teacher, lengths of the training and mixup on
one of them. One seed each, three for the last two candidates; about two and a half CPU-hours. Finished stages are kept.
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from foldstill.data.dataset import Dataset
from foldstill.data.training import Rows
from foldstill.pipeline import ExperimentFile, Run, run_all, start_run
from foldstill.pipeline.overrides import with_values
from foldstill.workers import Work

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
PLAIN = 'augment = [{ kind = "horizontal_flip" }, { kind = "shift" }, { kind = "cutout", p = 0.5, size = 0.5 }]'
MIXED = PLAIN.replace("]", ', { kind = "mixup", p = 0.5 }]')
RESIDUAL = 'module = "{modules}:residual"\n'
STUDENT = (
    '[student]\nkind = "torch"\n'
    + RESIDUAL
    + """options = {{ widths = [14, 28, 56], stem = 8 }}
teacher = "auto"
seeds = 1
without_teacher = false
mix = {{ kind = "fixed", share = 0.5 }}
row_weight = "none"
views = "bank"
bank_views = 40
unlabelled = "{unlabelled}"
[student.recipe]
epochs = 40
ema = 0.998
{mixed}
"""
)
VOTES = 'mix = {{ kind = "votes" }}\nviews = "identity"\nunlabelled = ""\n'
QUARTER = 'mix = {{ kind = "fixed", share = 0.25 }}\nrecipe = {{ epochs = 100 }}\n'
ABLATIONS = {
    "share 0.75": 'mix = {{ kind = "fixed", share = 0.75 }}\n',
    "share 0.95": 'mix = {{ kind = "fixed", share = 0.95 }}\n',
    "100 epochs": "recipe = {{ epochs = 100 }}\n",
    "100 epochs, no mixup": "recipe = {{ epochs = 100, {plain} }}\n",
    "100 epochs, no further inputs": 'recipe = {{ epochs = 100 }}\nunlabelled = ""\n',
    "100 epochs, votes": VOTES + "recipe = {{ epochs = 100 }}\nseeds = 3\n",
    "100 epochs, a quarter": QUARTER,
    "100 epochs, a quarter, no further inputs": QUARTER + 'unlabelled = ""\nseeds = 3\n',
    "100 epochs, a quarter, no further inputs, original images": QUARTER + 'unlabelled = ""\nviews = "identity"\n',
    "a fiftieth, 100 epochs": "options = {{ widths = [8, 15, 30], stem = 4 }}\nrecipe = {{ epochs = 100 }}\n",
}
RESNET = 'kind = "timm"\nnetwork = "test_resnet"\n'
ARCHITECTURES = {
    "resnet, stride 2": RESNET + "options = {{ channels = [24, 32, 48, 96], stem_width = 12 }}\n",
    "resnet, stride 1": RESNET + "stem_stride = 1\noptions = {{ channels = [12, 16, 24, 48], stem_width = 6 }}\n",
    "resnet, stride 1, narrow stem": RESNET
    + "stem_stride = 1\noptions = {{ channels = [12, 20, 32, 64], stem_width = 4 }}\n",
    "residual": RESIDUAL,
    "resnet, a fiftieth": RESNET + "stem_stride = 1\noptions = {{ channels = [6, 8, 12, 24], stem_width = 3 }}\n",
    "residual, a fiftieth": RESIDUAL + "options = {{ widths = [8, 15, 30], stem = 4 }}\n",
    "inverted, a fiftieth": 'module = "{modules}:inverted"\noptions = {{ widths = [16, 32], stem = 10, head = 128 }}\n',
}


def rows_to_train_on(outer: Path, data: Path, folder: Path) -> tuple[Dataset, Rows]:
    """The data set of an experiment, and the rows that it does not lock away."""
    file = ExperimentFile.read(outer, [f"data.path={data.resolve()}"])
    run = start_run(file, folder / "none", Work(1, "cpu"))
    return run.dataset, run.plan.oof_rows


def inner_data(outer: Path, data: Path, path: Path) -> None:
    """Write the pictures that the experiment does not lock away."""
    dataset, rows = rows_to_train_on(outer, data, path.parent)
    labels = dataset.labels
    np.savez(path, images=dataset.view("image")[rows], counts=labels.votes_NC[rows].astype(int), classes=labels.classes)


def inner_pictures(about: str | None, outer: Path) -> tuple[Path, Path, Path]:
    """What the command line asks for: a folder, the inner pictures of an experiment in it, and further pictures."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    shared = EXPERIMENTS.parents[1] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=shared / "cifar10h" / "cifar10h.npz")
    parser.add_argument("--unlabelled", type=Path, default=shared / "cifar10n" / "cifar10n_train4k_lossless.npz")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    inner = options.folder.resolve() / "inner.npz"
    if not inner.exists():
        inner_data(outer, options.data, inner)
    return options.folder, inner, options.unlabelled.resolve()


def ablations(arms: Mapping[str, str]) -> str:
    """The tables of these arms, settings by name, in an experiment file."""
    return "".join(f'[[ablation]]\nname = "{name}"\n{settings}' for name, settings in arms.items())


def show_arms(run: Run, arms: Iterable[str]) -> None:
    """Do every stage of a run, and print the KL and the cost of these arms beside the student's and the average's."""
    comparison = run_all(run)
    for name in ("average", "auto", "student", *arms):
        arm = comparison[name]
        assert arm.cost is not None
        share = comparison["average"].cost.macs / arm.cost.macs  # type: ignore[union-attr]
        print(f"{name:40} KL {arm.kl:.4f}, multiply-accumulates 1/{share:.1f}", flush=True)


def main() -> None:
    outer = EXPERIMENTS / "cifar10h_student.toml"
    folder, inner, unlabelled = inner_pictures(__doc__, outer)
    text = with_values(outer.read_text(encoding="utf-8"), {"data.path": str(inner)})
    members = text.partition("[student]\n")[0]
    arms = {f"{name}, votes": VOTES + text for name, text in ARCHITECTURES.items()} | ABLATIONS
    student = (STUDENT + ablations(arms)).format(
        modules=EXPERIMENTS / "my_models.py", unlabelled=unlabelled, plain=PLAIN, mixed=MIXED
    )
    run = start_run(ExperimentFile(members + student, folder, "inner.toml"), folder / "run", Work(device="cpu"))
    show_arms(run, arms)


if __name__ == "__main__":
    main()
