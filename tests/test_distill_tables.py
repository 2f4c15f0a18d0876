"""Students of feature tables: boosted trees and estimators that learn the soft targets of an ensemble."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import foldstill as fs
from foldstill.base_models import Member
from foldstill.commands.export import export_stage
from foldstill.data.simplex import kl_divergence
from foldstill.data.training import FitContext, TrainingSet
from foldstill.distill import OnnxStudent, Student
from foldstill.errors import DistillError, ExperimentError, MemberError
from foldstill.pipeline import ExperimentFile, Run, find_run, run_all, start_run
from foldstill.pipeline.experiment_file import parse_experiment
from made_up import call, one_worker
from test_base_models_tables import EXPERIMENT, write_table

STUDENT = """
[student]
kind = "lightgbm"
teacher = "average"
rounds = 20
rows_per_leaf = 5
seeds = 2
[[ablation]]
name = "of trees"
kind = "sklearn"
estimator = "DecisionTreeRegressor"
options = { max_depth = 4 }
seeds = 1
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two members whose average teaches boosted trees and one tree."""
    folder = tmp_path_factory.mktemp("students")
    write_table(folder)
    text = EXPERIMENT.split('[[member]]\nkind = "sklearn"')[0] + '[[stacking.combiner]]\nkind = "average"\n' + STUDENT
    run_all(start_run(ExperimentFile(text, folder), folder / "run", one_worker()))
    return find_run(folder / "run", work=one_worker())


def test_a_student_of_any_kind_is_compared_with_its_twin(run: Run) -> None:
    arms = {arm.name: arm for arm in run.comparison.arms}
    twin = run.experiment.student.untaught().name  # type: ignore[union-attr]
    assert {"student", twin, "of trees"} <= set(arms)
    assert len(arms["student"].kl_by_seed) == 2
    assert max(arms[name].kl for name in ("student", twin, "of trees")) < 0.8  # that of the class prior is 0.9
    assert run.comparison.teacher_gain("student") is not None
    assert arms["student"].cost.parameters < arms["average"].cost.parameters  # type: ignore[union-attr, operator]


CROSS_VALIDATED = """
[student]
kind = "lightgbm"
teacher = "average"
rounds = 10
patience = 0
seeds = 1
cross_validate = "KIND"
[[ablation]]
name = "module"
kind = "torch"
module = "my_models.py:linear"
view = "features"
recipe = { epochs = 8, batch_size = 16, lr = 0.03 }
"""


@pytest.mark.parametrize("kind", ["naive", "pairs"])
def test_students_of_tables_are_cross_validated(tmp_path: Path, kind: str) -> None:
    write_table(tmp_path, 120)
    module = "from torch import nn\n\ndef linear(shape, n_classes):\n    return nn.Linear(*shape, n_classes)\n"
    (tmp_path / "my_models.py").write_text(module, encoding="utf-8")
    text = EXPERIMENT.split('[[member]]\nkind = "sklearn"')[0] + '[[stacking.combiner]]\nkind = "average"\n'
    text += CROSS_VALIDATED.replace("KIND", kind)
    run_all(start_run(ExperimentFile(text, tmp_path), tmp_path / "run", one_worker()))
    run = find_run(tmp_path / "run", work=one_worker())
    for student in run.students:
        (scores,) = student.oof
        assert scores.ids.tolist() == run.table.labels.ids.tolist()
        target = run.dataset.labels.take(run.plan.oof_rows).target_NC
        assert kl_divergence(target=target, proba=scores.proba_NMC[:, 0]) < 0.9  # that of the class prior


def test_its_own_files_and_an_onnx_file_are_its_export_and_the_card_says_so(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipment = export_stage(run)
    assert list(shipment.files) == ["model.json", "model.txt", "student.onnx"]
    assert "LightGBM's text format" in shipment.files["model.txt"]
    assert f"within 0.001 of the model on {len(run.plan.test_rows)} rows" in shipment.files["student.onnx"]
    card = run.dir.card.read_text(encoding="utf-8")
    assert "A LightGBM that reads the view `features`" in card
    assert "- feature color (category with 3 levels)" in card
    assert [(each.name, each.rows) for each in shipment.latencies] == [
        ("model", 1),
        ("model", 32),
        ("student.onnx", 1),
        ("student.onnx", 32),
    ]
    folder = run.dir.root.parent
    rows = pd.read_csv(folder / "d.csv").assign(color="violet")  # no row of the training had it
    rows[["color", "size", "id", "patient"]].to_csv(folder / "violet.csv", index=False)
    scores = []
    for name, how in (("own", ("--arm", "student")), ("onnx", ("--onnx", run.dir.student / "student.onnx"))):
        out = folder / f"violet-{name}.csv"
        assert (
            call(monkeypatch, "predict", "--run", run.dir.root, "--data", folder / "violet.csv", *how, "--out", out)
            == 0
        )
        scores.append(pd.read_csv(out).iloc[:, -3:].to_numpy())
    np.testing.assert_allclose(*scores, atol=1e-5)


def table_of_every_sort(n: int = 400) -> pd.DataFrame:
    """Numbers with and without gaps, one with more digits than float32 has, a constant, and twelve levels with gaps."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "gaps": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)),
            "whole": rng.integers(0, 50, n),
            "second": 1.7e9 + rng.integers(0, 1_000_000, n),
            "level": rng.choice([*"abcdefghijkl", None], n),
            "constant": 1.0,
        }
    )


