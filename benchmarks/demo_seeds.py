"""The demo on other seeds of its generator: does its result hold?

    python benchmarks/demo_seeds.py FOLDER 201 202 203 204 205

A seed takes 1.3 GB while it runs; its EEG is removed afterwards. CPU seconds are those of generating and preparing the
EEG, and of everything after that.
"""

import argparse
import os
import shutil
import time
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

from foldstill.commands.demo import PATIENTS, demo_text, run_demo
from foldstill.commands.hms import demo_data, prepare_demo_data
from foldstill.compare.intervals import Interval
from foldstill.pipeline.experiment_file import ExperimentFile
from foldstill.workers import Work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("seeds", type=int, nargs="+")
    asked = parser.parse_args()
    seed_of_demo = ExperimentFile(demo_text(), asked.folder, "the demo").experiment.seed
    for seed in asked.seeds:
        print(told(asked.folder / str(seed), demo_text().replace(f"\nseed = {seed_of_demo}", f"\nseed = {seed}")))


def told(out: Path, text: str) -> str:
    """One line on one seed."""
    data, work = demo_data(ExperimentFile(text, out, "the demo").experiment.data), Work(1, "cpu")
    start = time.process_time()
    prepare_demo_data(data, out, PATIENTS, ExperimentFile(text, out, "the demo").experiment.seed, work)
    generated = time.process_time()
    comparison, run, truth_kl = run_demo(out, text=text, work=work)
    stop = time.process_time()
    for name in ("train_eegs", "train_spectrograms"):
        shutil.rmtree(out / data.folder / name)
    leader = comparison.judgement.leader
    assert leader is not None, "the demo has combinations"
    gain, teacher = comparison[leader].simultaneous, comparison.teacher_gains()["student"]
    assert gain is not None, "a combination is compared with the average"
    return (
        f"seed {run.experiment.seed}: {comparison.judgement.answer}; truth {truth_kl:.4f}, average "
        f"{comparison['average'].kl:.4f}, {leader} {comparison[leader].kl:.4f} ({shown(gain)}), student "
        f"{comparison['student'].kl:.4f}, teacher {shown(teacher)}; {comparison.n_groups} patients, "
        f"{generated - start:.0f} + {stop - generated:.0f} CPU s"
    )


def shown(interval: Interval) -> str:
    return f"{interval.estimate:+.4f} [{interval.low:+.4f}, {interval.high:+.4f}]"


if __name__ == "__main__":
    main()
