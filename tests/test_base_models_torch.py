"""Torch modules of the user's own: as members and students, from a file or a factory; and trained checkpoints."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from foldstill.base_models import Recipe, TimmMember, TorchMember, collect, train_members
from foldstill.base_models.module_code import ModuleCode, factory_digest
from foldstill.data.dataset import Dataset
from foldstill.data.folds import FoldPlan, make_plan
from foldstill.data.labels import Labels
from foldstill.data.training import TrainingSet
from foldstill.digests import digest
from foldstill.distill import load_student
from foldstill.errors import DistillError, ExperimentError, FoldstillError, MemberError
from foldstill.json_files import write_json
from foldstill.manifest import read_done
from foldstill.oof import audit
from foldstill.pipeline import ExperimentFile, run_all, start_run
from foldstill.pipeline.experiment_file import parse_experiment
from foldstill.workers import Work
from made_up import TWO_VIEWS, call, interruptions, member_table, one_worker, weights, write_two_views

MODULES = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, shape, n_classes, width=8):
        super().__init__()
        channels = shape[2] if len(shape) == 3 else shape[0]
        convolution, norm = (nn.Conv2d, nn.BatchNorm2d) if len(shape) == 3 else (nn.Conv1d, nn.BatchNorm1d)
        layers = (convolution(channels, width, 3, padding=1), norm(width), nn.ReLU(), nn.Dropout(0.1))
        self.features = nn.Sequential(*layers)
        self.last = nn.Linear(width, n_classes)

    def forward(self, x):
        return self.last(self.features(x).flatten(2).mean(2))


def pairs(shape, n_classes):
    class Pairs(Net):
        def forward(self, x):
            return super().forward(x), x

    return Pairs(shape, n_classes)


def five(shape, n_classes):
    return Net(shape, 5)


def nothing(shape, n_classes):
    return None


def broken(shape, n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(7, n_classes))
"""
"""What users write; Net reads images and signals."""

RECIPE = Recipe(epochs=2, batch_size=16, ema=0.9)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment's data and modules."""
    folder = tmp_path_factory.mktemp("torch")
    (folder / "my_models.py").write_text(MODULES)
    write_two_views(folder / "two-views.npz")
    return folder


def experiment(student: str = "") -> str:
    members = (
        member_table(name="net", kind="torch", module="my_models.py:Net", options={}),
        member_table(name="waves", kind="torch", module="my_models.py:Net", view="signal"),
    )
    table = "".join(members).replace("options = {}", "options = { width = 4 }")
    combiners = "".join(f'[[stacking.combiner]]\nkind = "{kind}"\n' for kind in ("average", "convex"))
    head = f'name = "t"\n{TWO_VIEWS}[folds]\nn_folds = 2\ntest_share = 0.2\n[recipe]\nepochs = 2\nbatch_size = 16\n'
    taught = f'[student]\nteacher = "convex"\nseeds = 1\n{student}\n' if student else ""
    return head + table + combiners + taught


STUDENT = 'kind = "torch"\nmodule = "my_models.py:Net"\noptions = { width = 4 }'


def test_a_run_of_modules_in_a_file_ends_with_a_student_and_needs_the_file_no_more(folder, tmp_path, monkeypatch):
    run = start_run(ExperimentFile(experiment(STUDENT), folder, "t"), tmp_path / "run", Work(1, "cpu"))
    comparison = run_all(run)
    assert {"class prior", "net", "waves", "average", "convex", "student", "student without teacher"} == {
        a.name for a in comparison.arms
    }
    assert comparison["student"].cost.macs
    place = tmp_path / "run" / "members" / "net" / "fold-0"
    assert (place / "module.py").read_text() == MODULES
    assert json.loads((place / "done.json").read_text())["inputs"]["member.module"] == "my_models.py:Net"
    (folder / "my_models.py").rename(folder / "gone.py")
    try:
        arguments = (
            "predict",
            "--run",
            tmp_path / "run",
            "--data",
            folder / "two-views.npz",
            "--device",
            "cpu",
            "--force",
        )
        for arm in ("convex", "student"):
            assert call(monkeypatch, *arguments, "--out", tmp_path / "o.csv", "--arm", arm) == 0
    finally:
        (folder / "gone.py").rename(folder / "my_models.py")
    pytest.importorskip("onnxruntime")
    images = np.load(folder / "two-views.npz")["images"]
    path = load_student(tmp_path / "run" / "student").export(tmp_path / "student.onnx", images[:4])
    assert path.exists()


