"""Several labels per row, learned together: sigmoid outputs, labels that are not known, and a run per head."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch.nn.functional import binary_cross_entropy_with_logits

import foldstill as fs
from foldstill.base_models import collect_heads
from foldstill.base_models.fold_models import FoldModels
from foldstill.base_models.lightgbm_member import LightGBMMember
from foldstill.base_models.losses import DKD, heads_kl
from foldstill.base_models.members import train_members
from foldstill.base_models.per_head import PerHead, learners, predict_heads
from foldstill.base_models.recipes import EarlyStopping, Recipe, SecondStage
from foldstill.base_models.sklearn_member import SklearnMember
from foldstill.base_models.timm_member import TimmMember
from foldstill.base_models.torch_member import TorchMember
from foldstill.compare import Comparison, over_heads
from foldstill.data import make_plan
from foldstill.data.folder import FolderData
from foldstill.data.mixing import Mixup, SameClassCutMix
from foldstill.data.npz import NpzData
from foldstill.data.table import TableData
from foldstill.data.training import FitContext, TrainingSet
from foldstill.errors import DataError, MemberError
from foldstill.oof.store import read_scores, read_table
from foldstill.pipeline import find_run
from foldstill.pipeline.experiment_file import parse_experiment
from made_up import call, interruptions, one_worker

HEADS = ("kidney", "liver", "spleen")
NETS = """from torch import nn


def linear(shape, n_classes):
    return nn.Linear(shape[0], n_classes)
"""
EXPERIMENT = """
name = "organs"

[data]
kind = "table"
path = "organs.csv"
id = "id"
group = "patient"
heads = ["kidney", "liver", "spleen"]

[folds]
n_folds = 3
test_share = 0.2

[[stacking.combiner]]
kind = "average"

[[stacking.combiner]]
kind = "recalibrated"

[[member]]
kind = "torch"
name = "linear"
view = "features"
module = "nets.py:linear"
recipe = { epochs = 3, lr = 0.05 }

