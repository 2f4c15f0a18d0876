"""The ready experiments are valid: every key, every view and every network they name exists."""

from pathlib import Path

import pytest

from foldstill.base_models import EegMember
from foldstill.data.sources import HmsData, SyntheticHmsData
from foldstill.experiment import read_experiment

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
        assert isinstance(member, EegMember) or timm.is_model(member.network)
    if isinstance(experiment.data, HmsData | SyntheticHmsData):
        assert {m.view for m in experiment.member} == {view.name for view in experiment.data.views}


HMS = [path for path in EXPERIMENTS if isinstance(read_experiment(path).data, HmsData | SyntheticHmsData)]


@pytest.mark.parametrize("path", HMS, ids=lambda path: path.stem)
def test_augmentations_fit_the_channels_of_the_view(path: Path) -> None:
    """A batch of two, mixed and swapped as in training: a permutation of too few channels would end a run after hours."""
    import torch

    from foldstill.data.augment import augment

    experiment = read_experiment(path)
    shapes = {view.name: view.shape for view in experiment.data.views}  # type: ignore[union-attr]
    for member in experiment.member:
        shape = shapes[member.view]
        channels_first = (2, shape[2], *shape[:2]) if len(shape) == 3 else (2, *shape)
        generator = torch.Generator().manual_seed(0)
        x, target = torch.randn(channels_first), torch.full((2, 6), 1 / 6)
        out, _ = augment(x, member.recipe.augment, generator, target_BC=target)
        assert out.shape == x.shape


def test_the_ready_search_can_begin() -> None:
    from foldstill.pipeline.tune import Tuning, check_search

    path = next(path for path in EXPERIMENTS if path.stem == "hms_search")
    base = read_experiment(path)
    assert base.tune is not None
    assert {s.field: s.ends for s in base.tune.search}["recipe.schedule"] == ("cosine", "plateau")
    check_search(Tuning(path.read_text(encoding="utf-8"), str(path), path.parent, Path(), "cpu"), base, base.tune)


@pytest.mark.parametrize("name", ["hms_two_stage", "hms_synthetic"])
def test_a_hemisphere_swap_exchanges_left_and_right(name: str) -> None:
    """The permutations read against the montage: odd electrodes are left, even ones right."""
    from foldstill.data.augment import HemisphereSwap
    from foldstill.data.hms.drawing import SIGNAL_NAMES
    from foldstill.data.hms.montage import CHAINS, PANELS

    def mirrored(channel: str) -> str:
        if channel in PANELS:
            return {"L": "R", "R": "L"}[channel[0]] + channel[1]
        return channel.translate(str.maketrans("12345678", "21436587"))

    experiment = read_experiment(EXPERIMENTS[0].with_name(f"{name}.toml"))
    channels = {"raw_eeg": SIGNAL_NAMES, "kaggle": PANELS, "kaggle_spectrogram": PANELS}
    seen = 0
    for member in experiment.member:
        names = channels.get(member.view, tuple(CHAINS))
        for swap in (op for op in member.recipe.augment if isinstance(op, HemisphereSwap)):
            assert [names[i] for i in swap.permutation] == [mirrored(n) for n in names]
            seen += 1
    assert seen == 3
