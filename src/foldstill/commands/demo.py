"""The demo: synthetic EEG in the files of the HMS competition, prepared, and taken through every stage of a run."""

from pathlib import Path

from foldstill.commands.hms import demo_data, prepare_demo_data
from foldstill.commands.template import template
from foldstill.compare.comparison import Comparison
from foldstill.errors import ExperimentError
from foldstill.files import check_output
from foldstill.lock import sole_writer
from foldstill.pipeline.experiment_file import ExperimentFile
from foldstill.pipeline.opening import start_run
from foldstill.pipeline.run import Run
from foldstill.pipeline.stages import run_all
from foldstill.workers import Work

PATIENTS = 84
"""Number of synthetic patients, four of them without votes."""


def demo_text() -> str:
    """The experiment file of the demo, which is the template for EEG."""
    return template("eeg")


def run_demo(out: Path, *, text: str = "", patients: int = PATIENTS, work: Work = Work()) -> tuple[Comparison, Run]:
    """Generate the data where there are none, run every stage in `out`, and compare; finished work is kept.

    `text` is the experiment file, the demo's own when empty; its data must be HMS files.
    """
    text = text or demo_text()
    file = ExperimentFile(text, out, "the demo")
    data = demo_data(file.experiment.data)
    run = start_run(file, out, work)
    check_output(run.dir.experiment)
    if run.kept_text not in (None, file.text):
        raise ExperimentError(f"{out} holds the run of another experiment: name another folder with --out")
    with sole_writer(out):
        prepare_demo_data(data, out, patients, file.experiment.seed, work)
        return run_all(run), run
