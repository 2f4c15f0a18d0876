"""A changed, cut or missing file that a finished run left is refused before it is used, by its name and with a cure."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from foldstill.base_models.checkpoint import read_checkpoint, write_checkpoint
from foldstill.base_models.collected import collect
from foldstill.base_models.fold_models import FoldModels
from foldstill.base_models.lightgbm_member import LightGBMModel
from foldstill.base_models.tensor_file import write_tensors
from foldstill.data.boosting import Trees
from foldstill.data.feature_form import FeatureForm
from foldstill.data.features import Feature
from foldstill.distill.bank import BankedTeachers
from foldstill.distill.export import write_model
from foldstill.distill.onnx_file import OnnxStudent
from foldstill.distill.student import load_student
from foldstill.distill.uncertainty import PrecisionHead
from foldstill.errors import FoldstillError
from foldstill.hms.rows import LabelRows
from foldstill.pipeline import Run, apply_combination, find_run
from foldstill.pipeline.compare import _curves, _member_costs
from foldstill.pipeline.train import oof_stage
from foldstill.seals import BLANK_SEAL
from foldstill.stacking import fit, load, save
from foldstill.stacking.gradient_boosting import LightGBM

if TYPE_CHECKING:
    from foldstill.compare import Comparison


FLIPS = 6
"""Bytes per file with one bit changed."""
OTHER_JSON = (b"null", b"{}", b"[]", b"7", b"[" * 100_000)
"""JSON that holds nothing that a reader wants; the last one is nested more deeply than Python reads."""
FOLD = "members/resnet/fold-1"


def checkpoint(folder: Path) -> tuple[Any, ...]:
    network = torch.nn.Linear(3, 2)
    return folder / "checkpoint-1.safetensors", {"seed": 0}, network, torch.optim.AdamW(network.parameters())


def resume(run: Run) -> Any:
    return read_checkpoint(*checkpoint(run.dir.root / "more"), torch.device("cpu"))


def bank_of(folder: Path) -> BankedTeachers:
    return BankedTeachers(None, folder, {}, 1)  # type: ignore[arg-type]


def model(run: Run) -> Any:
    return FoldModels(run.experiment.member[0], run.dir.members).load(1)


def table(run: Run) -> Any:
    return collect(run.dir.members, run.experiment.member, run.dataset.labels, run.plan)


READERS: dict[str, Callable[[Run], Any]] = {
    f"{FOLD}/weights.safetensors": model,
    f"{FOLD}/done.json": model,
    f"{FOLD}/oof.parquet": table,
    f"{FOLD}/test.parquet": table,
    f"{FOLD}/history.csv": _curves,
    "members/resnet/cost.json": _member_costs,
    "folds.parquet": lambda run: run.kept_plan,
    "oof.parquet": lambda run: run.table,
    "test.parquet": lambda run: run.test_file,
    "audit.json": lambda run: run.audit,
    "stacking/average/combination.json": lambda run: run.combination("average").fitted,
    "stacking/average/combination.npz": lambda run: run.combination("average").fitted,
    "stacking/average/oof.parquet": lambda run: run.combination("average").oof_proba_NC,
    "stacking/average/test.parquet": lambda run: run.combination("average").test_proba_NC,
    "stacking/average/done.json": lambda run: (
        run.combination("average").table_digest,
        run.combination("average").fitted,
    ),
    "stacking/convex/weights.json": lambda run: run.combination("convex").weights,
    "student/weights.safetensors": lambda run: load_student(run.dir.student),
    "student/done.json": lambda run: load_student(run.dir.student),
    "student/test.parquet": lambda run: run.students[0].test,
    "student/cost.json": lambda run: run.students[0].cost,
    "student/targets.json": lambda run: run.students[0].targets,
    "comparison.json": lambda run: run.comparison,
    "comparison-rows.parquet": lambda run: run.comparison,
    # Files that a run of this experiment does not leave, made by `whole`.
    "more/view-000.safetensors": lambda run: bank_of(run.dir.root / "more")._read(0, torch.device("cpu")),
    "more/checkpoint-1.safetensors": resume,
    "more/precision.safetensors": lambda run: PrecisionHead.read(run.dir.root / "more/precision.safetensors"),
    "more/student.onnx": lambda run: OnnxStudent(run.dir.root / "more/student.onnx").classes,
    "more/rows.parquet": lambda run: LabelRows.read(run.dir.root / "more/rows.parquet"),
    "more/model.txt": lambda run: LightGBMModel.read(run.dir.root / "more"),
    "more/model.json": lambda run: LightGBMModel.read(run.dir.root / "more"),
    "more/lightgbm/bag0.residual.model.txt": lambda run: load(run.dir.root / "more/lightgbm"),
}
"""Every kind of file that is read again, and what reads it."""
OPTIONAL = (
    f"{FOLD}/done.json",
    "members/resnet/cost.json",
    "folds.parquet",
    "audit.json",
    "student/targets.json",
    "more/view-000.safetensors",
    "more/checkpoint-1.safetensors",
)
"""Files that are not needed, made again, or left out of the report, where they are missing."""


@pytest.fixture(scope="module")
def whole(smoke: tuple[Run, Comparison], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the finished run, and beside its files one of every other kind."""
    import onnx

    folder = tmp_path_factory.mktemp("integrity") / "run"
    shutil.copytree(smoke[0].dir.root, folder)
    more = folder / "more"
    bank = {name: torch.zeros(1, 2, 2, 3) for name in ("scores", "rows", "check")}
    write_tensors(more / "view-000.safetensors", bank, {})
    path, made_from, network, optimizer = checkpoint(more)
    write_checkpoint(path, made_from, network, optimizer, {}, [])
    PrecisionHead(np.zeros(3), np.ones(3), np.ones(3), 0.0, 3).write(more / "precision.safetensors")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [])
    write_model(
        onnx.helper.make_model(graph, ir_version=9, opset_imports=[onnx.helper.make_opsetid("", 17)]),
        more / "student.onnx",
        {"classes": ["a", "b"]},
    )
    names, offsets = np.array(["a", "b"]), np.zeros(2)
    LabelRows(names, names, names, names, offsets, offsets).write(more / "rows.parquet")
    form = FeatureForm((Feature("carat"),))
    LightGBMModel(("a", "b"), "table", form, Trees("tree\nversion=v4\n" * 9, 2), np.zeros(2)).save(more)
    run = find_run(folder)
    save(fit(LightGBM(rounds=2, folds=2, rows_per_leaf=5), run.table), more / "lightgbm")
    return run


