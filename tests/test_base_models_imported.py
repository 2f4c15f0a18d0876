"""Predictions made elsewhere as members: matched by id, audited, and refused where a model would be needed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldstill.base_models import ImportedMember, TimmMember, collect, predict_members, train_members
from foldstill.base_models.members import check_members
from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan
from foldstill.data.labels import Labels
from foldstill.errors import ExperimentError, FoldstillWarning, MemberError
from foldstill.oof import audit, read_table, write_scores, write_table
from foldstill.oof.table import FoldScores
from foldstill.pipeline import ExperimentFile, run_all, start_run
from foldstill.pipeline.experiment_file import parse_experiment
from foldstill.testing import synthetic_table
from foldstill.workers import Work
from made_up import call, member_table, one_worker

CLASSES = ("cat", "dog", "owl")
IDS = np.asarray([f"row-{i}" for i in range(60)])
FOLD = np.where(np.arange(60) < 12, -1, np.arange(60) // 3 % 2)
"""12 locked rows, and two folds; groups have three rows."""


@pytest.fixture(scope="module")
def data() -> tuple[Dataset, FoldPlan]:
    rng = np.random.default_rng(0)
    votes = np.eye(3)[rng.integers(0, 3, 60)] * 5 + rng.integers(0, 3, (60, 3))
    labels = Labels.from_votes(votes, ids=IDS, groups=np.arange(60) // 3, classes=CLASSES)
    images = (60 * votes.argmax(axis=1)[:, None, None, None] + rng.integers(0, 60, (60, 16, 16, 3))).astype(np.uint8)
    return Dataset(labels, {"image": images}), FoldPlan.from_folds(labels, FOLD)


def proba(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(3), 60).astype(np.float32)


def frame(rows: np.ndarray, seed: int = 0) -> pd.DataFrame:
    """Predictions of these rows, classes and rows in another order than the data's."""
    columns = {f"{name}_prediction": proba(seed)[rows, c] for c, name in list(enumerate(CLASSES))[::-1]}
    return pd.DataFrame({"id": IDS[rows], **columns})[::-1]


def write(path: Path, rows: np.ndarray, seed: int = 0) -> str:
    frame(rows, seed).to_csv(path, index=False)
    return str(path)


ALL, OOF, TEST = np.arange(60), np.flatnonzero(FOLD >= 0), np.flatnonzero(FOLD < 0)


@pytest.mark.parametrize("form", ["one file", "a file per fold", "npz", "tables of another run"])
def test_predictions_are_matched_by_id_and_class(data, tmp_path, form):
    dataset, plan = data
    settings = {}
    if form == "one file":
        settings = {"oof": write(tmp_path / "all.csv", ALL)}
    elif form == "a file per fold":
        for fold in range(2):
            write(tmp_path / f"oof-{fold + 1}.csv", np.flatnonzero(fold == FOLD))
            write(tmp_path / f"test-{fold + 1}.csv", TEST, seed=fold)
        settings = {"oof": str(tmp_path / "oof-{fold}.csv"), "test": str(tmp_path / "test-{fold}.csv")}
    elif form == "npz":
        others = np.stack([proba(5), proba()], axis=1)[::-1]
        np.savez(tmp_path / "p.npz", pred=others, members=["other", "lgb"], key=IDS[::-1], classes=CLASSES)
        settings = {"oof": str(tmp_path / "p.npz"), "id": "key"}
    else:
        train_members([ImportedMember("lgb", write(tmp_path / "all.csv", ALL))], dataset, plan, tmp_path / "a")
        table, test = collect(tmp_path / "a", [ImportedMember("lgb", "all.csv")], dataset.labels, plan)
        write_table(table, tmp_path / "oof.parquet")
        both = np.stack([test.proba_KNMC[0], proba(1)[TEST][:, None]])
        write_scores(FoldScores(test.ids, test.members, test.classes, both), tmp_path / "test.parquet")
        settings = {"oof": str(tmp_path / "oof.parquet"), "test": str(tmp_path / "test.parquet")}
    member = ImportedMember("lgb", **settings)
    train_members([member], dataset, plan, tmp_path / "m", work=one_worker())
    table, test = collect(tmp_path / "m", [member], dataset.labels, plan)
    np.testing.assert_allclose(table.proba_NMC[:, 0], proba()[OOF], atol=1e-6)
    second = proba(1) if form in ("a file per fold", "tables of another run") else proba()
    np.testing.assert_allclose(test.proba_KNMC[:, :, 0], [proba()[TEST], second[TEST]], atol=1e-6)


