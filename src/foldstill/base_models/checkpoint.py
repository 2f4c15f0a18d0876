"""The state of a training between two epochs, in one file that is complete or absent.

Everything random in an epoch is derived from the seed and the number of the epoch, so no generator state is stored; the
learning rate is a function of the step, so no schedule state is stored either.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foldstill.base_models.tensor_file import read_tensors, write_tensors
from foldstill.errors import MemberError
from foldstill.manifest import changes


def write_checkpoint(
    path: Path,
    made_from: Mapping[str, Any],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    further: Mapping[str, Mapping[str, Tensor]],
    history: list[dict[str, Any]],
) -> None:
    """Write weights, optimizer state and `further` named states as safetensors, the history in the header."""
    tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items() if isinstance(value, Tensor)}
    for name, state in further.items():
        tensors |= {f"{name}.{key}": value for key, value in state.items()}
    write_tensors(path, tensors, {"made_from": made_from, "history": history})


def read_checkpoint(
    path: Path,
    made_from: Mapping[str, Any],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> tuple[dict[str, dict[str, Tensor]], list[dict[str, Any]]] | None:
    """Restore network and optimizer, and return the further states and the history; None if there is no file.

    Raises MemberError, with every difference, if the file was made from other inputs, and if it is damaged.
    """
    if not path.exists():
        return None
    cure = "remove it, or use --force, to train this fold from its first epoch"
    tensors, about = read_tensors(path, device=str(device), error=MemberError, cure=cure)
    if changed := changes(about["made_from"], made_from):
        raise MemberError(
            f"{path} was made from other inputs: {'; '.join(changed)}: restore them, or start again with --force"
        )
    states: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        name, rest = key.split(".", 1)
        states.setdefault(name, {})[rest] = value
    network.load_state_dict(states.pop("network"))
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in states.pop("optimizer", {}).items():
        index, slot = key.split(".", 1)
        slots.setdefault(int(index), {})[slot] = _laid_out_as(parameters[int(index)], value)
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return states, about["history"]


def _laid_out_as(parameter: Tensor, value: Tensor) -> Tensor:
    """The value in the order of memory of its parameter, as the fused optimizers of a GPU need it.

    A file holds every tensor in the order of its axes, and weights of convolutions lie channels last.
    """
    return torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
