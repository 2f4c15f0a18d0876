"""How the recipe of `experiments/cifar10h_fine_members.toml` was chosen, without a look at its locked pictures.

    python benchmarks/fine_members.py FOLDER [--data cifar10h.npz] [--unlabelled more.npz]

The inner pictures are those of `student_recipe.py`. On the inner locked ones the student of the experiment is compared
with others: on the votes alone, with more of the teacher, without further pictures, with mixup, wider, and at a
fiftieth of the ensemble's multiply-accumulates. One seed each; about 120 CPU-minutes, members included. Finished stages
are kept.
"""

from foldstill.pipeline import ExperimentFile, start_run
from foldstill.workers import Work
from student_recipe import EXPERIMENTS, MIXED, ablations, inner_pictures, show_arms

EXPERIMENT = EXPERIMENTS / "cifar10h_fine_members.toml"
MIXUP = f"[ablation.recipe]\n{MIXED}\n"
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
    folder, inner, unlabelled = inner_pictures(__doc__, EXPERIMENT)
    changes = [f"data.path={inner}", f"student.unlabelled={unlabelled}"]
    changes += ["student.seeds=1", "student.without_teacher=false"]
    text = ExperimentFile.read(EXPERIMENT, changes).text.partition("[[ablation]]")[0] + ablations(ARMS)
    run = start_run(ExperimentFile(text, EXPERIMENTS, "the inner experiment"), folder / "run", Work(device="cpu"))
    show_arms(run, ARMS)


if __name__ == "__main__":
    main()
