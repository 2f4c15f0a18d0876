"""Versions of installed packages and the name of the processor."""

import platform
from importlib.metadata import PackageNotFoundError, version

REQUIRED = ("torch", "timm", "scikit-learn", "lightgbm", "numpy", "pandas", "scipy", "pyarrow", "safetensors")
OPTIONAL = {
    "onnx": ("foldstill export", "onnx"),
    "onnxscript": ("foldstill export", "onnx"),
    "onnxruntime": ("foldstill predict --onnx", "onnx"),
    "optuna": ("foldstill tune", "tune"),
    "distributed": ("foldstill --workers dask=...", "dask"),
    "ray": ("foldstill --workers ray=...", "ray"),
    "PyWavelets": ("denoised views of EEG", "wavelets"),
}
"""What an optional package is needed for, and the extra that installs it."""


def versions() -> dict[str, str]:
    """Versions of the packages that results depend on; packages that are not installed are left out."""
    installed = {"python": platform.python_version()}
    for name in ("foldstill", *REQUIRED, *OPTIONAL):
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def processor() -> str:
    """Name of the processor, so that a latency can be compared with one from another machine."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
