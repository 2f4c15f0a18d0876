"""Every arm of a run compared with the plain average on the same rows."""

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare import Arm, CompareSettings, Comparison, compare
from foldstill.cost import Cost, total_cost
from foldstill.machine import versions
from foldstill.manifest import DONE
from foldstill.pipeline.arms import combination_arm, member_arms, prior_arm, simplest_first, student_arm
from foldstill.pipeline.curves import finished_history
from foldstill.pipeline.durations import durations_note, timed
from foldstill.pipeline.results import CombinationResult
from foldstill.pipeline.run import Run, one_writer
from foldstill.pipeline.tracking import check_tracker, track_comparison

OPTIMISTIC = "its teachers saw the votes of the rows it is scored on: no estimate of what it would do on other rows"


@one_writer
@timed("compare")
def compare_stage(run: Run, metric: str | None = None) -> Comparison:
    """Compare all arms with the plain average and write comparison.json, comparison.csv and report.html.

    `metric` names what decides in place of the experiment's. A relative path to a file of a metric starts at the
    working directory, and one in the experiment at its folder.

    The rows are the locked test rows when the run has some; otherwise the out-of-fold rows, with combinations
    cross-fitted. Cross-validated students are compared on the out-of-fold rows. When the first comparison is on locked
    rows, that is a second comparison, written to the folder `cross-validation`.
    """
    from foldstill.compare.report import write_report

    run.dir.require(run.dir.oof, "oof build")
    run.dir.require(run.dir.stacking, "stack")
    check_tracker(run)
    for combination in run.combinations:
        run.check_fitted(combination)
    for one in run.students:
        run.check_taught(one)
    settings = _settings(run, metric)
    if run.test_file is not None:
        comparison, validated = _on_test_rows(run, settings), _validated(run, settings)
    else:
        arms = [
            prior_arm(run.table),
            *member_arms(run.table.scores),
            *_oof_combinations(run),
            *_cross_validated_students(run),
        ]
        comparison = compare(
            arms, run.table.labels, rows="oof cross-fitted", members=run.table.scores, settings=settings
        )
        comparison = replace(comparison, n_unscored=run.table.n_unscored)
        validated = None
    comparison.write(run.dir.root)
    run.refresh("comparison")
    findings = [
        {"check": f"{f.id} {f.name}", "verdict": f.shown, "evidence": f.evidence, "cure": f.cure}
        for f in run.audit.findings
    ]
    write_report(
        comparison,
        run.dir.report,
        curves=_curves(run),
        weights=[record for one in run.combinations for record in one.weights] or None,
        audit=findings,
        context=_provenance(run) | {"command": command_of(run, comparison.judgement.recommended, "RUN")},
        validated=validated,
        summaries={one.fitted.name: one.fitted.combiner.summary for one in run.combinations},
    )
    track_comparison(run, comparison)
    return comparison


def command_of(run: Run, arm: str, root: str = "") -> str:
    """The command that predicts new rows with an arm of the run; empty for an arm without one.

    `root` stands for the folder of the run: a report says RUN, and so has the same bytes wherever its run lies.
    """
    root = root or str(run.dir.root)
    if run.settings is not None:
        return shlex.join(["foldstill", "predict", "--run", root, "--arm", arm, "--data", "NEW_DATA"])
    folder = run.dir.combiner(arm)
    if not folder.exists():
        return ""
    return shlex.join(["foldstill", "apply", str(Path(root) / folder.relative_to(run.dir.root)), "NEW_SCORES"])


def cross_validation_of(run: Run, comparison: Comparison) -> Comparison | None:
    """The comparison of cross-validated students that stands beside one on locked rows; None when there is none."""
    if comparison.rows != "test" or not run.dir.cross_validation.exists():
        return None
    return Comparison.read(run.dir.cross_validation)


