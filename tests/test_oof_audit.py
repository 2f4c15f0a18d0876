import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldstill.data.labels import Labels
from foldstill.data.simplex import softmax
from foldstill.errors import OOFError
from foldstill.oof.arrays import oof_table
from foldstill.oof.audit import audit
from foldstill.oof.audit_check import AuditInput, finding
from foldstill.oof.checks import CHECKS
from foldstill.oof.findings import Finding
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.imports import import_scores
from foldstill.oof.store import write_table
from foldstill.oof.table import FoldScores, OOFTable
from foldstill.pipeline.stack import audit_table
from foldstill.testing import check_audit

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from synthetic_tables import Synthetic, synthetic


@pytest.fixture(scope="module")
def clean() -> Synthetic:
    return synthetic("hetero", rows=2000, holdout_rows=1000)


def _with_scores(table: OOFTable, proba_NMC: np.ndarray) -> OOFTable:
    """The table with other scores, as if imported: only then can rows be misplaced."""
    scores = replace(table.scores, proba_NMC=proba_NMC.astype(np.float32))
    return replace(table, scores=scores, plan_digest="")


def test_a_member_of_our_own_that_learned_nothing_is_a_warning(clean):
    proba = clean.table.proba_NMC.copy()
    proba[:, 4] = np.random.default_rng(0).permutation(proba[:, 4])
    alignment = audit(replace(_with_scores(clean.table, proba), plan_digest="made-here"))["A3"]
    assert alignment.verdict == "warn"
    assert "train them longer" in alignment.cure


@pytest.mark.parametrize("kind", ["homog", "hetero"])
@pytest.mark.parametrize("seed", range(10))
def test_a_clean_table_is_never_flagged(kind, seed):
    made = synthetic(kind, rows=2000, holdout_rows=1000, seed=seed)
    report = audit(made.table, test=made.holdout, test_labels=made.holdout_labels)
    assert [f.id for f in report.findings] == [f"A{i}" for i in range(1, 13)]
    assert report.flagged == ()


@pytest.mark.parametrize("kind", ["one_leak", "all_leak"])
@pytest.mark.parametrize("seed", range(5))
def test_planted_leaks_are_a_warning_and_are_refused_with_held_out_groups(kind, seed):
    made = synthetic(kind, rows=2000, holdout_rows=1000, seed=seed)
    alone = audit(made.table)
    # Honest tables whose hard rows have more votes look the same.
    assert alone["A6"].verdict == "warn"
    assert not alone.failed_hard
    held_out = audit(made.table, test=made.holdout, test_labels=made.holdout_labels)
    assert {f.id for f in held_out.hard_failures} >= {"A6", "A7"}
    if kind == "one_leak":
        assert made.table.members[7] in alone["A6"].evidence
        assert made.table.members[6] not in alone["A6"].evidence


def test_a_member_that_repeats_the_votes_is_below_what_is_possible(clean):
    table = clean.table
    proba = table.proba_NMC.copy()
    proba[:, 3] = 0.98 * table.labels.target_NC + 0.02 / 6
    report = audit(_with_scores(table, proba))
    assert report["A5"].verdict == "fail"
    assert table.members[3] in report["A5"].evidence
    assert report["A5"] in report.hard_failures


