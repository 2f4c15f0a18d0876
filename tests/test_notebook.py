"""What a notebook shows of the public values: tables, frames, figures."""

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

import foldstill as fs
from foldstill.compare import Comparison
from foldstill.errors import ArgumentError, CompareError, OOFError, StackError
from foldstill.oof import OOFTable
from foldstill.pipeline.notebook import Stacked


@pytest.fixture(scope="module")
def table() -> OOFTable:
    """Three members of 90 rows in 30 groups, the second overconfident."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet([1.0, 1.0, 1.0], 90)
    logits = np.log(truth)[:, None] + rng.normal(size=(90, 3, 3)) * np.asarray([0.4, 1.5, 0.5])[:, None]
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    groups = np.arange(90) // 3
    names = ["net", "<tree>", "lgb"]
    votes = rng.multinomial(np.where(groups % 2, 8, 12), truth)  # two strata by number of votes
    return fs.oof_table(scores, votes=votes, groups=groups, folds=groups % 3, members=names, classes=list("xyz"))


@pytest.fixture(scope="module")
def comparison(stacked: Stacked) -> Comparison:
    return stacked.compare()


@pytest.fixture(scope="module")
def stacked(table: OOFTable) -> Stacked:
    return fs.stack(table, ["average", "convex", "recalibrated"])


@pytest.fixture
def pyplot() -> Iterator[None]:
    import matplotlib

    matplotlib.use("agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_combiners_are_chosen_by_name_and_the_average_is_always_added(table: OOFTable, stacked: Stacked) -> None:
    assert [one.name for one in stacked.fitted] == ["average", "convex", "recalibrated"]
    assert [one.name for one in fs.stack(table, ["geometric"]).fitted] == ["average", "geometric"]
    with pytest.raises(StackError, match="no combiner is called 'convexx': choose from"):
        fs.stack(table, ["convexx"])
    with pytest.raises(StackError, match=r"no combiner 'auto' was fitted: name one of \['average'"):
        stacked["auto"]


def test_held_out_scores_are_those_that_are_compared(table: OOFTable, stacked: Stacked, comparison: Comparison) -> None:
    held_out = stacked.held_out("convex")
    in_sample = stacked["convex"].apply(table.scores)
    assert np.abs(held_out - in_sample).max() > 1e-4
    kl = fs.kl_divergence(target=table.labels.target_NC, proba=held_out)
    assert comparison["convex"].kl == pytest.approx(kl)


def test_new_scores_are_combined_from_arrays_and_frames(table: OOFTable, stacked: Stacked) -> None:
    convex, proba = stacked["convex"], table.proba_NMC
    wanted = convex.apply(table.scores)
    np.testing.assert_allclose(convex.apply(proba), wanted, atol=1e-7)  # rows are divided by their sum again
    frames = {
        name: pd.DataFrame(proba[:, m, ::-1], columns=list("zyx"), index=table.labels.ids)
        for m, name in reversed(list(enumerate(table.members)))
    }
    frames["net"] = frames["net"].iloc[::-1]
    # Rows follow the index of the first member of the fit.
    np.testing.assert_allclose(convex.apply(frames), wanted[::-1], atol=1e-7)
    with pytest.raises(OOFError, match="have no member 'lgb'"):
        convex.apply({"net": proba[:, 0], "<tree>": proba[:, 1]})
    with pytest.raises(OOFError, match=r"give the members in the order \['net', '<tree>', 'lgb'\]"):
        convex.apply(proba[:, :2])


def test_every_public_value_is_a_frame(table: OOFTable, stacked: Stacked, comparison: Comparison) -> None:
    import polars

    frame = table.to_frame()
    assert frame.shape == (90, 5 + 3 + 9)
    np.testing.assert_array_equal(frame["p__lgb__z"], table.proba_NMC[:, 2, 2])
    assert table.to_frame("polars").columns == list(frame.columns)
    summary = stacked.to_frame()
    assert set(summary["combiner"]) == {"average", "convex", "recalibrated"}
    assert summary["kl"].is_monotonic_increasing
    every = comparison.to_frame()
    of_all = every[every["rows"] == "all"].set_index("arm")["kl"]
    assert of_all["convex"] == pytest.approx(comparison["convex"].kl)
    assert isinstance(comparison.to_frame("polars"), polars.DataFrame)
    with pytest.raises(ArgumentError, match="must be 'pandas' or 'polars', got 'dask'"):
        table.to_frame("dask")  # type: ignore[arg-type]


def test_a_notebook_shows_a_small_table_of_every_public_value(
    table: OOFTable, stacked: Stacked, comparison: Comparison
) -> None:
    pages = {"table": table._repr_html_(), "stacked": stacked._repr_html_(), "comparison": comparison._repr_html_()}
    for page in pages.values():
        assert len(page) < 4000
        # Names are text, whatever they look like; colours are those of the notebook, light or dark.
        assert "<tree>" not in page
        assert "color" not in page
    assert "&lt;tree&gt;" in pages["table"]
    assert "90 rows x 3 members x 3 classes" in pages["table"]
    assert f"{comparison['convex'].kl:.4f}" in pages["comparison"]
    assert comparison.verdict.split(" ")[0] in pages["comparison"]
    assert "compared with the plain average." in pages["comparison"]
    for page in pages.values():
        assert "<th>KL</th>" in page


def test_the_arms_are_a_table_for_a_paper(comparison: Comparison) -> None:
    head, rule, first, *_ = comparison.to_markdown().splitlines()
    assert head == "| arm | KL | difference | 95 % interval |"
    assert rule == "| --- | --- | --- | --- |"
    best = comparison.ranked()[0]
    assert first.startswith(f"| {best.name} | {best.kl:.4f} | ")
    latex = comparison.to_latex()
    assert r"best\_member" in latex or best.name.replace("_", r"\_") in latex
    assert r"95 \% interval" in latex


@pytest.mark.usefixtures("pyplot")
@pytest.mark.parametrize("kind", ["arms", "strata", "reliability", "classes", "weights", "size", "correlation"])
def test_every_figure_of_the_report_is_drawn_on_axes(comparison: Comparison, kind: str) -> None:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

    axes = comparison.plot(kind)
    for one in axes if isinstance(axes, list) else [axes]:
        assert isinstance(one, Axes)
        assert one.figure.number in plt.get_fignums()


@pytest.mark.usefixtures("pyplot")
def test_a_figure_that_is_unknown_or_empty_is_refused(comparison: Comparison) -> None:
    with pytest.raises(CompareError, match="no figure 'arm': name one of"):
        comparison.plot("arm")
    with pytest.raises(CompareError, match="nothing to draw as 'cost'"):
        comparison.plot("cost")


def test_frames_of_polars_are_matched_by_class(table: OOFTable) -> None:
    import polars

    scores = table.proba_NMC[:, 0]
    frame = polars.DataFrame({"z": scores[:, 2], "x": scores[:, 0], "y": scores[:, 1]})
    again = fs.oof_table({"net": frame}, table.labels, folds=table.fold_N)
    np.testing.assert_allclose(again.proba_NMC[:, 0], scores, atol=1e-6)


def test_an_import_of_the_package_loads_no_library() -> None:
    code = "import sys, foldstill; sys.exit(bool({'torch', 'numpy', 'pandas', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
