"""Pretrained weights in a file, for machines without a network. Importing this module imports no torch."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foldstill.errors import MemberError, lacks_memory
from foldstill.json_files import check_shape, parse_json

if TYPE_CHECKING:
    from torch import Tensor, nn

SAFETENSORS, TORCH = (".safetensors",), (".pth", ".pt", ".bin")
"""Suffixes of weight files. Files of torch are read with `weights_only`, so that nothing is unpickled."""

_MEANT = {"pretrained": "pretrained weights", "weights": "trained weights"}

_WRAPPED = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts keep the weights of a checkpoint."""


def read_weights(path: Path, setting: str = "pretrained") -> dict[str, Tensor]:
    """The named tensors of a weight file; raises MemberError for a file that is missing, damaged or something else."""
    import torch
    from safetensors.torch import load_file

    if path.suffix not in (*SAFETENSORS, *TORCH):
        raise MemberError(
            f"{setting} must be {'true, false or ' if setting == 'pretrained' else ''}a file such as "
            f'"weights.safetensors", got {str(path)!r}: name a file '
            f"that ends in {', '.join((*SAFETENSORS, *TORCH))}"
        )
    if not path.is_file():
        raise MemberError(f"no file of {_MEANT[setting]} at {path}: correct `{setting}`")
    try:
        content: Any = load_file(path) if path.suffix in SAFETENSORS else torch.load(path, "cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MemberError(
            f"{path} needs unpickling, which could run any code: save its state dict, torch.save(model.state_dict()), "
            "or safetensors"
        ) from error
    except Exception as error:
        if lacks_memory(error):
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MemberError(f"{path} cannot be read as weights ({reason}): save the state dict as safetensors") from error
    for key in _WRAPPED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise MemberError(f"{path} holds no state dict: save model.state_dict() as safetensors")
    return {name.removeprefix("module."): value for name, value in content.items()}


def classes_in(path: Path) -> tuple[str, ...] | None:
    """The classes that a model saved by foldstill names beside its weights; None for other files."""
    from safetensors import safe_open

    if path.suffix not in SAFETENSORS:
        return None
    with safe_open(path, framework="pt") as stream:
        text = (stream.metadata() or {}).get("foldstill")
    if text is None:
        return None
    cure = "take the file as foldstill wrote it"
    about = parse_json(text.encode(), {}, path, error=MemberError, cure=cure)
    if "classes" in about:
        check_shape(about, {"classes": list}, path, error=MemberError, cure=cure)
    return tuple(map(str, about["classes"])) if "classes" in about else None


def load_exactly(network: nn.Module, weights: Mapping[str, Tensor], path: str) -> None:
    """Load weights into a network; raises MemberError where names or shapes differ."""
    wanted = network.state_dict()
    differ = [name for name in wanted if name in weights and wanted[name].shape != weights[name].shape]
    missing, extra = [n for n in wanted if n not in weights], [n for n in weights if n not in wanted]
    if differ:
        name = differ[-1]
        raise MemberError(
            f"{path} does not fit the network: {name} has shape {tuple(weights[name].shape)}, wanted "
            f"{tuple(wanted[name].shape)} ({len(differ)} of {len(wanted)} tensors differ): name the weights of this "
            "network, of these inputs and classes"
        )
    if missing or extra:
        raise MemberError(
            f"{path} holds the weights of another network: it lacks {missing[:3]} and {max(len(missing) - 3, 0)} more, "
            f"and has {extra[:3]} and {max(len(extra) - 3, 0)} more that the network has not: name its own weights"
        )
    network.load_state_dict(dict(weights))


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
