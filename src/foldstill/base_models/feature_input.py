"""The first layer of a network on a feature table: numbers and categories in, numbers that a network learns from out.

B batch, F features, E encoded columns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foldstill.base_models.inputs import DeviceInputs
from foldstill.data.feature_form import FeatureForm
from foldstill.errors import MemberError

_BLOCK_ROWS = 65_536


class FeatureInput(nn.Module):
    """Encodes rows of a feature table: (B, F) of float, with NaN and positions of levels, to (B, E) of float32.

    Numbers get mean 0 and variance 1, and the mean where they are missing; a number that is missing in some training
    rows has a further column that says so. A category has one column per level; a missing value, and a level that no
    training row has, is 0 in all of them. The constants are buffers, filled from the training rows and saved with the
    weights, so that whoever gets the network gets the encoding.
    """

    mean: Tensor
    scale: Tensor
    numbers: Tensor
    gaps: Tensor
    category_E: Tensor
    level_E: Tensor

    def __init__(self, form: FeatureForm) -> None:
        super().__init__()
        self.names = form.encoded_names
        self.width = len(self.names)
        numbers = [index for index, each in enumerate(form.features) if each.levels is None]
        levels = [(index, code) for index, each in enumerate(form.features) for code in range(len(each.levels or ()))]
        # Float64, because a date or an amount may need more digits than float32 has.
        self.register_buffer("mean", torch.zeros(len(numbers), dtype=torch.float64))
        self.register_buffer("scale", torch.ones(len(numbers), dtype=torch.float64))
        with_gaps = [at for at, index in enumerate(numbers) if form.features[index].name in form.gaps]
        positions = {"numbers": numbers, "gaps": with_gaps, "category_E": [index for index, _ in levels]}
        for name, values in positions.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.int64), persistent=False)
        codes = torch.tensor([code for _, code in levels], dtype=torch.float64)
        self.register_buffer("level_E", codes, persistent=False)

    def forward(self, raw: Tensor) -> Tensor:
        row_BF = raw.double()
        number_BF = row_BF[:, self.numbers]
        missing_BF = number_BF.isnan()
        scaled_BF = ((number_BF - self.mean) * self.scale).masked_fill(missing_BF, 0.0)
        level_BE = row_BF[:, self.category_E] == self.level_E
        return torch.cat([scaled_BF.float(), missing_BF[:, self.gaps].float(), level_BE.float()], dim=1)

    @torch.no_grad()
    def fit(self, inputs: DeviceInputs, rows: NDArray[np.intp]) -> None:
        """Fit mean and scale of the numbers to these rows; a number that is the same in all of them says nothing, and
        its scale is 0."""
        blocks = torch.split(torch.from_numpy(np.sort(rows)), _BLOCK_ROWS)

        def mean_of(of_block: Any) -> Tensor:
            """Mean per number over the rows that have it; 0 where none has."""
            total, count = torch.zeros_like(self.mean), torch.zeros_like(self.mean)
            for raw in inputs.batches(block.to(inputs.device) for block in blocks):
                number_BF = raw.double()[:, self.numbers]
                total += of_block(number_BF).nan_to_num(nan=0.0).sum(dim=0)
                count += (~number_BF.isnan()).sum(dim=0)
            return total / count.clamp(min=1)

        mean = mean_of(lambda number_BF: number_BF)
        std = mean_of(lambda number_BF: (number_BF - mean).square()).sqrt()
        self.mean[:], self.scale[:] = mean, torch.where(std > 0, 1 / std, 0.0)

    def unscale(self, x: Tensor) -> Tensor:
        raise MemberError(
            "encoded features cannot be turned into rows of a table again, as augmented images can: let teachers see "
            'the rows as they are, with views = "identity" and without `features`'
        )

    def constants(self) -> dict[str, Any]:
        """What the layer does to a row, as JSON values."""
        return {"encoded": list(self.names), "mean": self.mean.tolist(), "scale": self.scale.tolist()}
