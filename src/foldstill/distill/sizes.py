"""How large networks would be on the input at hand, known before anything is trained. N rows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from foldstill.base_models.specs import EegMember, Trainable
from foldstill.cost import Cost
from foldstill.distill.settings import SIZES, StudentSettings

if TYPE_CHECKING:
    from torch import Tensor

    from foldstill.base_models.joined_network import AnyNetwork


def student_sizes(inputs: NDArray[Any], n_classes: int, student: StudentSettings | None = None) -> dict[str, Cost]:
    """Parameters, multiply-accumulates, bytes and memory of every named size on these inputs, by its name.

    `inputs` are images (N, H, W, channels), or signals (N, channels, T), for which there is the 1-D network at its usual
    width; only the shape of a row is read. With a `student`, its image_size and stem_stride hold for all of them.
    """
    asked = student if student is not None else StudentSettings()
    names = tuple(SIZES) if inputs.ndim == 4 else (EegMember.kind,)
    return {name: size_of(replace(asked, network=name, options={}).member(), [inputs], n_classes) for name in names}


def size_of(member: Trainable, views: Sequence[NDArray[Any]], n_classes: int) -> Cost:
    """What one row costs the network of these settings, as far as it can be counted; `views` are those it reads."""
    from foldstill.cost.measure import count_cost

    return count_cost(*untrained(member, views, n_classes))


def untrained(
    member: Trainable, views: Sequence[NDArray[Any]], n_classes: int
) -> "tuple[AnyNetwork, Tensor | tuple[Tensor, ...]]":
    """A network as it will be trained, without a download, and the first row as it reads it."""
    import torch

    from foldstill.base_models.inputs import DeviceInputs, together

    rows = [view[:1] for view in views]
    with torch.random.fork_rng(devices=[]):
        network = member.without_download().build([row.shape[1:] for row in rows], n_classes)
    (row,) = together([DeviceInputs(row) for row in rows]).batches([torch.zeros(1, dtype=torch.int64)])
    return network, row