@pytest.fixture(scope="module")
def data(pictures: Dataset, three_folds: FoldPlan) -> tuple[Dataset, FoldPlan]:
    return pictures, three_folds


@pytest.mark.usefixtures("every_epoch_saved")
def test_a_killed_training_continues_to_the_same_bytes_and_an_edited_file_is_another_input(data, tmp_path):
    dataset, plan = data
    (tmp_path / "my_models.py").write_text(MODULES)
    member = TorchMember("small", f"{tmp_path}/my_models.py:Net", recipe=RECIPE)
    train_members([member], dataset, plan, tmp_path / "a", work=one_worker(), folds=[0])
    stops = interruptions(
        "small",
        lambda stop: train_members([member], dataset, plan, tmp_path / "b", work=one_worker(stop), folds=[0]),
    )
    assert stops
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    (tmp_path / "my_models.py").write_text(MODULES + "\n# a comment\n")
    train_members([member], dataset, plan, tmp_path / "a", work=one_worker(), folds=[0])
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    (tmp_path / "my_models.py").write_text(MODULES + "\n\ndef edited():\n    pass\n")
    with pytest.raises(ExperimentError, match=r"made from other inputs: file\.module was"):
        train_members([member], dataset, plan, tmp_path / "a", work=one_worker(), folds=[0])


def test_finished_work_that_recorded_the_text_of_a_file_holds_until_the_text_changes(data, tmp_path):
    (tmp_path / "my_models.py").write_text(MODULES)
    member = TorchMember("small", f"{tmp_path}/my_models.py:Net", recipe=RECIPE)
    train_members([member], *data, tmp_path / "a", work=one_worker(), folds=[0])
    mark = tmp_path / "a" / "small" / "fold-0" / "done.json"
    done, before = read_done(mark.parent), weights(tmp_path / "a")
    of_text = digest(MODULES, "Net")
    assert done["inputs"]["file.module"] != of_text
    write_json(mark, done | {"inputs": done["inputs"] | {"file.module": of_text}}, sealed=True)
    written = mark.read_bytes()
    train_members([member], *data, tmp_path / "a", work=one_worker(), folds=[0])
    assert (mark.read_bytes(), weights(tmp_path / "a")) == (written, before)
    (tmp_path / "my_models.py").write_text(MODULES + "\n# a comment\n")
    with pytest.raises(ExperimentError, match=rf"file\.module was .{of_text}"):
        train_members([member], *data, tmp_path / "a", work=one_worker(), folds=[0])


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda text: f'"""What the file is for."""\n{text}', True),
        (lambda text: text.replace("import torch\n", "import torch  # the library\n\n"), True),
        (lambda text: text.replace("(", "(\n    "), True),
        (lambda text: f"{text}\n\ndef more():\n    pass\n", False),
        (lambda text: text.replace("1", "2"), False),
        (lambda text: text.replace("1", "1.0"), False),
        (lambda text: text.replace("1", "True"), False),
        (lambda text: text.replace("import torch", "import torch as t"), False),
        (lambda text: f'{text}\nNAME = "a text that is no docstring"\n', False),
    ],
)
def test_only_comments_docstrings_and_layout_leave_the_digest_of_code_as_it_is(change, same):
    text = "import torch\n\n\ndef net(shape):\n    return torch.nn.Linear(shape[0], 1)\n"
    changed = change(text)
    assert changed != text
    digests = [factory_digest(ModuleCode(each, "net")) for each in (text, changed)]
    assert (digests[0] == digests[1]) is same
    assert factory_digest(ModuleCode(text, "net")) != factory_digest(ModuleCode(text, "torch"))


def linear(shape, n_classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(shape)), n_classes))


def check(data, module, **settings):
    TorchMember("net", module, **settings).check(TrainingSet.from_labels(data[0].labels, data[0].views, np.arange(9)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nat", r"my_models.py has no class or function 'Nat', it has \['Net', 'pairs', 'five', 'nothing', 'broken'\]"),
        ("pairs", r"my_models.py:pairs must give logits of shape \(2, 3\) for 2 rows and 3 classes, got a tuple"),
        ("five", r"my_models.py:five must give logits of shape \(2, 3\).*got a tensor of shape \(2, 5\)"),
        ("nothing", r"my_models.py:nothing must return a torch.nn.Module, got NoneType"),
        ("broken", r"my_models.py:broken fails in evaluation on a batch of shape \(2, 3, 16, 16\) \(RuntimeError"),
    ],
)
def test_a_module_that_gives_no_logits_is_one_sentence_before_anything_is_trained(folder, data, name, message):
    with pytest.raises(MemberError, match=f"member 'net': {message}") as error:
        check(data, f"{folder}/my_models.py:{name}")
    assert "\n" not in str(error.value)


