import numpy as np
import pytest

from foldstill.distill.corruptions import corrupted


@pytest.mark.parametrize("shape", [(6, 8, 8, 3), (6, 4, 50)])
def test_corrupted_rows_keep_their_type_and_shape(rng, shape):
    rows = rng.integers(0, 255, shape).astype(np.uint8)
    broken = corrupted(rows)
    of_signals = {"line noise"} if len(shape) == 3 else set()
    assert set(broken) == {"noise", "saturation", "lost channels"} | of_signals
    for bad in broken.values():
        assert (bad.dtype, bad.shape) == (rows.dtype, rows.shape)
        assert (bad != rows).any()
    rest = tuple(range(1, rows.ndim))
    assert (broken["saturation"].std(axis=rest) < rows.std(axis=rest)).all()
    assert (np.abs(broken["noise"].astype(int) - rows).mean(axis=rest) > 20).all()


def test_half_the_channels_of_every_row_are_lost_and_the_others_kept(rng):
    rows = rng.normal(5, 1, (40, 6, 10)).astype(np.float32)
    bad = corrupted(rows)["lost channels"]
    lost = (bad == 0).all(axis=2)
    assert (lost.sum(axis=1) == 3).all()
    np.testing.assert_array_equal(bad[~lost], rows[~lost])
    assert len(np.unique(lost, axis=0)) > 5  # other channels in other rows


def test_one_channel_cannot_be_lost_and_the_seed_decides_the_noise(rng):
    rows = rng.normal(size=(3, 8, 8, 1)).astype(np.float32)
    assert set(corrupted(rows)) == {"noise", "saturation"}
    np.testing.assert_array_equal(corrupted(rows, seed=1)["noise"], corrupted(rows, seed=1)["noise"])
    assert (corrupted(rows, seed=1)["noise"] != corrupted(rows, seed=2)["noise"]).any()


def test_line_noise_is_one_wave_in_all_channels_of_a_row(rng):
    rows = rng.normal(size=(3, 4, 400)).astype(np.float32)
    added = corrupted(rows)["line noise"] - rows
    power = np.abs(np.fft.rfft(added, axis=2)) ** 2
    assert (power.argmax(axis=2) == 100).all()
    assert (power[..., 100] > 0.99 * power.sum(axis=2)).all()
    np.testing.assert_allclose(added[:, :1], added[:, 1:2], atol=1e-5)
