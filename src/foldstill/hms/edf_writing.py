"""An EDF+ file of signals and annotations, by NumPy alone. E electrodes, T time, R data records of one second."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import DataError
from foldstill.files import atomic_write

_TEXT_BYTES = 120
"""Bytes for annotations per data record."""


def write_edf(
    path: Path,
    names: Sequence[str],
    signal_ET: NDArray[np.floating],
    sfreq_hz: int,
    annotations: Sequence[tuple[float, float, str]] = (),
    *,
    unit: str = "uV",
) -> None:
    """Write signals in microvolts, and annotations as (onset in seconds, duration in seconds, text), as EDF+.

    Values are rounded to 1/32767 of the largest of their channel. The last second is filled with zeros.

    Reference: Kemp and Olivan (2003), European data format 'plus' (EDF+), Clinical Neurophysiology 114(9).
    """
    n_channels, n_samples = signal_ET.shape
    if len(names) != n_channels or max(map(len, names)) > 16:
        raise DataError(f"EDF needs a name of at most 16 letters per channel, got {len(names)} for {n_channels}")
    seconds = -(-n_samples // sfreq_hz)
    texts = [f"+{second}\x14\x14\0".encode() for second in range(seconds)]
    for onset, duration, text in annotations:
        texts[int(onset)] += f"+{onset:g}\x15{duration:g}\x14{text}\x14\0".encode()
    if max(map(len, texts)) > _TEXT_BYTES:
        raise DataError(f"the annotations of one second must fit {_TEXT_BYTES} bytes: write fewer or shorter ones")
    # The header holds the limit in eight letters; a limit rounded up still holds every value.
    limit_E = np.ceil(np.maximum(np.abs(signal_ET).max(axis=1), 1.0))
    stored_ET = np.zeros((n_channels, seconds * sfreq_hz), "<i2")
    stored_ET[:, :n_samples] = np.rint(signal_ET / limit_E[:, None] * 32767)
    stored_RES = stored_ET.reshape(n_channels, seconds, sfreq_hz).transpose(1, 0, 2)

    n = n_channels + 1
    columns: list[tuple[int, list[str]]] = [
        (16, [*names, "EDF Annotations"]),
        (80, [""] * n),
        (8, [*[unit] * n_channels, ""]),
        (8, [*(f"{-limit:.0f}" for limit in limit_E), "-1"]),
        (8, [*(f"{limit:.0f}" for limit in limit_E), "1"]),
        (8, ["-32767"] * n),
        (8, ["32767"] * n),
        (80, [""] * n),
        (8, [*[str(sfreq_hz)] * n_channels, str(_TEXT_BYTES // 2)]),
        (32, [""] * n),
    ]
    head = [("0", 8), ("X X X X", 80), ("Startdate 01-JAN-2000 X X X", 80), ("01.01.00", 8), ("00.00.00", 8)]
    head += [(str(256 * (n + 1)), 8), ("EDF+C", 44), (str(seconds), 8), ("1", 8), (str(n), 4)]
    head += [(text, width) for width, texts_of_column in columns for text in texts_of_column]
    with atomic_write(path) as part, part.open("wb") as stream:
        stream.write("".join(text.ljust(width) for text, width in head).encode("latin-1"))
        for values_ES, mark in zip(stored_RES, texts, strict=True):
            stream.write(values_ES.tobytes())
            stream.write(mark.ljust(_TEXT_BYTES, b"\0"))
