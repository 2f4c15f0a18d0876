"""The ready experiments are valid: every key, every view and every network they name exists."""

import re
from pathlib import Path

import pytest

from foldstill.base_models import TimmMember
from foldstill.base_models.joined_member import resolve
from foldstill.commands.template import template
from foldstill.hms import HmsData, SyntheticHmsData
from foldstill.hms.views import HmsView
from foldstill.pipeline.experiment_file import parse_experiment, read_experiment
from foldstill.workers import Work

EXPERIMENTS = sorted((Path(__file__).parents[1] / "experiments").glob("*.toml"))


def test_there_are_ready_experiments() -> None:
    assert {"smoke", "hms_three_models", "hms_synthetic"} <= {path.stem for path in EXPERIMENTS}


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_a_ready_experiment_is_valid_and_says_what_it_is(path: Path) -> None:
    import timm

    experiment = read_experiment(path)
    head = path.read_text(encoding="utf-8").split("\n\nname = ")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert f"foldstill run experiments/{path.name}" in head or f"foldstill tune experiments/{path.name}" in head
    for member in experiment.member:
        assert not isinstance(member, TimmMember) or timm.is_model(member.network)
    if isinstance(experiment.data, HmsData | SyntheticHmsData):
        assert {v for m in resolve(experiment.member) for v in m.views} == {view.name for view in experiment.data.views}


HMS = [path for path in EXPERIMENTS if isinstance(read_experiment(path).data, HmsData | SyntheticHmsData)]


@pytest.mark.parametrize("path", HMS, ids=lambda path: path.stem)
def test_augmentations_fit_the_channels_of_the_view(path: Path) -> None:
    """A batch of two, mixed and swapped as in training: a permutation of too few channels would end a long run."""
    import torch

    from foldstill.base_models.architecture import channels_and_size
    from foldstill.data.augment import augment
    from foldstill.data.augment_views import augment_views

    experiment = read_experiment(path)
    shapes = {view.name: channels_and_size(view.shape) for view in experiment.data.views}  # type: ignore[union-attr]
    target = torch.full((2, 6), 1 / 6)
    for member in resolve(experiment.member):
        generator = torch.Generator().manual_seed(0)
        views = [torch.randn(2, channels, *size) for channels, size in (shapes[view] for view in member.views)]
        if member.parts:
            parts = [part.recipe.augment for part in member.parts]
            out, _ = augment_views(views, parts, member.recipe.augment, generator, target_BC=target)
        else:
            out = (augment(views[0], member.recipe.augment, generator, target_BC=target)[0],)
        assert [x.shape for x in out] == [x.shape for x in views]


