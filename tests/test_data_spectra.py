import numpy as np
import pytest
from scipy.signal import get_window

from foldstill.data.spectra import HANN, SCIPY, extended, frame_power, mel_filters, taper_power, window_frames


def test_the_frame_product_is_the_power_of_the_zero_padded_transform(rng):
    x = rng.standard_normal((1, 4000)).astype(np.float32)
    frames = window_frames(extended(x, 128, "constant"), 128, 39)[0]
    for taper, window in ((HANN, "hann"), (SCIPY, ("tukey", 0.25))):
        weights = get_window(window, 128)
        wanted = np.abs(np.fft.rfft(frames * weights, n=1024)) ** 2
        np.testing.assert_allclose(frame_power(frames, 1024, 3, 100, taper), wanted[:, 3:103], rtol=1e-4, atol=1e-3)
        assert taper_power(128, taper) == pytest.approx(np.sum(weights**2))


def test_a_tensor_has_the_spectra_of_its_array(rng):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((2, 3, 1000)).astype(np.float32)
    of_array, of_tensor = (frame_power(window_frames(a, 64, 20), 256, 0, 40) for a in (x, torch.from_numpy(x)))
    assert of_tensor.shape == of_array.shape == (2, 3, 47, 40)
    np.testing.assert_allclose(of_tensor.numpy(), of_array, rtol=1e-4, atol=1e-4)


def test_a_mel_filter_bank_covers_its_band_with_triangles_of_area_one():
    # Bands wide against a bin, so that sampling a triangle on the bins keeps its area.
    filters = mel_filters(8, 4096, 200.0, 20.0)
    assert filters.min() == 0
    np.testing.assert_allclose(filters.sum(axis=0) * 200 / 4096, 1, rtol=2e-3)
