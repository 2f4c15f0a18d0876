"""Pretrained weights in a file, for machines without a network. Importing this module imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldstill.errors import MemberError

if TYPE_CHECKING:
    from torch import Tensor, nn

SAFETENSORS, TORCH = (".safetensors",), (".pth", ".pt", ".bin")
"""Suffixes of weight files. Files of torch are read with `weights_only`, so that nothing is unpickled."""

_WRAPPED = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts keep the weights of a checkpoint."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors of a weight file; raises MemberError for a file that is missing, damaged or something else."""
    import torch
    from safetensors.torch import load_file

    if path.suffix not in (*SAFETENSORS, *TORCH):
        raise MemberError(
            f'pretrained must be true, false or a file such as "weights.safetensors", got {str(path)!r}: name a file '
            f"that ends in {', '.join((*SAFETENSORS, *TORCH))}"
        )
    if not path.is_file():
        raise MemberError(f"no file of pretrained weights at {path}: correct `pretrained`")
    try:
        content: Any = load_file(path) if path.suffix in SAFETENSORS else torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MemberError(f"{path} cannot be read as weights ({reason}): save the state dict as safetensors") from error
    for key in _WRAPPED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise MemberError(f"{path} holds no state dict: save model.state_dict() as safetensors")
    return {name.removeprefix("module."): value for name, value in content.items()}


def require_loaded(body: nn.Module, weights: Mapping[str, Tensor], path: str, network: str) -> None:
    """Raises MemberError unless most of the network's weights come from the file, which names alone do not show.

    timm may rename and reshape what a file holds, and loads what fits, so values are compared: the first layer and the
    classifier may differ.
    """

    def marks(tensors: Mapping[str, Tensor]) -> list[tuple[int, float]]:
        return [(t.numel(), round(float(t.double().square().sum()), 3)) for t in tensors.values() if t.ndim > 1]

    given, held = set(marks(weights)), marks(body.state_dict())
    if 2 * sum(mark in given for mark in held) < len(held):
        raise MemberError(
            f"{path} holds the weights of another network than {network!r}: name that network, or its file"
        )
