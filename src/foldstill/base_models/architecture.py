"""What settings and networks agree on: shapes of rows, and named variants of a network. Importing this imports no
torch."""

from collections.abc import Sequence
from typing import Literal

from foldstill.data.feature_form import FeatureForm, Form

Shape = tuple[int, ...]
"""Shape of one row of a view as it is stored: (H, W, channels) of an image, (channels, T) of a signal."""

InputShape = Shape | FeatureForm
"""What a network is built for: the shape of one image or signal, or the columns of a feature table."""

Precision = Literal["auto", "float32", "bfloat16", "float16"]
"""Precision of the forward and backward pass of a training step; auto is what suits the device."""

Temperature = Literal["none", "row", "class"]
"""Whether a network predicts a temperature per row, or per row and class, by which its logits are divided."""

Between = Literal["attention", "recurrent"]
"""How the channels of an EEG network exchange information."""


def channels_and_size(shape: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Number of channels, and (H, W) or (T,), of one row as it is stored.

    >>> channels_and_size((32, 48, 3)), channels_and_size((19, 2500))
    ((3, (32, 48)), (19, (2500,)))
    """
    return (shape[2], tuple(shape[:2])) if len(shape) == 3 else (shape[0], tuple(shape[1:]))


def input_shape(form: Form) -> InputShape:
    """What a network is built for that reads rows of this form."""
    return form if isinstance(form, FeatureForm) else form.shape
