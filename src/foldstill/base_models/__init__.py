"""Member settings, networks, the training engine and the loop over folds. Importing this imports no torch."""

from foldstill.base_models.collected import collect, collect_without
from foldstill.base_models.jobs import JobProgress
from foldstill.base_models.members import predict_members, train_members
from foldstill.base_models.recipes import KL, CrossEntropyKL, EarlyStopping, Recipe, SecondStage
from foldstill.base_models.specs import EegMember, JoinedMember, Member, TimmMember, Trainable

__all__ = [
    "KL",
    "CrossEntropyKL",
    "EarlyStopping",
    "EegMember",
    "JobProgress",
    "JoinedMember",
    "Member",
    "Recipe",
    "SecondStage",
    "TimmMember",
    "Trainable",
    "collect",
    "collect_without",
    "predict_members",
    "train_members",
]