[[member]]
kind = "sklearn"
name = "logistic"
estimator = "LogisticRegression"
"""


def linear(shape, n_classes):
    return torch.nn.Linear(shape[0], n_classes)


def two_epochs(**more):
    return TorchMember("linear", linear, view="features", recipe=Recipe(epochs=2, lr=0.05, **more))


@pytest.fixture(scope="module")
def organs():
    """150 rows of 50 patients with three labels each, a fifth of which are not known."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(150, 4))
    chance = 1 / (1 + np.exp(-features @ rng.normal(size=(4, 3))))
    known = rng.random(chance.shape) > 0.2
    share_NH = np.where(known, (rng.random(chance.shape) < chance).astype(float), np.nan)
    return fs.Dataset(fs.Labels.from_heads(share_NH, heads=HEADS, groups=np.arange(150) // 3), {"features": features})


@pytest.fixture(scope="module")
def plan(organs):
    return make_plan(organs.labels, n_folds=3, test_share=0.2)


# labels


def test_labels_of_heads_hold_what_is_known_and_balance_folds():
    share_NH = np.array([[1, 0, 1], [0, np.nan, 0], [0, 0.5, np.nan], [1, 1, 1]])
    labels = fs.Labels.from_heads(pd.DataFrame(share_NH, columns=list(HEADS)), groups=list("ppqr"))
    assert labels.heads.names == HEADS
    assert labels.classes == (*HEADS, "none of them")
    assert labels.votes_NC.tolist() == [[0.5, 0, 0.5, 0], [0, 0, 0, 1], [0, 0.5, 0, 0.5], [1 / 3, 1 / 3, 1 / 3, 0]]
    rows, liver = labels.of_head("liver")
    assert rows.tolist() == [0, 2, 3]
    assert liver.classes == ("0", "1")
    assert liver.target_NC[:, 1].tolist() == [0, 0.5, 1]
    assert (liver.ids.tolist(), liver.groups.tolist()) == (["0", "2", "3"], ["p", "q", "r"])
    assert not liver.counted
    assert labels.of_head("kidney")[1].counted
    taken = labels.take(np.array([3, 1]))
    np.testing.assert_array_equal(taken.heads.share_NH, share_NH[[3, 1]])
    assert taken.digest != labels.digest
    other = np.where(np.isnan(share_NH), 0.0, share_NH)
    assert fs.Labels.from_heads(other, heads=HEADS, groups=list("ppqr")).digest != labels.digest, "0 is not unknown"


@pytest.mark.parametrize(
    ("share", "heads", "message"),
    [
        ([[1], [0]], None, r"must be \(rows, heads\), got shape \(2, 1\): for one head"),
        ([[1, 0], [0, 2]], None, r"must be 0, 1 or shares between them.*got \[0.0, 2.0\] in row 1"),
        ([[1, 0], [0, 1]], ["a", "a"], "heads must be 2 different names"),
        ([[1, 0], [0, 1]], ["a", "none of them"], "heads must be 2 different names"),
        ([[1, np.nan], [0, np.nan]], ["a", "b"], "head 'b' has no label in any row: leave it out"),
    ],
)
def test_labels_that_are_no_heads_are_refused(share, heads, message):
    with pytest.raises(DataError, match=message):
        fs.Labels.from_heads(share, heads=heads)


def test_sources_read_one_column_per_head(tmp_path):
    from PIL import Image

    frame = pd.DataFrame({"file": ["a.png", "b.png"], "kidney": [1, 0], "liver": ["", "1"], "size": [3.0, 4.0]})
    frame.to_csv(tmp_path / "labels.csv", index=False)
    (tmp_path / "images").mkdir()
    for name in frame["file"]:
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / name)
    np.savez(tmp_path / "d.npz", x=np.zeros((2, 3)), y=[[1, np.nan], [0, 1]])
    table = TableData(path="labels.csv", id="file", heads=("kidney", "liver"))
    images = FolderData(path="images", table="labels.csv", heads=("kidney", "liver"), size=8)
    arrays = NpzData(path="d.npz", features="x", heads="y", classes=("kidney", "liver"))
    for source in (table, images, arrays):
        heads = source.load(tmp_path).labels.heads
        assert heads.names == ("kidney", "liver")
        np.testing.assert_array_equal(heads.share_NH, [[1, np.nan], [0, 1]])
    assert [feature.name for feature in table.load(tmp_path).view("features").features] == ["size"]
    with pytest.raises(DataError, match="data must name one of votes, shares, annotators, heads or label"):
        TableData(path="labels.csv", heads=("kidney", "liver"), label="kidney")


# numbers


def test_the_loss_is_the_binary_cross_entropy_of_known_labels():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 3, generator=generator, requires_grad=True)
    target = torch.randint(2, (6, 3), generator=generator).float()
    known = torch.rand(6, 3, generator=generator) > 0.3
    masked = target.where(known, torch.nan)
    everything = binary_cross_entropy_with_logits(logits, target)
    assert torch.isclose(heads_kl(logits, target, torch.ones(6)), everything)
    wanted = binary_cross_entropy_with_logits(logits[known], target[known])
    [gradient] = torch.autograd.grad(wanted, logits)
    loss = heads_kl(logits, masked, torch.ones(6))
    assert torch.isclose(loss, wanted)
    torch.testing.assert_close(torch.autograd.grad(loss, logits)[0], gradient)
    weight = torch.tensor([0.5, 1.5, 1.0, 0.0, 2.0, 1.0])
    weights = (weight[:, None] * known).double()
    each = binary_cross_entropy_with_logits(logits, target, reduction="none")
    assert torch.isclose(heads_kl(logits, masked, weight).double(), (each * weights).sum() / known.sum())


def test_the_loss_of_shares_is_zero_at_the_share_and_nothing_known_is_no_loss():
    share = torch.tensor([[0.25, 0.6]])
    assert abs(float(heads_kl(torch.logit(share), share, torch.ones(1)))) < 1e-6
    assert float(heads_kl(torch.zeros(1, 2), torch.full((1, 2), torch.nan), torch.ones(1))) == 0


def test_a_linear_network_learns_what_logistic_regression_learns_for_each_head(organs, tmp_path):
    """To the optimum of the cross-entropy on the known labels of each head, without a penalty."""
    recipe = Recipe(epochs=300, lr=0.3, weight_decay=0.0, batch_size=150, clip_norm=0.0)
    member = replace(two_epochs(), recipe=recipe)
    training_set = TrainingSet.from_labels(organs.labels, organs.views, np.arange(150))
    model = member.fit(training_set, FitContext(folder=tmp_path))
    model.save(tmp_path)
    proba_NH = member.load(tmp_path).predict(organs.views)
    np.testing.assert_array_equal(model.predict(organs.views), proba_NH)
    values = organs.view("features").values_NF
    share_NH = organs.labels.heads.share_NH
    for h in range(3):
        known = ~np.isnan(share_NH[:, h])
        exact = LogisticRegression(C=np.inf, tol=1e-8).fit(values[known], share_NH[known, h])
        np.testing.assert_allclose(proba_NH[:, h], exact.predict_proba(values)[:, 1], atol=1e-5)


