"""The band-pass that views of the EEG share."""

from dataclasses import dataclass

from foldstill.settings import Settings


@dataclass(frozen=True, kw_only=True)
class BandPassed(Settings):
    """Settings of views that filter the EEG first."""

    low_hz: float = 0.25
    """Lower edge of the band-pass of the EEG in Hz."""
    high_hz: float = 40.0
    """Upper edge of the band-pass of the EEG in Hz."""
    order: int = 4
    """Order of the Butterworth filter, which runs forwards and backwards."""
