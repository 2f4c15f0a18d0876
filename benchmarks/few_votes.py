"""How much a small student gains from a teacher, by votes per row: CIFAR-10H with few votes, scored against all.

    python benchmarks/few_votes.py FOLDER [--votes 3 10 1 0] [--data cifar10h.npz]

Runs `experiments/cifar10h_few_votes.toml` in FOLDER once per number of votes (0: all), members included, and scores it
on locked images with three seeds. Each run takes about 35 CPU-minutes; finished stages are kept. Every ensemble is
trained on the reduced votes too, as it would be in practice.
"""

import argparse
from pathlib import Path

from foldstill.cli.terminal import console
from foldstill.pipeline import ExperimentFile, run_all, start_run
from foldstill.pipeline.overrides import with_values

EXPERIMENT = Path(__file__).parents[1] / "experiments" / "cifar10h_few_votes.toml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--votes", type=int, nargs="+", default=[3, 10, 1, 0], help="Votes per row; 0 for all.")
    parser.add_argument("--data", help="Path of the .npz file, if it is not the path in the experiment file.")
    options = parser.parse_args()
    text = EXPERIMENT.read_text(encoding="utf-8")
    if options.data:
        text = with_values(text, {"data.path": str(Path(options.data).resolve())})
    screen = console()
    for votes in options.votes:
        changed = text.replace("thin_votes = 3\n", f"thin_votes = {votes}\n" if votes else "")
        file = ExperimentFile(changed, EXPERIMENT.parent, EXPERIMENT.name)
        run = start_run(file, options.folder / str(votes or "all"))
        comparison = run_all(run)
        student, gain = comparison["student"], comparison.teacher_gains()["student"]
        alone = comparison["student without teacher"]
        average = comparison["average"]
        assert student.cost is not None
        assert average.cost is not None
        screen.print(
            f"{votes or 'all'} votes per row: student {student.kl:.4f} ± {student.kl_deviation:.4f} "
            f"over {len(student.kl_by_seed)} seeds, without teacher {alone.kl:.4f} ± {alone.kl_deviation:.4f}, "
            f"difference {gain.estimate:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] ({gain.estimate / alone.kl:+.1%}); "
            f"average {average.kl:.4f}, auto {comparison['auto'].kl:.4f}; "
            f"MACs {student.cost.macs / average.cost.macs:.1%} of the average's",
            markup=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    main()
