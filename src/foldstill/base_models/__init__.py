"""Member settings, networks, the training engine and the loop over folds. Importing this imports no torch."""

from foldstill.base_models.jobs import Progress
from foldstill.base_models.members import collect, predict_members, train_members
from foldstill.base_models.specs import (
    KL,
    CrossEntropyKL,
    EarlyStopping,
    EegMember,
    Member,
    Recipe,
    SecondStage,
    TimmMember,
    Trainable,
)

__all__ = [
    "KL",
    "CrossEntropyKL",
    "EarlyStopping",
    "EegMember",
    "Member",
    "Progress",
    "Recipe",
    "SecondStage",
    "TimmMember",
    "Trainable",
    "collect",
    "predict_members",
    "train_members",
]
