"""Sizes of networks for given inputs, known before anything is trained. N rows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeGuard

import numpy as np

from foldstill.arguments import require_types
from foldstill.base_models.architecture import input_shape
from foldstill.base_models.eeg_member import EegMember
from foldstill.base_models.joined_member import Joined
from foldstill.base_models.member import Member
from foldstill.base_models.timm_member import TimmMember
from foldstill.base_models.torch_member import TorchMember
from foldstill.cost import Cost
from foldstill.data.feature_form import array_in, form_of
from foldstill.data.features import FeatureTable, View
from foldstill.distill.settings import SIZES, StudentSettings
from foldstill.errors import DistillError


def student_sizes(inputs: View, n_classes: int, student: StudentSettings | None = None) -> dict[str, Cost]:
    """Parameters, multiply-accumulates, bytes and memory of every named size on these inputs, by its name.

    `inputs` are images (N, H, W, channels), or signals (N, channels, T), for which there is the EEG network at its
    default width; only the shape of a row is used. With a `student`, its image_size and stem_stride apply to all sizes.
    """
    require_types(student_sizes, locals())
    if isinstance(inputs, FeatureTable) or inputs.ndim not in (3, 4) or inputs.dtype.kind not in "uif":
        raise DistillError(
            f"inputs must be images (N, H, W, channels) or signals (N, channels, T) of numbers, got {inputs.dtype} of "
            f"shape {inputs.shape}: add the channel axis"
        )
    asked = student if student is not None else StudentSettings()
    names = tuple(SIZES) if inputs.ndim == 4 else (EegMember.kind,)
    # Nothing else of the student holds for another network, least of all a module of the user's own.
    usual = StudentSettings(image_size=asked.image_size, stem_stride=asked.stem_stride)
    return {name: size_of(replace(usual, network=name).member(), [inputs], n_classes) for name in names}


def is_network(member: Member) -> TypeGuard[TimmMember | EegMember | TorchMember | Joined]:
    """Whether the size of a member can be counted before it is trained."""
    return isinstance(member, TimmMember | EegMember | TorchMember | Joined)


def size_of(member: Member, views: Sequence[View], n_classes: int) -> Cost:
    """Cost of one row for the network of these settings, as far as it can be counted; `views` are those it reads.

    Raises DistillError for a member that is no network: its size is known only when it has been trained.
    """
    from foldstill.base_models.network_model import build_seeded, first_row
    from foldstill.cost.measure import count_cost

    if isinstance(member, TimmMember):
        member = replace(member, pretrained=False)  # the size is the same, and nothing is downloaded
    if not is_network(member):
        raise DistillError(
            f"member {member.name!r} is no network (kind {member.kind!r}), so its size cannot be counted untrained"
        )
    forms = [form_of(view, np.arange(len(view))) for view in views]
    network = build_seeded(member.build, [input_shape(form) for form in forms], n_classes, 0)
    arrays = [array_in(*each) for each in zip(forms, views, member.views, strict=True)]
    return count_cost(network, first_row(arrays))
