"""A small network on summary statistics that starts at an average and can stop there.

N samples, C classes, F features, B batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from foldstill.data.simplex import row_kl, softmax
from foldstill.errors import StackError
from foldstill.oof.table import OOFTable
from foldstill.stacking.anchored import AnchoredCombination, Bag, BaggedSettings, fit_anchor, log_anchor_of
from foldstill.stacking.crossfit import group_folds
from foldstill.stacking.features import family_numbers, features_of
from foldstill.stacking.setting_checks import require_at_least
from foldstill.stacking.state import State, array
from foldstill.workers.torch_threads import one_torch_thread

if TYPE_CHECKING:
    import torch
    from torch import Tensor

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Network:
    """Weights of a trained network, applied with numpy, so that a saved network needs no torch."""

    mean_F: F32
    scale_F: F32
    weights: tuple[F32, ...]
    biases: tuple[F32, ...]

    def __call__(self, features_NF: F32) -> NDArray[np.float64]:
        hidden = (features_NF - self.mean_F) / self.scale_F
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = np.maximum(hidden @ weight.T + bias, 0)
        out: NDArray[np.float64] = (hidden @ self.weights[-1].T + self.biases[-1]).astype(np.float64)
        return out

    def state(self) -> State:
        layers = {f"weight{i}": weight for i, weight in enumerate(self.weights)}
        layers |= {f"bias{i}": bias for i, bias in enumerate(self.biases)}
        return {"mean": self.mean_F, "scale": self.scale_F, "layers": np.asarray(len(self.weights)), **layers}


def ce_plus_kl(logits_BC: "Tensor", target_BC: "Tensor", kl_weight: float) -> "Tensor":
    """Return cross-entropy + kl_weight * KL(target || softmax(logits)) per row, (B,).

    The log-softmax is applied to logits, once: a perfect one-hot prediction scores 0. (In the report that this loss
    comes from, an additional softmax made a perfect prediction score 1.04.)
    """
    import torch

    log_BC = torch.log_softmax(logits_BC, dim=1)
    cross_entropy_B = -(target_BC * log_BC).sum(dim=1)
    entropy_B = -torch.special.xlogy(target_BC, target_BC).sum(dim=1)
    loss_B: Tensor = cross_entropy_B + kl_weight * (cross_entropy_B - entropy_B)
    return loss_B


@dataclass(frozen=True)
class MLP(BaggedSettings, kind="mlp", title="MLP"):
    """A small network on summary statistics of the members' scores per class, added to an average of the members.

    Its last layer starts at zero, so that training starts from the average, the anchor. `bags` networks are trained,
    each with one of `folds` inner group folds held out. The KL on the held-out fold selects the epoch; the state before
    the first epoch is a candidate. The scores of the networks are averaged.

    Examples
    --------
    >>> from foldstill.stacking import crossfit
    >>> from foldstill.testing import synthetic_table
    >>> round(crossfit(MLP(epochs=3, bags=2, folds=3, batch=64, hidden=(8,)), synthetic_table()).kl, 2)
    0.25
    """

    hidden: tuple[int, ...] = (128, 64)
    """Widths of the hidden layers."""
    epochs: int = 60
    """Maximum number of epochs."""
    patience: int = 8
    """Number of epochs without improvement after which training stops."""
    batch: int = 1024
    """Number of rows per training step."""
    learning_rate: float = 1e-3
    """Learning rate of AdamW."""
    weight_decay: float = 1e-2
    """Weight decay of AdamW."""
    kl_weight: float = 0.0
    """The loss is cross-entropy + kl_weight * KL; both have the same minimum."""
    bags: int = 3
    """Number of networks whose scores are averaged; at most `folds`."""

    def __post_init__(self) -> None:
        require_at_least(self, folds=2, bags=1, epochs=0, patience=1, batch=1)
        if self.bags > self.folds:
            raise StackError(
                f"bags of mlp must be at most folds ({self.folds}), got {self.bags}: each network needs its own "
                "held-out fold"
            )
        if min(self.hidden, default=1) < 1 or self.learning_rate <= 0 or self.weight_decay < 0:
            raise StackError(
                "hidden and learning_rate of mlp must be positive and weight_decay at least 0, got "
                f"{self.hidden}, {self.learning_rate} and {self.weight_decay}"
            )

    @classmethod
    def example(cls) -> Self:
        return cls(epochs=3, bags=2, folds=3, batch=64, hidden=(8,))

    def fit(self, table: OOFTable) -> AnchoredCombination:
        family_M = family_numbers(table.scores.families)
        features_NF = features_of(table.scores, self.features, family_M)
        fold_N = group_folds(table.labels.groups, self.folds, seed=self.seed)
        bags = [
            self._bag(table, features_NF, fold_N == k, self.seed * 1000 + k)
            for k in range(min(self.bags, int(fold_N.max()) + 1))
        ]
        return AnchoredCombination(tuple(bags), self.features, family_M)

    def residual(self, state: State) -> Network:
        layers = range(int(array(state, "layers")))
        return Network(
            array(state, "mean"),
            array(state, "scale"),
            tuple(array(state, f"weight{i}") for i in layers),
            tuple(array(state, f"bias{i}") for i in layers),
        )

    def _bag(self, table: OOFTable, features_NF: F32, held_N: NDArray[np.bool_], seed: int) -> Bag:
        anchor = fit_anchor(self.anchor, table.take(~held_N))
        start_NC = log_anchor_of(anchor, table.scores)
        target_NC, weight_N = table.labels.target_NC, table.labels.weight_N(self.row_weight)
        mean_F = features_NF[~held_N].mean(axis=0)
        scale_F = features_NF[~held_N].std(axis=0) + np.float32(1e-6)
        held_target_NC, held_weight_N, held_start_NC = target_NC[held_N], weight_N[held_N], start_NC[held_N]
        best, lowest, epochs_without_gain = None, np.inf, 0
        for weights, biases in self._epochs(
            (features_NF[~held_N] - mean_F) / scale_F, start_NC[~held_N], target_NC[~held_N], weight_N[~held_N], seed
        ):
            network = Network(mean_F, scale_F, weights, biases)
            held_proba_NC = softmax(held_start_NC + network(features_NF[held_N]))
            loss = float(held_weight_N @ row_kl(target=held_target_NC, proba=held_proba_NC))
            if loss < lowest:
                best, lowest, epochs_without_gain = network, loss, 0
            else:
                epochs_without_gain += 1
            if epochs_without_gain >= self.patience:
                break
        assert best is not None  # a loss is finite, and the state before the first epoch always has one
        return Bag(anchor, best)

    def _epochs(
        self,
        features_NF: F32,
        start_NC: NDArray[np.float64],
        target_NC: NDArray[np.float64],
        weight_N: NDArray[np.float64],
        seed: int,
    ) -> Iterator[tuple[tuple[F32, ...], tuple[F32, ...]]]:
        """Yield weights and biases before the first epoch and after each epoch."""
        import torch

        # A second thread slows networks of this size down.
        with one_torch_thread():
            generator = torch.Generator().manual_seed(seed)
            widths = [features_NF.shape[1], *self.hidden, target_NC.shape[1]]
            layers = [torch.nn.Linear(a, b) for a, b in pairwise(widths)]
            for layer in layers:
                torch.nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
                torch.nn.init.zeros_(layer.bias)
            torch.nn.init.zeros_(layers[-1].weight)
            net = torch.nn.Sequential(*[part for layer in layers[:-1] for part in (layer, torch.nn.ReLU())], layers[-1])
            optimizer = torch.optim.AdamW(
                net.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay, foreach=False
            )
            x, start, y, w = (
                torch.from_numpy(np.ascontiguousarray(a, np.float32))
                for a in (features_NF, start_NC, target_NC, weight_N)
            )
            for epoch in range(self.epochs + 1):
                for rows in _batches(len(x), self.batch, generator) if epoch else ():
                    loss_B = ce_plus_kl(start[rows] + net(x[rows]), y[rows], self.kl_weight)
                    optimizer.zero_grad()
                    (w[rows] * loss_B).mean().backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                yield (
                    tuple(layer.weight.detach().numpy().copy() for layer in layers),
                    tuple(layer.bias.detach().numpy().copy() for layer in layers),
                )


def _batches(n: int, batch: int, generator: "torch.Generator") -> tuple["Tensor", ...]:
    """Return slices of one permutation: a DataLoader spends most of such an epoch on collating rows."""
    import torch

    return torch.split(torch.randperm(n, generator=generator), batch)


def report_mlp() -> MLP:
    """Return the meta-model of the report that found no gain from stacking: 30 statistics, CE + 2 KL, patience 20.

    Two errors are corrected: one softmax instead of two, and early stopping on a tenth of the groups instead of on the
    last tenth of the rows by id.
    """
    return MLP(
        name="report_mlp",
        anchor="none",
        hidden=(600, 1200, 1000, 600),
        epochs=80,
        patience=20,
        batch=64,
        weight_decay=0.0,
        kl_weight=2.0,
        folds=10,
        bags=1,
    )
