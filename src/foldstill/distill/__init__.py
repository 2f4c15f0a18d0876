"""A compact student that keeps what the ensemble knows: targets, training, export.

The names are imported when they are first used, because `import foldstill` imports this package.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foldstill.distill.mixes import MIXES, DirichletMix, FixedMix, TeacherOnly, VotesOnly
    from foldstill.distill.notebook import distill
    from foldstill.distill.onnx_file import OnnxStudent, predict_onnx
    from foldstill.distill.settings import StudentSettings
    from foldstill.distill.student import Student, load_student, predict_student
    from foldstill.distill.targets import SoftTargets, mixed_targets
    from foldstill.distill.training import Lesson, train_student

_MODULES = {
    "MIXES": "mixes",
    "DirichletMix": "mixes",
    "FixedMix": "mixes",
    "Lesson": "training",
    "OnnxStudent": "onnx_file",
    "SoftTargets": "targets",
    "Student": "student",
    "StudentSettings": "settings",
    "TeacherOnly": "mixes",
    "VotesOnly": "mixes",
    "distill": "notebook",
    "load_student": "student",
    "mixed_targets": "targets",
    "predict_onnx": "onnx_file",
    "predict_student": "student",
    "train_student": "training",
}

__all__ = [
    "MIXES",
    "DirichletMix",
    "FixedMix",
    "Lesson",
    "OnnxStudent",
    "SoftTargets",
    "Student",
    "StudentSettings",
    "TeacherOnly",
    "VotesOnly",
    "distill",
    "load_student",
    "mixed_targets",
    "predict_onnx",
    "predict_student",
    "train_student",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'foldstill.distill' has no attribute {name!r}")
    return getattr(importlib.import_module(f"foldstill.distill.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
