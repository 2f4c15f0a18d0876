"""A student as one file that runs elsewhere, checked on real rows: ONNX in float32, or a torch.export program.

Scaling, resizing and softmax are inside the file, so that it takes rows of a view exactly as they lie in the data set.
N rows, C classes.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foldstill.distill.onnx_file import METADATA_KEY, OnnxStudent
from foldstill.errors import DistillError
from foldstill.files import atomic_write

if TYPE_CHECKING:
    from torch import nn

PARITY = 1e-3
"""Largest difference of a probability between the file and the network it was made from."""
INPUT, OUTPUT = "raw_rows", "proba"


def serving(network: "nn.Module") -> "nn.Module":
    """A network over rows as they lie (images channels-last) that gives probabilities instead of logits."""
    import torch

    class Serving(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            raw = rows.permute(0, 3, 1, 2) if rows.ndim == 4 else rows
            return torch.softmax(self.network(raw).float(), dim=1)

    return Serving().eval()


def export_onnx(
    network: "nn.Module",
    rows_N: NDArray[Any],
    path: Path,
    *,
    classes: Sequence[str],
    view: str = "image",
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write a network as ONNX in float32 with a free number of rows, and compare it with the network on `rows_N`.

    `network` takes (B, channels, ...) raw values and gives logits; `rows_N` (at least two, 64 are plenty) are real
    rows of the view. `about` (JSON values) joins the metadata beside classes, view, shape and dtype. Raises
    DistillError, and leaves no file, when a probability differs by more than 1e-3.
    """
    import onnx
    import torch

    if len(rows_N) < 2:
        raise DistillError(f"an export is checked on real rows, got {len(rows_N)}: give 2 or more, 64 are plenty")
    was = network.training
    served = serving(network.cpu().eval())
    example = torch.from_numpy(np.array(rows_N[:2]))
    try:
        with warnings.catch_warnings():
            # The exporter speaks of its own internals, nothing a user could change.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                served,
                (example,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("rows")},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
            with torch.inference_mode():
                wanted = served(torch.from_numpy(np.array(rows_N))).numpy()
    except Exception as error:
        told = str(error).partition("\n")[0]
        raise DistillError(
            f"this network cannot be exported to ONNX by torch {torch.__version__} ({told}): "
            "choose another student, or a newer torch"
        ) from error
    finally:
        network.train(was)
    said = {
        "classes": list(classes),
        "view": view,
        "row_shape": list(rows_N.shape[1:]),
        "dtype": rows_N.dtype.name,
        "precision": "fp32",
        "torch": torch.__version__,
        **_scaling(network),
        **(about or {}),
    }
    assert program is not None
    with atomic_write(path) as part:
        program.save(part)
        write_model(onnx.load(part), part, said)
        got = OnnxStudent(part).predict(rows_N)
        apart = float(np.abs(got - wanted).max())
        if not apart <= PARITY:
            raise DistillError(
                f"the ONNX file differs from the network by {apart:.2g} in a probability, allowed is {PARITY:g}: "
                "choose another student, or export with torch.export"
            )
    return path


def export_program(network: "nn.Module", rows_N: NDArray[Any], path: Path) -> Path:
    """Write a network as a torch.export program (.pt2), rows in and probabilities out as in the ONNX file."""
    import torch

    served = serving(network.cpu().eval())
    example = torch.from_numpy(np.array(rows_N[:2]))
    program = torch.export.export(served, (example,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    with atomic_write(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, part)
    return path


def write_model(model: Any, path: Path, about: Mapping[str, Any]) -> None:
    import onnx

    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(about, sort_keys=True))
    onnx.save(model, path)


def _scaling(network: "nn.Module") -> dict[str, Any]:
    """The preprocessing constants inside the file, for readers of its metadata."""
    layer = getattr(network, "input", None)
    if layer is None:
        return {}
    resize = None if layer.resize is None else list(layer.resize)
    return {"mean": layer.mean.tolist(), "std": layer.std.tolist(), "resize": resize}
