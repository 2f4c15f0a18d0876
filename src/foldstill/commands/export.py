"""The student as files that run elsewhere, each checked on real rows, with a card that says what it is."""

from collections.abc import Sequence
from dataclasses import replace

from foldstill.compare.comparison import ArmScore, Fidelity
from foldstill.cost import Cost
from foldstill.distill import load_student
from foldstill.distill.card import Card, Score
from foldstill.distill.export import export_program
from foldstill.distill.quantise import Precision
from foldstill.distill.shipment import Shipment, ship
from foldstill.errors import DistillError
from foldstill.files import read_json
from foldstill.pipeline.run import Run


def _fidelity(followed: Fidelity) -> list[Score]:
    return [
        Score(f"KL from its teacher, {followed.teacher}", followed.kl),
        Score("share of rows for which it names its teacher's class", followed.agreement),
    ]


def export_stage(run: Run, precisions: Sequence[Precision] = ("fp16", "int8"), *, program: bool = False) -> Shipment:
    """Write student.onnx, its smaller precisions that keep their KL, and card.md into the student's folder.

    A smaller precision is scaled and decided on training rows, and reported on the locked test rows. `program` also writes
    a torch.export file.
    """
    settings, folder = run.experiment.student, run.dir.student
    if settings is None:
        raise DistillError("the experiment has no [student] to export: add one and run `foldstill distill`")
    if not len(run.plan.test_rows):
        raise DistillError("an export is reported on locked test rows, the plan has none: set folds.test_share")
    student = load_student(folder)
    comparison = run.comparison
    view, labels = run.dataset.view(student.view), run.dataset.labels
    test, taught = run.plan.test_rows, run.plan.oof_rows
    shipment = ship(
        student,
        folder,
        view,
        labels.target_NC,
        taught=taught,
        held_out=test,
        precisions=precisions,
        about={"experiment": run.experiment.name, "plan": run.plan.digest},
    )
    files = dict(shipment.files)
    if program:
        export_program(student.network, view[test[:2]], folder / "student.pt2")
        files["student.pt2"] = "torch.export program, float32"
    arm = comparison[settings.name]
    assert arm.difference is not None, "the student is never the baseline"
    gain = comparison.teacher_gain(settings.name)
    votes = labels.total_N[taught]
    Card(
        name=f"{run.experiment.name}: {settings.name}",
        network=settings.network,
        classes=labels.classes,
        view=student.view,
        teacher=f"{settings.teacher} of {len(run.experiment.member)} members x {run.plan.n_folds} folds",
        data=f"{len(taught)} rows of {len(set(labels.groups[taught].tolist()))} groups, {votes.mean():.1f} votes a row on average "
        f"({votes.min():g} to {votes.max():g}); source: {run.experiment.data.kind}.",
        scored_on=f"{len(test)} locked test rows of {comparison.n_groups} groups that no fit, choice or calibration saw",
        scores=[
            *_kl(arm),
            Score("KL minus that of the plain average", arm.difference.estimate, arm.difference),
            *([Score("KL minus that of the same student without a teacher", gain.estimate, gain)] if gain else []),
            *(_fidelity(arm.fidelity) if arm.fidelity else []),
            Score("accuracy", float(arm.scores["accuracy"] or 0.0)),
            Score("calibration error of the top class", float(arm.scores["ece"] or 0.0)),
        ],
        cost=arm.cost or Cost(**read_json(folder / "cost.json")),
        latencies=shipment.latencies,
        files=files,
        remarks=[arm.note] if arm.note else (),
    ).write(run.dir.card)
    return replace(shipment, files=files)


def _kl(arm: ArmScore) -> list[Score]:
    """Of several seeds their mean, their spread, and that of the one whose weights are shipped."""
    if not arm.kl_by_seed:
        return [Score("KL divergence", arm.kl)]
    return [
        Score(f"KL divergence, mean of {len(arm.kl_by_seed)} seeds, as are all scores here", arm.kl),
        Score("KL divergence, standard deviation over seeds", arm.kl_deviation or 0.0),
        Score("KL divergence of the first seed, which the files hold", arm.kl_by_seed[0]),
    ]
