"""The cost of one prediction as a value, and the sum over several models."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from foldstill.errors import CostError
from foldstill.json_files import read_json, write_json


@dataclass(frozen=True)
class Cost:
    """What one prediction costs; None where it was not measured.

    The cost of a combination is that of all the members it needs. Latencies are wall-clock times of many calls.

    Parameters
    ----------
    parameters : int, optional
        Number of parameters.
    macs : int, optional
        Multiply-accumulates per row.
    latency_1_ms, latency_1_p95_ms : float, optional
        Milliseconds for one row: median and 95th percentile.
    latency_batch_ms, latency_batch_p95_ms : float, optional
        Milliseconds for one batch of `batch` rows: median and 95th percentile.
    batch : int, optional
        Number of rows per batch.
    threads : int, optional
        Number of threads that latency was measured on.
    processor : str, optional
        Processor that latency was measured on.
    bytes : int, optional
        Size of the weights.
    activation_bytes : int, optional
        Peak memory of what is computed for one row, weights not counted.

    Raises
    ------
    CostError
        For negative values and values that are not finite.

    Examples
    --------
    >>> ensemble = total_cost([Cost(parameters=1000, macs=50_000)] * 5)
    >>> print(ensemble.parameters, ensemble.macs, ensemble.latency_1_ms)
    5000 250000 None
    """

    parameters: int | None = None
    macs: int | None = None
    latency_1_ms: float | None = None
    latency_1_p95_ms: float | None = None
    latency_batch_ms: float | None = None
    latency_batch_p95_ms: float | None = None
    batch: int | None = None
    threads: int | None = None
    processor: str | None = None
    bytes: int | None = None
    activation_bytes: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and name != "processor" and not (np.isfinite(value) and value >= 0):
                raise CostError(f"cost {name} must be a number of 0 or more, got {value}: leave it out if not measured")

    def write(self, path: Path) -> None:
        """Write the cost as a sealed JSON file."""
        write_json(path, asdict(self), sealed=True)

    @classmethod
    def read(cls, path: Path) -> "Cost":
        """The cost in a file of `write`; raises CostError if the file is damaged."""
        shape = {each.name: (int, float, str, NoneType) for each in fields(cls)}
        cure = "remove it, and continue the run, which measures it again"
        values = read_json(path, shape, error=CostError, cure=cure)
        return cls(**{name: values[name] for name in shape})


def total_cost(costs: Iterable[Cost]) -> Cost:
    """Add the costs of models that run one after the other on every row.

    Parameters
    ----------
    costs : iterable of Cost
        One cost per model.

    Returns
    -------
    Cost
        Sums, except peak memory, which is the largest. None where a model was not measured. Medians of latency are
        added; 95th percentiles are not, since not all models are slow at the same time.

    Examples
    --------
    >>> total = total_cost([Cost(macs=10, activation_bytes=800), Cost(macs=30, activation_bytes=200)])
    >>> print(total.macs, total.activation_bytes)
    40 800
    """
    parts = list(costs)

    def values(name: str) -> list[Any]:
        return [getattr(c, name) for c in parts]

    def total(name: str) -> Any:
        return None if not parts or None in values(name) else sum(values(name))

    def common(name: str) -> Any:
        return values(name)[0] if len(set(values(name))) == 1 else None

    batch = common("batch")
    return Cost(
        parameters=total("parameters"),
        macs=total("macs"),
        latency_1_ms=total("latency_1_ms"),
        latency_batch_ms=None if batch is None else total("latency_batch_ms"),
        batch=batch,
        threads=common("threads"),
        processor=common("processor"),
        bytes=total("bytes"),
        activation_bytes=None if total("activation_bytes") is None else max(values("activation_bytes")),
    )
