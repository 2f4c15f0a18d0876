"""The demo: a synthetic HMS written as the competition's files, prepared, and taken through every stage of a run."""

from importlib import resources
from pathlib import Path

from foldstill.commands.hms import synthesise
from foldstill.compare.comparison import Comparison
from foldstill.errors import ExperimentError
from foldstill.hms.source import HmsData
from foldstill.pipeline.experiment_file import ExperimentFile
from foldstill.pipeline.opening import start_run
from foldstill.pipeline.run import Run
from foldstill.pipeline.stages import run_all
from foldstill.workers import Progress, Work

PATIENTS = 84
TEST_PATIENTS = 4
"""Of these patients nobody has the votes: `foldstill predict` makes a submission of them."""
RECORDINGS = 6


def demo_text() -> str:
    """The demo's experiment file: embedded, commented, and what `foldstill init` writes to start from."""
    return resources.files("foldstill.commands").joinpath("demo.toml").read_text(encoding="utf-8")


def run_demo(out: Path, *, text: str = "", patients: int = PATIENTS, work: Work = Work()) -> tuple[Comparison, Run]:
    """Everything from no data to a comparison, in `out`: what is finished is kept.

    `text` is the experiment, the embedded one when empty; its data are HMS files, which are made up where there are none.
    """
    text = text or demo_text()
    file = ExperimentFile(text, out, "the demo")
    experiment = file.experiment
    data = experiment.data
    if not isinstance(data, HmsData):
        raise ExperimentError(f'the demo makes data of kind "hms", got {data.kind!r}: use `foldstill run`')
    run = start_run(file, out, work)
    if not (out / data.folder / "train.csv").exists():
        synthesise(
            out / data.folder,
            patients,
            experiment.seed,
            recordings=RECORDINGS,
            test_patients=TEST_PATIENTS,
            report=work.report,
        )
    data.prepare(
        out, jobs=work.n_workers, on_progress=lambda done, total: work.report(Progress("prepare", done, total))
    )
    return run_all(run), run
