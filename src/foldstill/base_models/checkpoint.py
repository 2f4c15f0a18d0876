"""The state of a training between two epochs, in one file that is complete or absent.

Everything random in an epoch is derived from the seed and the number of the epoch, so no generator state is stored; the
learning rate is a function of the step, so no schedule state is stored either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foldstill.errors import MemberError
from foldstill.files import atomic_write
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
    from safetensors.torch import save_file

    tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items() if isinstance(value, Tensor)}
    for name, state in further.items():
        tensors |= {f"{name}.{key}": value for key, value in state.items()}
    meta = {"foldstill": json.dumps({"made_from": made_from, "history": history}, sort_keys=True)}
    with atomic_write(path) as part:
        save_file({key: value.detach().contiguous() for key, value in tensors.items()}, part, metadata=meta)


def read_checkpoint(
    path: Path,
    made_from: Mapping[str, Any],
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
) -> tuple[dict[str, dict[str, Tensor]], list[dict[str, Any]]] | None:
    """Restore network and optimizer, and return the further states and the history; None if there is no file.

    Raises MemberError, with every difference, if the file was made from other inputs.
    """
    from safetensors import safe_open

    if not path.exists():
        return None
    states: dict[str, dict[str, Tensor]] = {}
    with safe_open(path, framework="pt", device=str(device)) as stream:
        meta = json.loads(stream.metadata()["foldstill"])
        if changed := changes(meta["made_from"], made_from):
            raise MemberError(
                f"{path} was made from other inputs: {'; '.join(changed)}: restore them, or start again with --force"
            )
        for key in stream.keys():  # noqa: SIM118 - safe_open is no mapping
            name, rest = key.split(".", 1)
            states.setdefault(name, {})[rest] = stream.get_tensor(key)
    network.load_state_dict(states.pop("network"))
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in states.pop("optimizer", {}).items():
        index, slot = key.split(".", 1)
        slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return states, meta["history"]
