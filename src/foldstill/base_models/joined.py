"""Joined members with the members they name: what the loop over folds can train. Importing this imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from foldstill.base_models.recipes import Recipe
from foldstill.base_models.specs import JoinedMember, Shape, Trainable
from foldstill.errors import MemberError

if TYPE_CHECKING:
    from foldstill.base_models.joined_network import JoinedNetwork

AnyMember = Trainable | JoinedMember
"""Joined members find the members they name among the others."""


@dataclass(frozen=True)
class Joined:
    """A joined member's settings and its parts, in the order the settings name them."""

    settings: JoinedMember
    parts: tuple[Trainable, ...]

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def family(self) -> str:
        return self.settings.family

    @property
    def recipe(self) -> Recipe:
        return self.settings.recipe

    @property
    def views(self) -> tuple[str, ...]:
        return tuple(view for part in self.parts for view in part.views)

    def build(self, shapes: Sequence[Shape], n_classes: int) -> JoinedNetwork:
        from foldstill.base_models.joined_network import joined_network

        return joined_network(self.settings, self.parts, shapes, n_classes)

    def without_download(self) -> Joined:
        return replace(self, parts=tuple(part.without_download() for part in self.parts))


def resolve(members: Sequence[AnyMember]) -> tuple[Trainable, ...]:
    """The members in their order, each joined one with the members it names found among the others.

    Raises MemberError for names that are not there or belong to a joined member.
    """
    named = {m.name: m for m in members}
    return tuple(_with_parts(m, named) if isinstance(m, JoinedMember) else m for m in members)


def _with_parts(member: JoinedMember, named: dict[str, AnyMember]) -> Joined:
    parts = []
    for name in member.members:
        part = named.get(name)
        if part is None:
            raise MemberError(
                f"member {member.name!r} joins {name!r}, which is none of {sorted(named)}: name one of these"
            )
        if isinstance(part, JoinedMember) or part.parts:
            raise MemberError(
                f"member {member.name!r} joins {name!r}, which is a joined member itself: name the members it is made of"
            )
        parts.append(part)
    return Joined(member, tuple(parts))