@pytest.mark.parametrize(
    "member",
    [
        fs.LightGBMMember("m", rounds=30, patience=0, rows_per_leaf=5),
        fs.LightGBMMember("m", rounds=1, patience=0, rows_per_leaf=1000),  # trees without a split
        fs.SklearnMember("m", "ExtraTreesClassifier", options={"n_estimators": 10}),
        fs.SklearnMember("m", "LogisticRegression"),
        fs.SklearnMember("m", "MultinomialNB"),  # scaled to 0..1
        fs.SklearnMember("m", "DecisionTreeRegressor", options={"max_depth": 5}),
    ],
    ids=lambda member: str(getattr(member, "estimator", f"LightGBM {getattr(member, 'rounds', '')}")),
)
def test_an_onnx_file_gives_what_the_model_gives(member: Member, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("skl2onnx")
    frame = table_of_every_sort()
    state_N = frame["level"].isin([*"adgk"]).astype(int) + (frame["whole"] > 25)
    target_NC = 0.8 * np.eye(4)[state_N] + 0.2 / 3 * (np.arange(4) < 3)  # nobody has the last class
    target_NC[:, 3] = 0
    target_NC /= target_NC.sum(axis=1, keepdims=True)
    table = fs.FeatureTable.of(frame)
    training_set = TrainingSet({"features": table}, tuple("wxyz"), np.arange(300), target_NC)
    model = member.fit(training_set, FitContext(seed=1))
    student = Student(model, "features")
    path = student.export(tmp_path / "student.onnx", frame)  # type: ignore[arg-type]
    unseen = frame.assign(level="unseen", gaps=np.nan)
    for rows in (frame.iloc[:, ::-1], unseen):
        np.testing.assert_allclose(OnnxStudent(path).predict(rows), student.predict(rows), atol=1e-5)  # type: ignore[arg-type]
    features = OnnxStudent(path).about["features"]
    assert features[3] == {"name": "level", "levels": list("abcdefghijkl")}
    assert features[0] == {"name": "gaps", "levels": None}


def test_a_student_that_cannot_be_converted_is_shipped_in_its_own_format_and_says_why(tmp_path: Path) -> None:
    write_table(tmp_path, 120)
    text = EXPERIMENT.split('[[member]]\nkind = "sklearn"')[0] + '[[stacking.combiner]]\nkind = "average"\n'
    text += '[student]\nkind = "sklearn"\nestimator = "HistGradientBoostingClassifier"\noptions = { max_iter = 3 }\n'
    text += 'teacher = "average"\nseeds = 1\n'
    run_all(start_run(ExperimentFile(text, tmp_path), tmp_path / "run", one_worker()))
    run = find_run(tmp_path / "run", work=one_worker())
    shipment = export_stage(run)
    assert "not written: " in shipment.files["student.onnx"]
    assert "HistGradientBoostingClassifier" in shipment.files["student.onnx"]
    assert not (run.dir.student / "student.onnx").exists()
    assert "skops format" in shipment.files["model.skops"]


def test_it_predicts_new_rows_by_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run.dir.root.parent
    rows = pd.read_csv(folder / "d.csv")[["color", "size", "id", "patient"]]
    rows.to_csv(folder / "new.csv", index=False)
    scores = []
    for name in ("d.csv", "new.csv"):
        out = folder / f"scores-{name}"
        arguments = ("predict", "--run", run.dir.root, "--data", folder / name, "--arm", "student", "--out", out)
        assert call(monkeypatch, *arguments) == 0
        scores.append(pd.read_csv(out).iloc[:, -3:].to_numpy())
    np.testing.assert_array_equal(*scores)


def test_a_notebook_distils_into_a_member_of_any_kind() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=120), "color": rng.choice(["a", "b"], 120)})
    teacher = np.where(frame[["x"]] > 0, [[0.8, 0.2]], [[0.3, 0.7]])
    votes = np.eye(2)[(rng.random(120) < teacher[:, 1]).astype(int)]
    student = fs.distill(teacher, frame, votes, fs.LightGBMMember("student", rounds=30), work=one_worker())
    np.testing.assert_allclose(student.predict(frame), teacher, atol=0.25)
    with pytest.raises(DistillError, match=r"the student: the view 'features' wants the features .*lack \['x'\]"):
        student.predict(frame[["color"]])  # type: ignore[arg-type]
    with pytest.raises(DistillError, match="the student is no network but a LightGBMModel"):
        _ = student.network


