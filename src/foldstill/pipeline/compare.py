"""Every arm of a run on the same rows, from what the stages left on disk."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foldstill.compare import Arm, Comparison, compare
from foldstill.compare.arms import Kind
from foldstill.cost import Cost
from foldstill.cost.measure import total_cost
from foldstill.errors import ExperimentError
from foldstill.files import read_json
from foldstill.machine import versions
from foldstill.manifest import DONE
from foldstill.oof.store import read_labels, read_scores, read_table
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable
from foldstill.pipeline.arms import combination_arm, member_arms
from foldstill.pipeline.experiment import read_experiment
from foldstill.pipeline.lessons import student_folder
from foldstill.pipeline.rundir import RunDir
from foldstill.pipeline.stack import audit_run, table_digest
from foldstill.pipeline.uncertainty import uncertainty_note
from foldstill.stacking import load

OPTIMISTIC = "its teachers saw the votes of the rows it is scored on: no estimate of what it would do on other rows"


def compare_stage(folder: RunDir) -> Comparison:
    """Compare all arms with the plain average and write comparison.json, comparison.csv and report.html.

    The rows are the locked test rows where the run has some; else the out-of-fold rows with combinations cross-fitted.
    Cross-validated students are compared on the out-of-fold rows, in a comparison of their own where the first is of locked
    rows; it is left in the folder `cross-validation`.
    """
    from foldstill.compare.report import write_report

    table = read_table(folder.require(folder.oof, "oof build"))
    folder.require(folder.stacking, "stack")
    if folder.test.exists():
        test, labels = read_scores(folder.test), read_labels(folder.test)
        if not isinstance(test, FoldScores) or labels is None:
            raise ExperimentError(
                f"{folder.test} holds no fold models or no labels: make it again with `foldstill oof build`"
            )
        costs, members = _member_costs(folder, test), test.mean()
        arms = [
            *member_arms(members, costs),
            *_combinations(folder, table, "test.parquet", test.members, costs),
            *_students(folder),
        ]
        comparison = compare(arms, labels, rows="test", members=members)
        validated = _validated(folder, table)
    else:
        arms = [
            *member_arms(table.scores, {}),
            *_combinations(folder, table, "oof.parquet", table.members, {}),
            *_cross_validated_students(folder),
        ]
        comparison, validated = compare(arms, table.labels, rows="oof cross-fitted", members=table.scores), None
    comparison.write(folder.root)
    weights = [record for path in sorted(folder.stacking.glob("*/weights.json")) for record in read_json(path)]
    findings = [
        {"check": f"{f.id} {f.name}", "verdict": f.verdict, "evidence": f.evidence, "cure": f.cure}
        for f in audit_run(folder).findings
    ]
    write_report(
        comparison,
        folder.report,
        curves=_curves(folder),
        weights=weights or None,
        audit=findings,
        context=_provenance(folder, table),
        validated=validated,
    )
    return comparison


def _validated(folder: RunDir, table: OOFTable) -> Comparison | None:
    """Cross-validated students against the plain average of the out-of-fold rows; None where there is none."""
    students = _cross_validated_students(folder)
    if not students:
        return None
    combined = _combinations(folder, table, "oof.parquet", table.members, {})
    average = [arm for arm in combined if arm.kind == "average" and arm.name == "average"]
    comparison = compare([*average, *students], table.labels, rows="oof cross-fitted", members=table.scores)
    if all(arm.kind != "student" for arm in students):
        comparison = replace(comparison, verdict=f"Naive cross-validation of a student is optimistic: {OPTIMISTIC}.")
    comparison.write(folder.cross_validation)
    return comparison


def _provenance(folder: RunDir, table: OOFTable) -> dict[str, Any]:
    """What the comparison rests on: rows, digests, what was fitted where, versions."""
    told = {
        "fitted on": f"{len(table)} out-of-fold rows of {len(np.unique(table.labels.groups))} groups in {len(table.folds)} folds",
        "labels digest": table.labels.digest,
        "fold plan digest": table.plan_digest or "none: scores were imported",
    }
    return told | versions()


def _combinations(
    folder: RunDir, table: OOFTable, file: str, members: tuple[str, ...], costs: Mapping[str, Cost]
) -> list[Arm]:
    """The combinations that were fitted to this table."""
    places = sorted(place for place in folder.stacking.iterdir() if (place / DONE).exists())
    arms = []
    for place in places:
        if read_json(place / DONE)["inputs"]["table"] != table_digest(table):
            raise ExperimentError(
                f"{place} was fitted to another table than {folder.oof}: run `foldstill stack {folder.root} --force`"
            )
        arms.append(combination_arm(load(place), _one_member(place / file), members, costs))
    return arms


def _students(folder: RunDir) -> list[Arm]:
    """The students that were trained, each with those of its further seeds."""
    arms = [
        _student(place, [folder.seed(place, seed) / "test.parquet" for seed in seeds], kind)
        for place, seeds, kind in _asked_students(folder)
    ]
    return [arm for arm in arms if arm is not None]


def _cross_validated_students(folder: RunDir) -> list[Arm]:
    """The same students one a fold, on the out-of-fold rows. An optimistic one never stands as the run's student."""
    arms = [
        _student(place, [folder.seed(folder.cross_validated(place), seed) / "oof.parquet" for seed in seeds], kind)
        for place, seeds, kind in _asked_students(folder)
    ]
    return [
        replace(arm, kind="ablation", note=OPTIMISTIC) if arm.name.startswith("optimistic ") else arm
        for arm in arms
        if arm is not None
    ]


