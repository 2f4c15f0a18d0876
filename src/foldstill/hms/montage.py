"""Names that the HMS files fix: electrodes, chains, spectrogram panels, classes. E electrodes."""

from itertools import pairwise

SFREQ_HZ = 200
"""Sampling rate of every EEG file."""

EEG_SECONDS = 50
"""Length of the EEG that the experts saw around a label."""

SPECTROGRAM_SECONDS = 600
"""Length of the spectrogram that the experts saw around a label."""

SECONDS_PER_COLUMN = 2
"""Time step of a spectrogram file."""

EEG_CHANNELS = (
    *("Fp1", "F3", "C3", "P3", "F7", "T3", "T5", "O1"),
    *("Fz", "Cz", "Pz"),
    *("Fp2", "F4", "C4", "P4", "F8", "T4", "T6", "O2"),
    "EKG",
)
"""Columns of an EEG file in their order, in microvolts."""

EEG_ALIASES = {"T7": "T3", "T8": "T4", "P7": "T5", "P8": "T6", "ECG": "EKG"}
"""Names of the 10-10 system and of other recorders, and the columns that they mean. Upper and lower case are alike."""

CHAINS = {
    "LL": ("Fp1", "F7", "T3", "T5", "O1"),
    "LP": ("Fp1", "F3", "C3", "P3", "O1"),
    "RP": ("Fp2", "F4", "C4", "P4", "O2"),
    "RL": ("Fp2", "F8", "T4", "T6", "O2"),
}
"""The double banana, from left to right: lateral and parasagittal chains of five electrodes, four differences each."""

CHAIN_PAIRS = tuple(pair for chain in CHAINS.values() for pair in pairwise(chain))
"""The sixteen differences, chain by chain."""

MIDLINE_PAIRS = (("Fz", "Cz"), ("Cz", "Pz"))

PANELS = ("LL", "RL", "LP", "RP")
"""Panels of a spectrogram file in their order."""

BINS_PER_PANEL = 100
SPECTROGRAM_BINS = len(PANELS) * BINS_PER_PANEL
"""Rows of a spectrogram file."""

CLASSES = ("Seizure", "LPD", "GPD", "LRDA", "GRDA", "Other")
"""Values of `expert_consensus`, in the order of the vote columns."""

VOTE_COLUMNS = tuple(f"{name.lower()}_vote" for name in CLASSES)


def channel_index(names: tuple[str, ...]) -> list[int]:
    """Rows of an EEG array (E, T) that hold the named electrodes."""
    return [EEG_CHANNELS.index(name) for name in names]


def spectrogram_columns() -> tuple[str, ...]:
    """`LL_0.59` to `RP_19.92`: bins 3 to 102 of 1,024 at 200 Hz, panel by panel, named as the files name them."""
    # The files round half up (3.125 is 3.13), which Python's round does not.
    hertz = [f"{(k * SFREQ_HZ * 1000 // 1024 + 5) // 10 / 100:g}" for k in range(3, 3 + BINS_PER_PANEL)]
    return tuple(f"{panel}_{hz}" for panel in PANELS for hz in hertz)
