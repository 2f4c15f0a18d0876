"""What a teacher is worth to a small student, by votes a row: CIFAR-10H thinned to few votes, scored against all of them.

    python benchmarks/few_votes.py FOLDER [--votes 3 10 1 0] [--data cifar10h.npz]

Runs `experiments/cifar10h_few_votes.toml` once a number of votes (0: all) in FOLDER, members included, on locked
pictures and three seeds, about 35 CPU-minutes each; finished parts are kept. Every ensemble is trained on the thinned votes too, as it would be.
"""

import argparse
from pathlib import Path

from foldstill.cli.terminal import console
from foldstill.pipeline import open_run, run_all
from foldstill.pipeline.experiment import parse_experiment

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "cifar10h_few_votes.toml"


def main() -> None:
    wanted = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    wanted.add_argument("folder", type=Path)
    wanted.add_argument("--votes", type=int, nargs="+", default=[3, 10, 1, 0], help="votes a row; 0 for all")
    wanted.add_argument("--data", help="the .npz, when it is not where the experiment looks")
    given = wanted.parse_args()
    text = EXPERIMENT.read_text(encoding="utf-8")
    if given.data:
        at = text.index('path = "') + len('path = "')
        text = text[:at] + str(Path(given.data).resolve()) + text[text.index('"', at) :]
    screen = console()
    for votes in given.votes:
        own = text.replace("thin_votes = 3\n", f"thin_votes = {votes}\n" if votes else "")
        run = open_run(
            parse_experiment(own, EXPERIMENT.name), own, EXPERIMENT.parent, given.folder / str(votes or "all")
        )
        comparison = run_all(run)
        student, gain = comparison["student"], comparison.teacher_gains()["student"]
        alone = comparison["student without teacher"]
        average = comparison["average"]
        assert student.cost is not None
        assert average.cost is not None
        screen.print(
            f"{votes or 'all'} votes: student {student.kl:.4f} ± {student.kl_deviation:.4f} over {len(student.kl_by_seed)} "
            f"seeds, without teacher {alone.kl:.4f} ± {alone.kl_deviation:.4f}, difference {gain.estimate:+.4f} "
            f"[{gain.low:+.4f}, {gain.high:+.4f}] ({gain.estimate / alone.kl:+.1%}); average {average.kl:.4f}, "
            f"auto {comparison['auto'].kl:.4f}; MACs {student.cost.macs / average.cost.macs:.1%} of the average's",
            markup=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    main()
