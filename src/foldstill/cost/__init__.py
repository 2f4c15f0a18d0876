"""What one prediction costs. Importing this imports no torch."""

from dataclasses import dataclass

import numpy as np

from foldstill.errors import CompareError


@dataclass(frozen=True)
class Cost:
    """What one prediction costs; None where it was not measured. Of a combination: of all members it needs."""

    parameters: int | None = None
    macs: int | None = None
    """Multiply-accumulates a row."""
    latency_1_ms: float | None = None
    """Milliseconds for one row alone, the median of many calls."""
    latency_1_p95_ms: float | None = None
    """Of the same calls the 95th percentile."""
    latency_batch_ms: float | None = None
    """Milliseconds for one batch of `batch` rows, the median of many calls."""
    latency_batch_p95_ms: float | None = None
    """Of the same calls the 95th percentile."""
    batch: int | None = None
    threads: int | None = None
    """Threads that latency was measured on."""
    processor: str | None = None
    """The processor that latency was measured on."""
    bytes: int | None = None
    """Size of the weights on disk."""
    activation_bytes: int | None = None
    """Most memory that what is computed for one row takes at one time, weights not counted."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and name != "processor" and not (np.isfinite(value) and value >= 0):
                raise CompareError(f"cost {name} must be a number of 0 or more, or None when not measured, got {value}")