def test_the_audit_says_that_nothing_proves_imported_scores_held_out(data, tmp_path):
    dataset, plan = data
    timm = TimmMember("net", "test_resnet", recipe=TimmMember.example().recipe)
    members = [ImportedMember("lgb", write(tmp_path / "all.csv", ALL)), timm]
    train_members(members, dataset, plan, tmp_path, work=one_worker())
    table, _ = collect(tmp_path, members, dataset.labels, plan)
    finding = audit(table)["A2"]
    assert (finding.verdict, table.made_elsewhere) == ("warn", ("lgb",))
    assert "1 of 2 members were made elsewhere (lgb)" in finding.evidence
    write_table(table, tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").made_elsewhere == ("lgb",)
    assert audit(table.select(["net"]))["A2"].verdict == "pass"


def test_rows_in_another_order_are_a_failure_of_imported_members_only():
    """Our own loop matches rows, so that a member trained by it has learned nothing; predictions of files may be
    misaligned."""
    table = synthetic_table()
    proba_NMC = table.proba_NMC.copy()
    proba_NMC[:, 0] = np.random.default_rng(0).permutation(proba_NMC[:, 0])
    shuffled = replace(table, scores=replace(table.scores, proba_NMC=proba_NMC), plan_digest="plan")
    assert audit(shuffled)["A3"].verdict == "warn"
    assert audit(replace(shuffled, made_elsewhere=("m0",)))["A3"].verdict == "fail"


def test_another_file_is_another_input(data, tmp_path):
    dataset, plan = data
    member = ImportedMember("lgb", write(tmp_path / "all.csv", ALL))
    train_members([member], dataset, plan, tmp_path / "m", work=one_worker())
    done = json.loads((tmp_path / "m" / "lgb" / "fold-1" / "done.json").read_text())
    assert done["inputs"]["member.oof"] == "all.csv"
    write(tmp_path / "all.csv", ALL, seed=3)
    with pytest.raises(ExperimentError, match=r"made from other inputs: file\.oof was"):
        train_members([member], dataset, plan, tmp_path / "m", work=one_worker())


def case(tmp_path: Path, form: str) -> dict[str, str]:
    path = tmp_path / "p.csv"
    scores = frame(ALL)
    if form == "missing ids":
        frame(np.arange(3, 60)).assign(id=lambda f: f["id"].replace("row-59", "x-9")).to_csv(path, index=False)
    elif form == "locked rows":
        write(path, OOF)
    elif form == "twice":
        pd.concat([scores, scores[:2]]).to_csv(path, index=False)
    elif form == "other classes":
        scores.rename(columns=lambda c: c.replace("owl", "cow")).to_csv(path, index=False)
    elif form == "fold models":
        path = tmp_path / "p.parquet"
        write_scores(FoldScores(IDS, ("lgb",), CLASSES, np.stack([proba()[:, None]] * 2)), path)
    elif form in ("no names", "no member"):
        path = tmp_path / "p.npz"
        names = {"classes": CLASSES, "members": ["a", "b"]} if form == "no member" else {}
        np.savez(path, pred=np.stack([proba(), proba(1)], axis=1) if names else proba(), id=IDS, **names)
    elif form == "no fold":
        path = tmp_path / "p-{fold}.csv"
        write(tmp_path / "p-0.csv", OOF)
    return {"oof": str(path)}


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("no file", "no file .*p.csv, which `oof` names: correct the path"),
        ("no fold", "no file .*p-1.csv, which `oof` names"),
        (
            "missing ids",
            r"p.csv lacks 4 of 60 rows; first ids: \['row-0', 'row-1', 'row-2'\]; 1 of its 57 rows are not in the "
            r"data, first ids: \['x-9'\]",
        ),
        (
            "locked rows",
            r"has no predictions of the 12 locked rows; first ids: \['row-0', .*name the file that has them with test",
        ),
        ("twice", r"has 2 ids more than once; first: \['row-58', 'row-59'\]"),
        ("other classes", r"p.csv.*owl"),
        ("fold models", "holds scores of 2 fold models for each row, so they are not out of fold"),
        ("no names", 'does not name the 3 classes of its predictions.*classes = "data"'),
        ("no member", r"has no member 'lgb', it has \['a', 'b'\]: name one of these with column"),
    ],
)
def test_what_cannot_be_matched_is_one_sentence_before_anything_is_trained(data, tmp_path, form, message):
    dataset, plan = data
    member = ImportedMember("lgb", **case(tmp_path, form))
    with pytest.raises(MemberError, match=f"member 'lgb': .*{message}") as error:
        train_members([TimmMember.example(), member], dataset, plan, tmp_path / "m", work=one_worker())
    assert "\n" not in str(error.value)
    assert not (tmp_path / "m").exists()


def test_rows_that_are_not_in_the_data_are_reported(data, tmp_path):
    dataset, _ = data
    few = Dataset(dataset.labels.take(np.arange(6, 60)), {"image": dataset.view("image")[6:]})
    member = ImportedMember("lgb", write(tmp_path / "all.csv", ALL))
    with pytest.warns(
        FoldstillWarning, match=r"all.csv has 6 of 60 rows that are not in the data, first ids: \['row-5'"
    ):
        check_members([member], few, FoldPlan.from_folds(few.labels, FOLD[6:]), tmp_path / "m")