def test_held_out_scores_are_those_of_the_fold_models_and_judged_on_known_labels(organs, plan, tmp_path):
    members = [two_epochs(), SklearnMember("logistic", "LogisticRegression"), LightGBMMember("boosted", rounds=5)]
    ends = train_members(members, organs, plan, tmp_path, work=one_worker())
    tables = collect_heads(tmp_path, members, organs.labels, plan)
    share_NH = organs.labels.heads.share_NH
    for m, member in enumerate(members):
        learner = member if m == 0 else PerHead(member)
        for fold in range(3):
            held = plan.held_out(fold)
            proba_NH = FoldModels(learner, tmp_path).load(fold).predict(organs.views, held)
            known_NH = ~np.isnan(share_NH[held])
            wanted = log_loss(share_NH[held][known_NH], proba_NH[known_NH].astype(float))
            [end] = [end for end in ends if (end.member, end.folds) == (member.name, (fold,))]
            assert end.held_out_kl == pytest.approx(wanted, rel=1e-5)
            for h, head in enumerate(HEADS):
                table, test = tables[head]
                rows = held[known_NH[:, h]]
                assert table.labels.ids[table.fold_N == fold].tolist() == organs.labels.ids[rows].tolist()
                np.testing.assert_array_equal(table.proba_NMC[table.fold_N == fold, m, 1], proba_NH[known_NH[:, h], h])
                locked_N = ~np.isnan(share_NH[plan.test_rows, h])
                assert test[1].ids.tolist() == organs.labels.ids[plan.test_rows[locked_N]].tolist()
                of_locked = FoldModels(learner, tmp_path).load(fold).predict(organs.views, plan.test_rows)
                np.testing.assert_array_equal(test[0].proba_KNMC[fold, :, m, 1], of_locked[locked_N, h])
                assert table.plan_digest == plan.digest


def test_one_model_per_head_is_the_model_of_its_known_rows(organs, plan):
    training_set = TrainingSet.from_labels(organs.labels, organs.views, plan.training(0))
    member = SklearnMember("logistic", "LogisticRegression")
    together = PerHead(member).fit(training_set, FitContext()).predict(organs.views)
    for h, head in enumerate(HEADS):
        rows, labels = organs.labels.of_head(head)
        views = {"features": organs.view("features")[rows]}
        own = TrainingSet.from_labels(labels, views, np.flatnonzero(np.isin(rows, plan.training(0))))
        alone = member.fit(own, FitContext()).predict(organs.views)
        np.testing.assert_allclose(together[:, h], alone[:, 1], atol=1e-6)


def test_images_are_learned_and_early_stopping_judges_known_labels(tmp_path):
    rng = np.random.default_rng(0)
    labels = fs.Labels.from_heads(np.where(rng.random((48, 2)) < 0.2, np.nan, rng.integers(0, 2, (48, 2))))
    images = rng.integers(0, 255, (48, 32, 32, 3)).astype(np.uint8)
    data, plan = fs.Dataset(labels, {"image": images}), make_plan(labels, n_folds=2, test_share=0)
    recipe = Recipe(epochs=2, batch_size=8, augment=(Mixup(),), early_stopping=EarlyStopping(share=0.3), ema=0.5)
    member = replace(TimmMember.example(), recipe=recipe)
    train_members([member], data, plan, tmp_path, work=one_worker())
    proba_NH = FoldModels(member, tmp_path).load(0).predict(data.views)
    assert proba_NH.shape == (48, 2)
    assert ((proba_NH > 0) & (proba_NH < 1)).all()
    assert np.abs(proba_NH.sum(axis=1) - 1).max() > 0.01, "two sigmoids are no distribution"
    history = pd.read_csv(tmp_path / "timm/fold-0/history.csv")
    assert np.isfinite(history[["loss", "inner_kl"]]).all(axis=None)


# leaks and interruptions


@pytest.mark.parametrize("member", [two_epochs(), SklearnMember("logistic", "LogisticRegression")])
def test_no_score_depends_on_the_labels_of_its_own_row(organs, plan, member, tmp_path):
    """All labels of a fold and of the locked rows are turned round: its scores stay, and those of other folds move."""
    turned = organs.labels.heads.share_NH.copy()
    changed = np.concatenate([plan.held_out(1), plan.test_rows])
    turned[changed] = 1 - turned[changed]
    other = fs.Dataset(fs.Labels.from_heads(turned, heads=HEADS, groups=organs.labels.groups), organs.views)
    scores = {}
    for name, data in {"before": organs, "after": other}.items():
        train_members([member], data, plan, tmp_path / name, work=one_worker())
        for fold in range(3):
            for file in ("oof", "test"):
                path = tmp_path / name / member.name / f"fold-{fold}/{file}.parquet"
                scores[name, fold, file] = read_scores(path).proba_NMC
    for fold in range(3):
        for file in ("oof", "test"):
            same = np.array_equal(scores["before", fold, file], scores["after", fold, file])
            assert same == (fold == 1), (fold, file)


