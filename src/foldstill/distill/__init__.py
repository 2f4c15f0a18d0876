"""A compact student that keeps what the ensemble knows: targets, training, export.

The names are imported when they are first used, because `import foldstill` imports this package.
"""

from typing import TYPE_CHECKING

from foldstill.late_names import late_names

if TYPE_CHECKING:
    from foldstill.distill.mixes import MIXES, DirichletMix, FixedMix, TeacherOnly, VotesOnly
    from foldstill.distill.notebook import distill
    from foldstill.distill.onnx_file import OnnxStudent, predict_onnx
    from foldstill.distill.settings import StudentSettings
    from foldstill.distill.student import Student, load_student, predict_student
    from foldstill.distill.targets import SoftTargets, mixed_targets
    from foldstill.distill.training import Lesson, train_student

_HOMES = {
    "MIXES": "foldstill.distill.mixes",
    "DirichletMix": "foldstill.distill.mixes",
    "FixedMix": "foldstill.distill.mixes",
    "Lesson": "foldstill.distill.training",
    "OnnxStudent": "foldstill.distill.onnx_file",
    "SoftTargets": "foldstill.distill.targets",
    "Student": "foldstill.distill.student",
    "StudentSettings": "foldstill.distill.settings",
    "TeacherOnly": "foldstill.distill.mixes",
    "VotesOnly": "foldstill.distill.mixes",
    "distill": "foldstill.distill.notebook",
    "load_student": "foldstill.distill.student",
    "mixed_targets": "foldstill.distill.targets",
    "predict_onnx": "foldstill.distill.onnx_file",
    "predict_student": "foldstill.distill.student",
    "train_student": "foldstill.distill.training",
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

__getattr__, __dir__ = late_names(__name__, _HOMES, __all__)
