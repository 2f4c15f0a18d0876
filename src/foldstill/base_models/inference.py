"""Networks that predict: where they are placed, and their logits over many rows. Predictions are always float32.

N rows, B batch, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foldstill.base_models.inputs import AnyInputs
from foldstill.base_models.joined_network import AnyNetwork
from foldstill.base_models.precision import exact_kernels, measured_kernels
from foldstill.data.training import Rows
from foldstill.errors import MemberError, lacks_memory

PREDICT_ROWS = 256


def predict_proba(
    network: AnyNetwork, inputs: AnyInputs, rows: Rows, *, batch_size: int = PREDICT_ROWS, multi_label: bool = False
) -> NDArray[np.float32]:
    """Probabilities (rows, C) of the network in evaluation mode, float32; nothing is augmented.

    Rows sum to one, unless the outputs are those of the heads of a multi-label problem.
    """
    move_to(network, inputs)
    logits_NC = predict_logits(network, inputs, rows, batch_size)
    proba = logits_NC.sigmoid() if multi_label else logits_NC.softmax(dim=1)
    proba_NC: NDArray[np.float32] = proba.cpu().numpy()
    return proba_NC


def move_to(network: AnyNetwork, inputs: AnyInputs) -> None:
    """Move a network to the device of the inputs, in the memory layout that is fastest there."""
    network.to(device=inputs.device)
    if inputs.is_image:
        # 1.2 to 1.4 times faster on a CPU, and what bfloat16 kernels of a GPU need.
        network.to(memory_format=torch.channels_last)


def predict_logits(network: AnyNetwork, inputs: AnyInputs, rows: Rows, batch_size: int = PREDICT_ROWS) -> Tensor:
    """Logits (rows, C) of the network in evaluation mode, float32, so that a GPU gives what a CPU gives.

    Batches are halved until they fit into memory. Raises MemberError where one row does not fit.
    """
    was_training = network.training
    network.eval()
    try:
        while True:
            try:
                return _logits(network, inputs, rows, batch_size)
            except (RuntimeError, MemoryError) as error:
                if not lacks_memory(error):
                    raise
            # Out of the `except`, whose error holds the tensors of the batch.
            if batch_size == 1:
                raise MemberError(f"not enough memory on {inputs.device} to predict one row: use a smaller network")
            batch_size //= 2
    finally:
        network.train(was_training)


@torch.inference_mode()
def _logits(network: AnyNetwork, inputs: AnyInputs, rows: Rows, batch_size: int) -> Tensor:
    index = torch.from_numpy(np.asarray(rows, dtype=np.int64)).to(inputs.device)
    # The last batch is padded: one shape for every batch keeps kernels the same.
    padded = torch.cat([index, index[-1:].expand(-len(index) % batch_size)])
    logits_NC = torch.empty(0)
    with exact_kernels(), measured_kernels(on=True):
        for number, raw in enumerate(inputs.batches(torch.split(padded, batch_size))):
            logits_BC = network(raw).float()
            if number == 0:
                # A small tensor kept per batch would lie between the large ones, whose memory could not be used again.
                logits_NC = logits_BC.new_empty((len(padded), logits_BC.shape[1]))
            logits_NC[number * batch_size : (number + 1) * batch_size] = logits_BC
    return logits_NC[: len(index)]
