"""What a comparison decides by, and what it calls a gain."""

from dataclasses import dataclass
from typing import Annotated, Any

from foldstill.compare.choices import metric_of, require_metric
from foldstill.compare.metrics import Metric
from foldstill.errors import CompareError
from foldstill.settings import Settings, TextInFile


@dataclass(frozen=True)
class CompareSettings(Settings):
    """The metric that decides, and when two arms count as equal.

    Examples
    --------
    >>> CompareSettings(margin=0.02).margin_of(0.5)
    0.01
    """

    metric: Annotated[Any, TextInFile()] = "kl"
    """The metric that decides: `kl`, `log_loss`, `brier`, `accuracy`, `balanced_accuracy`, `macro_f1`, `auroc`,
    `average_precision`, `quadratic_kappa`, `ordinal_rmse`, `top_<k>`, or `path/to/file.py:function`. In Python also a
    `Metric` or a function of vote shares (N, C), probabilities (N, C) and weights (N,)."""
    margin: float = 0.01
    """Smallest gain that matters, as a share of the loss of the plain average; of a metric whose highest value is 1, as
    a share of what it lacks. "No gain" is said when every combination gains less than this, by its confidence interval.
    With 0 every proved gain counts, and "no gain" needs proved losses."""

    def __post_init__(self) -> None:
        if not 0 <= self.margin < 1:
            raise CompareError(f"compare.margin must be a share in [0, 1), got {self.margin}: 0.01 is usual")
        require_metric(self.metric)

    @property
    def deciding(self) -> Metric:
        """The metric; a relative path of a file starts at the working directory."""
        return metric_of(self.metric)

    def margin_of(self, loss: float) -> float:
        """The margin in units of a loss. A loss from -1 to 0 is a metric whose highest value is 1."""
        return self.margin * (1 + loss if -1 <= loss < 0 else abs(loss))
