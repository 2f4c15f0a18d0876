import numpy as np
import pytest
import torch

from foldstill.data.augment import AUGMENTATIONS, Gain, Noise, augment
from foldstill.data.augmentation import RowMix
from foldstill.data.erasing import ChannelDropout, Cutout, FrequencyMask, TimeMask
from foldstill.data.mixing import CutMix, Mixup, Mosaic, SameClassCutMix
from foldstill.data.moving import ChainReversal, HemisphereSwap, HorizontalFlip, Shift, TimeShift
from foldstill.errors import DataError

B, C, H, W, CLASSES = 32, 4, 12, 24, 3
ANY_SHAPE = [
    HorizontalFlip(),
    TimeShift(),
    TimeMask(),
    Gain(),
    Noise(),
    ChannelDropout(),
    HemisphereSwap((2, 3, 0, 1)),
    ChainReversal(((0, 1), (2, 3))),
    Mixup(),
    CutMix(p=1.0, shape="time"),
    SameClassCutMix(p=1.0),
    Mosaic(),
]
IMAGES_ONLY = [Shift(), Cutout(p=1.0), FrequencyMask(), CutMix(p=1.0)]


def test_every_kind_of_augmentation_is_tested_here_and_tells_itself_apart():
    assert {type(settings) for settings in ANY_SHAPE + IMAGES_ONLY} == set(AUGMENTATIONS)
    for name in ("kind", "title", "summary"):
        assert len({getattr(kind, name) for kind in AUGMENTATIONS}) == len(AUGMENTATIONS)
    assert all(kind.example().kind == kind.kind for kind in AUGMENTATIONS)


@pytest.fixture
def images(rng):
    return torch.from_numpy(rng.normal(size=(B, C, H, W)).astype(np.float32) + 5)


@pytest.fixture
def signals(images):
    return images[:, :, 0]


@pytest.fixture
def target(rng):
    return torch.from_numpy(np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, B)])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def run(x, settings, target, seed=0, **rest):
    return augment(x, [settings], seeded(seed), target_BC=target, **rest)


@pytest.mark.parametrize("settings", ANY_SHAPE + IMAGES_ONLY, ids=lambda s: s.kind)
def test_every_augmentation_keeps_the_shape_changes_rows_and_is_replayable(settings, images, signals, target):
    for x in [images] + [signals] * (settings in ANY_SHAPE):
        one, mixes = run(x, settings, target)
        two, _ = run(x, settings, target)
        other, _ = run(x, settings, target, seed=1)
        assert one.shape == x.shape
        assert one.dtype == torch.float32
        assert not torch.equal(one, x)
        torch.testing.assert_close(one, two, rtol=0, atol=0)
        assert not torch.equal(one, other)
        for mix in mixes:
            torch.testing.assert_close(mix.share_BP.sum(dim=1), torch.ones(B))
            torch.testing.assert_close(mix.rates(target).sum(dim=1), torch.ones(B))


@pytest.mark.parametrize("settings", ANY_SHAPE + IMAGES_ONLY, ids=lambda s: s.kind)
def test_the_input_batch_is_left_as_it_was(settings, images, target):
    before = images.clone()
    run(images, settings, target)
    assert torch.equal(images, before)


@pytest.mark.parametrize("settings", IMAGES_ONLY, ids=lambda s: s.kind)
def test_image_augmentations_refuse_signals(settings, signals, target):
    with pytest.raises(DataError, match="needs images"):
        run(signals, settings, target)


@pytest.mark.parametrize(
    "settings",
    [HorizontalFlip(p=0), Cutout(p=0), TimeMask(p=0), FrequencyMask(p=0), ChannelDropout(p=0), Mixup(p=0), CutMix(p=0),
     SameClassCutMix(p=0), Shift(share=0), TimeShift(share=0), Gain(size=0), Noise(std=0)],
    ids=lambda s: s.kind,
)  # fmt: skip
def test_probability_or_size_zero_changes_nothing(settings, images, target):
    x, mixes = run(images, settings, target)
    assert torch.equal(x, images)
    assert all(torch.equal(mix.rates(target), target) for mix in mixes)


