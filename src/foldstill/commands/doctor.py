"""What this machine has, what foldstill will use of it, and what is missing."""

import os
import platform
from typing import TYPE_CHECKING

from foldstill.machine import OPTIONAL, REQUIRED, processor, versions

if TYPE_CHECKING:
    from rich.table import Table


def machine_table() -> "Table":
    """A table of the system, the processor, packages and GPU, with the cure beside what is missing."""
    from rich.table import Table

    installed = versions()
    table = Table("part", "found", "meaning", title="foldstill doctor")
    table.add_row("system", f"{platform.system()} {platform.machine()}, Python {installed['python']}", "")
    table.add_row(
        "processor", processor(), f"{os.cpu_count()} cores: the number of fold models that a CPU trains at a time"
    )
    for name in REQUIRED:
        table.add_row(name, installed.get(name, "missing"), "" if name in installed else f"pip install {name}")
    for name, (purpose, extra) in OPTIONAL.items():
        cure = "" if name in installed else f"only for {purpose}: pip install 'foldstill\\[{extra}]'"
        table.add_row(name, installed.get(name, "not installed"), cure)
    table.add_row("CUDA", *_cuda())
    return table


def _cuda() -> tuple[str, str]:
    import torch

    if not torch.cuda.is_available():
        return "none", "members train on the CPU, in processes of one thread each"
    device = torch.cuda.get_device_properties(0)
    return (
        f"{device.name}, {device.total_memory / 2**30:.0f} GiB",
        "members train on it one after the other, in bfloat16; the data are kept in its memory when they fit",
    )
