"""Channel names of recorders: which electrode of the montage a channel is, and which reference it has."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from foldstill.hms.montage import CHAIN_PAIRS, EEG_ALIASES, EEG_CHANNELS, MIDLINE_PAIRS

REFERENCES = frozenset(
    {"REF", "REFERENCE", "LE", "LER", "AR", "AV", "AVG", "CAR", "A1", "A2", "M1", "M2", "A1A2", "M1M2", "AA", "A12"}
)
"""What follows the electrode where a channel is measured against a reference. Fp1-F7 is none of these: it is the
difference of two electrodes, from which neither can be told."""

_KIND = re.compile(r"^(EEG|ECG|EKG|POL)[ _:]+(?=\S)")
_EKG = re.compile(r"(ECG|EKG) ?(\d|[LR]|I{1,3})?")
_BY_NAME = {name.upper(): name for name in EEG_CHANNELS} | EEG_ALIASES


@dataclass(frozen=True)
class Channel:
    """A channel of a file whose electrode is one of the montage."""

    name: str
    """Its name in the file."""
    electrode: str
    reference: str
    """The reference in capital letters; "" where the name has none."""


def channel_of(name: str) -> Channel | None:
    """The channel of this name; None where it is no electrode of the montage, such as a difference of two.

    >>> [channel_of(name).electrode for name in ("EEG FP1-REF", "Fp1.", "T7-A1", "C3_M2", "ECG II", "EKG1-EKG2")]
    ['Fp1', 'Fp1', 'T3', 'C3', 'EKG', 'EKG']
    >>> [channel_of(name) for name in ("Fp1-F7", "A1", "Fpz", "SpO2")]
    [None, None, None, None]
    """
    text = name.strip().rstrip(".").upper()
    kind = _KIND.match(text)
    electrode, *rest = re.split(r"[-_/]", text[kind.end() :] if kind else text)
    reference = "".join(rest).replace("+", "").strip()
    if _EKG.fullmatch(electrode) or (kind and _EKG.fullmatch(kind[1])):
        return Channel(name, "EKG", reference)
    known = _BY_NAME.get(electrode.strip().rstrip("."))
    return Channel(name, known, reference) if known and reference in {"", *REFERENCES} else None


def find_electrodes(names: Sequence[str]) -> tuple[dict[str, Channel], list[Channel]]:
    """The channel of each electrode that a file has, and the channels that are left out because they come second.

    A channel of the electrode's very name comes before others; among others the first counts.
    """
    chosen: dict[str, Channel] = {}
    left_out = []
    channels = [channel for name in names if (channel := channel_of(name))]
    for channel in sorted(channels, key=lambda channel: channel.name != channel.electrode):
        if channel.electrode in chosen:
            left_out.append(channel)
        else:
            chosen[channel.electrode] = channel
    return {name: chosen[name] for name in EEG_CHANNELS if name in chosen}, left_out


def mixed_references(channels: dict[str, Channel]) -> list[str]:
    """The differences of neighbours, such as Fp1-F7, whose electrodes have different references.

    A common reference cancels in a difference, and views read only differences; different references stay in it.
    """
    return [
        f"{first}-{second}"
        for first, second in (*CHAIN_PAIRS, *MIDLINE_PAIRS)
        if {first, second} <= channels.keys() and channels[first].reference != channels[second].reference
    ]
