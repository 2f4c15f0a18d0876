"""The examples of docs/extending.md run as they stand there, and each passes the contract suite of its kind."""

import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from foldstill.base_models import collect, train_members
from foldstill.compare.predictions import Predictions
from foldstill.data import DigitsData
from foldstill.data.folds import make_plan
from foldstill.data.simplex import kl_divergence
from foldstill.testing import (
    check_combiner,
    check_member,
    check_metric,
    check_source,
    synthetic_table,
)
from foldstill.workers import Work

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples" / "extending").glob("*.py"))


def test_there_is_an_example_of_every_kind_that_users_write() -> None:
    assert [path.stem for path in EXAMPLES] == ["combiner", "data_source", "member", "metric"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_one_file_of_at_most_60_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_shows_an_example_as_its_file_has_it(path: Path) -> None:
    page = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
    name = path.relative_to(ROOT).as_posix()
    (code,) = re.findall(rf"^<!-- {re.escape(name)} -->\n\n```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert code == path.read_text(encoding="utf-8"), f"copy {name} into docs/extending.md"


def example(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of an example, registered while the test runs, because type hints are looked up in it."""
    spec = spec_from_file_location(f"extending_{name}", ROOT / "examples" / "extending" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def test_the_combiner_passes_its_contract_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    combiner = example("combiner", monkeypatch).ByKL()
    check_combiner(combiner)
    weight_M = combiner.fit(synthetic_table()).weight_M
    assert weight_M.sum() == pytest.approx(1)
    assert weight_M[0] > weight_M[-1], "the best member has the largest weight"


def test_the_member_passes_its_contract_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    check_member(example("member", monkeypatch).Linear())


def test_the_member_is_trained_over_folds_as_any_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On 300 digits of 64 pixels, enough for a linear regression to beat the uniform distribution by far."""
    member, dataset = example("member", monkeypatch).Linear(), DigitsData(rows=300, size=8).load(tmp_path)
    plan = make_plan(dataset.labels, n_folds=3, test_share=0)
    train_members([member], dataset, plan, tmp_path, work=Work(1, "cpu"))
    table, _ = collect(tmp_path, [member], dataset.labels, plan)
    target_NC, uniform_NC = table.labels.target_NC, np.full_like(table.labels.target_NC, 0.1)
    kl = kl_divergence(target=target_NC, proba=table.proba_NMC[:, 0])
    assert kl < 0.6 * kl_divergence(target=target_NC, proba=uniform_NC)


def test_the_data_source_passes_its_contract_suite(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source, new_rows = example("data_source", monkeypatch).UCRData.example(tmp_path)
    check_source(source, tmp_path, new_rows)
    assert source.load(tmp_path).view("signal").shape == (40, 1, 24)


def test_the_metric_passes_its_contract_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = example("metric", monkeypatch).TopTwoAccuracy()
    check_metric(metric)
    proba = [[0.5, 0.4, 0.1], [0.5, 0.4, 0.1]]
    assert metric.score(Predictions.checked(target=[[0, 1, 0], [0, 0, 1]], proba=proba)) == 0.5
