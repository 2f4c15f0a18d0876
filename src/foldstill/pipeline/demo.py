"""The demo: a synthetic HMS written as the competition's files, prepared, and taken through every stage of a run."""

from pathlib import Path

from foldstill.compare.comparison import Comparison
from foldstill.data.hms.source import HmsData
from foldstill.errors import ExperimentError
from foldstill.experiment import demo_text, parse_experiment
from foldstill.pipeline.hms import synthesise
from foldstill.pipeline.run import Report, Run, open_run, silent
from foldstill.pipeline.stages import run_all

PATIENTS = 84
TEST_PATIENTS = 4
"""Of these patients nobody has the votes: `foldstill predict` makes a submission of them."""
RECORDINGS = 6


def run_demo(
    out: Path, *, text: str = "", patients: int = PATIENTS, jobs: int | None = None, report: Report = silent
) -> tuple[Comparison, Run]:
    """Everything from no data to a comparison, in `out`: what is finished is kept.

    `text` is the experiment, the embedded one when empty; its data are HMS files, which are made up where there are none.
    """
    from joblib import cpu_count

    text = text or demo_text()
    experiment = parse_experiment(text, "the demo")
    data = experiment.data
    if not isinstance(data, HmsData):
        raise ExperimentError(f'the demo makes data of kind "hms", got {data.kind!r}: use `foldstill run`')
    run = open_run(experiment, text, out, out, jobs=jobs, report=report)
    if not (out / data.folder / "train.csv").exists():
        synthesise(
            out / data.folder,
            patients,
            experiment.seed,
            recordings=RECORDINGS,
            test_patients=TEST_PATIENTS,
            report=report,
        )
    data.prepare(out, jobs=jobs or cpu_count(), on_progress=lambda done, total: report("prepare", done, total, ""))
    return run_all(run), run
