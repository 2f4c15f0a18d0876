"""The state of a training between two epochs, in one file that is whole or absent.

Everything random in an epoch is derived from the seed and the epoch's number, so no generator state is stored; the
learning rate is a function of the step, so no schedule state is stored either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foldstill.errors import MemberError
from foldstill.files import atomic_write
from foldstill.manifest import changes


@dataclass(frozen=True)
class Checkpoint:
    """Where the state of a training lies, and what it is made from: a state made from other inputs is refused."""

    path: Path
    made_from: Mapping[str, Any]


def save(
    checkpoint: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    extra: Mapping[str, Mapping[str, Tensor]],
    history: list[dict[str, Any]],
) -> None:
    """Write weights, optimizer and further named states (`extra`) as safetensors, the history in its header."""
    from safetensors.torch import save_file

    tensors = {f"network.{key}": value for key, value in network.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items() if isinstance(value, Tensor)}
    for name, state in extra.items():
        tensors |= {f"{name}.{key}": value for key, value in state.items()}
    meta = {"foldstill": json.dumps({"made_from": checkpoint.made_from, "history": history}, sort_keys=True)}
    with atomic_write(checkpoint.path) as part:
        save_file({key: value.detach().contiguous() for key, value in tensors.items()}, part, metadata=meta)


def load(
    checkpoint: Checkpoint, network: nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
) -> tuple[dict[str, dict[str, Tensor]], list[dict[str, Any]]] | None:
    """Fill network and optimizer from the file; gives the further states and the history, or None when there is no file."""
    from safetensors import safe_open

    if not checkpoint.path.exists():
        return None
    states: dict[str, dict[str, Tensor]] = {}
    with safe_open(checkpoint.path, framework="pt", device=str(device)) as stream:
        meta = json.loads(stream.metadata()["foldstill"])
        changed = changes(meta["made_from"], checkpoint.made_from)
        if changed:
            raise MemberError(
                f"{checkpoint.path} was made from other inputs: {'; '.join(changed)}: restore them, or begin anew with force"
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
