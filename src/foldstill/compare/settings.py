"""What a comparison calls a gain."""

from dataclasses import dataclass

from foldstill.errors import CompareError
from foldstill.settings import Settings


@dataclass(frozen=True)
class CompareSettings(Settings):
    """When two arms count as equal.

    Examples
    --------
    >>> CompareSettings(margin=0.02).margin_of(loss=0.5)
    0.01
    """

    margin: float = 0.01
    """Smallest gain that matters, as a share of the loss of the plain average. "No gain" is said when every combination
    gains less than this, by its confidence interval. With 0 every proved gain counts, and "no gain" needs proved
    losses."""

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise CompareError(f"compare.margin must be a share in [0, 1), got {self.margin}: 0.01 is usual")

    def margin_of(self, loss: float) -> float:
        """The margin in units of a loss."""
        return self.margin * abs(loss)
