"""Combine models that were trained with cross-validation, and compare every combination with their plain average.

foldstill tells you which combination of your models is best, whether it really beats plain averaging, and how small a
student model can be without losing the ensemble's accuracy.

    import foldstill as fs

    table = fs.oof_table(scores_NMC, votes=votes_NC, groups=patients, folds=folds)
    comparison = fs.stack(table).compare()
    print(comparison.verdict)

A name is imported when it is first used, and torch only when something is trained.
"""

from typing import TYPE_CHECKING

# The function has the name of its package, so it is imported here and not when it is first used: whatever imports the
# package later does not replace it.
from foldstill.distill.notebook import distill
from foldstill.late_names import late_names

if TYPE_CHECKING:
    from foldstill.base_models.eeg_member import EegMember
    from foldstill.base_models.imported_member import ImportedMember
    from foldstill.base_models.joined_member import JoinedMember
    from foldstill.base_models.lightgbm_member import LightGBMMember
    from foldstill.base_models.recipes import Recipe
    from foldstill.base_models.sklearn_member import SklearnMember
    from foldstill.base_models.timm_member import TimmMember
    from foldstill.base_models.torch_member import TorchMember
    from foldstill.compare.report import write_report
    from foldstill.data import Dataset, FeatureTable, Labels, from_huggingface, kl_divergence
    from foldstill.distill.settings import StudentSettings
    from foldstill.distill.sizes import student_sizes
    from foldstill.errors import FoldstillError
    from foldstill.oof import audit, import_scores, oof_table, read_table, write_table
    from foldstill.pipeline.experiment import FoldSettings
    from foldstill.pipeline.notebook import stack, train
    from foldstill.stacking.stacked_classifier import StackedClassifier
    from foldstill.workers import Work

_HOME = {
    "Dataset": "foldstill.data",
    "EegMember": "foldstill.base_models.eeg_member",
    "FeatureTable": "foldstill.data",
    "FoldSettings": "foldstill.pipeline.experiment",
    "FoldstillError": "foldstill.errors",
    "ImportedMember": "foldstill.base_models.imported_member",
    "JoinedMember": "foldstill.base_models.joined_member",
    "Labels": "foldstill.data",
    "LightGBMMember": "foldstill.base_models.lightgbm_member",
    "Recipe": "foldstill.base_models.recipes",
    "SklearnMember": "foldstill.base_models.sklearn_member",
    "StackedClassifier": "foldstill.stacking.stacked_classifier",
    "StudentSettings": "foldstill.distill.settings",
    "TimmMember": "foldstill.base_models.timm_member",
    "TorchMember": "foldstill.base_models.torch_member",
    "Work": "foldstill.workers",
    "audit": "foldstill.oof",
    "from_huggingface": "foldstill.data",
    "import_scores": "foldstill.oof",
    "kl_divergence": "foldstill.data",
    "oof_table": "foldstill.oof",
    "read_table": "foldstill.oof",
    "stack": "foldstill.pipeline.notebook",
    "student_sizes": "foldstill.distill.sizes",
    "train": "foldstill.pipeline.notebook",
    "write_report": "foldstill.compare.report",
    "write_table": "foldstill.oof",
}

__all__ = [
    "Dataset",
    "EegMember",
    "FeatureTable",
    "FoldSettings",
    "FoldstillError",
    "ImportedMember",
    "JoinedMember",
    "Labels",
    "LightGBMMember",
    "Recipe",
    "SklearnMember",
    "StackedClassifier",
    "StudentSettings",
    "TimmMember",
    "TorchMember",
    "Work",
    "audit",
    "distill",
    "from_huggingface",
    "import_scores",
    "kl_divergence",
    "oof_table",
    "read_table",
    "stack",
    "student_sizes",
    "train",
    "write_report",
    "write_table",
]

__getattr__, __dir__ = late_names(__name__, _HOME, __all__)