def test_rows_draw_their_own_parameters(images, target):
    same = images[:1].expand(B, -1, -1, -1)
    for settings in (Shift(share=0.25), TimeShift(share=0.5), Cutout(p=1.0), Gain(), Noise()):
        x, _ = run(same, settings, target)
        assert len(torch.unique(x.flatten(1), dim=0)) > B // 2


def test_a_shift_moves_the_image_and_fills_with_zeros(target):
    x = torch.zeros(B, 1, H, W)
    x[:, :, H // 2, W // 2] = 1
    moved, _ = run(x, Shift(share=0.25), target)
    place = torch.nonzero(moved)
    assert len(place) == B
    assert place[:, 2].min() >= H // 2 - 3
    assert place[:, 2].max() <= H // 2 + 3
    assert len(torch.unique(place[:, 2])) > 1
    assert len(torch.unique(place[:, 3])) > 1


def test_a_time_shift_rolls(signals, target):
    rolled, _ = run(signals, TimeShift(share=0.3), target)
    for before, after in zip(signals, rolled, strict=True):
        assert any(torch.equal(after, before.roll(k, -1)) for k in range(-7, 8))


def test_masks_cover_at_most_their_share(images, target):
    for settings, axis in ((TimeMask(p=1, share=0.25), 3), (FrequencyMask(p=1, share=0.25), 2)):
        x, _ = run(images, settings, target)
        masked = (x == 0).all(dim=1).all(dim=4 - axis).sum(dim=1)
        assert masked.max() <= round(0.25 * images.shape[axis])
        assert masked.max() > 0
        assert torch.equal(x[x != 0], images[x != 0])


def test_channel_dropout_leaves_a_channel(images, target):
    x, _ = run(images, ChannelDropout(p=1, channels=9), target)
    dropped = (x == 0).flatten(2).all(dim=2).sum(dim=1)
    assert set(dropped.tolist()) == {1, 2, 3}
    one, _ = run(images[:, :1], ChannelDropout(p=1), target)
    assert torch.equal(one, images[:, :1])


def test_every_channel_has_its_turn_to_be_dropped(images, target):
    """A reference project drew the channel from a range of one, so that it was always the first."""
    dropped = torch.zeros(C)
    for seed in range(20):
        x, _ = run(images, ChannelDropout(p=1, channels=1), target, seed=seed)
        dropped += (x == 0).flatten(2).all(dim=2).sum(dim=0)
    share = dropped / dropped.sum()
    assert (share - 1 / C).abs().max() < 0.06


def test_a_hemisphere_swap_permutes_channels(images, target):
    x, _ = run(images, HemisphereSwap((2, 3, 0, 1), p=1), target)
    assert torch.equal(x, images[:, [2, 3, 0, 1]])
    with pytest.raises(DataError, match="permutes 2 channels, the view has 4"):
        run(images, HemisphereSwap((1, 0)), target)


def test_a_chain_reversal_reads_chains_from_the_other_end(signals, target):
    x, _ = run(signals, ChainReversal(((0, 1, 2),), p=1), target)
    assert torch.equal(x, torch.stack([-signals[:, 2], -signals[:, 1], -signals[:, 0], signals[:, 3]], 1))
    with pytest.raises(DataError, match="names channel 7"):
        run(signals, ChainReversal(((0, 7),)), target)


def test_mixup_mixes_inputs_and_targets_by_the_same_share(images, target):
    x, (mix,) = run(images, Mixup(alpha=1.0), target)
    assert torch.equal(mix.partner_BP[:, 0], torch.arange(B))
    expected = (images[mix.partner_BP] * mix.share_BP[..., None, None, None]).sum(dim=1)
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)
    assert mix.share_BP[:, 0].std() > 0.1