def test_the_rows_of_a_group_judge_a_student_together() -> None:
    settings = fs.StudentSettings(learner=fs.LightGBMMember("x", rounds=5))
    assert (settings.view, settings.member().name) == ("features", "student")
    assert replace(settings, name="other").member().name == "other"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "dkd"}, "student 'student' is a member of kind 'lightgbm', for which loss has no effect"),
        ({"network": "nano"}, "for which network has no effect: leave it out"),
        ({"uncertainty": True}, "for which uncertainty has no effect"),
    ],
)
def test_settings_of_networks_are_refused_for_other_students(settings: dict, message: str) -> None:
    with pytest.raises(DistillError, match=message):
        fs.StudentSettings(learner=fs.LightGBMMember("student"), **settings)


def test_mistakes_are_named_where_the_file_says_them(tmp_path: Path) -> None:
    for before, after, message in (
        (
            "rounds = 20\nrows_per_leaf = 5\nseeds",
            "rouns = 20\nseeds",
            r"student\.rouns: no such key; did you mean rounds",
        ),
        ('kind = "lightgbm"\nteacher', 'kind = "lightgmb"\nteacher', r"student\.kind: .*lightgmb"),
        ("rounds = 20\nrows_per_leaf = 5\nseeds", "leaves = 1\nseeds", r"student: .*leaves must be 2 or more, got 1"),
    ):
        with pytest.raises(ExperimentError, match=message):
            parse_experiment((EXPERIMENT + STUDENT).replace(before, after), "e.toml")
    write_table(tmp_path)
    text = EXPERIMENT + '[student]\nkind = "sklearn"\nteacher = "average"\nestimator = "KNeighborsClassifier"\n'
    with pytest.raises(MemberError, match="takes no sample weights"):
        run_all(start_run(ExperimentFile(text, tmp_path), tmp_path / "r", one_worker()))
    assert not (tmp_path / "r" / "members").exists()
