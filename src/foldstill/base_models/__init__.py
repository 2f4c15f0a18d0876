"""Member settings, networks, the training engine and the loop over folds. Importing this imports no torch."""

from foldstill.base_models.members import Progress, collect, predict_members, train_members
from foldstill.base_models.specs import KL, CrossEntropyKL, EarlyStopping, Member, Recipe, SecondStage, TimmMember

__all__ = [
    "KL",
    "CrossEntropyKL",
    "EarlyStopping",
    "Member",
    "Progress",
    "Recipe",
    "SecondStage",
    "TimmMember",
    "collect",
    "predict_members",
    "train_members",
]
