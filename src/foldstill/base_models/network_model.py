"""A trained network as a model: it predicts, is saved as one safetensors file, and is read back from it.

N rows, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldstill.base_models.architecture import InputShape, Shape, input_shape
from foldstill.base_models.device import pick_device
from foldstill.base_models.inference import predict_proba
from foldstill.base_models.inputs import open_inputs
from foldstill.base_models.joined_network import AnyNetwork
from foldstill.base_models.member import CURE
from foldstill.base_models.tensor_file import read_tensors, write_tensors
from foldstill.cost import Cost
from foldstill.cost.measure import measure_cost
from foldstill.data.feature_form import Form, array_in, form_from_json
from foldstill.data.features import View
from foldstill.data.training import Rows
from foldstill.errors import MemberError
from foldstill.files import write_text

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, eq=False)
class NetworkModel:
    """A trained network with the views it reads and the classes it predicts."""

    network: AnyNetwork
    forms: Mapping[str, Form]
    """What the rows of each view must look like, in the order in which the network reads the views."""
    classes: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    """Name and text of each file of the user's own that builds the network, kept beside its weights."""
    multi_label: bool = False
    """Whether the classes are heads, each with a sigmoid of its own."""

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of one row per view, in the order in which the network reads them."""
        return {name: form.shape for name, form in self.forms.items()}

    def predict(
        self, views: Mapping[str, View], rows: Rows | None = None, *, device: str = "auto"
    ) -> NDArray[np.float32]:
        """Probabilities (rows, C) of rows of the views; raises DataError for rows of another shape or type."""
        arrays = self.arrays(views)
        inputs = open_inputs(arrays, pick_device(device))
        rows = np.arange(len(inputs)) if rows is None else rows
        return predict_proba(self.network, inputs, rows, multi_label=self.multi_label)

    def save(self, folder: Path) -> None:
        """Write `weights.safetensors`; its header names classes and forms of rows, so that it needs no other file."""
        about: dict[str, Any] = {
            "classes": list(self.classes),
            "views": [{"name": name, **form.as_json()} for name, form in self.forms.items()],
        }
        if self.multi_label:
            about["multi_label"] = True
        for name, text in self.code.items():
            write_text(folder / name, text)
        write_tensors(folder / WEIGHTS, self.network.state_dict(), about)

    def cost(self, views: Mapping[str, View], *, batch: int = 32, threads: int = 1) -> Cost:
        """What one prediction costs in eager mode on the CPU, on the first row of the views."""
        return measure_cost(self.network.cpu(), first_row(self.arrays(views)), batch=batch, threads=threads)

    def arrays(self, views: Mapping[str, View]) -> list[NDArray[Any]]:
        """The rows of its views as the network takes them; raises an error for rows of another form."""
        missing = sorted(set(self.forms) - set(views))
        if missing:
            raise MemberError(
                f"the model reads the views {missing}, got {sorted(views)}: give every view it was trained on"
            )
        return [array_in(form, views[name], name) for name, form in self.forms.items()]


def load_network(folder: Path, build: Callable[[Sequence[InputShape], int], AnyNetwork]) -> NetworkModel:
    """The model in a folder; `build` makes a network for shapes and a number of classes, and its weights are replaced.

    Raises MemberError if the file of weights is missing or damaged.
    """
    state, about = read_tensors(folder / WEIGHTS, error=MemberError, cure=CURE)
    if "views" not in about:
        raise MemberError(f"{folder / WEIGHTS} does not say which rows the model reads: train the model again")
    forms = {view["name"]: form_from_json(view) for view in about["views"]}
    network = build_seeded(build, [input_shape(form) for form in forms.values()], len(about["classes"]), 0)
    network.load_state_dict(state)
    classes, multi_label = tuple(about["classes"]), about.get("multi_label", False)
    return NetworkModel(network.eval(), forms, classes, multi_label=multi_label)


def build_seeded(
    build: Callable[[Sequence[InputShape], int], AnyNetwork], shapes: Sequence[InputShape], n_classes: int, seed: int
) -> AnyNetwork:
    """A fresh network whose first weights depend on the seed alone; the caller's random state is left as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(shapes, n_classes)


def first_row(arrays: Sequence[NDArray[Any]]) -> Tensor | tuple[Tensor, ...]:
    """The first row of the views as a network takes it: a tensor, or a tuple of one tensor per view."""
    rows = open_inputs([array[:1] for array in arrays], "cpu")
    (row,) = rows.batches([torch.zeros(1, dtype=torch.int64)])
    return row
