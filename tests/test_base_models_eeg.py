from dataclasses import replace

import numpy as np
import pytest
import torch

from foldstill.base_models import EegMember, Recipe, TimmMember, collect, predict_members, train_members
from foldstill.base_models.heads import Head
from foldstill.data.dataset import Dataset
from foldstill.data.erasing import ChannelDropout
from foldstill.data.folds import make_plan
from foldstill.data.labels import Labels
from foldstill.data.moving import ChainReversal, HemisphereSwap, TimeShift
from foldstill.data.simplex import kl_divergence
from foldstill.errors import MemberError
from made_up import one_worker

N, CHANNELS, SAMPLES = 72, 5, 64
AUGMENT = (
    ChannelDropout(),
    ChainReversal(chains=((0, 1), (2, 3))),
    HemisphereSwap(permutation=(2, 3, 0, 1, 4)),
    TimeShift(),
)
TINY = EegMember(
    "tiny",
    view="eeg",
    widths=(8, 16),
    features=16,
    blocks=1,
    heads=2,
    separate=(4,),
    temperature="row",
    recipe=Recipe(epochs=2, batch_size=16, ema=0.9, augment=AUGMENT),
)


@pytest.fixture(scope="module")
def data():
    """Noise whose class is the frequency of a rhythm on the first four channels; float16, as views are stored."""
    rng = np.random.default_rng(0)
    shown = rng.integers(0, 3, N)
    time = np.arange(SAMPLES) / SAMPLES
    rhythm = np.sin(2 * np.pi * (3 + 6 * shown[:, None]) * time + rng.uniform(0, 6, (N, 1)))
    signals = rng.normal(0, 0.5, (N, CHANNELS, SAMPLES))
    signals[:, :4] += 2 * rhythm[:, None]
    labels = Labels.from_votes(np.eye(3)[shown] * 5 + 1, groups=np.arange(N) // 3)
    return Dataset(labels, {"eeg": signals.astype(np.float16)})


@pytest.fixture(scope="module")
def plan(data):
    return make_plan(data.labels, n_folds=2, strategy="grouped")


def test_an_eeg_member_gives_whole_tables_and_the_same_scores_again(data, plan, tmp_path):
    train_members([TINY], data, plan, tmp_path, work=one_worker())
    table, test = collect(tmp_path, [TINY], data.labels, plan)
    assert table.scores.families == ("eeg",)
    assert np.array_equal(table.labels.ids, data.labels.ids[plan.oof_rows])
    again = predict_members(tmp_path, [TINY], {"eeg": data.views["eeg"][plan.test_rows]}, data.labels.classes)
    np.testing.assert_allclose(again.proba_KNMC, test.proba_KNMC, atol=1e-6)


@pytest.fixture(scope="module")
def pictures(data):
    """The same rhythms as stripes along the second axis of a small image a channel."""
    signals = data.views["eeg"].astype(np.float32)
    rows = np.random.default_rng(1).normal(0, 0.3, (N, CHANNELS, 8, SAMPLES)) + signals[:, :, None]
    return Dataset(data.labels, {"eeg": rows.transpose(0, 2, 3, 1).astype(np.float16)})


@pytest.mark.parametrize(
    ("view", "between"), [("signals", "attention"), ("signals", "recurrent"), ("pictures", "attention")]
)
def test_it_learns_a_rhythm_that_is_nowhere_in_the_means(view, between, data, pictures, plan, tmp_path):
    member = replace(TINY, between=between, recipe=Recipe(epochs=12, batch_size=12, lr=0.01))
    if view == "pictures":
        data, member = pictures, replace(member, kernel=3)
    train_members([member], data, plan, tmp_path, work=one_worker())
    table, _ = collect(tmp_path, [member], data.labels, plan)
    target = table.labels.target_NC
    prior = np.broadcast_to(target.mean(axis=0), target.shape)
    assert kl_divergence(target=target, proba=table.proba_NMC[:, 0]) < 0.5 * kl_divergence(target=target, proba=prior)


def test_the_same_seed_gives_the_same_weights(data, plan, tmp_path):
    for place in ("one", "two"):
        train_members([TINY], data, plan, tmp_path / place, work=one_worker())
    for fold in range(2):
        name = f"tiny/fold-{fold}/weights.safetensors"
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize(
    ("spec", "shape", "low", "high"),
    [
        (EegMember("default"), (19, 2500), 0.5e6, 0.9e6),
        # 2,479,566 and 2,984,741 parameters in the published two-stage line.
        (EegMember("reference", features=256, separate=(18,)), (19, 2500), 2.2e6, 2.6e6),
        (
            EegMember("spectrogram", widths=(16, 32, 48, 64, 128, 256), kernel=3, features=256, temperature="class"),
            (96, 224, 4),
            2.8e6,
            3.1e6,
        ),
        (EegMember("recurrent", features=256, between="recurrent"), (19, 2500), 0.8e6, 1.1e6),
        (EegMember("demo", widths=(8, 16, 24, 32), features=32, blocks=1), (19, 2500), 0, 5e4),
    ],
    ids=lambda s: getattr(s, "name", ""),
)
def test_sizes_are_as_the_settings_say_and_every_parameter_is_taught(spec, shape, low, high):
    network = spec.build([shape], 6)
    assert low < sum(p.numel() for p in network.parameters()) < high
    size = (2, 19, 100) if len(shape) == 2 else (2, 4, 96, 64)
    logits = network(torch.randn(size, generator=torch.Generator().manual_seed(0)))
    assert logits.shape == (2, 6)
    logits.log_softmax(dim=1)[:, 0].sum().backward()
    # A learnt score of nothing but itself has no gradient: its bias moves all scores of a softmax alike.
    still = {name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert all(name.endswith("score.bias") for name in still), still


def test_a_row_is_scored_alike_alone_and_among_others():
    network = TINY.build([(CHANNELS, SAMPLES)], 3).eval()
    x = torch.randn(6, CHANNELS, SAMPLES, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(network(x)[2:3], network(x[2:3]))


def test_separate_channels_have_weights_of_their_own():
    together = replace(TINY, separate=()).build([(CHANNELS, SAMPLES)], 3)
    assert together.body.encoder_apart is None
    apart = TINY.build([(CHANNELS, SAMPLES)], 3).eval()
    x = torch.randn(1, CHANNELS, SAMPLES, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before = apart.body.encoder(x[:, :4])
        for p in apart.body.encoder_apart.parameters():
            p.zero_()
        torch.testing.assert_close(apart.body.encoder(x[:, :4]), before)
        assert not torch.equal(apart(x), apart(x.flip(1)))


@pytest.mark.parametrize("kind", ["row", "class"])
def test_a_temperature_begins_at_one_and_is_learnt(kind):
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    heads = []
    for temperature in ("none", kind):
        torch.manual_seed(1)
        heads.append(Head(7, 3, temperature))
    torch.testing.assert_close(heads[1](x), heads[0](x))
    (heads[1](x) * torch.arange(3.0)).sum().backward()
    assert heads[1].temperature.weight.grad.abs().sum() > 0
    with torch.no_grad():
        heads[1].temperature.bias.fill_(-100.0)
    assert heads[1](x).isfinite().all()


@pytest.mark.parametrize("kind", ["row", "class"])
def test_a_timm_network_takes_the_same_head(kind):
    spec = TimmMember("m", "test_efficientnet", temperature=kind, drop_rate=0.2)
    network = spec.build([(32, 32, 3)], 4).eval()
    assert isinstance(network.body[1], Head)
    with torch.inference_mode():
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"widths": ()}, "widths must be positive"),
        ({"kernel": 4}, "odd length"),
        ({"features": 18, "heads": 4}, "multiple of twice the heads"),
        ({"drop_rate": 1.0}, "drop_rate"),
        ({"name": "a/b"}, "cannot name a folder"),
    ],
)
def test_settings_that_make_no_network_are_refused(change, said):
    with pytest.raises(MemberError, match=said):
        replace(TINY, **change)


@pytest.mark.parametrize(
    ("spec", "shape", "said"),
    [
        (TINY, (32, 3, 5), "has images of 32 x 3: give it fewer widths"),
        (replace(TINY, widths=(8,) * 7), (5, 64), "fewer widths"),
        (replace(TINY, separate=(5,)), (5, 64), r"separate names the channels \[5\], the view 'eeg' has 5 channels"),
        (replace(TINY, separate=(0, 1)), (2, 64), "not all"),
    ],
)
def test_views_that_do_not_fit_are_named(spec, shape, said):
    with pytest.raises(MemberError, match=said):
        spec.build([shape], 3)


def test_a_file_tells_members_apart_by_kind_and_timm_needs_none():
    from foldstill.pipeline.experiment_file import parse_experiment

    text = """
name = "x"
data = { kind = "synthetic_hms" }
[[member]]
name = "a"
network = "test_resnet"
view = "mel"
[[member]]
kind = "eeg"
name = "b"
widths = [8, 16]
"""
    a, b = parse_experiment(text, "x.toml").member
    assert isinstance(a, TimmMember)
    assert b == EegMember("b", widths=(8, 16))
