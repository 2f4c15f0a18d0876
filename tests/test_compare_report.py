import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest

from foldstill.compare import Arm, IntervalSettings, arms_table, compare, write_report
from foldstill.compare.member_plots import correlation_plot
from foldstill.compare.plots import arms_plot
from foldstill.compare.settings import CompareSettings
from foldstill.cost import Cost
from foldstill.data.labels import Labels
from foldstill.data.simplex import softmax
from foldstill.oof.table import ScoreTable


@pytest.fixture(scope="module")
def comparison():
    rng = np.random.default_rng(4)
    truth = 1.5 * rng.standard_normal((240, 3))
    votes = rng.multinomial(rng.choice([2, 5, 15], 240), softmax(truth))
    labels = Labels.from_votes(votes, groups=np.arange(240) // 6, classes=["a", "b & <c>", "d"])
    proba = softmax(truth[:, None] + 1.5 * rng.standard_normal((240, 4, 3)))
    members = ScoreTable(labels.ids, ("one", "two", "three", "four"), labels.classes, proba.astype(np.float32))
    weight = np.array([0.4, 0.3, 0.2, 0.1])
    arms = [
        Arm(
            "average",
            "average",
            proba.mean(axis=1),
            cost=Cost(parameters=4000, macs=4 * 10**6, latency_1_ms=4.0, threads=1, processor="Some CPU"),
        ),
        Arm("convex <script>", "combination", np.tensordot(proba, weight, (1, 0)), weight_M=weight),
        Arm("student", "student", proba[:, 0], cost=Cost(parameters=1000, macs=10**6, latency_1_ms=1.0)),
        Arm("hopeless", "ablation", np.full((240, 3), 1e-6) + (1 - 3e-6) * np.eye(3)[0]),
    ]
    return compare(arms, labels, rows="oof cross-fitted", members=members, intervals=IntervalSettings(resamples=100))


@pytest.fixture(scope="module")
def html(comparison, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    curves = [
        {"member": m, "fold": k, "epoch": e, "loss": 1 / e, "kl": None if e == 1 else 2 / e}
        for m in ("one", "two")
        for k in (0, 1)
        for e in (1, 2, 3)
    ]
    audit = [{"check": "A4", "verdict": "fail", "evidence": "one equals two", "cure": "drop one, see `a <b>`"}]
    write_report(
        comparison,
        path,
        curves=curves,
        audit=audit,
        context={"plan digest": "91ab", "numpy": "2", "command": "foldstill apply <b>"},
        summaries={"average": "The plain average of the members.", "geometric": "Not in this comparison."},
    )
    return path.read_text(encoding="utf-8")


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words, self.ids = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [v for k, v in attributes if k == "id"]
        if tag not in ("meta", "link", "br", "input"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [v for k, v in attributes if k == "id"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_report_explains_its_arms_and_sets_commands_as_code(html):
    terms = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html))
    assert terms["average"].startswith("The plain average")
    assert {"Arm", "Group", "Interval", "MACs"} <= terms.keys()
    assert "geometric" not in terms
    assert "drop one, see <code>a &lt;b&gt;</code></td>" in html


def test_the_report_loads_nothing_from_the_network(html):
    text = re.sub(r"base64,[A-Za-z0-9+/=]*", "", html)
    assert not re.search(r"https?:|//[a-z]|@import|<link|<img|<iframe| src=", text)
    for use in re.findall(r'(?:href|url\()[="]*([^")> ]+)', html):
        assert use.startswith(("#", "data:")), use


def test_the_report_is_well_formed_and_every_link_has_its_target(html):
    page = Reader(html)
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    for _, attributes in page.tags:
        for key in ("href", "xlink:href"):
            target = attributes.get(key, "")
            if target.startswith("#"):
                assert target[1:] in page.ids


def test_the_first_screen_holds_the_answer_and_the_rows_it_rests_on(html, comparison):
    page = Reader(html)
    text = " ".join(" ".join(page.words[: page.words.index("All arms")]).split())
    assert comparison.verdict.replace("  ", " ") in text
    assert f"Recommended {comparison[comparison.judgement.recommended].label}" in text
    assert "To use it: foldstill apply <b>" in text
    assert "out-of-fold, cross-fitted" in text
    assert [tag for tag, _ in page.tags].index("h1") < [tag for tag, _ in page.tags].index("figure")


def test_the_first_screen_says_what_the_recommended_arm_gains(tmp_path, rng):
    truth = rng.dirichlet(np.ones(3), 150)
    labels = Labels.from_votes(rng.multinomial(12, truth))
    flat = Arm("average", "average", 0.4 * truth + 0.2)
    comparison = compare([flat, Arm("sharper", "combination", 0.7 * truth + 0.1)], labels)
    write_report(comparison, tmp_path / "report.html", context={"command": "foldstill apply sharper", "numpy": "2"})
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    average, use = comparison["average"], comparison["sharper"]
    facts = dict(re.findall(r"<dt>([^<]*)</dt><dd>(.*?)</dd>", html[: html.index("<nav")]))
    assert facts["Recommended"] == "<strong>sharper</strong>"
    assert facts["KL, from the plain average to it"] == f"{average.loss:.4f} → {use.loss:.4f}"
    assert facts["Accuracy"] == f"{average.scores['accuracy']:.4f} → {use.scores['accuracy']:.4f}"
    fewest, most = comparison.reducible_bounds("sharper")
    assert facts["Share of the reducible KL that it removes"] == f"{100 * fewest:.0f} to {100 * most:.0f} %"
    assert "command" not in dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", html[html.index('id="provenance"') :]))


def downloads(figure):
    """The SVG and the CSV of a figure of the report."""
    svg = re.search(r'download="[a-z]+\.svg" href="data:image/svg\+xml;base64,([^"]*)"', figure)[1]
    sheet = re.search(r'download="[a-z]+\.csv" href="data:text/csv;charset=utf-8,([^"]*)"', figure)[1]
    return base64.b64decode(svg).decode(), unquote(sheet)


def test_every_figure_has_a_label_its_numbers_and_two_files(html):
    figures = re.findall(r"<figure.*?</figure>", html, flags=re.DOTALL)
    keys = [re.search('id="([a-z]+)"', f)[1] for f in figures]
    assert keys == [
        "arms", "strata", "reliability", "classes", "weights", "size", "correlation", "curves", "cost",
    ]  # fmt: skip
    for figure in figures:
        assert re.search(r'<svg role="img" aria-label="[^"]{10,}"', figure)
        assert "<details>" in figure
        svg, sheet = downloads(figure)
        assert svg.startswith("<?xml")
        assert 'xmlns="http://www.w3.org/2000/svg"' in svg
        assert len(sheet.splitlines()) > 1


def test_names_are_escaped(html):
    assert "convex <script>" not in html
    assert "convex &lt;script&gt;" in html
    assert "b &amp; &lt;c&gt;" in html


def test_colours_follow_the_page_and_a_saved_figure_keeps_its_colours(html):
    svg = re.search(r"<svg role.*?</svg>", html, flags=re.DOTALL)[0]
    assert "var(--blue, #2458c5)" in svg
    assert not re.search(r": #(?!ffffff)[0-9a-f]{6}", svg)
    assert "prefers-color-scheme: dark" in html
    assert "@media print" in html


def test_findings_provenance_and_a_very_bad_arm_are_shown(html, comparison):
    for words in ("one equals two", "drop one", "plan digest", "91ab", "→"):
        assert words in html
    assert comparison["hopeless"].difference.estimate > 1


def test_the_same_comparison_gives_the_same_bytes(comparison, tmp_path):
    for name in ("a.html", "b.html"):
        write_report(comparison, tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    # Sections without data are left out.
    text = (tmp_path / "a.html").read_text()
    for key in ("curves", "audit", "provenance"):
        assert f'id="{key}"' not in text


def test_of_many_members_only_the_best_three_are_shown(comparison):
    weak = [replace(comparison["student"], name=f"m{i}", kind="member") for i in range(20)]
    crowded = replace(comparison, arms=(*comparison.arms, *weak))
    figure = arms_plot(crowded)
    assert arms_table(crowded).row_count == 4 + 3
    assert sum(f">m{i}<" in figure.svg for i in range(20)) == 3
    assert len(figure.rows) == 23
    assert "17 weaker members" in figure.caption


@pytest.fixture(scope="module")
def of_300(tmp_path_factory):
    """The folder of a comparison of 300 members, and its report."""
    folder = tmp_path_factory.mktemp("many")
    rng = np.random.default_rng(0)
    names = tuple(f"resnet50d_{m:03d}_with_a_long_name" for m in range(300))
    proba = rng.dirichlet(np.ones(3), (60, 300))
    votes = rng.multinomial(rng.choice([2, 15], 60), [0.5, 0.3, 0.2])
    labels = Labels.from_votes(votes, groups=np.arange(60) // 3)
    table = ScoreTable(labels.ids, names, labels.classes, proba.astype(np.float32))
    weights = {f"weighted {i}": rng.dirichlet(np.full(300, 0.3)) for i in range(5)}
    arms = [
        Arm("average", "average", proba.mean(axis=1)),
        *(Arm(k, "combination", np.tensordot(proba, w, (1, 0)), weight_M=w) for k, w in weights.items()),
        *(Arm(name, "member", proba[:, m]) for m, name in enumerate(names)),
    ]
    compared = compare(arms, labels, members=table, intervals=IntervalSettings(resamples=20))
    curves = [
        {"member": name, "fold": fold, "epoch": epoch, "loss": 1 / epoch, "kl": None}
        for name in names
        for fold in range(5)
        for epoch in range(1, 21)
    ]
    compared.write(folder)
    write_report(compared, folder / "report.html", curves=curves)
    return folder, compared


def test_the_files_of_300_members_stay_small(of_300):
    folder, _ = of_300
    size = {path.name: path.stat().st_size / 1e6 for path in folder.iterdir()}
    # One shape per pair of members made a report of 56 MB.
    assert size["report.html"] < 3
    assert size["comparison.csv"] < 1
    assert size["comparison-rows.parquet"] < 1
    assert size["comparison.json"] < 6


def test_the_report_of_33_members_and_25_combinations_stays_small(tmp_path):
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(6), (600, 33))
    labels = Labels.from_votes(rng.multinomial(rng.choice([2, 5, 15], 600), np.ones(6) / 6), groups=np.arange(600) // 4)
    names = tuple(f"efficientnet_b{m}_on_spectrograms" for m in range(33))
    table = ScoreTable(labels.ids, names, labels.classes, proba.astype(np.float32))
    weights = rng.dirichlet(np.full(33, 0.3), 25)
    arms = [
        Arm("average", "average", proba.mean(axis=1)),
        *(Arm(f"c{i}", "combination", np.tensordot(proba, w, (1, 0)), weight_M=w) for i, w in enumerate(weights)),
        *(Arm(name, "member", proba[:, m]) for m, name in enumerate(names)),
    ]
    curves = [
        {"member": name, "fold": fold, "epoch": epoch, "loss": 1 / epoch, "kl": 1 / epoch}
        for name in names
        for fold in range(5)
        for epoch in range(1, 41)
    ]
    compared = compare(arms, labels, members=table, intervals=IntervalSettings(resamples=20))
    write_report(compared, tmp_path / "report.html", curves=curves)
    assert (tmp_path / "report.html").stat().st_size < 3e6


def test_a_report_of_300_members_says_which_are_drawn_and_holds_the_numbers_of_all(of_300):
    folder, compared = of_300
    html = (folder / "report.html").read_text(encoding="utf-8")
    figures = {re.search('id="([a-z]+)"', f)[1]: f for f in re.findall(r"<figure.*?</figure>", html, flags=re.DOTALL)}
    for key, words in {
        "arms": "297 weaker members are listed in the numbers only",
        "strata": "Drawn are 10 of 306 arms",
        "reliability": "Drawn are 4 of 306 arms",
        "classes": "Drawn are 6 of 306 arms",
        "weights": "Drawn are 25 of 300 members: those with the largest weights.",
        "correlation": "Every 5th of 300 members is named",
        "curves": "Drawn are 12 of 300 members: the best",
    }.items():
        assert words in figures[key], key
    assert len(re.findall(r"<text[^>]*>resnet", figures["correlation"])) == 60
    lines = downloads(figures["correlation"])[1].splitlines()
    assert len(lines) == 301
    assert {line.count(",") for line in lines} == {300}
    best = min((arm for arm in compared.arms if arm.kind == "member"), key=lambda arm: arm.kl)
    assert best.name in figures["curves"]


def test_names_that_look_like_formulas_or_private_labels_are_drawn_as_they_are(comparison, tmp_path):
    # matplotlib reads text between dollars as a formula, and leaves labels that begin with _ out of a legend.
    odd = {"average": "$net^$", "convex <script>": "_hidden", "student": "日本"}
    arms = tuple(replace(arm, name=odd.get(arm.name, arm.name)) for arm in comparison.arms)
    judgement = replace(comparison.judgement, recommended="$net^$")
    renamed = replace(comparison, arms=arms, baseline="$net^$", classes=(r"$\foo{$", "_b", "c"), judgement=judgement)
    write_report(renamed, tmp_path / "odd.html")
    html = (tmp_path / "odd.html").read_text(encoding="utf-8")
    [classes] = re.findall(r'<figure id="classes".*?</figure>', html, flags=re.DOTALL)
    drawn = re.findall(r"<text[^>]*>(.*?)</text>", classes)
    assert {*odd.values(), *renamed.classes} <= set(drawn)


def test_the_map_of_similar_members_is_one_picture_of_their_correlations(comparison):
    matrix = np.asarray(comparison.correlation)
    figure = correlation_plot(comparison)
    [png] = re.findall(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", figure.svg)
    from matplotlib.image import imread

    shown = imread(io.BytesIO(base64.b64decode(png)))
    order = [comparison.members.index(name) for name in figure.header[1:]]
    expected = (matrix[np.ix_(order, order)] - matrix.min()) / (1 - matrix.min())
    # A picture of 8 bits; matplotlib may turn it upside down and say so in its transform.
    assert min(abs(s[..., 3] - expected).max() for s in (shown, shown[::-1])) < 0.01


def test_a_comparison_of_two_arms_without_members_still_makes_a_report(tmp_path):
    rng = np.random.default_rng(0)
    votes = np.eye(2)[rng.integers(2, size=30)]
    labels = Labels.from_votes(votes, classes=["no", "yes"])
    arms = [Arm("average", "average", rng.dirichlet([1, 1], 30)), Arm("x", "combination", rng.dirichlet([1, 1], 30))]
    write_report(compare(arms, labels, intervals=IntervalSettings(resamples=20)), tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "cannot be estimated from these votes" in text
    assert "locked test" in text


def test_strata_of_one_group_and_an_average_alone_still_make_a_report(tmp_path):
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([1, 1], 30)
    labels = Labels.from_votes(np.eye(2)[rng.integers(2, size=30)], stratum=["one"] * 3 + ["rest"] * 27)
    labels = replace(labels, groups=np.r_[["g"] * 3, labels.groups[3:]])
    comparison = compare(
        [Arm("average", "average", proba), Arm("x", "member", proba[::-1])],
        labels,
        intervals=IntervalSettings(resamples=20),
    )
    assert comparison["x"].strata[0].difference is None
    write_report(comparison, tmp_path / "strata.html")
    alone = compare([Arm("average", "average", proba)], labels, intervals=IntervalSettings(resamples=20))
    write_report(alone, tmp_path / "alone.html")
    assert "No combination was compared" in (tmp_path / "alone.html").read_text()


def test_an_arm_far_at_the_left_is_written_at_the_edge(rng):
    # Of a metric whose high values are better, the worst arms lie at the left.
    truth = rng.dirichlet(np.ones(3), 900)
    labels = Labels.from_votes(rng.multinomial(9, truth))
    noisy = truth + 0.05 * rng.random(truth.shape)
    arms = [
        Arm("average", "average", noisy / noisy.sum(axis=1, keepdims=True)),
        Arm("sharper", "combination", 0.9 * truth + 0.1 / 3),
        Arm("reversed", "member", (1 - truth) / 2),
    ]
    drawn = arms_plot(compare(arms, labels, settings=CompareSettings(metric="accuracy"))).inline
    assert re.search(r"← −0\.[0-9]{3}<", drawn)
    assert "→" not in drawn


def test_the_terminal_table_fits_80_columns_and_marks_significant_differences(comparison):
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO(), color_system=None)
    console.print(arms_table(comparison))
    lines = console.export_text().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert len(lines) == 1 + 4 + 1
    assert lines[-1].startswith("* excludes zero")
    [hopeless] = [line for line in lines if line.startswith("hopeless")]
    assert " * " in hopeless
    assert "…" not in hopeless
    [average] = [line for line in lines if line.startswith("average")]
    assert "baseline" in average


def test_every_cell_of_the_students_table_stands_under_its_heading(tmp_path):
    rng = np.random.default_rng(5)
    labels = Labels.from_votes(rng.multinomial(9, [0.5, 0.3, 0.2], 60))
    first, second, third, fourth = (rng.dirichlet(np.ones(3), 60) for _ in range(4))
    arms = [
        Arm("average", "average", first),
        Arm("student", "student", second, further_seeds=(third,), teacher="average"),
        Arm("student without teacher", "student_without_teacher", third, further_seeds=(fourth,)),
    ]
    compared = compare(arms, labels, intervals=IntervalSettings(resamples=50))
    write_report(compared, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    table = page[page.index('<h2 id="students">') :]
    heads = re.findall(r"<th scope[^>]*>(.*?)</th>", table[: table.index("</thead>")])
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table[table.index("<tbody>") : table.index("</tbody>")])
    row = dict(zip(heads, cells, strict=True))
    assert row["student"] == "student"
    assert row["seeds better"] == compared.seeds_improved("student")
    assert row["KL from teacher"] == f"{compared['student'].fidelity.kl:.4f}"
    assert row["same class"].endswith("%")


def test_the_cost_section_names_the_machine_and_the_student(html):
    assert "on 1 thread of Some CPU" in html
    cost = html[html.index('id="section-cost"') :]
    assert all(f"{name}</text>" in cost for name in ("average", "student"))


def test_hard_labels_have_no_column_twice_and_equal_values_are_both_bold(tmp_path):
    rng = np.random.default_rng(3)
    proba = rng.dirichlet(np.ones(3), 90)
    labels = Labels.from_votes(np.eye(3)[rng.integers(3, size=90)], groups=np.arange(90) // 3)
    sharper = softmax(1.5 * np.log(proba))
    arms = [Arm("average", "average", proba), Arm("auto", "combination", sharper), Arm("same", "combination", sharper)]

    def columns(metric):
        settings = CompareSettings(metric=metric)
        write_report(compare(arms, labels, settings=settings), tmp_path / "hard.html")
        table = (tmp_path / "hard.html").read_text(encoding="utf-8")
        table = table[table.index('<table class="sortable">') : table.index("</table>", table.index("sortable"))]
        heads = re.findall(r"<th[^>]*><button>(.*?)</button>", table)
        return heads, re.findall(r"<tr[^>]*>\s*<td>.*?</tr>", table, flags=re.DOTALL)

    heads, rows = columns("kl")
    assert "KL" in heads
    assert "log loss" not in heads
    bold = [[" best" in cell for cell in re.findall(r'<td class="n([^"]*)"', row)] for row in rows]
    names = [re.search(r"</span>(.*?)</td>", row)[1] for row in rows]
    equal = [cells for name, cells in zip(names, bold, strict=True) if name != "average"]
    assert equal[0] == equal[1]
    assert any(cells != equal[0] for cells in bold)
    heads, _ = columns("log_loss")
    assert "log loss" in heads
    assert "KL" not in heads