def test_when_scores_on_held_out_groups_agree_a_slope_of_all_members_is_a_warning_only(clean):
    # Rows with more votes are harder: their annotators are torn evenly, whatever the members say.
    rng = np.random.default_rng(0)
    n, c = 3000, 4
    few = rng.random(n) < 0.5
    truth = softmax(np.where(few, 4.0, 0.4)[:, None] * rng.normal(size=(n, c)))
    votes = rng.multinomial(np.where(few, 3, 20), truth)
    labels = Labels.from_votes(votes, groups=np.arange(n) // 5)
    table = oof_table(np.stack([truth] * 2, axis=1), labels=labels, folds=np.arange(n) // 5 % 5)
    assert audit(table)["A6"].verdict == "warn"
    half = np.arange(n) < n // 2
    test = FoldScores(labels.ids[~half], table.members, table.classes, table.proba_NMC[None, ~half])
    report = audit(table.take(half), test=test, test_labels=labels.take(~half))
    assert report["A7"].verdict == "pass"
    assert report["A6"].verdict == "warn"
    assert not report.failed_hard


def test_a_member_that_is_the_labels_is_a_warning_where_votes_have_no_noise(rng):
    """Hard labels, and shares without counts: members are right in about half of the rows, one is the labels."""
    truth = rng.dirichlet([1.0, 1.0, 1.0], 600)
    members = np.stack([0.5 * truth + 0.5 * rng.dirichlet([1, 1, 1], 600) for _ in range(4)], axis=1)
    groups = np.arange(600) // 5
    hard = np.array([rng.choice(3, p=p) for p in truth])
    for labels in (
        Labels.from_hard(hard, groups=groups),
        Labels.from_votes(0.8 * np.eye(3)[hard] + 0.2 / 3, groups=groups),
    ):
        honest = oof_table(members, labels=labels, folds=groups % 5)
        assert audit(honest)["A5"].verdict == "not applicable"
        copied = members.copy()
        copied[:, 2] = 0.9 * np.eye(3)[hard] + 0.1 / 3
        report = audit(oof_table(copied, labels=labels, folds=groups % 5))
        assert report["A5"].verdict == "warn"
        assert "by m2, among members" in report["A5"].evidence
    # Members that are all nearly perfect are no copies.
    good = 0.9 * np.eye(3)[hard][:, None] + 0.1 * rng.dirichlet([1, 1, 1], (600, 4))
    assert audit(oof_table(good, labels=Labels.from_hard(hard), folds=groups % 5))["A5"].verdict == "not applicable"


def test_gains_that_round_to_nothing_do_not_fail_the_canary(clean):
    def slightly_better(table, folds):
        # Every row has the same tiny gain, so that its error is zero.
        base = np.full((len(table), 6), 1e-9)
        for fold in table.folds:
            base[table.fold_N == fold] += table.labels.target_NC[table.fold_N != fold].mean(axis=0)
        share = 1e-6 if folds is not None else 0
        return (1 - share) * base / base.sum(axis=1, keepdims=True) + share * table.labels.target_NC

    report = audit(clean.table, combine=slightly_better, deep=True)
    assert report["A12"].verdict == "pass"
    assert "gains 0.0000" in report["A12"].evidence


def test_groups_in_two_folds_are_reported_by_a_deep_audit_too(clean, tmp_path):
    fold_N = clean.table.fold_N.copy()
    fold_N[0] = (fold_N[0] + 1) % 5
    write_table(replace(clean.table, fold_N=fold_N, plan_digest=""), tmp_path / "torn.parquet")
    report = audit_table(tmp_path / "torn.parquet", deep=True)
    assert report["A1"].verdict == "fail"
    assert {report[i].verdict for i in ("A8", "A11", "A12")} == {"not applicable"}
    assert "(A1)" in report["A8"].evidence


def test_an_accepted_failure_is_recorded_and_no_longer_refuses(clean):
    fold_N = clean.table.fold_N.copy()
    fold_N[0] = (fold_N[0] + 1) % 5
    report = audit(replace(clean.table, fold_N=fold_N)).accept(["A1", "A2"])
    assert not report.failed_hard
    assert (report["A1"].shown, report["A2"].shown) == ("fail, accepted", "pass")
    assert "fail, accepted" in report.table()
    with pytest.raises(OOFError, match=r"only checks of the audit can be accepted, got \['A99'\]: name some of \['A1'"):
        report.accept(["A99"])


def test_groups_in_two_folds_fail(clean):
    fold_N = clean.table.fold_N.copy()
    fold_N[0] = (fold_N[0] + 1) % 5
    report = audit(replace(clean.table, fold_N=fold_N))
    assert report["A1"].verdict == "fail"
    assert f"'{clean.table.labels.groups[0]}'" in report["A1"].evidence
    assert report.failed_hard


def test_the_audit_reports_where_folds_come_from(clean):
    assert audit(clean.table)["A2"].verdict == "pass"
    assert "Folds were imported" in audit(replace(clean.table, plan_digest=""))["A2"].evidence
    unproven = audit(replace(clean.table, plan_digest="", folds_assigned=True))
    assert unproven["A2"].verdict == "warn"
    assert "came without folds" in unproven["A2"].evidence
    assert unproven["A10"].verdict == "not applicable"
    assert not unproven.failed_hard


@pytest.mark.parametrize("where", ["table", "fold"])
def test_a_member_whose_rows_are_shuffled_fails(clean, where):
    table = clean.table
    rows = np.arange(len(table)) if where == "table" else np.flatnonzero(table.fold_N == 2)
    proba = table.proba_NMC.copy()
    proba[rows, 4] = proba[np.random.default_rng(0).permutation(rows), 4]
    report = audit(_with_scores(table, proba))
    assert report["A3"].verdict == "fail"
    assert f"{table.members[4]} in " in report["A3"].evidence
    assert table.members[5] not in report["A3"].evidence
    assert report["A3"] in report.hard_failures


def test_a_member_with_its_classes_in_another_order_is_found(clean):
    proba = clean.table.proba_NMC.copy()
    proba[:, 4] = np.roll(proba[:, 4], 1, axis=1)
    assert audit(_with_scores(clean.table, proba))["A3"].verdict == "fail"


def test_a_member_that_scores_all_rows_alike_is_no_misalignment(clean):
    proba = clean.table.proba_NMC.copy()
    proba[:, 4] = clean.table.labels.target_NC.mean(axis=0)
    assert audit(_with_scores(clean.table, proba))["A3"].verdict == "pass"
    flat = np.full_like(proba, 1 / 6)
    assert audit(_with_scores(clean.table, flat))["A3"].verdict == "warn"


def test_exact_and_near_duplicates_are_named(clean):
    proba = clean.table.proba_NMC.copy()
    proba[:, 4] = proba[:, 1]
    proba[:, 9] = proba[:, 2] * (1 - 1e-4) + 1e-4 / 6
    report = audit(_with_scores(clean.table, proba))
    assert report["A4"].verdict == "warn"
    members = clean.table.members
    assert f"{members[4]} repeats {members[1]} exactly" in report["A4"].evidence
    assert f"{members[9]} and {members[2]} correlate 1.000000" in report["A4"].evidence
    assert not report.failed_hard


def test_vote_noise_is_not_used_where_votes_are_not_known(clean):
    labels = clean.table.labels
    for other in (
        replace(labels, counted=False),
        Labels.from_hard(labels.votes_NC.argmax(axis=1), classes=labels.classes, ids=labels.ids, groups=labels.groups),
        replace(labels, votes_NC=labels.votes_NC / 3),
    ):
        report = audit(replace(clean.table, labels=other))
        assert report["A5"].verdict == report["A6"].verdict == "not applicable"
    same = replace(labels, votes_NC=np.eye(6)[labels.votes_NC.argmax(axis=1)] * 3)
    assert "same number of votes" in audit(replace(clean.table, labels=same))["A6"].evidence
    agreed = np.eye(6)[labels.votes_NC.argmax(axis=1)] * labels.total_N[:, None]
    alike = audit(replace(clean.table, labels=replace(labels, votes_NC=agreed)))["A6"]
    assert "No two votes of a row disagree" in alike.evidence


def test_a_fold_whose_scores_lie_apart_is_named(clean, rng):
    assert "a few groups may differ" in audit(clean.table)["A10"].evidence
    n = 500
    logits = rng.normal(size=(n, 3, 4))
    votes = rng.multinomial(5, softmax(logits[:, 0]))
    fold_N = np.arange(n) % 5
    assert audit(oof_table(softmax(logits), votes=votes, folds=fold_N))["A10"].verdict == "pass"
    logits[fold_N == 3, 2, 1] += 1.5
    report = audit(oof_table(softmax(logits), votes=votes, folds=fold_N))
    assert report["A10"].verdict == "warn"
    assert "m2 for c1" in report["A10"].evidence
    assert "fold 3" in report["A10"].evidence


def test_a_member_that_saw_one_fold_fails_even_with_shares_only(rng):
    n = 600
    truth = softmax(2 * rng.normal(size=(n, 4)))
    shares = rng.multinomial(4, truth) / 4
    labels = Labels.from_shares(shares, 4)
    pred = softmax(np.log(truth)[:, None] + 0.4 * rng.normal(size=(n, 5, 4)))
    fold_N = np.arange(n) % 3
    assert audit(oof_table(pred, labels=labels, folds=fold_N))["A10"].verdict == "pass"
    saw = fold_N == 1
    pred[saw, 2] = 0.5 * pred[saw, 2] + 0.5 * shares[saw]
    report = audit(oof_table(pred, labels=labels, folds=fold_N))
    assert report["A10"].verdict == "fail"
    assert "m2 in fold 1" in report["A10"].evidence
    assert "m3" not in report["A10"].evidence
    assert report.failed_hard


def test_members_that_differ_less_on_test_rows_are_a_warning(clean):
    calm = replace(
        clean.holdout, proba_KNMC=np.repeat(clean.holdout.proba_KNMC.mean(axis=2, keepdims=True), 15, axis=2)
    )
    assert audit(clean.table, test=clean.holdout)["A9"].verdict == "pass"
    assert audit(clean.table, test=calm)["A9"].verdict == "warn"


def _mean(table: OOFTable, folds) -> np.ndarray:
    return table.proba_NMC.mean(axis=1)


def _memory(table: OOFTable, folds) -> np.ndarray:
    """A combiner that memorises: the mean label of the row's group among the rows it is fitted to."""
    target, groups = table.labels.target_NC, table.labels.groups
    # Under row folds the audit gives every row a group of its own; the memory is of the true group.
    groups = np.array([_GROUP[i] for i in table.labels.ids])
    out = np.empty_like(target)
    for i in range(len(table)):
        fitted = groups == groups[i] if folds is None else (groups == groups[i]) & (folds != folds[i])
        # Without a row of the group it knows nothing.
        out[i] = 0.9 * target[fitted].mean(axis=0) + 0.1 / 6 if fitted.any() else np.full(6, 1 / 6)
    return out


_GROUP: dict[str, str] = {}


def test_row_folds_and_optimism_reveal_a_combiner_that_remembers_groups(clean):
    _GROUP.update(zip(clean.table.labels.ids.tolist(), clean.table.labels.groups.tolist(), strict=True))
    report = audit(clean.table, combine=_memory, deep=True)
    assert report["A8"].verdict == "warn"
    assert report["A11"].verdict == "warn"
    assert report["A12"].verdict == "pass"
    honest = audit(clean.table, combine=_mean, deep=True)
    assert {honest[i].verdict for i in ("A8", "A11", "A12")} == {"pass"}
    assert audit(clean.table, combine=_mean)["A12"].verdict == "not applicable"
    assert audit(clean.table)["A8"].verdict == "not applicable"


def test_a_combiner_that_sees_the_labels_it_is_scored_on_fails_the_canary(clean):
    report = audit(clean.table, combine=lambda t, folds: 0.5 * t.labels.target_NC + 0.5 / 6, deep=True)
    assert report["A12"].verdict == "fail"


def test_the_report_has_one_line_per_check(clean):
    lines = audit(clean.table).table().splitlines()
    assert len(lines) == 12
    assert lines[0].startswith("A1 ")
    with pytest.raises(KeyError, match=r"A13"):
        audit(clean.table)["A13"]


def test_real_hms_members_are_not_flagged(real):
    settings = ImportSettings(group="patient_id", stratum="quality", drop_members=("*_nb", "*_nbtta"))
    report = audit(import_scores([real / "hms_oof" / "hms_oof.npz"], settings))
    assert not report.failed_hard
    assert [f.id for f in report.flagged] == ["A2"]  # imported: nothing proves it


def test_the_three_duplicates_of_sleep_dodh_are_named(real):
    settings = ImportSettings(
        pred="models",
        members="model_names",
        annotators="scorers",
        group="record",
        smoothing=0.9,
        classes=("wake", "N1", "N2", "N3", "REM"),
    )
    report = audit(import_scores([real / "sleep_dodh" / "dodh.npz"], settings))
    assert report["A4"].evidence.count("repeats ablation_simple_net/SimpleNet exactly") == 3
    assert not report.failed_hard


def test_cifar10h_and_a_ct_head_are_not_refused(real):
    assert not audit(import_scores([real / "cifar10h" / "model_probs.npz"])).failed_hard
    folder = real / "rsna2023_oof"
    settings = ImportSettings(
        classes=("liver_healthy", "liver_low", "liver_high"),
        id="scan_id",
        group="patient_id",
        folds=str(folder / "folds.parquet"),
        fold="fold*",
    )
    report = audit(import_scores(sorted(folder.glob("*96x256x256.parquet")), settings))
    assert not report.failed_hard
    assert report["A10"].verdict == "warn"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_every_check_keeps_the_contract(check):
    check_audit(check)


class EnoughMembers:
    """A check that a user could write."""

    id = "U1"
    title = "enough members"
    severity = "hard"
    summary = "Looks for tables of fewer than 20 members."

    def check(self, inputs: AuditInput) -> Finding:
        n = len(inputs.table.members)
        return finding(
            self, "fail" if n < 20 else "pass", f"The table has {n} members.", "train more" if n < 20 else ""
        )


def test_users_may_add_a_check_of_their_own(clean):
    check_audit(EnoughMembers)
    report = audit(clean.table, checks=(*CHECKS, EnoughMembers))
    assert [f.id for f in report.findings][-2:] == ["A12", "U1"]
    assert report["U1"] in report.hard_failures
    assert [f.id for f in audit(clean.table, checks=(EnoughMembers,)).findings] == ["U1"]
    with pytest.raises(OOFError, match=r"checks must have different ids, got \['U1'\] more than once"):
        audit(clean.table, checks=(EnoughMembers, EnoughMembers))
