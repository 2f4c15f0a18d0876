"""Members, their training engine and the loop over folds. Importing this package imports no torch."""

from foldstill.base_models.collected import collect, collect_heads, collect_without
from foldstill.base_models.eeg_member import EegMember
from foldstill.base_models.fold_models import FoldModels
from foldstill.base_models.imported_member import ImportedMember
from foldstill.base_models.joined_member import JoinedMember, resolve
from foldstill.base_models.kinds import MEMBERS
from foldstill.base_models.lightgbm_member import LightGBMMember
from foldstill.base_models.member import Member, Model
from foldstill.base_models.members import predict_members, train_members
from foldstill.base_models.recipes import EarlyStopping, Recipe, SecondStage
from foldstill.base_models.sklearn_member import SklearnMember
from foldstill.base_models.timm_member import TimmMember
from foldstill.base_models.torch_member import TorchMember

__all__ = [
    "MEMBERS",
    "EarlyStopping",
    "EegMember",
    "FoldModels",
    "ImportedMember",
    "JoinedMember",
    "LightGBMMember",
    "Member",
    "Model",
    "Recipe",
    "SecondStage",
    "SklearnMember",
    "TimmMember",
    "TorchMember",
    "collect",
    "collect_heads",
    "collect_without",
    "predict_members",
    "resolve",
    "train_members",
]
