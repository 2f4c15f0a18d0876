"""Export a student as one file and check it on real rows: ONNX in float32, or a torch.export program.

Scaling, resizing or encoding, and softmax, are inside the file: it takes rows of a view exactly as they are stored in
the data set. Rows of a feature table are (N, F) of float64, with NaN for what is missing and the position of its level
for a category; the metadata name the columns and the levels.
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
from foldstill.errors import DistillError, lacks_memory
from foldstill.files import atomic_write
from foldstill.seals import BLANK_SEAL, SEAL, set_seal

if TYPE_CHECKING:
    from torch import nn

PARITY = 1e-3
"""Largest allowed difference of a probability between the file and the network it was made from."""
INPUT, OUTPUT = "raw_rows", "proba"


def serving(network: "nn.Module") -> "nn.Module":
    """A module that takes rows as they are stored (images channels-last) and gives probabilities instead of logits."""
    import torch

    from foldstill.base_models.networks import InputLayer, Network

    class Serving(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            if rows.ndim == 4 and isinstance(network, Network) and isinstance(network.input, InputLayer):
                logits = network.body(network.input.of_rows(rows))
            else:
                logits = self.network(rows.permute(0, 3, 1, 2) if rows.ndim == 4 else rows)
            return torch.softmax(logits.float(), dim=1)

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
    """Write a network as ONNX in float32 with any number of rows, and compare it with the network on `rows_N`.

    Parameters
    ----------
    network : torch.nn.Module
        Takes raw values (B, channels, ...) and gives logits (B, C).
    rows_N : array of shape (N, ...)
        Real rows of the view, at least 2; 64 are enough.
    path : Path
        The file to write.
    classes : sequence of str
        Class names, in the order of the logits.
    view : str, default "image"
        Name of the view.
    about : mapping, optional
        JSON values that are added to the metadata beside classes, view, shape and dtype.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    DistillError
        When torch cannot export the network, or a probability differs by more than 1e-3; no file is left then.
    """
    import onnx

    if len(rows_N) < 2:
        raise DistillError(f"an export is checked on 2 real rows or more, got {len(rows_N)}: pass more, 64 are enough")
    training = network.training
    try:
        program, wanted_NC = _traced(serving(network.cpu().eval()), rows_N)
    finally:
        network.train(training)
    with atomic_write(path) as part:
        program.save(part)
        write_model(onnx.load(part), part, _metadata(network, rows_N, classes, view) | dict(about or {}))
        difference = float(np.abs(OnnxStudent(part).predict_array(np.array(rows_N)) - wanted_NC).max())
        # Written so that NaN is refused as well.
        if not difference <= PARITY:
            raise DistillError(
                f"the ONNX file differs from the network by {difference:.2g} in a probability, allowed is {PARITY:g}: "
                "choose another student, or export with torch.export"
            )
    return path


def _traced(served: "nn.Module", rows_N: NDArray[Any]) -> tuple[Any, NDArray[np.float32]]:
    """The module as an ONNX program, and its own probabilities of the rows."""
    import torch

    try:
        with warnings.catch_warnings():
            # The exporter warns about its own internals, which a user cannot change.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                served,
                (torch.from_numpy(np.array(rows_N[:2])),),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("rows")},),
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
            with torch.inference_mode():
                proba_NC: NDArray[np.float32] = served(torch.from_numpy(np.array(rows_N))).numpy()
    except Exception as error:
        if lacks_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        raise DistillError(
            f"torch {torch.__version__} cannot export this network to ONNX ({reason}): "
            "choose another student, or a newer torch"
        ) from error
    assert program is not None
    return program, proba_NC


def _metadata(network: "nn.Module", rows_N: NDArray[Any], classes: Sequence[str], view: str) -> dict[str, Any]:
    """What a reader of the file must know, with the preprocessing constants inside it."""
    import torch

    metadata: dict[str, Any] = {
        "classes": list(classes),
        "view": view,
        "row_shape": list(rows_N.shape[1:]),
        "dtype": rows_N.dtype.name,
        "precision": "fp32",
        "torch": torch.__version__,
    }
    layer: Any = getattr(network, "input", None)
    return metadata if layer is None else metadata | layer.constants()


def export_program(network: "nn.Module", rows_N: NDArray[Any], path: Path) -> Path:
    """Write a network as a torch.export program (.pt2) with the inputs and outputs of the ONNX file."""
    import torch

    served = serving(network.cpu().eval())
    example = torch.from_numpy(np.array(rows_N[:2]))
    program = torch.export.export(served, (example,), dynamic_shapes=({0: torch.export.Dim("rows")},))
    with atomic_write(path) as part, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(program, part)
    return path


def write_model(model: Any, path: Path, about: Mapping[str, Any]) -> None:
    """Write an ONNX model with `about` and the seal of the file as its metadata."""
    import onnx

    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps({**about, SEAL: BLANK_SEAL}, sort_keys=True))
    onnx.save(model, path)
    set_seal(path)
