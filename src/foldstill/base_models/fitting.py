"""How every member that is a network learns: first weights from the seed, one phase after the other, one history.

Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch.utils.flop_counter import FlopCounterMode

from foldstill.base_models.architecture import Shape
from foldstill.base_models.device import one_thread
from foldstill.base_models.engine import fit_network
from foldstill.base_models.joined_network import AnyNetwork
from foldstill.base_models.network_model import NetworkModel, build_seeded, first_row
from foldstill.base_models.recipes import Recipe
from foldstill.base_models.rows import phases_of
from foldstill.data.augment import AnyAugmentation
from foldstill.data.features import array_of
from foldstill.data.row_form import RowForm
from foldstill.data.training import FitContext, FitProgress, TrainingSet
from foldstill.errors import MemberError
from foldstill.files import atomic_write

HISTORY = "history.csv"


class NetworkMember(Protocol):
    """A member that is a network."""

    @property
    def views(self) -> tuple[str, ...]:
        """The views it reads, in the order of the shapes that `build` gets."""
        ...

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        ...

    def build(self, shapes: Sequence[Shape], n_classes: int) -> AnyNetwork:
        """A fresh network for rows of these shapes, one per view, from torch's global generator."""
        ...


def check_network(member: NetworkMember, training_set: TrainingSet) -> float:
    """Floating point operations of one forward pass of one row, times the epochs.

    Raises MemberError if the network cannot be built for these views, or cannot read them.
    """
    training_set = training_set.with_views(member.views)
    if member.recipe.sampling == "one_each" and training_set.unit_N is None:
        raise MemberError(
            'sampling = "one_each" draws one row of each unit, and the rows of this data have no units: use it with '
            'HMS data of rows = "window"'
        )
    arrays = [array_of(view, name) for name, view in training_set.views.items()]
    network = build_seeded(member.build, _shapes(training_set), len(training_set.classes), 0).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(first_row(arrays))
    return float(counter.get_total_flops()) * member.recipe.total_epochs


def first_weights(member: NetworkMember, training_set: TrainingSet, seed: int) -> AnyNetwork:
    """The member's network before training."""
    shapes = _shapes(training_set.with_views(member.views))
    return build_seeded(member.build, shapes, len(training_set.classes), seed)


def fit_member(member: NetworkMember, training_set: TrainingSet, context: FitContext) -> NetworkModel:
    """Train the member's network from its first weights."""
    return fit_phases(member, first_weights(member, training_set, context.seed), training_set, context)


def fit_phases(
    member: NetworkMember,
    network: AnyNetwork,
    training_set: TrainingSet,
    context: FitContext,
    view_augment: Sequence[Sequence[AnyAugmentation]] = (),
) -> NetworkModel:
    """Train a network phase by phase, or continue from the checkpoints in the context's folder.

    The folder gets history.csv when the last phase is over; checkpoints stay until the caller has saved the model.
    """
    recipe, training_set = member.recipe, training_set.with_views(member.views)
    thaws = recipe.second_stage is not None and recipe.second_stage.thaws
    batch_seed = context.seed + 1 if context.batch_seed is None else context.batch_seed
    lines: list[dict[str, Any]] = []
    before = 0
    with one_thread(context.device):
        for phase in phases_of(recipe, training_set, context.seed):

            def report(progress: FitProgress, before: int = before) -> None:
                context.report(FitProgress(before + progress.done, recipe.total_epochs, progress.loss))

            network.freeze(phase.number == 1 and thaws)
            phase_context = replace(context, report=report, batch_seed=batch_seed + phase.number - 1)
            history = fit_network(network, training_set, phase, phase_context, view_augment)
            lines += [{"stage": phase.number, **asdict(epoch)} for epoch in history]
            before += phase.recipe.epochs
    if context.folder is not None:
        _write_history(context.folder / HISTORY, lines)
    forms = {
        name: RowForm.of(array_of(view, name), training_set.recipes.get(name))
        for name, view in training_set.views.items()
    }
    facts = {
        "loss": lines[-1]["loss"],
        "epochs": len(lines),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    return NetworkModel(network.eval(), forms, training_set.classes, recipe.precision, facts)


def _shapes(training_set: TrainingSet) -> list[Shape]:
    return [tuple(array.shape[1:]) for array in training_set.views.values()]


def _write_history(path: Path, lines: list[dict[str, Any]]) -> None:
    """One line per epoch: stage, epoch, loss, lr and, where there is an inner split, inner_kl."""
    import pyarrow as pa
    from pyarrow import csv

    numbers = [("stage", pa.int64()), ("epoch", pa.int64())]
    schema = pa.schema([*numbers, *((name, pa.float64()) for name in ("loss", "lr", "inner_kl"))])
    with atomic_write(path) as part:
        csv.write_csv(pa.Table.from_pylist(lines, schema=schema), part)
