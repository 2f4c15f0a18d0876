"""How the recipe of `experiments/cifar10h_fine_members.toml` was chosen, without a look at its locked pictures.

    python benchmarks/fine_members.py FOLDER [--data cifar10h.npz] [--unlabelled more.npz]

The inner pictures are those of `student_recipe.py`. On the inner locked ones the student of the experiment is compared
with others: on the votes alone, with more of the teacher, with further pictures without votes, wider, and at a fiftieth
of the ensemble's multiply-accumulates. One seed each; about 70 CPU-minutes. Finished stages are kept.
"""

import argparse
from pathlib import Path

from foldstill.pipeline import ExperimentFile, start_run
from foldstill.workers import Work
from student_recipe import inner_data, show_arms

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "cifar10h_fine_members.toml"
VOTES = 'mix = { kind = "votes" }\nviews = "identity"\n'
WIDER = "options = { widths = [16, 32, 64], stem = 9 }\n"
ARMS = {
    "votes": VOTES,
    "three quarters of the teacher": 'mix = { kind = "fixed", share = 0.75 }\n',
    "further pictures": 'unlabelled = "{unlabelled}"\n',
    "wider": WIDER,
    "wider, votes": WIDER + VOTES,
    "a fiftieth": 'module = "my_models.py:inverted"\n'
    "options = { widths = [16, 32, 64], stem = 10, head = 128 }\n"
    "recipe = { epochs = 150 }\n",
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
    changes = [f"data.path={inner}", "student.seeds=1", "student.without_teacher=false"]
    text = ExperimentFile.read(EXPERIMENT, changes).text.partition("[[ablation]]")[0]
    for name, settings in ARMS.items():
        text += f'[[ablation]]\nname = "{name}"\n{settings}'.replace("{unlabelled}", str(options.unlabelled.resolve()))
    run = start_run(
        ExperimentFile(text, EXPERIMENT.parent, "the inner experiment"), options.folder / "run", Work(device="cpu")
    )
    show_arms(run, ARMS)


if __name__ == "__main__":
    main()
