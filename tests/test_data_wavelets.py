import math

import numpy as np
import pytest

from foldstill.data.wavelets import morlet_power, wavelet_denoise
from foldstill.errors import FoldstillError

SFREQ = 200
T = 3200


def convolved(x_T, hertz, cycles, at):
    """Complex Morlet coefficients at some samples, by the formula: one product a sample with the wavelet around it."""
    edge = len(x_T) // 8
    padded = np.pad(x_T - x_T.mean(), edge, mode="reflect")
    deviation_s = cycles / (5 * hertz)
    time = (np.arange(len(padded)) - edge) / SFREQ
    coefficients = []
    for sample in at:
        tau = time - sample / SFREQ
        wavelet = np.exp(-(tau**2) / (2 * deviation_s**2)) / (deviation_s * math.sqrt(2 * math.pi) * SFREQ)
        coefficients.append(2 * (padded * wavelet * np.exp(-2j * math.pi * hertz * tau)).sum())
    return np.array(coefficients)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_power_is_that_of_a_convolution_with_each_wavelet(order, rng):
    """With columns of four samples, and a band that needs only one, a column is the coefficient in its middle."""
    x_T = rng.standard_normal(T).cumsum()
    hertz = np.array([4.0, 7.0, 10.0])
    power = morlet_power(x_T[None].astype(np.float32), hertz, sfreq_hz=SFREQ, cycles=6, order=order, columns=800)
    middle = np.arange(200, 600, 16)  # a wavelet of 18 cycles at 4 Hz does not reach the ends
    for i, f in enumerate(hertz):
        powers = [np.abs(convolved(x_T, f, 6 * k, 4 * middle + 2)) ** 2 for k in range(1, order + 1)]
        wanted = np.prod(powers, axis=0) ** (1 / order)
        np.testing.assert_allclose(power[0, i, middle], wanted, atol=2e-3 * wanted.max())


def test_a_sine_has_the_square_of_its_amplitude_at_its_frequency_alone():
    x = 7 * np.sin(2 * np.pi * 5 * np.arange(10_000) / SFREQ)[None].astype(np.float32)
    hertz = np.geomspace(0.5, 40, 64)
    hertz[30] = 5.0
    for order in (1, 3):
        power = morlet_power(x, hertz, sfreq_hz=SFREQ, cycles=3, order=order, columns=256)[0]
        np.testing.assert_allclose(np.sqrt(power[30, 16:-16]), 7, rtol=1e-3)
        far = (hertz < 2) | (hertz > 12)
        assert np.sqrt(power[far][:, 16:-16]).max() < 0.7


def test_a_burst_is_in_its_columns_and_the_mean_of_a_column_is_over_its_time():
    time = np.arange(10_000) / SFREQ
    burst = np.where((time >= 20) & (time < 30), np.sin(2 * np.pi * 10 * time), 0)[None].astype(np.float32)
    fine = morlet_power(burst, np.array([10.0]), sfreq_hz=SFREQ, cycles=3, order=1, columns=1000)[0, 0]
    coarse = morlet_power(burst, np.array([10.0]), sfreq_hz=SFREQ, cycles=3, order=1, columns=8)[0, 0]
    assert fine[410:590].min() > 0.95
    assert fine[:390].max() < 0.02
    assert fine[610:].max() < 0.02
    np.testing.assert_allclose(coarse, fine.reshape(8, 125).mean(axis=1), atol=0.01)


def test_superlets_are_sharper_in_frequency_than_their_first_wavelet_and_in_time_than_their_last():
    time = np.arange(10_000) / SFREQ
    sine = np.sin(2 * np.pi * 10 * time)[None].astype(np.float32)
    burst = np.where(np.abs(time - 25) < 0.1, sine, 0).astype(np.float32)
    hertz = np.linspace(5, 15, 101)

    def widths(cycles, order):
        made = {"cycles": cycles, "order": order, "sfreq_hz": SFREQ, "columns": 2000}
        over_hertz = morlet_power(sine, hertz, **made)[0, :, 1000]
        over_time = morlet_power(burst, np.array([10.0]), **made)[0, 0]
        return [int((power > power.max() / 2).sum()) for power in (over_hertz, over_time)]

    first, last, superlet = widths(3, 1), widths(12, 1), widths(3, 4)
    assert superlet[0] < 0.8 * first[0]
    assert superlet[1] < 0.9 * last[1]


def haar(x_T, level):
    """Approximation and details, coarse to fine, by sums and differences of neighbours."""
    details = []
    for _ in range(level):
        even, odd = x_T[0::2], x_T[1::2]
        x_T, detail = (even + odd) / math.sqrt(2), (even - odd) / math.sqrt(2)
        details.insert(0, detail)
    return x_T, details


def unhaar(x_T, details):
    for detail in details:
        x_T = np.stack([x_T + detail, x_T - detail], axis=1).ravel() / math.sqrt(2)
    return x_T


@pytest.mark.parametrize("threshold", ["soft", "hard"])
def test_denoising_by_haar_is_the_universal_threshold_by_hand(threshold, rng):
    pytest.importorskip("pywt")
    x_ET = (rng.standard_normal((3, 512)).cumsum(axis=1) + rng.standard_normal((3, 512))).astype(np.float32)
    ours = wavelet_denoise(x_ET, "haar", 3, threshold)
    for got, x_T in zip(ours, x_ET.astype(np.float64), strict=True):
        approximation, details = haar(x_T, 3)
        limit = np.median(np.abs(details[-1])) / 0.6745 * math.sqrt(2 * math.log(512))
        kept = [np.where(np.abs(d) > limit, d - (threshold == "soft") * np.sign(d) * limit, 0) for d in details]
        assert any(k.any() for k in kept)
        np.testing.assert_allclose(got, unhaar(approximation, kept), atol=1e-4)


def test_denoising_keeps_the_wave_and_drops_most_of_the_noise(rng):
    pytest.importorskip("pywt")
    wave = 50 * np.sin(2 * np.pi * 2 * np.arange(9_999) / SFREQ)  # an odd length comes back as it was
    noisy = (wave + 10 * rng.standard_normal(9_999))[None].astype(np.float32)
    clean = wavelet_denoise(noisy, "db8", 4, "soft")
    assert clean.shape == noisy.shape
    assert clean.dtype == np.float32
    assert np.std(clean - wave) < 0.4 * np.std(noisy - wave)
    flat = np.ones((1, 64), np.float32)
    np.testing.assert_allclose(wavelet_denoise(flat, "haar", 2, "hard"), flat, atol=1e-6)


def test_an_unknown_wavelet_and_a_missing_package_are_one_sentence(monkeypatch):
    pytest.importorskip("pywt")
    x = np.zeros((1, 64), np.float32)
    with pytest.raises(FoldstillError, match=r"no discrete wavelet 'db88': did you mean db8"):
        wavelet_denoise(x, "db88", 2, "soft")
    monkeypatch.setattr("foldstill.errors.find_spec", lambda name: None)
    with pytest.raises(FoldstillError, match=r"needs pywt, which is not installed: .*'foldstill\[wavelets\]'"):
        wavelet_denoise(x, "db8", 2, "soft")
