"""Every kind of member. Importing this module imports no torch."""

import json
from collections.abc import Mapping
from typing import Any

from foldstill.base_models.eeg_member import EegMember
from foldstill.base_models.imported_member import ImportedMember
from foldstill.base_models.joined_member import JoinedMember
from foldstill.base_models.lightgbm_member import LightGBMMember
from foldstill.base_models.member import Member
from foldstill.base_models.sklearn_member import SklearnMember
from foldstill.base_models.timm_member import TimmMember
from foldstill.base_models.torch_member import TorchMember
from foldstill.errors import MemberError

MEMBERS = (TimmMember, EegMember, TorchMember, JoinedMember, LightGBMMember, SklearnMember, ImportedMember)
"""Every kind of member that an experiment file can name, told apart by `kind`. A class has an `example`."""


def read_member(values: Mapping[str, Any]) -> Member:
    """The member with these settings, as JSON holds them; raises MemberError for a kind that is not in `MEMBERS`."""
    from pydantic import TypeAdapter

    kinds = {kind.kind: kind for kind in MEMBERS if kind not in (JoinedMember, ImportedMember)}
    if values.get("kind") not in kinds:
        raise MemberError(
            f"a member read from its settings must be of kind {sorted(kinds)}, got {values.get('kind')!r}"
        )
    adapter: TypeAdapter[Any] = TypeAdapter(kinds[values["kind"]])
    # By way of JSON, where strictness still lets a list be a tuple.
    member: Member = adapter.validate_json(json.dumps(values), strict=True)
    return member
