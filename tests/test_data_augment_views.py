"""Views of the same rows: what they have in common happens to the same rows of each, in the same way."""

import pytest
import torch

from foldstill.data.augment import Noise
from foldstill.data.augment_views import augment_views
from foldstill.data.erasing import ChannelDropout
from foldstill.data.mixing import CutMix, Mixup, Mosaic, SameClassCutMix
from foldstill.data.moving import HorizontalFlip, TimeShift
from foldstill.errors import DataError

B = 64


def make_views():
    """Every value is the number of its row, plus its place in time as a fraction: it tells where it came from."""
    row, signal_time, image_time = torch.arange(float(B)), torch.arange(40) / 100, torch.arange(20) / 100
    signals = row[:, None, None] + signal_time.expand(3, 40)
    images = row[:, None, None, None] + image_time.expand(2, 8, 20)
    return signals, images


def target():
    return torch.eye(4)[torch.arange(B) % 4]


def together(settings, alike=(), seed=0, **rest):
    generator = torch.Generator().manual_seed(seed)
    rest.setdefault("target_BC", target())
    return augment_views(make_views(), settings, alike, generator, **rest)


def test_the_same_rows_are_flipped_in_every_view_whatever_else_a_view_has():
    flip, shift = HorizontalFlip(), TimeShift()
    (signals, images), mixes = together([(ChannelDropout(), flip, shift), (flip,)])
    assert mixes == []
    backwards = images[:, 0, 0, 0] > images[:, 0, 0, 1]
    assert 10 < backwards.sum() < B - 10
    # a shift of time keeps the direction but at one place; dropped channels are zero, so the middle of three is taken
    down = (signals.diff(dim=2) < 0).sum(dim=2).max(dim=1).values > 5
    assert torch.equal(down, backwards)


def test_a_second_of_a_kind_draws_anew():
    (once,), _ = augment_first([HorizontalFlip()])
    (twice,), _ = augment_first([HorizontalFlip(), HorizontalFlip()])
    assert not torch.equal(twice, make_views()[0])
    assert not torch.equal(once, twice)


def augment_first(settings):
    return augment_views(make_views()[:1], [settings], (), torch.Generator().manual_seed(0), target_BC=target())


def test_batches_differ_and_the_same_place_in_the_sequence_gives_the_same():
    generator, views = torch.Generator().manual_seed(0), make_views()
    settings = [(Noise(),), (Noise(),)]
    first, _ = augment_views(views, settings, (), generator, target_BC=target())
    second, _ = augment_views(views, settings, (), generator, target_BC=target())
    again, _ = together(settings)
    assert not torch.equal(first[0], second[0])
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_mixup_has_the_same_partners_and_shares_in_all_views_and_the_target():
    views, (mix,) = together([(), ()], [Mixup()])
    wanted = (torch.arange(float(B))[mix.partner_BP] * mix.share_BP).sum(dim=1)
    for mixed, plain in zip(views, make_views(), strict=True):
        of_row = (mixed - (plain - torch.arange(float(B)).view(-1, *[1] * (plain.ndim - 1)))).flatten(1)
        torch.testing.assert_close(of_row, wanted[:, None].expand_as(of_row), atol=1e-3, rtol=0)
    torch.testing.assert_close(mix.rates(target()).sum(dim=1), torch.ones(B))


def test_a_strip_of_time_comes_from_the_same_row_and_place_in_all_views():
    views, (mix,) = together([(), ()], [CutMix(p=1.0, shape="time")])
    signals, images = (x.flatten(1, -2)[:, 0].floor() for x in views)
    own = torch.arange(float(B))[:, None]
    # the signal has twice as many samples as the image has columns
    moved = (signals != own).float()
    assert ((moved.view(B, 20, 2).mean(dim=2) - (images != own).float()).abs() <= 0.5).float().mean() > 0.95
    partner = mix.partner_BP[:, 1]
    assert torch.equal(torch.where(signals != own, partner[:, None].float(), own), signals)
    share = torch.stack([moved.mean(dim=1), (images != own).float().mean(dim=1)]).mean(dim=0)
    other = partner != torch.arange(B)
    torch.testing.assert_close(mix.share_BP[other, 1], share[other])


@pytest.mark.parametrize("op", [SameClassCutMix(p=1.0), Mosaic(epochs=1)])
def test_other_mixes_stay_within_the_given_groups_in_all_views(op):
    group = torch.arange(B) % 8
    views, _ = together([(), ()], [op], group_B=group)
    for x in views:
        assert torch.equal((x.floor().flatten(1).long() % 8), group[:, None].expand(B, x[0].numel()))


def test_mixes_of_the_views_own_settings_are_left_out_and_a_mosaic_ends_with_its_epochs():
    views, mixes = together([(Mixup(),), (CutMix(),)], [Mosaic(epochs=2)], epoch=2)
    assert mixes == []
    assert all(torch.equal(x, plain) for x, plain in zip(views, make_views(), strict=True))


def test_what_does_not_fit_a_view_is_refused():
    with pytest.raises(DataError, match="cutmix needs images"):
        together([(), ()], [CutMix()])