def lazy(shape: tuple[int, ...], n_classes: int) -> torch.nn.Module:
    nn = torch.nn
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(n_classes))


def test_lazy_modules_take_their_shapes_from_the_rows_and_their_norms_count_no_batch() -> None:
    torch.manual_seed(0)
    body = TorchMember("net", lazy).build([(16, 16, 3)], 3).body
    assert [tuple(value.shape) for value in body.parameters()] == [(8, 768), (8,), (8,), (8,), (3, 8), (3,)]
    assert body[2].num_batches_tracked == 0


def test_options_and_files_that_do_not_fit_are_named(folder, data, tmp_path):
    with pytest.raises(MemberError, match=r"my_models.py:Net\(\(16, 16, 3\), 3, depth=2\) fails \(TypeError: .*depth"):
        check(data, f"{folder}/my_models.py:Net", options={"depth": 2})
    (tmp_path / "wrong.py").write_text("import torch\n\ndef Net(:\n")
    with pytest.raises(MemberError, match=r"member 'net': wrong.py cannot be run \(SyntaxError: .*line 3\)"):
        check(data, f"{tmp_path}/wrong.py:Net")
    (tmp_path / "beside.py").write_text("from my_layers import Block\n")
    with pytest.raises(MemberError, match=r"beside.py cannot be run \(ModuleNotFoundError: .*my_layers.*line 1\)"):
        check(data, f"{tmp_path}/beside.py:Net")
    with pytest.raises(MemberError, match=r"no file .*none.py, which `module` names"):
        check(data, f"{tmp_path}/none.py:Net")
    with pytest.raises(FoldstillError, match=r'as in "my_models.py:Net", got \'my_models:Net\''):
        TorchMember("net", "my_models:Net")
    with pytest.raises(FoldstillError, match="module is built already, and each fold needs a fresh one"):
        TorchMember("net", torch.nn.Linear(2, 2))


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ('kind = "torch"', '"torch" and `module` go together'),
        ('module = "my_models.py:Net"', '"torch" and `module` go together'),
        (f"{STUDENT}\npretrained = true", "pretrained would have no effect on a module of your own"),
    ],
)
def test_a_student_of_another_kind_refuses_what_has_no_effect(student, message):
    with pytest.raises(ExperimentError, match=message):
        parse_experiment(experiment(student), "t.toml")


