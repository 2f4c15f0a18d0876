"""Synthetic EEG of an intensive care unit: background, artefacts, and the patterns that experts vote on.

Patterns follow the American Clinical Neurophysiology Society's critical care terminology (Hirsch et al., 2021):
rhythmic delta is 0.5 to 4 Hz without an interval between waves, periodic discharges are shorter than 0.5 s with an
interval between them, seizures evolve in frequency, shape and location for at least 10 s. E electrodes (19, and the EKG
last), T samples at 200 Hz.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.data.signals import Signal
from foldstill.hms.montage import EEG_CHANNELS, SFREQ_HZ

Pattern = Literal["seizure", "periodic", "rhythmic", "none"]

_SCALP = {
    "Fp1": (-0.31, 0.95),
    "Fp2": (0.31, 0.95),
    "F7": (-0.81, 0.59),
    "F3": (-0.42, 0.52),
    "Fz": (0.0, 0.48),
    "F4": (0.42, 0.52),
    "F8": (0.81, 0.59),
    "T3": (-1.0, 0.0),
    "C3": (-0.5, 0.0),
    "Cz": (0.0, 0.0),
    "C4": (0.5, 0.0),
    "T4": (1.0, 0.0),
    "T5": (-0.81, -0.59),
    "P3": (-0.42, -0.52),
    "Pz": (0.0, -0.48),
    "P4": (0.42, -0.52),
    "T6": (0.81, -0.59),
    "O1": (-0.31, -0.95),
    "O2": (0.31, -0.95),
}
ELECTRODES = EEG_CHANNELS[:-1]
_POSITION = np.array([_SCALP[name] for name in ELECTRODES])
"""Positions of the electrodes of the 10-20 system seen from above: x towards the right ear, y towards the nose."""

_FOCI = ("F7", "T3", "T5", "C3", "P3", "F3")


@dataclass(frozen=True)
class Patient:
    """What is the same in all recordings of one patient: the random effects."""

    slope: float
    """Exponent of the 1/f background."""
    background_uv: float
    alpha_hz: float
    alpha_uv: float
    theta_uv: float
    blinks_per_s: float
    muscle_uv: float
    line_uv: float
    heart_hz: float
    side: int
    """The diseased hemisphere: -1 is the left one, 1 the right one."""
    focus: str
    """The electrode over the diseased area, named as if it were on the left."""
    pattern_hz: float
    """Typical rate of the discharges or rhythms of this patient."""
    contrast: float
    """How far patterns stand out of the background."""
    share_by_class: tuple[float, ...]
    """Probability of each class in this patient, in the order of CLASSES."""


@dataclass(frozen=True)
class Episode:
    """A pattern between two times; `sharpness` and `laterality` in [0, 1] blend one class into another."""

    pattern: Pattern
    start_s: float
    stop_s: float
    rate_hz: float
    sharpness: float
    laterality: float
    amplitude_uv: float
    evolution: float


def draw_patient(rng: np.random.Generator) -> Patient:
    awake = rng.random() < 0.4
    return Patient(
        slope=rng.uniform(1.5, 2.4),
        background_uv=rng.lognormal(np.log(13), 0.3),
        alpha_hz=rng.uniform(8, 11) if awake else rng.uniform(6.5, 8.5),
        alpha_uv=rng.uniform(10, 26) if awake else rng.uniform(0, 6),
        theta_uv=rng.uniform(2, 9),
        blinks_per_s=rng.uniform(0.08, 0.3) if awake else rng.uniform(0, 0.04),
        muscle_uv=rng.gamma(1.2, 5),
        line_uv=rng.gamma(1, 1.2),
        heart_hz=rng.uniform(0.95, 1.8),
        side=int(rng.choice([-1, 1])),
        focus=str(rng.choice(_FOCI)),
        pattern_hz=rng.uniform(0.7, 2.0),
        contrast=rng.lognormal(np.log(1.1), 0.3),
        share_by_class=tuple(rng.dirichlet([0.65, 0.5, 0.5, 0.5, 0.6, 0.5]).tolist()),
    )


def draw_episode(rng: np.random.Generator, patient: Patient, name: str, start_s: float, stop_s: float) -> Episode:
    """An episode of class `name` between two times; some are borderline cases, as in real EEG."""
    amplitude = 75 * patient.contrast * rng.lognormal(0, 0.25)
    lateral = rng.beta(6, 1.2) if name.startswith("L") else rng.beta(1.2, 6)
    if name == "Other":
        return Episode("none", start_s, stop_s, 1.0, 0.0, lateral, 0.0, 0.0)
    if name == "Seizure":
        lateral = float(rng.choice([rng.beta(6, 1.5), rng.beta(1.5, 6)]))
        return Episode("seizure", start_s, stop_s, rng.uniform(4.5, 8), 0.6, lateral, 1.3 * amplitude, rng.beta(5, 1.5))
    if name.endswith("PD"):
        rate = _clamp(patient.pattern_hz * rng.lognormal(0, 0.15), 0.5, 2.5)
        return Episode("periodic", start_s, stop_s, rate, rng.beta(7, 1.3), lateral, 1.5 * amplitude, 0.0)
    rate = _clamp(1.3 * patient.pattern_hz * rng.lognormal(0, 0.15), 1.0, 4.0)
    return Episode("rhythmic", start_s, stop_s, rate, rng.beta(1.3, 7), lateral, amplitude, 0.0)


def _clamp(value: float, low: float, high: float) -> float:
    return min(max(float(value), low), high)


def simulate(
    rng: np.random.Generator, patient: Patient, seconds: float, episodes: tuple[Episode, ...], bad: tuple[int, ...] = ()
) -> Signal:
    """The recording (20, T) in microvolts; `bad` electrodes have lost their contact: hum, drift and jumps."""
    n = round(seconds * SFREQ_HZ)
    # One generator each, so that a pattern changes neither the background nor the artefacts.
    background, patterns, rng = rng.spawn(3)
    eeg = _background(background, patient, n)
    for episode in episodes:
        _add_episode(patterns, patient, episode, eeg)
    _add_eyes(rng, patient, eeg)
    _add_muscle(rng, patient, eeg)
    _add_movement(rng, eeg)
    time = np.arange(n, dtype=np.float32) / SFREQ_HZ
    hum = np.sin(np.float32(2 * np.pi * 60) * (time % 1)).astype(np.float32)
    eeg += (patient.line_uv * rng.uniform(0.3, 1, len(ELECTRODES))).astype(np.float32)[:, None] * hum
    heart = _heart(rng, patient, n)
    eeg += (rng.normal(0, 0.01, len(ELECTRODES))).astype(np.float32)[:, None] * heart
    for electrode in bad:
        eeg[electrode] += 60 * hum + 25 * rng.standard_normal(n, dtype=np.float32) + _pops(rng, n)
    return np.concatenate([eeg, (heart + rng.standard_normal(n, dtype=np.float32))[None]])


def field(position: tuple[float, float] | NDArray[np.float64], width: float) -> Signal:
    """Amplitude of a source at each electrode: a Gaussian of the distance from its position."""
    distance = np.square(_POSITION - np.asarray(position)).sum(axis=1)
    amplitude: Signal = np.exp(-distance / (2 * width**2)).astype(np.float32)
    return amplitude


@lru_cache(maxsize=1)
def _volume_conduction() -> Signal:
    """Mixing of the background between neighbouring electrodes: rows of unit norm."""
    mixing = np.stack([field(position, 0.33) for position in _POSITION])
    normed: Signal = (mixing / np.linalg.norm(mixing, axis=1, keepdims=True)).astype(np.float32)
    return normed


def _noise(rng: np.random.Generator, rows: int, n: int, amplitude: NDArray[np.float64]) -> Signal:
    """Noise of unit standard deviation whose amplitude spectrum is proportional to `amplitude`, one value per bin."""
    from scipy.fft import irfft

    size = len(amplitude)
    parts = rng.standard_normal((rows, 2 * size), dtype=np.float32).view(np.complex64)
    parts *= (amplitude / np.sqrt(2 * np.square(amplitude).sum()) * (size - 1) * 2 / np.sqrt(2)).astype(np.float32)
    noise: Signal = irfft(parts, axis=-1, overwrite_x=True)[:, :n]
    return noise


def _frequencies(n: int) -> NDArray[np.float64]:
    from scipy.fft import next_fast_len

    even = 2 * int(next_fast_len((n + 1) // 2))
    hz: NDArray[np.float64] = np.linspace(0.0, SFREQ_HZ / 2, even // 2 + 1)
    return hz


def _background(rng: np.random.Generator, patient: Patient, n: int) -> Signal:
    hz = _frequencies(n)
    # 1/f above half a hertz, where an amplifier's high-pass filter ends it; above 45 Hz mostly noise of the amplifier.
    amplitude = np.maximum(hz, 0.5) ** (-patient.slope / 2) * (hz / 0.5) ** 2 / (1 + (hz / 0.5) ** 2) + 0.02 * (hz > 0)
    white = _noise(rng, len(ELECTRODES), n, amplitude)
    eeg: Signal = (np.float32(patient.background_uv) * _drift(rng, n, 0.15)) * (_volume_conduction() @ white)
    posterior, anterior = field((0, -0.9), 0.5), field((0, 0.2), 0.6)
    left = (_POSITION[:, 0] < 0.05).astype(np.float32)
    for centre, width, microvolt, extent in (
        (patient.alpha_hz, 0.5, patient.alpha_uv, posterior),
        (5.5, 0.9, patient.theta_uv, anterior),
    ):
        shape = np.exp(-np.square((hz - centre) / width) / 2)
        rhythm = np.float32(1.4 * microvolt) * _drift(rng, n, 0.5) * _noise(rng, 2, n, shape)
        # The hemispheres share most of a rhythm, but not all of it.
        eeg += (extent * left)[:, None] * rhythm[0]
        eeg += (extent * (1 - left))[:, None] * (0.8 * rhythm[0] + 0.6 * rhythm[1])
    return eeg


def _drift(rng: np.random.Generator, n: int, spread: float) -> Signal:
    """A gain that varies over half minutes, as vigilance does."""
    knots = np.arange(0, n + 60 * SFREQ_HZ, 30 * SFREQ_HZ)
    return np.interp(np.arange(n), knots, rng.lognormal(0, spread, len(knots))).astype(np.float32)


def _add_movement(rng: np.random.Generator, eeg: Signal) -> None:
    """Occasional movement of the patient: large waves and noise at all electrodes for a second or two."""
    n = eeg.shape[1]
    for _ in range(rng.poisson(n / SFREQ_HZ / 180)):
        at, length = int(rng.integers(0, n)), int(rng.uniform(0.7, 3) * SFREQ_HZ)
        part = eeg[:, at : at + length]
        steps = rng.standard_normal(part.shape, dtype=np.float32)
        sway = np.cumsum(steps, axis=1) * np.hanning(part.shape[1]).astype(np.float32)
        part += np.float32(rng.uniform(2, 8)) * (sway + steps)


def _add_episode(rng: np.random.Generator, patient: Patient, episode: Episode, eeg: Signal) -> None:
    if episode.pattern == "none":
        return
    start, stop = (np.clip(round(s * SFREQ_HZ), 0, eeg.shape[1]) for s in (episode.start_s, episode.stop_s))
    n = int(stop - start)
    if n < SFREQ_HZ:
        return
    focal, wide = _fields(patient, episode)
    source, spread = _seizure(rng, episode, n) if episode.pattern == "seizure" else _train(rng, episode, n)
    # It begins and ends gradually over two seconds.
    ramp = np.minimum(1, np.minimum(np.arange(n), np.arange(n)[::-1]) / (2 * SFREQ_HZ)).astype(np.float32)
    source *= np.float32(episode.amplitude_uv) * ramp
    eeg[:, start:stop] += focal[:, None] * source
    lag = round(0.04 * SFREQ_HZ)
    eeg[:, start + lag : stop] += wide[:, None] * (source * spread)[: n - lag]


def _fields(patient: Patient, episode: Episode) -> tuple[Signal, Signal]:
    """Where a pattern is at first, and where it spreads within 40 ms: over one hemisphere, or frontally over both."""
    x, y = _SCALP[patient.focus]
    focus = (x * -patient.side, y)
    hemisphere = (_POSITION[:, 0] * patient.side > -0.05).astype(np.float32)
    lateral = field(focus, 0.42) * (0.15 + 0.85 * hemisphere)
    general = 1.8 * field((0, 0.45), 0.6)
    near = episode.laterality * lateral + (1 - episode.laterality) * general
    far = episode.laterality * 0.35 * field(focus, 0.8) * hemisphere + (1 - episode.laterality) * 0.5 * field(
        (0, -0.3), 0.6
    )
    return near.astype(np.float32), far.astype(np.float32)


def _cycles(rng: np.random.Generator, rate_hz: NDArray[np.float64], jitter: float) -> NDArray[np.float64]:
    """Phase in cycles at each sample; the rate varies slowly, and cycles differ a little."""
    n = len(rate_hz)
    knots = np.arange(0, n + SFREQ_HZ, SFREQ_HZ // 2)
    wander = np.interp(np.arange(n), knots, 1 + jitter * rng.standard_normal(len(knots)))
    return np.cumsum(rate_hz * np.maximum(wander, 0.3)) / SFREQ_HZ + rng.random()


def _train(rng: np.random.Generator, episode: Episode, n: int) -> tuple[Signal, Signal]:
    """A rhythm of delta waves, a train of sharp discharges with intervals, or a mixture of both."""
    cycle = _cycles(rng, np.full(n, episode.rate_hz), 0.10)
    index = cycle.astype(np.int64)
    strength = rng.lognormal(0, 0.18, int(index.max()) + 2).astype(np.float32)
    after_s = (cycle - index) / episode.rate_hz
    wave = np.zeros(n, np.float32)
    if episode.sharpness > 0.02:
        wave += np.float32(episode.sharpness) * _discharge(after_s) * strength[index]
    if episode.sharpness < 0.98:
        phase = 2 * np.pi * cycle
        swell = np.interp(cycle, np.arange(len(strength)), strength)
        wave += np.float32(1 - episode.sharpness) * (swell * (np.sin(phase) + 0.25 * np.sin(2 * phase + 0.6))).astype(
            np.float32
        )
    return wave, np.ones(n, np.float32)


def _discharge(after_s: NDArray[np.float64]) -> Signal:
    """A triphasic sharp wave of 0.4 s: small positive, large negative (70 ms), slow positive."""
    wave = np.zeros(len(after_s))
    for height, centre, width in ((0.30, 0.06, 0.018), (-1.0, 0.12, 0.024), (0.45, 0.24, 0.06)):
        wave += height * np.exp(-np.square((after_s - centre) / width) / 2)
    return -wave.astype(np.float32)


def _seizure(rng: np.random.Generator, episode: Episode, n: int) -> tuple[Signal, Signal]:
    """Fast and low at first, then slower, larger, sharper (spike and wave) and more widespread."""
    course = np.linspace(0, 1, n)
    change = episode.evolution
    rate = episode.rate_hz * (1 - change * course * (1 - 2.6 / episode.rate_hz))
    cycle = _cycles(rng, rate, 0.05)
    index = cycle.astype(np.int64)
    phase = 2 * np.pi * (cycle - index)
    spike = np.exp(-np.square((phase - 1.2) / 0.35) / 2) - 0.5 * np.exp(-np.square((phase - 3.4) / 0.9) / 2)
    sharp = 0.3 + 0.6 * change * course
    growth = 1 - change + change * np.clip(0.35 + 1.1 * course, 0, 1)
    strength = rng.lognormal(0, 0.12, int(index.max()) + 2)[index]
    wave = growth * strength * ((1 - sharp) * 0.9 * np.sin(phase) + sharp * 1.4 * spike)
    return wave.astype(np.float32), (0.3 + 1.2 * change * course).astype(np.float32)


def _add_eyes(rng: np.random.Generator, patient: Patient, eeg: Signal) -> None:
    n = eeg.shape[1]
    time = np.arange(-0.3, 0.5, 1 / SFREQ_HZ)
    blink = (np.exp(-np.square(time / 0.075) / 2) - 0.18 * np.exp(-np.square((time - 0.25) / 0.1) / 2)).astype(
        np.float32
    )
    frontal = field((-0.31, 1.05), 0.33) + field((0.31, 1.05), 0.33)
    for _ in range(rng.poisson(patient.blinks_per_s * n / SFREQ_HZ)):
        at = int(rng.integers(0, max(n - len(blink), 1)))
        part = eeg[:, at : at + len(blink)]
        part += (frontal * rng.uniform(60, 130))[:, None].astype(np.float32) * blink[: part.shape[1]]
    sideways = field((-0.9, 0.75), 0.3) - field((0.9, 0.75), 0.3)
    for _ in range(rng.poisson(0.3 * patient.blinks_per_s * n / SFREQ_HZ)):
        at, length = int(rng.integers(0, n)), int(rng.uniform(0.4, 2) * SFREQ_HZ)
        part = eeg[:, at : at + length]
        fade = np.exp(-np.arange(part.shape[1]) / SFREQ_HZ).astype(np.float32)
        part += (sideways * rng.normal(0, 45))[:, None].astype(np.float32) * fade


def _add_muscle(rng: np.random.Generator, patient: Patient, eeg: Signal) -> None:
    """Bursts of 20 to 90 Hz over the temples and the forehead."""
    n = eeg.shape[1]
    for name in ("T3", "T4", "F7", "F8", "Fp1", "Fp2"):
        spread = field(_SCALP[name], 0.2)[:, None]
        for _ in range(rng.poisson(n / SFREQ_HZ / 45)):
            at, length = int(rng.integers(0, n)), int(rng.uniform(0.5, 6) * SFREQ_HZ)
            part = eeg[:, at : at + length]
            noise = np.diff(rng.standard_normal(part.shape[1] + 1, dtype=np.float32)) * np.hanning(part.shape[1])
            part += spread * (np.float32(patient.muscle_uv * rng.uniform(0.5, 1.5)) * noise).astype(np.float32)


def _heart(rng: np.random.Generator, patient: Patient, n: int) -> Signal:
    """The EKG: a narrow R wave between Q and S, a T wave after a quarter of a second."""
    cycle = _cycles(rng, np.full(n, patient.heart_hz), 0.05)
    after_s = (cycle - cycle.astype(np.int64)) / patient.heart_hz
    wave = np.zeros(n)
    p, q, r, s, t = (0.1, 0.04, 0.02), (-0.15, 0.13, 0.008), (1.0, 0.15, 0.010), (-0.25, 0.175, 0.01), (0.25, 0.4, 0.04)
    for height, centre, width in (p, q, r, s, t):
        wave += height * np.exp(-np.square((after_s - centre) / width) / 2)
    return (wave * rng.uniform(250, 900)).astype(np.float32)


def _pops(rng: np.random.Generator, n: int) -> Signal:
    """Jumps of an electrode that loses contact, each fading within a second."""
    from scipy.signal import lfilter

    jumps = np.zeros(n)
    at = rng.integers(0, n, rng.poisson(n / SFREQ_HZ / 10) + 1)
    jumps[at] = rng.normal(0, 250, len(at))
    pops: Signal = lfilter([1.0], [1.0, -(1 - 1 / (0.5 * SFREQ_HZ))], jumps).astype(np.float32)
    return pops
