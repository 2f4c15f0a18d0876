"""What this machine is and what foldstill will use of it."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

NEEDED = ("torch", "timm", "scikit-learn", "lightgbm", "numpy", "pandas", "scipy", "pyarrow", "safetensors")
OPTIONAL = {
    "onnx": ("foldstill export", "onnx"),
    "onnxscript": ("foldstill export", "onnx"),
    "onnxruntime": ("foldstill predict --onnx", "onnx"),
    "optuna": ("foldstill tune", "tune"),
    "PyWavelets": ("denoised views of EEG", "wavelets"),
}
"""What needs a package, and the extra that brings it."""


def versions() -> dict[str, str]:
    """The versions of what a result depends on; absent packages are left out."""
    found = {"python": platform.python_version()}
    for name in ("foldstill", *NEEDED, *OPTIONAL):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor's name as the system tells it, for latency figures that mean something elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def examine() -> "Table":
    """A table of what was found, with a cure beside what is missing."""
    from rich.table import Table

    table = Table("what", "found", "means", title="foldstill doctor")
    found = versions()
    table.add_row("system", f"{platform.system()} {platform.machine()}, Python {found['python']}", "")
    table.add_row("processor", processor(), f"{os.cpu_count()} cores: that many member x fold jobs at once on a CPU")
    for name in NEEDED:
        table.add_row(name, found.get(name, "missing"), "" if name in found else f"pip install {name}")
    for name, (use, extra) in OPTIONAL.items():
        table.add_row(
            name,
            found.get(name, "not installed"),
            f"only for {use}: pip install 'foldstill\\[{extra}]'" * (name not in found),
        )
    table.add_row("CUDA", *_cuda())
    return table


def _cuda() -> tuple[str, str]:
    import torch

    if not torch.cuda.is_available():
        return "none", "members train on the CPU, in processes of one thread each"
    device = torch.cuda.get_device_properties(0)
    gib = device.total_memory / 2**30
    return (
        f"{device.name}, {gib:.0f} GiB",
        "members train one after the other on it, in bfloat16, data resident when it fits",
    )