@pytest.mark.usefixtures("every_epoch_saved")
def test_a_training_interrupted_after_every_epoch_ends_with_the_same_bytes(organs, plan, tmp_path):
    member = two_epochs(ema=0.5, early_stopping=EarlyStopping(share=0.3))
    train_members([member], organs, plan, tmp_path / "unbroken", work=one_worker())
    stops = interruptions(
        "linear", lambda stop: train_members([member], organs, plan, tmp_path / "broken", work=one_worker(stop))
    )
    assert stops == 3 * 2
    for fold in range(3):
        for name in ("weights.safetensors", "history.csv", "oof.parquet", "test.parquet"):
            place = f"linear/fold-{fold}/{name}"
            assert (tmp_path / "unbroken" / place).read_bytes() == (tmp_path / "broken" / place).read_bytes(), place


# a run


@pytest.fixture
def experiment(tmp_path, organs):
    frame = pd.DataFrame(organs.view("features").values_NF, columns=list("wxyz"))
    frame = frame.assign(id=organs.labels.ids, patient=organs.labels.groups)
    frame[list(HEADS)] = organs.labels.heads.share_NH
    frame.to_csv(tmp_path / "organs.csv", index=False)
    (tmp_path / "nets.py").write_text(NETS, encoding="utf-8")
    (tmp_path / "organs.toml").write_text(EXPERIMENT, encoding="utf-8")
    return tmp_path / "organs.toml"


@pytest.mark.usefixtures("undrawn")
def test_a_run_trains_stacks_and_compares_every_head(experiment, organs, monkeypatch, capsys):
    run = experiment.parent / "run"
    options = ("--out", run, "--workers", 1, "--device", "cpu", "-q", "--json")
    assert call(monkeypatch, "run", experiment, *options) == 0
    answer = json.loads(capsys.readouterr().out)
    summary = over_heads({head: Comparison.read(run / "heads" / head) for head in HEADS})
    assert (answer["verdict"], answer["recommended"]) == (summary.verdict, summary.judgement.recommended)
    assert {one["head"] for one in answer["arms"]} == {*HEADS, "all heads"}
    assert {one["arm"] for one in answer["arms"]} >= {"linear", "logistic", "average", "recalibrated", "class prior"}
    assert answer["report"] == str(run / "heads/heads.html")
    assert answer["command"].startswith(f"foldstill predict --run {run} --arm ")
    assert summary.verdict in (run / "heads/heads.html").read_text(encoding="utf-8")
    for h, head in enumerate(HEADS):
        table = read_table(run / "heads" / head / "oof.parquet")
        known = ~np.isnan(organs.labels.heads.share_NH[:, h])
        assert set(table.labels.ids) < set(organs.labels.ids[known])
        assert table.classes == ("0", "1")
        assert (run / "heads" / head / "stacking/recalibrated/test.parquet").exists()

    # Finished stages are kept, each stage alone finds them, and the heads can be summarised again.
    before = {
        path: path.stat().st_mtime_ns for path in run.rglob("*.parquet") if path.name != "comparison-rows.parquet"
    }
    assert call(monkeypatch, "run", experiment, *options) == 0
    assert call(monkeypatch, "oof", "build", run, "--json") == 0
    assert call(monkeypatch, "stack", run, "-q") == 0
    assert call(monkeypatch, "compare", run) == 0
    assert "Report:" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert call(monkeypatch, "heads", *(run / "heads" / head for head in HEADS), "--json") == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == summary.verdict

    # New rows get a probability per head, from the combination of the head on each fold model, then averaged.
    rows = pd.read_csv(experiment.parent / "organs.csv").iloc[:7]
    rows.drop(columns=["patient", *HEADS]).to_csv(experiment.parent / "new.csv", index=False)
    sample = pd.DataFrame({"id": rows["id"][::-1], "p_liver": 0, "p_kidney": 0, "p_spleen": 0})
    sample.to_csv(experiment.parent / "sample.csv", index=False)
    chosen = ("predict", "--run", run, "--data", experiment.parent / "new.csv", "--device", "cpu")
    members = learners(find_run(run).experiment.member, multi_label=True)
    by_head = predict_heads(run / "members", members, find_run(run).experiment.data.inputs(chosen[4]), HEADS)
    for arm in ("logistic", "recalibrated"):
        out = experiment.parent / f"{arm}.csv"
        assert call(monkeypatch, *chosen, "--arm", arm, "--out", out, "--json") == 0
        assert json.loads(capsys.readouterr().out)["heads"] == list(HEADS)
        for head in HEADS:
            one, scores = find_run(run / "heads" / head), by_head[head]
            wanted_NC = (
                scores.mean().proba_NMC[:, 1] if arm == "logistic" else one.combination(arm).fitted.apply(scores)
            )
            np.testing.assert_allclose(pd.read_csv(out)[head], wanted_NC[:, 1], rtol=1e-6)
        assert pd.read_csv(out)["id"].tolist() == rows["id"].tolist()
    like = experiment.parent / "submission.csv"
    more = ("--arm", "logistic", "--out", like, "--like", experiment.parent / "sample.csv")
    assert call(monkeypatch, *chosen, *more) == 0
    submitted, plain = pd.read_csv(like), pd.read_csv(experiment.parent / "logistic.csv")
    assert submitted["id"].tolist() == plain["id"].tolist()[::-1]
    np.testing.assert_allclose(submitted["p_liver"], plain["liver"][::-1], rtol=1e-6)
    for wrong, message in {("--arm", "best"): "have no arm 'best'", ("--seed", 0): "choose a student"}.items():
        assert call(monkeypatch, *chosen, *wrong) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert call(monkeypatch, "export", run, "--arm", "average") == 2
    assert "have no one file: use predict" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("undrawn")