def test_an_imported_member_cannot_predict_other_rows_nor_leave_two_folds_out(data, tmp_path):
    dataset, plan = data
    member = ImportedMember("lgb", write(tmp_path / "all.csv", ALL))
    train_members([member], dataset, plan, tmp_path / "m", work=one_worker())
    with pytest.raises(MemberError, match="has predictions and no model, so it cannot predict other rows"):
        predict_members(tmp_path / "m", [member], dataset.views, CLASSES)
    three = FoldPlan.from_folds(dataset.labels, np.where(FOLD < 0, -1, np.arange(60) // 3 % 3))
    with pytest.raises(MemberError, match=r"members \['lgb'\] were made elsewhere, one model per fold"):
        check_members([member], dataset, three, tmp_path / "m", pairs=True)


STUDENT = """[student]
network = "test_resnet"
teacher = "convex"
seeds = 1
recipe = {{ epochs = 1, batch_size = 8 }}
{}
"""


def experiment(student: str = "", folder: str = "") -> str:
    head = (
        'name = "e"\n[data]\nkind = "npz"\npath = "d.npz"\nimages = "x"\nvotes = "v"\nid = "id"\nclasses = "c"\n'
        'group = "g"\n[folds]\nn_folds = 2\n'
    )
    members = [member_table(kind="imported", name=name, oof=f"{folder}{name}.csv") for name in ("one", "two")]
    combiners = "".join(f'[[stacking.combiner]]\nkind = "{kind}"\n' for kind in ("average", "convex"))
    return head + "".join(members) + combiners + STUDENT.format(student)


@pytest.mark.parametrize(
    ("student", "reason"),
    [
        ('views = "live"', "asks every member about augmented inputs"),
        ('views = "bank"', "asks every member about augmented inputs"),
        ('features = { member = "two" }', "features.member asks a member for its features"),
        ("control_arms = true", "the in-sample teacher .* asks every member"),
        ('unlabelled = "more.npz"', "asks every member about further rows"),
        ('cross_validate = "pairs"', "needs every member trained without two folds"),
    ],
)
def test_views_that_ask_members_about_other_inputs_are_refused_with_the_reason(student, reason):
    with pytest.raises(ExperimentError, match=rf"{reason}.*members \['one', 'two'\] are imported, which have"):
        parse_experiment(experiment(student), "e.toml")


def test_a_run_of_imported_members_reaches_a_student(data, tmp_path, monkeypatch):
    dataset, _ = data
    labels = dataset.labels
    np.savez(tmp_path / "d.npz", x=dataset.view("image"), v=labels.votes_NC, id=IDS, c=CLASSES, g=labels.groups)
    (tmp_path / "preds").mkdir()
    for seed, name in enumerate(("one", "two")):
        near = 0.7 * labels.target_NC + 0.3 * proba(seed)
        columns = {f"p_{c}": near[:, i] for i, c in enumerate(CLASSES)}
        pd.DataFrame({"id": IDS, **columns}).to_csv(tmp_path / "preds" / f"{name}.csv", index=False)
    run = start_run(ExperimentFile(experiment(folder="preds/"), tmp_path, "e"), tmp_path / "run", Work(1, "cpu"))
    comparison = run_all(run)
    assert {"class prior", "one", "two", "average", "convex", "student", "student without teacher"} == {
        a.name for a in comparison.arms
    }
    assert comparison["average"].cost is None
    predict = ("predict", "--run", tmp_path / "run", "--data", tmp_path / "d.npz", "--out", tmp_path / "o.csv")
    assert call(monkeypatch, *predict, "--arm", "student", "--device", "cpu") == 0
    assert call(monkeypatch, *predict, "--arm", "convex") == 2
    before = sorted(path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("done.json"))
    run_all(start_run(ExperimentFile(experiment(folder="preds/"), tmp_path, "e"), tmp_path / "run", Work(1, "cpu")))
    assert sorted(path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("done.json")) == before


@pytest.mark.parametrize("key", ["eeg_id", "spectrogram_id"])
def test_predictions_of_the_competition_are_matched_with_recordings_of_the_sample_by_id(real, key):
    """Neither recording of the sample has predictions, and one of its spectrograms has several."""
    ids = {"eeg_id": ["1000913311", "3911565283"], "spectrogram_id": ["1000189855", "7"]}[key]
    labels = Labels.from_votes(np.eye(6)[[5, 5]], ids=ids, classes=["seizure", "lpd", "gpd", "lrda", "grda", "other"])
    member = ImportedMember("raw_50_maxvit_stage1", str(real / "hms_oof" / "hms_oof.npz"), id=key)
    lacks, others = {"eeg_id": (2, "12992"), "spectrogram_id": (1, "12989")}[key]
    message = rf"lacks {lacks} of 2 rows; first ids: \[.*\]; {others} of its 12992 rows are not in the data, first ids"
    with pytest.raises(MemberError, match=message):
        member.for_folds(labels, FoldPlan.from_folds(labels, [0, 1]))
