"""The heads of a multi-label problem: one table and comparison per head, and one summary with intervals over groups."""

import json

import numpy as np
import pandas as pd
import pytest

import foldstill as fs
from foldstill.compare import Arm, CompareSettings, Comparison, compare, over_heads, paired_intervals
from foldstill.compare.intervals import IntervalSettings
from foldstill.data.labels import Labels
from foldstill.errors import CompareError, OOFError
from foldstill.oof import multi_label_tables
from foldstill.stacking.averages import Average
from foldstill.stacking.recalibrate import Recalibrated

N, H, GROUPS = 300, 3, 50


@pytest.fixture
def label_NH(rng) -> np.ndarray:
    return (rng.random((N, H)) < [0.2, 0.5, 0.7]).astype(float)


@pytest.fixture
def scores(rng, label_NH) -> dict[str, np.ndarray]:
    """Two members whose logits are too small, so that a calibration helps."""
    logit = {m: 0.6 * (2 * label_NH - 1) + 0.5 * rng.normal(size=(N, H)) for m in ("a", "b")}
    return {m: 1 / (1 + np.exp(-x)) for m, x in logit.items()}


def _heads(rng, shares=(0.6, 0.7, 0.5), **options) -> dict[str, Comparison]:
    groups, heads = np.arange(N) % GROUPS, {}
    for h, share in enumerate(shares):
        truth, noise = rng.dirichlet(np.ones(2), N), rng.dirichlet(np.ones(2), N)
        labels = Labels.from_votes(rng.multinomial(5, truth), groups=groups, sample_weight=rng.uniform(0.5, 2, N))
        arms = [
            Arm("average", "average", 0.4 * truth + 0.6 * noise),
            Arm("better", "combination", share * truth + (1 - share) * noise),
            Arm(f"only of {h}", "combination", noise),
        ]
        heads[f"h{h}"] = compare(arms, labels, **options)
    return heads


def test_every_head_is_a_table_of_its_own(label_NH, scores):
    groups = np.arange(N) % GROUPS
    labels = pd.DataFrame(label_NH, columns=["kidney", "liver", "spleen"])
    tables = multi_label_tables(scores, labels, groups=groups, folds=groups % 5)
    assert list(tables) == ["kidney", "liver", "spleen"]
    for h, table in enumerate(tables.values()):
        assert (table.members, table.classes, table.folds) == (("a", "b"), ("0", "1"), [0, 1, 2, 3, 4])
        assert table.proba_NMC[:, 1, 1] == pytest.approx(scores["b"][:, h], abs=1e-6)
        assert table.labels.votes_NC[:, 1].tolist() == label_NH[:, h].tolist()
    stacked = np.stack([scores["a"], scores["b"]], axis=1)
    again = multi_label_tables(stacked, label_NH, groups=groups, folds=groups % 5, members=["a", "b"])
    assert list(again) == ["head0", "head1", "head2"]
    assert np.array_equal(again["head2"].proba_NMC, tables["spleen"].proba_NMC)


def test_rows_whose_label_is_not_known_are_left_out_of_that_head_only(label_NH, scores):
    label_NH[:10, 1] = np.nan
    tables = multi_label_tables(scores, label_NH, folds=np.arange(N) % 5)
    assert [len(table) for table in tables.values()] == [N, N - 10, N]
    assert tables["head1"].labels.ids[0] == "10"
    assert tables["head1"].fold_N.tolist() == (np.arange(10, N) % 5).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, y: (s, y[:, 0]), r"must be \(rows, heads\), got shape \(300,\): for one head use oof_table"),
        (lambda s, y: (s, y * 3), "must be 0, 1 or shares between them"),
        (lambda s, y: ({"a": s["a"][:, :2]}, y), r"member 'a' must be \(rows, heads\) = \(300, 3\), got \(300, 2\)"),
        (lambda s, y: (s["a"], y), r"must be \(rows, members, heads\), got shape \(300, 3\)"),
        (lambda s, y: ({"a": s["a"] * 3}, y), r"must be probabilities in \[0, 1\]"),
    ],
)
def test_heads_that_do_not_fit_are_refused(label_NH, scores, change, message):
    with pytest.raises(OOFError, match=message):
        multi_label_tables(*change(scores, label_NH))
    with pytest.raises(OOFError, match="heads must be 3 different names"):
        multi_label_tables(scores, label_NH, heads=["a", "a", "b"])


