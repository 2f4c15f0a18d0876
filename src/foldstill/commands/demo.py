"""The demo: synthetic EEG in the files of the HMS competition, prepared, and taken through every stage of a run.

N rows, C classes.
"""

from pathlib import Path

from foldstill.commands.hms import demo_data, prepare_demo_data
from foldstill.commands.template import template
from foldstill.compare.comparison import Comparison
from foldstill.data.labels import Labels
from foldstill.data.simplex import kl_divergence
from foldstill.errors import ExperimentError
from foldstill.files import check_output
from foldstill.hms.montage import CLASSES
from foldstill.hms.synthetic import TRUTH
from foldstill.lock import sole_writer
from foldstill.pipeline.experiment_file import ExperimentFile
from foldstill.pipeline.opening import start_run
from foldstill.pipeline.run import Run
from foldstill.pipeline.stages import run_all
from foldstill.workers import Work

PATIENTS = 304
"""Number of synthetic patients, four of them without votes. Half of the others are locked: fewer would leave the worth
of a teacher open."""


def demo_text() -> str:
    """The experiment file of the demo."""
    return template("demo")


def run_demo(
    out: Path, *, text: str = "", patients: int = PATIENTS, work: Work = Work()
) -> tuple[Comparison, Run, float | None]:
    """Generate the data where there are none, run every stage in `out`, and compare; finished work is kept.

    `text` is the experiment file, the demo's own when empty; its data must be HMS files. The last value is the KL of
    the true probabilities on the locked rows, which no model can be expected to beat; None for data that were not
    generated and for an experiment without locked rows.
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
        comparison = run_all(run)
    assert isinstance(comparison, Comparison), "the demo has one label per row"
    return comparison, run, _true_kl(out / data.folder / TRUTH, run.test_labels)


def _true_kl(path: Path, labels: Labels | None) -> float | None:
    """The KL of the probabilities from which the votes of the locked rows were drawn."""
    import pandas as pd

    if labels is None or not path.exists():
        return None
    frame = pd.read_csv(path)
    # The id of a sample names its first window.
    frame.index = frame["eeg_id"].astype(str) + "-" + frame["eeg_sub_id"].astype(str)
    return kl_divergence(target=labels.target_NC, proba=frame.loc[list(labels.ids), list(CLASSES)].to_numpy())