def _on_test_rows(run: Run, settings: CompareSettings) -> Comparison:
    assert run.test is not None, "called only for a run with locked rows"
    assert run.test_labels is not None, "called only for a run with locked rows"
    members, costs = run.test.mean(), _member_costs(run)
    arms = [
        prior_arm(run.table, len(members)),
        *member_arms(members, costs),
        *(_combination(run, one, one.test_proba_NC, members.members, costs) for one in _from_simple(run)),
        *(student_arm(one, one.test) for one in run.students if one.test),
    ]
    return compare(arms, run.test_labels, rows="test", members=members, settings=settings)


def _validated(run: Run, settings: CompareSettings) -> Comparison | None:
    """Cross-validated students against the plain average of the out-of-fold rows; None when there are none."""
    students = _cross_validated_students(run)
    if not students:
        return None
    average = [arm for arm in _oof_combinations(run) if arm.kind == "average" and arm.name == "average"]
    comparison = compare(
        [prior_arm(run.table), *average, *students],
        run.table.labels,
        rows="oof cross-fitted",
        members=run.table.scores,
        settings=settings,
    )
    if all(arm.kind != "student" for arm in students):
        comparison = replace(comparison, verdict=f"Naive cross-validation of a student is optimistic: {OPTIMISTIC}.")
    comparison.write(run.dir.cross_validation)
    return comparison


def _oof_combinations(run: Run) -> list[Arm]:
    return [_combination(run, one, one.oof_proba_NC, run.table.members) for one in _from_simple(run)]


def _from_simple(run: Run) -> list[CombinationResult]:
    """The combinations from simple to complex, so that of equally good ones the simplest is recommended."""
    return sorted(run.combinations, key=lambda one: simplest_first(one.fitted.combiner))


def _settings(run: Run, metric: str | None) -> CompareSettings:
    """The settings of the experiment with the metric that decides."""
    settings = run.settings.compare if run.settings is not None else CompareSettings()
    return replace(settings, metric=run.metric if metric is None else metric)


def _combination(
    run: Run,
    one: CombinationResult,
    proba_NC: NDArray[np.float32],
    members: tuple[str, ...],
    costs: Mapping[str, Cost] | None = None,
) -> Arm:
    """The arm of a combination."""
    others = [other.fitted.combiner for other in run.combinations]
    return combination_arm(one.fitted, proba_NC, members, costs, others)


def _cross_validated_students(run: Run) -> list[Arm]:
    """Students on the out-of-fold rows. An optimistic one never stands as the run's student."""
    arms = [student_arm(one, one.oof) for one in run.students if one.oof]
    return [
        replace(arm, kind="ablation", note=OPTIMISTIC) if arm.name.startswith("optimistic ") else arm for arm in arms
    ]


def _member_costs(run: Run) -> dict[str, Cost]:
    """The cost of a member with all its fold models, where it was measured."""
    assert run.test is not None, "called only for a run with locked rows"
    files = {m: run.dir.member_cost(m) for m in run.test.members}
    return {m: total_cost([Cost.read(path)] * run.test.n_models) for m, path in files.items() if path.exists()}


def _provenance(run: Run) -> dict[str, Any]:
    """What the comparison rests on: rows, digests, where combinations were fitted, versions."""
    labels, n_folds = run.table.labels, len(run.table.folds)
    facts = {
        "fitted on": f"{len(labels)} out-of-fold rows of {len(np.unique(labels.groups))} groups in {n_folds} folds",
        "labels digest": labels.digest,
        "fold plan digest": run.table.plan_digest or "none: scores were imported",
    }
    # Of what came before: that of the comparison itself ends after the report.
    if note := durations_note(run):
        facts["durations"] = note
    return facts | versions()


def _curves(run: Run) -> list[dict[str, Any]]:
    """One record per epoch of every training history: training loss, and KL on the inner split if there is one."""
    records: list[dict[str, Any]] = []
    for folder in sorted(mark.parent for mark in run.dir.members.glob(f"*/fold-*/{DONE}")):
        for epoch, values in enumerate(finished_history(folder), start=1):
            record = {"member": folder.parent.name, "fold": folder.name, "epoch": epoch}
            records.append(record | {"loss": values["loss"], "kl": values.get("inner_kl")})
    return records
