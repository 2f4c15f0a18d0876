"""What this machine has, what foldstill will use of it, and what is missing."""

import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foldstill.errors import pip_install
from foldstill.machine import OPTIONAL, REQUIRED, processor, versions

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Part:
    """One part of the machine: a package, the processor, the GPU."""

    part: str
    found: str | None
    """Name or version; None when it is missing."""
    meaning: str = ""
    """What foldstill uses it for, or how to get what is missing."""


def machine_parts() -> list[Part]:
    """The system, the processor, packages and GPU, with the cure beside what is missing."""
    installed = versions()
    cores = f"{os.cpu_count()} cores: the number of fold models that a CPU trains at a time"
    parts = [
        Part("system", f"{platform.system()} {platform.machine()}, Python {installed['python']}"),
        Part("processor", processor(), cores),
    ]
    cures = {name: f"pip install {name}" for name in REQUIRED} | {
        name: f"only for {purpose}: {pip_install(extra)}" for name, (purpose, extra) in OPTIONAL.items()
    }
    for name, cure in cures.items():
        parts.append(Part(name, installed.get(name), "" if name in installed else cure))
    return [*parts, _cuda()]


def machine_table() -> "Table":
    """The parts of the machine for a terminal."""
    from rich.table import Table

    table = Table("part", "found", "meaning", title="foldstill doctor")
    for each in machine_parts():
        table.add_row(each.part, each.found or "none", each.meaning)
    return table


def _cuda() -> Part:
    import torch

    if not torch.cuda.is_available():
        return Part("CUDA", None, "members train on the CPU, in processes of one thread each")
    device = torch.cuda.get_device_properties(0)
    return Part(
        "CUDA",
        f"{device.name}, {device.total_memory / 2**30:.0f} GiB",
        "members train on it one after the other, in bfloat16; the data are kept in its memory when they fit",
    )
