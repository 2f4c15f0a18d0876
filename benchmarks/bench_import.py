"""G17: importing foldstill's stacking path, compared with importing timm, each in a fresh interpreter.

python benchmarks/bench_import.py
"""

import subprocess
import sys

from harness import Ratio, floor, side_by_side

STACKING = "import foldstill, foldstill.oof, foldstill.stacking, foldstill.compare"
HELP = (
    "import sys; sys.argv = ['foldstill', '--help']\n"
    "from foldstill.cli import main\ntry: main()\nexcept SystemExit: pass"
)


def imported(code: str) -> set[str]:
    """Return the top-level modules that are loaded after running `code` in a fresh interpreter."""
    report = "\nimport sys; print('\\x00' + ' '.join(sorted({m.partition('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("\x00")[2].split())


def no_torch(ours: set[str], timm: set[str]) -> None:
    assert "torch" not in ours, "the stacking path must not import torch"
    assert "torch" in timm


def against_timm(name: str, code: str) -> Ratio:
    return side_by_side(
        f"{name}, compared with `import timm`",
        ours=lambda: imported(code),
        baseline=lambda: imported("import timm"),
        same=no_torch,
        clock="cpu",
    )


if __name__ == "__main__":
    floor(against_timm("G17 import of the stacking path", STACKING), 2.5)
    floor(against_timm("G17 foldstill --help", HELP), 2.5)