def again(run: Run) -> Run:
    """The run as another process sees it, with the data that this one has loaded."""
    fresh = find_run(run.dir.root)
    vars(fresh)["_loaded"] = run._loaded
    return fresh


@pytest.mark.parametrize("name", READERS)
def test_a_changed_byte_a_cut_and_a_loss_are_refused_by_the_name_of_the_file(whole: Run, name: str) -> None:
    path, read = whole.dir.root / name, READERS[name]
    read(again(whole))
    before = path.read_bytes()
    rng = np.random.default_rng(len(before))
    positions = [int(position) for position in rng.integers(0, len(before), FLIPS)]
    flipped = [before[:p] + bytes([before[p] ^ (1 << rng.integers(8))]) + before[p + 1 :] for p in positions]
    # Without its mark, the seal of a parquet file is lost, and its values are compared with their digest instead.
    mark = before.find(BLANK_SEAL.partition(":")[0].encode())
    changed = [
        content
        for position, content in zip(positions, flipped, strict=True)
        if path.suffix != ".parquet" or not mark <= position < mark + 17
    ]
    try:
        other_json = OTHER_JSON if path.suffix == ".json" else ()
        for content in (*changed, b"", before[: len(before) // 2], *other_json):
            path.write_bytes(content)
            with pytest.raises(FoldstillError) as refusal:
                read(again(whole))
            assert path.name in str(refusal.value)
            assert str(refusal.value).count(": ") >= 1, "a cure follows"
        path.unlink()
        if name in OPTIONAL:
            read(again(whole))
        else:
            with pytest.raises(FoldstillError) as refusal:
                read(again(whole))
            assert path.parent.name in str(refusal.value)
    finally:
        path.write_bytes(before)
    read(again(whole))


@pytest.mark.parametrize("content", [*OTHER_JSON, b'{"root": 7}', b"", b"\xff"])
def test_a_provenance_of_another_shape_is_refused_by_its_name(whole: Run, content: bytes) -> None:
    """It has no seal, because the user may say where the paths of a moved run start."""
    path = whole.dir.provenance
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        with pytest.raises(
            FoldstillError, match=r"provenance\.json.*: remove it, and run the original experiment file"
        ):
            again(whole)
    finally:
        path.write_bytes(before)


def test_a_combination_is_not_applied_while_its_mark_is_damaged(whole: Run, tmp_path: Path) -> None:
    path = whole.dir.combiner("convex") / "done.json"
    before = path.read_bytes()
    path.write_bytes(b"{}")
    try:
        with pytest.raises(FoldstillError, match=r"convex/done\.json .*: restore it from a copy"):
            apply_combination(whole.dir.root / "convex", [whole.dir.oof], tmp_path / "out.parquet")
        assert not list(tmp_path.iterdir())
    finally:
        path.write_bytes(before)


def test_a_missing_fold_plan_is_made_again_from_the_experiment(whole: Run) -> None:
    before = whole.dir.folds.read_bytes()
    whole.dir.folds.unlink()
    oof_stage(again(whole))
    assert whole.dir.folds.read_bytes() == before