def test_with_equal_weights_the_summary_is_that_of_the_mean_loss_per_row(rng):
    groups = np.arange(N) % GROUPS
    heads, losses = {}, []
    for h in range(H):
        truth = rng.dirichlet(np.ones(2), N)
        arms = [
            Arm("average", "average", 0.5 * truth + 0.25),
            Arm("b", "combination", (0.5 + 0.1 * h) * truth + 0.25 - 0.05 * h),
        ]
        heads[str(h)] = compare(arms, Labels.from_votes(rng.multinomial(5, truth), groups=groups))
        losses.append(heads[str(h)].row_loss_NA)
    loss_NA = np.mean(losses, axis=0)
    [expected] = paired_intervals(loss_NA[:, [1]] - loss_NA[:, [0]], groups, settings=IntervalSettings())
    found = over_heads(heads)["b"].difference
    assert (found.estimate, found.low, found.high) == pytest.approx((expected.estimate, expected.low, expected.high))
    assert found.n_groups == GROUPS


def test_a_group_is_left_out_of_every_head_at_once(rng):
    """Two copies of a head say no more than one: heads are not independent groups."""
    one = _heads(rng)["h0"]
    single, twice = one["better"].difference, over_heads({"a": one, "b": one})["better"].difference
    assert (twice.estimate, twice.low, twice.high) == pytest.approx(
        (single.estimate, single.low, single.high), rel=0.05
    )


def test_the_summary_names_the_arm_and_every_head(rng):
    summary = over_heads(_heads(rng))
    assert [arm.name for arm in summary.arms] == ["average", "better"]
    assert summary.judgement.recommended == "better"
    assert summary.verdict.startswith("Stack: better beats plain averaging by 0.")
    assert "mean KL (95 % interval" in summary.verdict
    assert "By head: h0: yes; h1: yes; h2: " in summary.verdict
    assert summary.table().row_count == 3 + 2
    mean = np.mean([one["better"].kl for one in summary.heads.values()])
    record = next(r for r in summary.records() if r["head"] == "all heads" and r["arm"] == "better")
    assert record["kl"] == pytest.approx(mean)
    assert summary["better"].difference.estimate == pytest.approx(
        np.mean([one["better"].difference.estimate for one in summary.heads.values()])
    )


def test_a_summary_by_auroc_is_in_its_direction(rng):
    summary = over_heads(_heads(rng, settings=CompareSettings(metric="auroc")))
    record = next(r for r in summary.records() if r["head"] == "all heads" and r["arm"] == "better")
    assert 0 < record["low"] < record["difference"]
    assert "beats plain averaging by 0." in summary.verdict
    assert record["auroc"] > summary.metric.shown(summary["average"].loss)


def test_heads_with_a_group_of_their_own_are_summarised(rng):
    whole, part = _heads(rng), {}
    groups = np.where(np.arange(N) % GROUPS < 40, np.arange(N) % GROUPS, 1000)
    truth = rng.dirichlet(np.ones(2), N)
    labels = Labels.from_votes(rng.multinomial(5, truth), groups=groups)
    arms = [Arm("average", "average", 0.5 * truth + 0.25), Arm("better", "combination", 0.7 * truth + 0.15)]
    part["other"] = compare(arms, labels)
    assert over_heads(whole | part)["better"].difference.n_groups == GROUPS + 1


def test_heads_that_cannot_be_summarised_are_refused(rng):
    heads = _heads(rng)
    with pytest.raises(CompareError, match="two heads or more, got 1"):
        over_heads({"h0": heads["h0"]})
    other = _heads(rng, settings=CompareSettings(metric="brier"))
    with pytest.raises(CompareError, match=r"the same metric, got \{'h0': 'kl', 'h1': 'brier'\}"):
        over_heads({"h0": heads["h0"], "h1": other["h1"]})
    with pytest.raises(CompareError, match="no arm 'none' in all heads"):
        over_heads(heads)["none"]


def test_multi_label_predictions_are_stacked_and_summarised(label_NH, scores):
    tables = multi_label_tables(scores, label_NH, groups=np.arange(N) % GROUPS, folds=np.arange(N) % GROUPS % 5)
    summary = over_heads({head: fs.stack(t, [Average(), Recalibrated()]).compare() for head, t in tables.items()})
    assert summary.judgement.recommended == "recalibrated"


def test_the_command_line_summarises_runs(rng, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from foldstill.cli.app import app

    monkeypatch.chdir(tmp_path)
    for name, comparison in _heads(rng).items():
        (tmp_path / name).mkdir()
        comparison.write(tmp_path / name)
    done = CliRunner().invoke(app, ["heads", "h0", "h1", "h2"])
    assert done.exit_code == 0, done.output
    assert "all heads" in done.output
    answer = json.loads(CliRunner().invoke(app, ["heads", "h0", "h1", "h2", "--json"]).output)
    assert answer["recommended"] == "better"
    with pytest.raises(CompareError, match="different names"):
        CliRunner().invoke(app, ["heads", "h0", "h0"], catch_exceptions=False)
