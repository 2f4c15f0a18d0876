import numpy as np
import pytest

from foldstill.data.signals import band_pass, bin_means, line_for_gaps, mean_for_gaps, resize, robust_scale
from foldstill.errors import DataError


def test_gaps_are_filled_by_the_mean_or_by_a_line_and_a_dead_channel_is_zero():
    x = np.array([[0, np.nan, 2, np.nan], [np.nan] * 4], dtype=np.float32)
    np.testing.assert_array_equal(mean_for_gaps(x), [[0, 1, 2, 1], [0, 0, 0, 0]])
    np.testing.assert_array_equal(line_for_gaps(x), [[0, 1, 2, 2], [0, 0, 0, 0]])
    whole = x[:1, :1]
    assert mean_for_gaps(whole) is whole


def test_the_band_pass_keeps_the_band_removes_the_rest_and_delays_nothing():
    time = np.arange(10_000) / 200
    kept, hum, drift = np.sin(2 * np.pi * 10 * time), np.sin(2 * np.pi * 60 * time), 5 * np.sin(2 * np.pi * 0.02 * time)
    out = band_pass((kept + hum + drift)[None].astype(np.float32), 0.5, 30, order=4, sfreq_hz=200)[0]
    np.testing.assert_allclose(out[1000:-1000], kept[1000:-1000], atol=0.03)
    with pytest.raises(DataError, match=r"low < high < 100\.0 Hz"):
        band_pass(np.zeros((1, 100), np.float32), 1, 100, order=4, sfreq_hz=200)


def test_the_robust_scale_is_sigma_for_noise_whatever_one_channel_does(rng):
    x = 3 * rng.standard_normal((9, 20_000)).astype(np.float32)
    x[0] *= 1000
    assert robust_scale(x) == pytest.approx(3, rel=0.03)
    assert robust_scale(np.zeros((2, 50), np.float32)) == 1


def test_bin_means_drop_an_unfilled_bin():
    np.testing.assert_array_equal(bin_means(np.arange(10, dtype=np.float32)[None], 4), [[1.5, 5.5]])


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(("interpolation", "mode"), [("linear", "bilinear"), ("cubic", "bicubic")])
@pytest.mark.parametrize("size", [(17, 20), (60, 31)])
def test_resizing_is_torchs(rng, interpolation, mode, antialias, size):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 33, 48)).astype(np.float32)
    wanted = torch.nn.functional.interpolate(torch.from_numpy(x)[None], size=size, mode=mode, antialias=antialias)[0]
    np.testing.assert_allclose(resize(x, *size, interpolation=interpolation, antialias=antialias), wanted, atol=2e-5)
