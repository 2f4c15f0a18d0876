"""The documents agree with the code: generated pages, links, commands and examples."""

import re
import runpy
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from foldstill.stacking.averages import Average
from foldstill.stacking.recalibrate import Recalibrated

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of one language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_page_of_settings_is_as_the_code_is() -> None:
    made = runpy.run_path(str(DOCS / "make_settings.py"))
    assert (DOCS / "settings.md").read_text(encoding="utf-8") == made["page"](), "run: python docs/make_settings.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), f"{page.name} links to {target}, which does not exist"
        if anchor and page.name != "settings.md":
            assert anchor in anchors(linked), f"{page.name} links to {target}, which has no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_documents_exists(page: Path) -> None:
    from typer.main import get_command

    from foldstill.cli.app import app

    commands = get_command(app).commands  # type: ignore[attr-defined]
    text = page.read_text(encoding="utf-8")
    shell = "\n".join([*blocks(page, "sh"), *blocks(page, ""), *re.findall(r"`([^`\n]+)`", text)])
    for name, second in re.findall(r"(?:^|&& )foldstill ([a-z][a-z-]*)(?: ([a-z]+))?", shell, re.MULTILINE):
        assert name in commands, f"{page.name} names the command `foldstill {name}`"
        if hasattr(commands[name], "commands"):
            assert second in commands[name].commands, f"{page.name} names the command `foldstill {name} {second}`"


def test_the_experiment_of_the_readme_is_valid() -> None:
    from foldstill.pipeline.experiment_file import parse_experiment

    (text,) = blocks(README, "toml")
    experiment = parse_experiment(text, "README.md")
    assert [member.name for member in experiment.member] == ["efficientnet"]
    assert tomllib.loads(text)["student"] == {"network": "small"}


def test_the_python_examples_of_the_readme_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On 60 rows of 30 patients and two quick combiners; test_stacking_contract.py fits all of them."""
    monkeypatch.setattr("foldstill.pipeline.notebook.default_combiners", lambda: (Average(), Recalibrated()))
    rng = np.random.default_rng(0)
    monkeypatch.chdir(tmp_path)
    truth_NC = rng.dirichlet(np.ones(3), 60)
    patients = np.repeat(np.arange(30), 2)
    scores_NMC = np.stack([0.7 * truth_NC + 0.3 * rng.dirichlet(np.ones(3), 60) for _ in range(2)], axis=1)
    votes_NC = np.stack([rng.multinomial(5, row) for row in truth_NC])
    folds = patients % 5
    first, second, third = blocks(README, "python")
    proba_a, proba_b = scores_NMC[:, 0], scores_NMC[:, 1]
    y = votes_NC.argmax(axis=1)
    exec(first, {"proba_a": proba_a, "proba_b": proba_b, "y": y, "patient": patients, "fold": folds})
    assert "averaging" in capsys.readouterr().out
    exec(second, {"scores_NMC": scores_NMC, "votes_NC": votes_NC, "patients": patients, "folds": folds})
    assert "averaging" in capsys.readouterr().out
    assert (tmp_path / "report.html").exists()
    values: dict[str, Any] = {"models": {"logistic": LogisticRegression()}, "X": truth_NC, "y": y, "patients": patients}
    exec(third, values)
    assert values["table"].proba_NMC.shape == (60, 1, 3)


def test_the_page_on_files_names_everything_that_is_recognised() -> None:
    from foldstill.data.columns import CSV, PARQUET
    from foldstill.data.csv_column import MISSING
    from foldstill.data.csv_file import SEPARATORS
    from foldstill.oof.roles import SCORES, SHARES, USUAL, VOTES

    text = (DOCS / "files.md").read_text(encoding="utf-8")
    known = {word.replace(r"\|", "|") for word in re.findall(r"`([^`]+)`", text)}
    usual = {name for names in USUAL.values() for name in names}
    wanted = {*usual, *VOTES, *SHARES, *SCORES, *MISSING, *SEPARATORS, *CSV, *PARQUET} - {"", "\t"}
    assert wanted <= known, wanted - known


def test_the_examples_of_tables_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from foldstill.pipeline import ExperimentFile, run_all, start_run
    from made_up import one_worker
    from test_base_models_tables import write_table

    page = DOCS / "tables.md"
    (experiment,), (module, python) = blocks(page, "toml"), blocks(page, "python")
    monkeypatch.chdir(tmp_path)
    write_table(tmp_path)
    (tmp_path / "my_models.py").write_text(module, encoding="utf-8")
    comparison = run_all(start_run(ExperimentFile(experiment, tmp_path), tmp_path / "run", one_worker()))
    assert {"boosted", "trees", "perceptron", "convex", "student"} <= {arm.name for arm in comparison.arms}
    exec(python, {})
    printed = capsys.readouterr().out
    assert "plain averaging" in printed
    assert printed.splitlines()[-1].startswith("KL 0.")


def test_what_the_page_for_users_of_other_packages_says_is_true() -> None:
    import inspect

    import pandas as pd
    import timm
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict

    import foldstill as fs
    from foldstill.base_models.timm_member import TimmMember
    from foldstill.stacking.kinds import COMBINERS

    page = DOCS / "coming_from.md"
    text = page.read_text(encoding="utf-8")
    kinds = {kind.kind for kind in COMBINERS}
    assert {"logistic", "sklearn", "greedy", "convex"} <= kinds
    rng = np.random.default_rng(0)
    features, patients = rng.normal(size=(120, 4)), np.repeat(np.arange(30), 4)
    y = (features[:, 0] + 0.5 * rng.normal(size=120) > 0).astype(int)
    folds = np.empty(120, np.int64)
    for fold, (_, held_out) in enumerate(GroupKFold(5).split(features, y, patients)):
        folds[held_out] = fold

    def scores(columns: int) -> np.ndarray:
        options = {"cv": GroupKFold(5), "groups": patients, "method": "predict_proba"}
        return cross_val_predict(LogisticRegression(), features[:, :columns], y, **options)

    both = {"one": scores(1), "all": scores(4)}
    table = fs.oof_table(both, y, groups=patients, folds=folds)
    # hillclimbers: a frame with one probability per row and member.
    frame = pd.DataFrame({name: proba[:, 1] for name, proba in both.items()})
    same = fs.oof_table({name: frame[name] for name in frame}, y, groups=patients, folds=folds)
    assert np.allclose(same.proba_NMC, table.proba_NMC, atol=1e-6)
    X = pd.DataFrame({f"{name}__{c}": proba[:, c] for name, proba in both.items() for c in (0, 1)})
    names = {"fs": fs, "GridSearchCV": GridSearchCV, "GroupKFold": GroupKFold, "X": X, "y": y, "patients": patients}
    (python,) = blocks(page, "python")
    exec(python, names)
    assert names["search"].best_params_["combiner__ridge"] in (1e-3, 1e-1, 10)  # type: ignore[attr-defined]
    assert list(inspect.signature(fs.distill).parameters)[:3] == ["teacher", "inputs", "votes"]
    assert "resnet34d" in timm.list_models()
    for name in re.findall(r"`(\w+) = ", text[text.index("## timm") :]):
        assert name in TimmMember.__dataclass_fields__, name