def test_cutmix_targets_follow_the_area(target):
    x = torch.arange(B, dtype=torch.float32).view(B, 1, 1, 1).expand(B, 1, H, W)
    mixed, (mix,) = run(x, CutMix(p=1.0), target)
    for row in range(B):
        own = (mixed[row] == row).float().mean()
        assert set(mixed[row].unique().tolist()) <= {float(row), float(mix.partner_BP[row, 1])}
        if mix.partner_BP[row, 1] != row:
            assert mix.share_BP[row, 0] == pytest.approx(float(own), abs=1e-6)


def test_same_class_cutmix_pairs_only_rows_of_one_clear_class(rng):
    shown = torch.from_numpy(rng.integers(0, CLASSES, B))
    target = torch.nn.functional.one_hot(shown, CLASSES).float()
    target[:4] = 1 / CLASSES  # unclear rows take no part
    shown[:4] = 9
    x = shown.view(B, 1, 1, 1) + torch.zeros(B, 1, H, W) + torch.arange(B).view(B, 1, 1, 1) / 100
    mixed, mixes = run(x, SameClassCutMix(p=1.0), target)
    assert mixes == []
    assert torch.equal(mixed.floor(), x.floor())
    assert torch.equal(mixed[:4], x[:4])
    changed = (mixed != x).flatten(1).any(dim=1)
    assert changed.sum() > B // 3
    middle = slice(int(W * 5 / 12) + 1, int(W * 7 / 12))
    assert torch.equal(mixed[..., middle], x[..., middle])


def test_mosaic_squeezes_four_rows_and_ends_after_its_epochs(images, target):
    x, (mix,) = run(images, Mosaic(epochs=2), target, epoch=1)
    assert mix.partner_BP.shape == (B, 4)
    assert torch.equal(mix.partner_BP[:, 0], torch.arange(B))
    torch.testing.assert_close(x[..., : W // 4], images.view(B, C, H, W // 4, 4).mean(dim=-1))
    torch.testing.assert_close(mix.rates(target), target[mix.partner_BP].mean(dim=1))
    after, mixes = run(images, Mosaic(epochs=2), target, epoch=2)
    assert mixes == []
    assert torch.equal(after, images)


@pytest.mark.parametrize("settings", [Mixup(), CutMix(p=1.0), Mosaic()], ids=lambda s: s.kind)
def test_partners_stay_within_their_group(settings, images, target):
    group = torch.arange(B) % 5
    _, (mix,) = run(images, settings, target, group_B=group)
    assert torch.equal(group[mix.partner_BP], group[:, None].expand_as(mix.partner_BP))
    assert (mix.partner_BP[:, 1] != torch.arange(B)).any()


def test_rates_mix_shares_not_counts():
    votes = torch.tensor([[20.0, 0.0], [0.0, 2.0]])
    shares = votes / votes.sum(dim=1, keepdim=True)
    mix = RowMix(torch.tensor([[0, 1]]), torch.tensor([[0.5, 0.5]]))
    assert mix.rates(shares).tolist() == [[0.5, 0.5]]
    assert mix.rates(votes.sum(dim=1)).tolist() == [11.0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda: HorizontalFlip(p=1.5), r"p must be in \[0, 1\]"),
        (lambda: Cutout(holes=0), "holes"),
        (lambda: Mixup(alpha=0), "alpha"),
        (lambda: CutMix(alpha=-1), "alpha"),
        (lambda: Mosaic(epochs=0), "epochs"),
        (lambda: HemisphereSwap((0, 0)), "each channel"),
        (lambda: ChainReversal(((0, 1), (1, 2))), "at most once"),
        (lambda: ChannelDropout(channels=0), "channels"),
        (lambda: SameClassCutMix(starts=()), "starts"),
    ],
)
def test_settings_refuse_what_makes_no_sense(settings, message):
    with pytest.raises(DataError, match=message):
        settings()
