"""An ONNX graph that is put together node by node. ONNX is imported on use."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPSETS = {"": 18, "ai.onnx.ml": 3}
"""Versions of the operators; those that onnxruntime 1.20 knows."""
ROWS = "raw_rows"
"""Name of the input: rows (N, F) of float64."""


@dataclass
class Graph:
    """The nodes and constants of a graph with one input, in the order in which they compute."""

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """A node with one output; returns the name of the output."""
        from onnx import helper

        output = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], domain=domain, **attributes))
        return output

    def constant(self, values: NDArray[Any]) -> str:
        """A constant; returns its name."""
        from onnx import numpy_helper

        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def cast(self, name: str, dtype: type[np.generic]) -> str:
        """A value as another type."""
        from onnx import helper

        return self.add("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def columns(self, name: str, positions: NDArray[np.intp]) -> str:
        """Columns of a matrix."""
        return self.add("Gather", name, self.constant(positions.astype(np.int64)), axis=1)

    def include(self, model: Any, name: str) -> str:
        """All of a model with one input, which gets the value `name`; returns the name of its last output."""
        from onnx import compose, helper

        part = compose.add_prefix(model, "estimator_").graph
        self.nodes.append(helper.make_node("Identity", [name], [part.input[0].name]))
        self.nodes += part.node
        self.constants += part.initializer
        return str(part.output[-1].name)

    def model(self, output: str, name: str, n_features: int, n_outputs: int) -> Any:
        """The model from `ROWS` to an output (N, C) of float32, which gets the name `name`."""
        from onnx import TensorProto, helper

        self.nodes.append(helper.make_node("Identity", [output], [name]))
        rows = helper.make_tensor_value_info(ROWS, TensorProto.DOUBLE, ["rows", n_features])
        result = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", n_outputs])
        graph = helper.make_graph(self.nodes, "foldstill", [rows], [result], self.constants)
        opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)