def test_a_student_whose_module_gives_no_logits_is_found_before_members_are_trained(folder, tmp_path):
    text = experiment(STUDENT.replace(":Net", ":five").replace("options = { width = 4 }", ""))
    with pytest.raises(MemberError, match=r"member 'student': my_models\.py:five must give logits"):
        run_all(start_run(ExperimentFile(text, folder, "t"), tmp_path / "run", Work(1, "cpu")))
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A member that was trained last month, and its weights in other forms."""
    folder = tmp_path_factory.mktemp("trained")
    member = TorchMember("small", linear, recipe=RECIPE)
    train_members([member], *data, folder / "m", work=one_worker())
    for fold in range(3):
        state = member.load(folder / "m" / "small" / f"fold-{fold}").network.state_dict()
        torch.save(
            {k.removeprefix("body."): v for k, v in state.items() if k.startswith("body.")}, folder / f"b-{fold}.pt"
        )
        torch.save({"model": member}, folder / f"objects-{fold}.pt")
    torch.save({"1.weight": torch.zeros(4, 768), "1.bias": torch.zeros(4)}, folder / "four-0.pt")
    for fold in (1, 2):
        torch.save({"1.weight": torch.zeros(4, 768), "1.bias": torch.zeros(4)}, folder / f"four-{fold}.pt")
    return folder


@pytest.mark.parametrize("pattern", ["m/small/fold-{fold}/weights.safetensors", "b-{fold}.pt"])
def test_trained_checkpoints_are_scored_and_nothing_is_trained(data, trained, tmp_path, pattern):
    """A state dict holds no input scaling: it is fitted to the training rows of the fold, as it was in training."""
    old = TorchMember("small", linear, recipe=RECIPE)
    member = replace(old, weights=str(trained / pattern))
    train_members([member], *data, tmp_path, work=one_worker())
    (table, test), (before, test_before) = (
        collect(folder, [old if folder != tmp_path else member], data[0].labels, data[1])
        for folder in (tmp_path, trained / "m")
    )
    np.testing.assert_allclose(table.proba_NMC, before.proba_NMC, atol=1e-6)
    np.testing.assert_allclose(test.proba_KNMC, test_before.proba_KNMC, atol=1e-6)
    assert table.made_elsewhere == ("small",)
    assert audit(table)["A2"].verdict == "warn"
    assert not (tmp_path / "small" / "fold-0" / "history.csv").exists()


def test_the_audit_finds_checkpoints_that_saw_the_rows_which_the_plan_says_they_did_not(tmp_path):
    """Weights that memorise labels of noise, with files in the order of their folds and in another order."""
    rng = np.random.default_rng(0)
    labels = Labels.from_hard(rng.integers(0, 3, 150))
    dataset = Dataset(labels, {"image": rng.normal(size=(150, 16, 16, 1)).astype(np.float32)})
    plan = make_plan(labels, n_folds=3, test_share=0.2)
    recipe = Recipe(epochs=20, batch_size=16, weight_decay=0.0)
    train_members([TorchMember("learner", linear, recipe=recipe)], dataset, plan, tmp_path, work=one_worker())
    verdicts = []
    for name, shift in (("right", 0), ("shifted", 1)):
        for fold in range(3):
            source = tmp_path / "learner" / f"fold-{(fold + shift) % 3}" / "weights.safetensors"
            (tmp_path / f"{name}-{fold}.safetensors").write_bytes(source.read_bytes())
        member = TorchMember(name, linear, weights=f"{tmp_path}/{name}-{{fold}}.safetensors")
        train_members([member], dataset, plan, tmp_path / "m", work=one_worker())
        table, test = collect(tmp_path / "m", [member], labels, plan)
        verdicts.append(audit(table, test=test, test_labels=labels.take(plan.test_rows))["A7"].verdict)
    assert verdicts == ["pass", "fail"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("b-0.pt", 'names one file per fold, as in weights = "fold-{fold}'.replace("{", r"\{")),
        ("x-{fold}.pt", "no file .*x-0.pt, which `weights` names"),
        ("four-{fold}.pt", r"four-0.pt does not fit the network: 1.bias has shape \(4,\), wanted \(3,\)"),
        ("objects-{fold}.pt", "objects-0.pt needs unpickling, which could run any code"),
    ],
)
def test_checkpoints_that_do_not_fit_are_one_sentence_before_anything_is_trained(
    data, trained, tmp_path, pattern, message
):
    member = TorchMember("net", linear, weights=str(trained / pattern))
    with pytest.raises(MemberError, match=message.replace("names one", "name one")) as error:
        train_members([TimmMember.example(), member], *data, tmp_path / "m", work=one_worker())
    assert "\n" not in str(error.value)
    assert not (tmp_path / "m").exists()


def test_settings_of_a_student_name_the_kind():
    from foldstill.distill import StudentSettings

    assert StudentSettings(kind="eeg", view="signal").member().kind == "eeg"
    with pytest.raises(DistillError, match="is no eeg network"):
        StudentSettings(kind="eeg", network="resnet18")


class Greedy(torch.nn.Module):
    """A linear network that needs too much memory for more than `rows` rows."""

    def __init__(self, n_inputs, n_classes, rows):
        super().__init__()
        self.linear, self.rows = torch.nn.Linear(n_inputs, n_classes), rows

    def forward(self, x):
        if len(x) > self.rows:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        return self.linear(x.flatten(1))


def test_a_lack_of_memory_is_not_blamed_on_the_module_and_names_the_member(data, tmp_path):
    dataset, plan = data

    def greedy(shape, n_classes, rows=2):
        return Greedy(int(np.prod(shape)), n_classes, rows)

    with pytest.raises(MemberError, match=r"^member net, fold 0: not enough memory to train it: make batch_size"):
        train_members([TorchMember("net", greedy)], dataset, plan, tmp_path, work=one_worker(), folds=[0])
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        check(data, greedy, options={"rows": 1})