def _asked_students(folder: RunDir) -> list[tuple[Path, range, Kind]]:
    """Folder, seeds and kind of every student that the run's experiment asks for: what an earlier one left does not count."""
    if not folder.experiment.exists():
        return []  # scores were imported
    experiment = read_experiment(folder.experiment)
    kinds: dict[Path, Kind] = {folder.student: "student", folder.student_without_teacher: "student_without_teacher"}
    places = [(student_folder(folder, experiment, one), range(one.seeds)) for one in experiment.students()]
    return [(place, seeds, kinds.get(place, "ablation")) for place, seeds in places]


def _student(place: Path, scored: Sequence[Path], kind: Kind) -> Arm | None:
    """One student, its scores one file a seed, as many as there are; None where it is not trained or not scored."""
    first, *others = scored
    if not (first.exists() and (place / "cost.json").exists()):
        return None
    name = read_scores(first).members[0]
    further = tuple(_one_member(path) for path in others if path.exists())
    cost = Cost(**read_json(place / "cost.json"))
    # A student of the votes alone has no targets on file.
    told = read_json(place / "targets.json") if (place / "targets.json").exists() else {}
    note = "; ".join(part for part in (f"taught by {told['made']}" if told else "", uncertainty_note(place)) if part)
    return Arm(name, kind, _one_member(first), cost=cost, note=note, teacher=told.get("teacher"), further_seeds=further)


def _one_member(path: Path) -> NDArray[np.float32]:
    scores = read_scores(path)
    if not isinstance(scores, ScoreTable) or len(scores.members) != 1:
        raise ExperimentError(f"{path} should hold one arm: make it again with --force")
    return scores.proba_NMC[:, 0]


def _member_costs(folder: RunDir, test: FoldScores) -> dict[str, Cost]:
    """What a member costs with all its fold models, where it was measured."""
    files = {m: folder.member_cost(m) for m in test.members}
    return {m: total_cost([Cost(**read_json(path))] * test.n_models) for m, path in files.items() if path.exists()}


def _curves(folder: RunDir) -> list[dict[str, Any]]:
    """One record an epoch of every training history of the run: training loss, and KL on the inner split if there is one."""
    records: list[dict[str, Any]] = []
    for path in sorted(folder.members.glob("*/fold-*/history.csv")):
        with path.open(encoding="utf-8", newline="") as lines:
            for epoch, line in enumerate(csv.DictReader(lines), start=1):
                record = {"member": path.parents[1].name, "fold": path.parent.name, "epoch": epoch}
                records.append(
                    record | {"loss": float(line["loss"]), "kl": float(line["inner_kl"]) if line["inner_kl"] else None}
                )
    return records