def test_a_multi_label_run_says_what_it_cannot_do_before_it_writes(experiment, monkeypatch, capsys):
    run = experiment.parent / "run"
    options = ("--out", run, "--workers", 1, "--device", "cpu", "-q")
    text = experiment.read_text(encoding="utf-8")
    frame = pd.read_csv(experiment.parent / "organs.csv")
    for changed, message in {
        text + '\n[student]\nview = "features"\nteacher = "average"\n': "data.heads are labels with a probability each",
        text.replace("lr = 0.05", 'lr = 0.05, sampling = "balanced"'): "sampling = 'balanced' needs votes for classes",
        text.replace('"kidney"', '"id/kidney"'): "'id/kidney'",
        text + '\n[[member]]\nkind = "imported"\nname = "old"\noof = "old.csv"\n': "compared by `foldstill heads`",
        "thin_votes = 1\n" + text: "thin_votes needs votes that are whole counts",
    }.items():
        experiment.write_text(changed, encoding="utf-8")
        frame.rename(columns={"kidney": "id/kidney"} if "id/kidney" in changed else {}).to_csv(
            experiment.parent / "organs.csv", index=False
        )
        assert call(monkeypatch, "run", experiment, *options) == 2, message
        assert message in " ".join(capsys.readouterr().err.split())
        assert not run.exists()


def test_what_needs_votes_for_classes_is_refused_for_heads(organs):
    training_set = TrainingSet.from_labels(organs.labels, organs.views, np.arange(150))
    for setting in (
        {"loss": DKD()},
        {"sampling": "balanced"},
        {"row_weight": "log1p"},
        {"second_stage": SecondStage()},
        {"augment": (SameClassCutMix(),)},
    ):
        with pytest.raises(MemberError, match="needs votes for classes, and the labels are heads"):
            two_epochs(**setting).check(training_set)


def test_train_of_arrays_names_what_collects_heads(organs, tmp_path):
    with pytest.raises(MemberError, match="use train_members and collect_heads"):
        fs.train(organs.views, organs.labels, [two_epochs()], tmp_path)


def test_a_head_without_labels_in_a_fold_is_refused(experiment: Path, monkeypatch, capsys):
    frame = pd.read_csv(experiment.parent / "organs.csv").assign(fold=lambda f: f["patient"] % 3)
    frame.loc[frame["fold"] == 2, "liver"] = np.nan
    frame.to_csv(experiment.parent / "organs.csv", index=False)
    text = experiment.read_text(encoding="utf-8").replace("[folds]\nn_folds = 3\ntest_share = 0.2\n", "")
    experiment.write_text(text.replace('id = "id"', 'id = "id"\nfold = "fold"'), encoding="utf-8")
    assert call(monkeypatch, "run", experiment, "--out", experiment.parent / "run", "-q") == 2
    assert "head 'liver' has no label in fold 2" in " ".join(capsys.readouterr().err.split())


def test_the_experiment_of_the_page_is_valid():
    page = Path(__file__).parents[1] / "docs/multi_label.md"
    [text] = re.findall(r"^```toml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert parse_experiment(text, "multi_label.md").data.heads == HEADS
