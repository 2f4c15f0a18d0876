"""Score new inputs with anything that a run has made: a member, a combination, a student, or an exported student.

N rows, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldstill.base_models.fold_models import FoldModels
from foldstill.base_models.joined_member import resolve
from foldstill.base_models.member import Member
from foldstill.data.dataset import Inputs
from foldstill.data.feature_form import Form
from foldstill.data.features import View
from foldstill.data.heads import BINARY
from foldstill.data.row_form import RowForm
from foldstill.data.submission import submission_like
from foldstill.distill import OnnxStudent, Student, load_student
from foldstill.errors import ExperimentError
from foldstill.oof.exports import check_score_output, write_heads_as, write_scores_as
from foldstill.oof.table import ScoreTable
from foldstill.pipeline.opening import find_run
from foldstill.pipeline.results import StudentResult
from foldstill.pipeline.run import Run
from foldstill.pipeline.rundir import COMBINATION, refuse_run_file
from foldstill.pipeline.runs_of_heads import head_runs
from foldstill.workers import Work

MEAN = "-mean"
"""Ends the name of a student when the average over its seeds is meant."""


@dataclass(frozen=True)
class Predictions:
    """Scores of new rows, and what a row of each view must look like for the models that were asked."""

    scores: ScoreTable
    forms: Mapping[str, Form]
    of_heads: bool = False
    """Whether the members of the scores are the heads of a multi-label run."""

    @property
    def recipe(self) -> list[str]:
        """One line per view of images or signals: shape and type of a row, and how it was prepared in training."""
        return [
            f"Inputs, as in training: view {view!r}, rows {form}; models scale them"
            for view, form in self.forms.items()
            if isinstance(form, RowForm)
        ]


def predict_inputs(
    target: Path,
    data: Path,
    out: Path,
    *,
    arm: str = "auto",
    seed: int | None = None,
    onnx: Path | None = None,
    like: Path | None = None,
    work: Work = Work(),
) -> Predictions:
    """Score the rows in `data`, which is in the form of the run's own data, and write them to `out`.

    `arm` has the name that the comparison gives it: a member, a combination (applied to the scores of each fold model,
    then averaged) or a student. A student of several seeds is that of `seed`, the first when not given, and its name
    with `-mean` stands for the average over its seeds. `onnx` is an exported student, which needs no torch.

    `out` is .parquet, or .csv with one column per class or head; with a sample file `like` it is .csv with the rows and
    columns of the sample. The kind of data of the run decides the form of a submission. With `work.force`, an output
    that foldstill did not write is replaced.
    """
    refuse_run_file(out)
    check_score_output(out, inputs=[data, *([like] if like else [])], force=work.force)
    run = find_run(target, work=work)
    if run.heads:
        if seed is not None or onnx is not None:
            raise ExperimentError("--seed and --onnx choose a student, and a multi-label run has none: leave them out")
        return _all_heads(run, data, out, arm, like)
    form = run.experiment.data.submission(data, out, like)
    rows = run.experiment.data.inputs(data)
    predictions = _by_onnx(onnx, rows, seed) if onnx is not None else _by_arm(run, rows, arm, seed)
    scores = predictions.scores
    if form is not None:
        form.write(scores.ids.tolist(), scores.proba_NMC[:, 0], scores.classes, out)
    else:
        write_scores_as(scores, out)
    return predictions


def _all_heads(run: Run, data: Path, out: Path, arm: str, like: Path | None) -> Predictions:
    """Write the probability of every head of a multi-label run, and return it as the members of a table."""
    from foldstill.base_models.per_head import learners, predict_heads

    form = None if like is None else submission_like(like, out)
    runs = head_runs(run)
    names, each = _names(run), [[path.parent.name for path in _combined(one)] for one in runs.values()]
    combinations = sorted(set(each[0]).intersection(*each))
    if arm not in (*names, *combinations):
        raise ExperimentError(
            f"the heads of {run.dir.root} have no arm {arm!r}: name a member {names} or a combination {combinations}"
        )
    rows = run.experiment.data.inputs(data)
    members = [m for m in learners(run.experiment.member, multi_label=True) if arm not in names or m.name == arm]
    for view in (view for m in members for view in m.views):
        _view(rows, view)
    by_head = predict_heads(run.dir.members, members, rows, run.heads, run.work.device)
    proba_HNC: list[NDArray[np.floating]]
    if arm in names:
        proba_HNC = [scores.mean().proba_NMC[:, 0] for scores in by_head.values()]
    else:
        proba_HNC = [runs[head].combination(arm).fitted.apply(scores) for head, scores in by_head.items()]
    scores = ScoreTable(rows.ids, run.heads, BINARY, np.stack(proba_HNC, axis=1).astype(np.float32))
    if form is not None:
        form.write_heads(scores.ids.tolist(), scores.proba_NMC[:, :, 1], scores.members, out)
    else:
        write_heads_as(scores, out)
    return Predictions(scores, _forms(run, members), of_heads=True)


def _by_arm(run: Run, rows: Inputs, arm: str, seed: int | None) -> Predictions:
    students = {one.settings.name: one for one in run.students}
    if (student := students.get(arm) or students.get(arm.removesuffix(MEAN))) is not None:
        return _by_student(run, rows, student, arm, seed)
    if seed is not None:
        raise ExperimentError(f"--seed {seed} has no effect on the arm {arm!r}: only students have seeds; leave it out")
    from foldstill.base_models.members import predict_members

    combinations = sorted(path.parent.name for path in _combined(run))
    if arm not in (*_names(run), *combinations):
        raise ExperimentError(
            f"{run.dir.root} has no arm {arm!r}: name a member {_names(run)}, a combination {combinations} or a "
            f"student {[name for name, one in students.items() if one.folder.exists()]}"
        )
    classes = run.table.classes
    members = [m for m in resolve(run.experiment.member) if arm not in _names(run) or m.name == arm]
    for view in (view for m in members for view in m.views):
        _view(rows, view)
    scores = predict_members(
        run.dir.members, members, rows.views, classes, run.work.device, ids=rows.ids.tolist(), recipes=rows.recipes
    )
    forms = _forms(run, members)
    if arm in _names(run):
        return Predictions(scores.mean(), forms)
    proba_NC = run.combination(arm).fitted.apply(scores).astype(np.float32)
    return Predictions(ScoreTable(rows.ids, (arm,), classes, proba_NC[:, None]), forms)


def _by_student(run: Run, rows: Inputs, student: StudentResult, arm: str, seed: int | None) -> Predictions:
    """The scores of one seed of a student, or their average; the name of the scores says which."""
    seeds, name = range(student.settings.seeds), student.settings.name
    if arm != name and seed is not None:
        raise ExperimentError(f"--seed {seed} has no effect on {arm!r}, the average over all seeds: leave it out")
    if seed is not None and seed not in seeds:
        raise ExperimentError(f"the student {name!r} has no seed {seed}: give one from 0 to {len(seeds) - 1}")
    chosen = list(seeds) if arm != name else [seed or 0]
    parts = [load_student(run.dir.seed(student.folder, one)) for one in chosen]
    proba_NC: NDArray[np.float32] = np.stack([_score(part, rows, run.work.device) for part in parts]).mean(axis=0)
    called = f"{arm}-seed-{chosen[0]}" if len(chosen) < len(seeds) else arm
    scores = ScoreTable(rows.ids, (called,), parts[0].classes, proba_NC[:, None])
    return Predictions(scores, {parts[0].view: parts[0].form} if parts[0].form is not None else {})


def _score(student: Student, rows: Inputs, device: str) -> NDArray[np.float32]:
    inputs = _view(rows, student.view)
    if student.form is not None:
        student.form.check(inputs, student.view, rows.recipes.get(student.view))
    return student.predict(inputs, device=device)


def _by_onnx(path: Path, rows: Inputs, seed: int | None) -> Predictions:
    if seed is not None:
        raise ExperimentError(f"--seed {seed} has no effect on the exported student {path}: leave it out")
    student = OnnxStudent(path)
    view = student.about["view"]
    student.form.check(_view(rows, view), view, rows.recipes.get(view))
    proba_NC = student.predict(rows.views[view])
    scores = ScoreTable(rows.ids, (path.stem,), student.classes, proba_NC[:, None])
    return Predictions(scores, {view: student.form})


def _forms(run: Run, members: Sequence[Member]) -> dict[str, Form]:
    """What the rows of each view must look like for these members."""
    forms: dict[str, Form] = {}
    for member in members:
        if not set(member.views) <= forms.keys():
            forms |= FoldModels(member, run.dir.members).forms()
    return forms


def _combined(run: Run) -> list[Path]:
    """The files of the combinations of a run."""
    return list(run.dir.stacking.glob(f"*/{COMBINATION}"))


def _names(run: Run) -> list[str]:
    return [m.name for m in run.experiment.member]


def _view(rows: Inputs, name: str) -> View:
    if name not in rows.views:
        raise ExperimentError(
            f"the model reads the view {name!r}, the new data has {sorted(rows.views)}: give that view as well"
        )
    return rows.views[name]
