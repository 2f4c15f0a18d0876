"""The votes of experts on synthetic EEG: the evidence for each class, and votes that vary more than a multinomial.

C classes, in the order of CLASSES.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foldstill.hms.montage import CLASSES, EEG_SECONDS, SPECTROGRAM_SECONDS
from foldstill.hms.synthetic_eeg import Episode

JUDGED_SECONDS = 10
"""Experts judge the middle of what they see."""

CONTEXT = 0.5
"""Weight of the ten minutes around the judged middle, as an exponent: 0 is no weight, 1 makes them a prior."""


@dataclass(frozen=True)
class Regime:
    """How many experts vote and how much they agree: votes are Dirichlet-multinomial with this concentration."""

    totals: tuple[int, ...]
    concentration: float


FEW = Regime((1, 1, 2, 3, 3, 3, 3, 3, 4, 5, 6, 7), 6.0)
"""Few experts, whose votes are often unanimous."""

MANY = Regime(tuple(range(10, 29)), 14.0)
"""Ten experts or more, whose votes show how ambiguous the EEG is."""


def evidence(episodes: Sequence[Episode], background_uv: float, start_s: float) -> NDArray[np.float64]:
    """The vote share of each class among infinitely many experts, for the 50 s that begin at `start_s`; sums to one.

    The judged middle is weighted by what the ten minutes around it show, as a likelihood is by a prior. Experts saw the
    spectrogram beside the EEG, and they read ten doubtful seconds of a patient with frequent discharges as discharges.
    """
    middle = start_s + EEG_SECONDS / 2
    near, far = (_visible(episodes, background_uv, middle, s) for s in (JUDGED_SECONDS, SPECTROGRAM_SECONDS))
    values = near * far**CONTEXT
    normed: NDArray[np.float64] = values / values.sum()
    return normed


def _visible(episodes: Sequence[Episode], background_uv: float, middle_s: float, seconds: float) -> NDArray[np.float64]:
    """The share of each class in `seconds` around a time; every class has a share above zero.

    A pattern counts by its duration and by how far it stands out of the background. Its sharpness and laterality decide
    which of the four patterns it is. Periodic discharges above 2.5 Hz are partly a seizure (ACNS 2021).
    """
    begin, end = middle_s - seconds / 2, middle_s + seconds / 2
    share = dict.fromkeys(CLASSES, 0.0)
    for episode in episodes:
        overlap = max(0.0, min(end, episode.stop_s) - max(begin, episode.start_s)) / seconds
        if episode.pattern == "none" or overlap == 0:
            continue
        visible = overlap * _step(2.5 * np.log(episode.amplitude_uv / (2 * background_uv)))
        sharp, lateral = _step(7 * (episode.sharpness - 0.5)), _step(7 * (episode.laterality - 0.5))
        if episode.pattern == "seizure":
            ictal, sharp = 0.35 + 0.6 * episode.evolution, 0.8
        else:
            ictal = 0.5 * sharp * _step(6 * (episode.rate_hz - 2.4))
        share["Seizure"] += visible * ictal
        rest = visible * (1 - ictal)
        share["LPD"] += rest * sharp * lateral
        share["GPD"] += rest * sharp * (1 - lateral)
        share["LRDA"] += rest * (1 - sharp) * lateral
        share["GRDA"] += rest * (1 - sharp) * (1 - lateral)
    share["Other"] = max(0.05, 1 - sum(share.values()))
    values = np.array([share[name] for name in CLASSES]) + 0.01
    normed: NDArray[np.float64] = values / values.sum()
    return normed


def draw_votes(rng: np.random.Generator, share_C: NDArray[np.float64], regime: Regime) -> NDArray[np.int64]:
    """Votes (C,) of one group of experts."""
    total = int(rng.choice(regime.totals))
    opinion = rng.dirichlet(regime.concentration * share_C + 1e-3)
    return rng.multinomial(total, opinion)


def _step(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))