@pytest.mark.parametrize("path", [p for p in HMS if not p.stem.startswith("hms_synthetic")], ids=lambda path: path.stem)
def test_an_hms_experiment_says_what_it_reproduces_and_what_it_costs_as_the_docs_do(path: Path) -> None:
    head = path.read_text(encoding="utf-8").split("\n\nname = ")[0].replace("\n#", "")
    for part in ("# HMS, ", "Reproduces: ", "ublished", "Command: ", "Cost, estimated (docs/hms.md): "):
        assert part in head
    page = (path.parents[1] / "docs" / "hms.md").read_text(encoding="utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith(f"| `{path.stem}` |")]
    _, _, rows, minutes, disk, _, networks, _, hours, _ = (cell.strip() for cell in line.split("|"))
    cost = head.split("Cost, estimated")[1]
    for figure in (f"{minutes} CPU minutes", disk, hours.split()[0].rstrip(",")):
        assert figure in cost, f"{path.name} and docs/hms.md differ in {figure}"
    assert path.stem in ("hms_meta_model",) or rows in cost
    assert path.stem in ("hms_meta_model", "hms_search") or f"{networks} networks" in cost


def test_the_ready_search_can_begin() -> None:
    from foldstill.commands.tune import Tuning, check_search

    path = next(path for path in EXPERIMENTS if path.stem == "hms_search")
    base = read_experiment(path)
    assert base.tune is not None
    assert {s.field: s.ends for s in base.tune.search}["recipe.schedule"] == ("cosine", "plateau")
    check_search(Tuning(path.read_text(encoding="utf-8"), str(path), path.parent, Path(), "cpu"), base, base.tune)


@pytest.mark.parametrize(
    ("name", "swaps"),
    [
        ("hms_two_stage", 3),
        ("hms_synthetic", 4),
        ("hms_synthetic_student", 6),
        ("hms_ours", 9),
        ("demo", 4),
        ("eeg", 4),
    ],
)
def test_a_hemisphere_swap_exchanges_left_and_right(name: str, swaps: int) -> None:
    """The permutations read against the montage: odd electrodes are left, even ones right."""
    from foldstill.data.moving import HemisphereSwap
    from foldstill.hms.drawing import SIGNAL_NAMES
    from foldstill.hms.montage import CHAINS, PANELS
    from foldstill.hms.views_kaggle import KaggleSpectrogram
    from foldstill.hms.views_panels import PanelStack

    def channels(view: HmsView) -> list[str]:
        """What each channel shows: a panel or chain by its name, a difference by its two electrodes."""
        if isinstance(view, PanelStack):
            return [f"{i} {channel}" for i, part in enumerate(view.of) for channel in channels(part)]
        if isinstance(view, KaggleSpectrogram):
            return list(PANELS)
        return list(SIGNAL_NAMES) if view.kind == "raw_eeg" else list(CHAINS)

    def mirrored(channel: str) -> str:
        part, _, channel = channel.rpartition(" ")
        if channel in PANELS:
            other = {"L": "R", "R": "L"}[channel[0]] + channel[1]
        else:
            other = channel.translate(str.maketrans("12345678", "21436587"))
        return f"{part} {other}".lstrip()

    if name in ("demo", "eeg"):
        text = template(name)
    else:
        text = EXPERIMENTS[0].with_name(f"{name}.toml").read_text(encoding="utf-8")
    experiment = parse_experiment(text, name)
    views = {view.name: view for view in experiment.data.views}  # type: ignore[union-attr]
    learners = [(m.views[0], m.recipe) for m in resolve(experiment.member) if not m.parts]
    if experiment.student is not None:
        learners.append((experiment.student.view, experiment.student.recipe))
    seen = 0
    for view, recipe in learners:
        names = channels(views[view])
        for swap in (op for op in recipe.augment if isinstance(op, HemisphereSwap)):
            assert [names[i] for i in swap.permutation] == [mirrored(n) for n in names]
            seen += 1
    assert seen == swaps


@pytest.mark.slow
def test_our_own_line_runs_from_files_to_a_report(tmp_path: Path) -> None:
    """Its own views, members, stages and combiners, with small networks, an epoch each and a dozen patients."""
    from foldstill.hms.synthetic import write_synthetic_hms
    from foldstill.pipeline import ExperimentFile, run_all, start_run

    text = EXPERIMENTS[0].with_name("hms_ours.toml").read_text(encoding="utf-8")
    text = re.sub(r'network = "\w+"', 'network = "test_efficientnet"', text).replace("pretrained = true", "")
    text = re.sub(r"\bepochs = \d+", "epochs = 1", text).replace('"../../hms', '"hms')
    text = text.replace("features = 256", "features = 16\nwidths = [4, 4, 8, 8, 16, 16]")
    text = text.replace("n_folds = 5", "n_folds = 2\ntest_share = 0.3").replace("batch_size = 64", "batch_size = 4")
    write_synthetic_hms(tmp_path / "hms", patients=13, recordings=5)
    file = ExperimentFile(text, tmp_path, "our own line")
    experiment = file.experiment
    assert isinstance(experiment.data, HmsData)
    experiment.data.prepare(tmp_path)
    comparison = run_all(start_run(file, tmp_path / "run", Work(1, "cpu")))
    assert {m.name for m in experiment.member} | {"average", "auto", "super", "student"} <= {
        a.name for a in comparison.arms
    }
    assert (tmp_path / "run" / "report.html").exists()
