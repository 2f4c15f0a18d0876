"""A compact student that keeps what the ensemble knows: targets, training, cost, export. Imports no torch."""

import sys
from types import ModuleType
from typing import Any

from foldstill.distill.mixes import DirichletMix, FixedMix, TeacherOnly, VotesOnly
from foldstill.distill.notebook import distill
from foldstill.distill.onnx_file import OnnxStudent, predict_onnx
from foldstill.distill.settings import StudentSettings
from foldstill.distill.student import Student, load_student, predict_student
from foldstill.distill.targets import SoftTargets, mixed_targets
from foldstill.distill.training import train_student

__all__ = [
    "DirichletMix",
    "FixedMix",
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


class _Callable(ModuleType):
    """The package under the name of what it is for, so that `foldstill.distill(...)` works in a notebook."""

    def __call__(self, *args: Any, **settings: Any) -> Student:
        return distill(*args, **settings)


sys.modules[__name__].__class__ = _Callable
