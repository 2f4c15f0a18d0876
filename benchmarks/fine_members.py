"""How the recipe of `experiments/cifar10h_fine_members.toml` was chosen, without a look at its locked pictures.

    python benchmarks/fine_members.py FOLDER [--data cifar10h.npz] [--unlabelled more.npz]

The inner pictures are those of `student_recipe.py`. On the inner locked ones the student of the experiment is compared
with others: on the votes alone, with more of the teacher, without further pictures, with mixup, wider, and at a
fiftieth of the ensemble's multiply-accumulates. One seed each; about 120 CPU-minutes, members included. Finished stages
are kept.
"""

import argparse
from pathlib import Path

from foldstill.pipeline import ExperimentFile, start_run
from foldstill.workers import Work
from student_recipe import inner_data, show_arms

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "cifar10h_fine_members.toml"
MIXUP = """[ablation.recipe]
augment = [
    { kind = "horizontal_flip" },
    { kind = "shift" },
    { kind = "cutout", p = 0.5, size = 0.5 },
    { kind = "mixup", p = 0.5 },
]
"""
LABELLED = 'unlabelled = ""\n'
VOTES = LABELLED + 'mix = { kind = "votes" }\nviews = "identity"\n'
THREE_QUARTERS = LABELLED + 'mix = { kind = "fixed", share = 0.75 }\n'
WIDER = "options = { widths = [16, 32, 64], stem = 9 }\n"
SMALL = 'module = "my_models.py:inverted"\noptions = { widths = [16, 32, 64], stem = 10, head = 128 }\n'
ARMS = {
    "votes and mixup": VOTES + MIXUP,
    "no further pictures": LABELLED,
    "three quarters, no further pictures": THREE_QUARTERS,
    "mixup": MIXUP,
    "mixup, no further pictures": LABELLED + MIXUP,
    "three quarters, mixup, no further pictures": THREE_QUARTERS + MIXUP,
    "wider, mixup, no further pictures": WIDER + LABELLED + MIXUP,
    "wider, votes and mixup": WIDER + VOTES + MIXUP,
    "a fiftieth, mixup, no further pictures": SMALL + LABELLED + MIXUP + "epochs = 150\n",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    shared = EXPERIMENT.parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=shared / "cifar10h" / "cifar10h.npz")
    parser.add_argument("--unlabelled", type=Path, default=shared / "cifar10n" / "cifar10n_train4k_lossless.npz")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    inner = options.folder.resolve() / "inner.npz"
    if not inner.exists():
        inner_data(EXPERIMENT, options.data, inner)
    changes = [f"data.path={inner}", f"student.unlabelled={options.unlabelled.resolve()}"]
    changes += ["student.seeds=1", "student.without_teacher=false"]
    text = ExperimentFile.read(EXPERIMENT, changes).text.partition("[[ablation]]")[0]
    for name, settings in ARMS.items():
        text += f'[[ablation]]\nname = "{name}"\n{settings}'
    run = start_run(
        ExperimentFile(text, EXPERIMENT.parent, "the inner experiment"), options.folder / "run", Work(device="cpu")
    )
    show_arms(run, ARMS)


if __name__ == "__main__":
    main()
