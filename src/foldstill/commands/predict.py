"""Score new inputs with anything that a run has made: a member, a combination, a student, or an exported student.

N rows, C classes.
"""

from pathlib import Path

import numpy as np

from foldstill.base_models.joined_member import resolve
from foldstill.data.dataset import Inputs
from foldstill.data.features import View, array_of
from foldstill.distill import OnnxStudent, load_student
from foldstill.errors import ExperimentError
from foldstill.oof.exports import check_score_output, write_scores_as
from foldstill.oof.table import ScoreTable
from foldstill.pipeline.opening import find_run
from foldstill.pipeline.run import Run
from foldstill.pipeline.rundir import refuse_run_file
from foldstill.workers import Work


def predict_inputs(
    target: Path,
    data: Path,
    out: Path,
    *,
    arm: str = "auto",
    onnx: Path | None = None,
    submission: Path | None = None,
    device: str = "auto",
    force: bool = False,
) -> ScoreTable:
    """Score the rows in `data`, which is in the form of the run's own data, and write them to `out`.

    `arm` is a member, a combination (applied to the scores of each fold model, then averaged) or a student; `onnx` is
    an exported student, which needs no torch. `out` is .parquet, or .csv with one column per class; with a sample
    `submission` it is .csv with the rows and columns of the sample. The kind of data of the run decides the form of a
    submission. `force` replaces an output that foldstill did not write.
    """
    refuse_run_file(out)
    check_score_output(out, inputs=[data, *([submission] if submission else [])], force=force)
    run = find_run(target, work=Work(device=device))
    form = run.experiment.data.submission(data, out, submission)
    rows = run.experiment.data.inputs(data)
    scores = _by_onnx(onnx, rows) if onnx is not None else _by_arm(run, rows, arm)
    if form is not None:
        form.write(scores.ids.tolist(), scores.proba_NMC[:, 0], scores.classes, out)
    else:
        write_scores_as(scores, out)
    return scores


def _by_arm(run: Run, rows: Inputs, arm: str) -> ScoreTable:
    folders = {
        run.dir.student.name: run.dir.student,
        run.dir.student_without_teacher.name: run.dir.student_without_teacher,
    }
    if arm in folders:
        student = load_student(folders[arm])
        inputs = _view(rows, student.view)
        if student.form is not None:
            student.form.check(inputs, student.view, rows.recipes.get(student.view))
        proba_NC = student.predict(inputs, device=run.work.device)
        return ScoreTable(rows.ids, (arm,), student.classes, proba_NC[:, None])
    from foldstill.base_models.members import predict_members

    combinations = sorted(p.parent.name for p in run.dir.stacking.glob("*/combination.json"))
    if arm not in (*_names(run), *combinations):
        students = [name for name, folder in folders.items() if folder.exists()]
        raise ExperimentError(
            f"{run.dir.root} has no arm {arm!r}: name a member {_names(run)}, a combination {combinations} or a "
            f"student {students}"
        )
    classes = run.table.classes
    members = [m for m in resolve(run.experiment.member) if arm not in _names(run) or m.name == arm]
    for view in (view for m in members for view in m.views):
        _view(rows, view)
    scores = predict_members(
        run.dir.members, members, rows.views, classes, run.work.device, ids=rows.ids.tolist(), recipes=rows.recipes
    )
    if arm in _names(run):
        return scores.mean()
    proba_NC = run.combination(arm).fitted.apply(scores).astype(np.float32)
    return ScoreTable(rows.ids, (arm,), classes, proba_NC[:, None])


def _by_onnx(path: Path, rows: Inputs) -> ScoreTable:
    student = OnnxStudent(path)
    view = student.about["view"]
    student.form.check(_view(rows, view), view, rows.recipes.get(view))
    proba_NC = student.predict(array_of(rows.views[view], view))
    return ScoreTable(rows.ids, (path.stem,), student.classes, proba_NC[:, None])


def _names(run: Run) -> list[str]:
    return [m.name for m in run.experiment.member]


def _view(rows: Inputs, name: str) -> View:
    if name not in rows.views:
        raise ExperimentError(
            f"the model reads the view {name!r}, the new data has {sorted(rows.views)}: give that view as well"
        )
    return rows.views[name]
