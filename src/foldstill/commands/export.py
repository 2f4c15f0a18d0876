"""Export a run's student: files that run elsewhere, each checked on real rows, and a model card."""

from collections.abc import Sequence
from dataclasses import replace

from foldstill.compare import Comparison
from foldstill.compare.results import ArmScore, Fidelity
from foldstill.cost import Cost
from foldstill.data.feature_form import FeatureForm
from foldstill.data.row_form import shown
from foldstill.distill import Student, StudentSettings, load_student
from foldstill.distill.card import Card, CardEntry
from foldstill.distill.export import export_program
from foldstill.distill.quantise import OnnxPrecision
from foldstill.distill.shipment import ExportRows, Shipment, ship, ship_features
from foldstill.errors import DistillError
from foldstill.pipeline.run import Run, one_writer


@one_writer
def export_stage(
    run: Run, precisions: Sequence[OnnxPrecision] = ("fp16", "int8"), *, program: bool = False
) -> Shipment:
    """Write student.onnx, the smaller precisions that keep its KL, and card.md into the student's folder.

    A smaller precision is calibrated and decided on training rows, and reported on the locked test rows. `program` also
    writes a torch.export file.
    """
    settings, folder = run.experiment.student, run.dir.student
    if settings is None:
        raise DistillError("the experiment has no [student] to export: add one and run `foldstill distill`")
    if not len(run.plan.test_rows):
        raise DistillError("an export is reported on locked test rows, the plan has none: set folds.test_share")
    student = load_student(folder)
    comparison = run.comparison
    about = {"experiment": run.experiment.name, "plan": run.plan.digest}
    if not student.is_network:
        shipment = ship_features(student, folder, run.dataset.view(student.view)[run.plan.test_rows], about=about)
        _card(run, settings, student, comparison, shipment).write(run.dir.card)
        return shipment
    view, labels = run.dataset.view(student.view), run.dataset.labels
    shipment = ship(
        student,
        folder,
        ExportRows(view, labels.target_NC, taught=run.plan.oof_rows, held_out=run.plan.test_rows),
        precisions=precisions,
        about=about,
    )
    files = dict(shipment.files)
    if program:
        export_program(student.network, student.array(view[run.plan.test_rows[:2]]), folder / "student.pt2")
        files["student.pt2"] = "torch.export program, float32"
    shipment = replace(shipment, files=files)
    _card(run, settings, student, comparison, shipment).write(run.dir.card)
    return shipment


def _inputs(student: Student) -> list[str]:
    """What the student expects of a row, and what it does to it itself."""
    form = student.form
    assert form is not None, "a student of a run knows the form of its rows"
    if isinstance(form, FeatureForm):
        facts = [f"feature {feature}" for feature in form.features]
        encoded = f"the network encodes them itself, as {len(form.encoded_names)} numbers: give it values as they are"
        return [*facts, encoded] if student.is_network else facts
    layer = student.network.input.constants()
    facts = [f"shape of a row: {' x '.join(map(str, form.shape))}, {form.dtype}"]
    facts += [f"{name}: {shown(value)}" for name, value in form.recipe.items()]
    if layer["resize"] is not None:
        facts.append(f"the network resizes it to {shown(layer['resize'])} (bilinear)")
    scaled = ("mean", layer["mean"]), ("standard deviation", layer["std"])
    constants = ", ".join(f"{name} {', '.join(f'{v:.4g}' for v in values)}" for name, values in scaled)
    return [*facts, f"the network scales each channel itself ({constants}): give it rows that are not scaled"]


def _card(run: Run, settings: StudentSettings, student: Student, comparison: Comparison, shipment: Shipment) -> Card:
    arm, labels, taught = comparison[settings.name], run.dataset.labels, run.plan.oof_rows
    votes, n_groups = labels.total_N[taught], len(set(labels.groups[taught].tolist()))
    return Card(
        name=f"{run.experiment.name}: {settings.name}",
        network=settings.network_name,
        classes=labels.classes,
        view=settings.view,
        inputs=_inputs(student),
        teacher=f"{settings.teacher} of {len(run.experiment.member)} members x {run.plan.n_folds} folds",
        data=(
            f"{len(taught)} rows of {n_groups} groups, {votes.mean():.1f} votes per row on average ({votes.min():g} to "
            f"{votes.max():g}); source: {run.experiment.data.kind}."
        ),
        scored_on=(
            f"{len(run.plan.test_rows)} locked test rows of {comparison.n_groups} groups that no fit, choice or "
            "calibration used"
        ),
        scores=_entries(comparison, arm),
        cost=arm.cost or Cost.read(run.dir.student / "cost.json"),
        latencies=shipment.latencies,
        files=shipment.files,
        remarks=[arm.note] if arm.note else (),
    )


def _entries(comparison: Comparison, arm: ArmScore) -> list[CardEntry]:
    gain, metric = comparison.teacher_gain(arm.name), comparison.metric
    assert arm.difference is not None, "the student is never the baseline"
    difference = metric.shown_interval(arm.difference)
    shown_gain = None if gain is None else metric.shown_interval(gain)
    untaught = f"{metric.title} minus that of the same student without a teacher"
    return [
        *_kl(arm),
        *([] if arm.metric_loss is None else [CardEntry(metric.title, metric.shown(arm.loss))]),
        CardEntry(f"{metric.title} minus that of the plain average", difference.estimate, difference),
        *([CardEntry(untaught, shown_gain.estimate, shown_gain)] if shown_gain else []),
        *(_fidelity(arm.fidelity) if arm.fidelity else []),
        CardEntry("accuracy", float(arm.scores["accuracy"] or 0.0)),
        CardEntry("calibration error of the predicted class", float(arm.scores["ece"] or 0.0)),
    ]


def _kl(arm: ArmScore) -> list[CardEntry]:
    """The KL; with several seeds their mean, their standard deviation, and the KL of the seed that is exported."""
    if not arm.kl_by_seed:
        return [CardEntry("KL divergence", arm.kl)]
    return [
        CardEntry(f"KL divergence, mean of {len(arm.kl_by_seed)} seeds, as are all scores here", arm.kl),
        CardEntry("KL divergence, standard deviation over seeds", arm.kl_deviation or 0.0),
        CardEntry("KL divergence of the first seed, which the files hold", arm.kl_by_seed[0]),
    ]


def _fidelity(fidelity: Fidelity) -> list[CardEntry]:
    return [
        CardEntry(f"KL from its teacher, {fidelity.teacher}", fidelity.kl),
        CardEntry("share of rows for which it predicts the same class as its teacher", fidelity.agreement),
    ]
