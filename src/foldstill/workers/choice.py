"""The choice of where jobs run, as the command line and `Work` take it."""

import re
from dataclasses import dataclass
from typing import Literal

from foldstill.errors import ArgumentError

VARIABLE = "FOLDSTILL_WORKERS"
"""The environment variable that chooses where jobs run: that belongs to the machine, not to the experiment."""


@dataclass(frozen=True)
class Workers:
    """Where jobs run.

    Examples
    --------
    >>> Workers.parse("8")
    Workers(kind='processes', count=8, slots=(), address='')
    >>> Workers.parse("slots=cuda:0,cuda:0,cuda:1").slots
    ('cuda:0', 'cuda:0', 'cuda:1')
    >>> str(Workers.parse("dask=tcp://host:8786"))
    'dask=tcp://host:8786'
    """

    kind: Literal["processes", "slots", "joblib", "dask", "ray"] = "processes"
    """processes of one thread each on this machine, slots on its GPUs, the backend of an active
    `joblib.parallel_config`, or a cluster."""
    count: int = 1
    """Number of processes."""
    slots: tuple[str, ...] = ()
    """The GPU of each process; a GPU that is named twice has two."""
    address: str = ""
    """Where the cluster is reached; `local` for processes that are started here."""

    @classmethod
    def parse(cls, text: str) -> "Workers":
        """Raises ArgumentError for a text that chooses nothing."""
        kind, _, value = text.strip().partition("=")
        if kind.isdecimal() and not value:
            kind, value = "processes", kind
        if kind == "processes" and value.isdecimal() and int(value) > 0:
            return cls("processes", int(value))
        slots = tuple(value.split(","))
        if kind == "slots" and all(re.fullmatch(r"cuda:\d+", slot) for slot in slots):
            return cls("slots", len(slots), slots)
        if kind == "dask" and (value == "local" or "://" in value):
            return cls("dask", address=value)
        if kind == "ray" and value:
            return cls("ray", address=value)
        raise ArgumentError(
            f"workers must be a number of processes (8 or processes=8), GPUs (slots=cuda:0,cuda:1), a Dask cluster "
            f"(dask=local or dask=tcp://HOST:8786) or a Ray cluster (ray=local, ray=auto or ray=ADDRESS), got {text!r}"
        )

    def __str__(self) -> str:
        return f"{self.kind}={self.address or ','.join(self.slots) or self.count}"

    @property
    def is_cluster(self) -> bool:
        """Whether jobs may run on other machines, which have devices of their own."""
        return self.kind in ("dask", "ray")

    @property
    def is_this_process(self) -> bool:
        """Whether one job after the other runs here."""
        return self.kind == "processes" and self.count == 1
