"""How every member that is a network learns: first weights from the seed, one phase after the other, one history.

Importing this module imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from foldstill.base_models.architecture import InputShape, input_shape
from foldstill.base_models.device import one_thread
from foldstill.base_models.engine import fit_network
from foldstill.base_models.inputs import open_inputs
from foldstill.base_models.joined_network import AnyNetwork
from foldstill.base_models.network_model import NetworkModel, build_seeded, first_row
from foldstill.base_models.recipes import Recipe
from foldstill.base_models.rows import phases_of
from foldstill.base_models.weights_file import classes_in, load_exactly, read_weights
from foldstill.data.augment import AnyAugmentation
from foldstill.data.feature_form import FeatureForm, Form, array_in, form_of
from foldstill.data.features import array_of
from foldstill.data.training import FitContext, FitProgress, TrainingSet
from foldstill.errors import MemberError
from foldstill.files import atomic_write

HISTORY = "history.csv"

_FOR_FEATURES = ("noise", "mixup", "channel_dropout")
"""Augmentations that make sense for columns without an order."""


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

    def build(self, shapes: Sequence[InputShape], n_classes: int) -> AnyNetwork:
        """A fresh network for rows of these shapes, one per view, from torch's global generator."""
        ...


class TrainedMember(NetworkMember, Protocol):
    """A network whose weights were trained elsewhere."""

    @property
    def name(self) -> str: ...

    @property
    def weights(self) -> str:
        """The file of this fold."""
        ...

    def build_untrained(self, shapes: Sequence[InputShape], n_classes: int) -> AnyNetwork:
        """A network whose weights are read from a file next."""
        ...


def check_network(member: NetworkMember, training_set: TrainingSet) -> float:
    """Floating point operations of one forward pass of one row, times the epochs.

    Raises MemberError if the network cannot be built for these views, or cannot read them.
    """
    if member.recipe.sampling == "one_each" and training_set.unit_N is None:
        raise MemberError(
            'sampling = "one_each" draws one row of each unit, and the rows of this data have no units: use it with '
            'HMS data of rows = "window"'
        )
    if training_set.multi_label:
        member.recipe.require_heads()
    training_set, forms = _as_arrays(member, training_set)
    other = [each.kind for each in member.recipe.augment if each.kind not in _FOR_FEATURES]
    if other and (tables := [name for name, form in forms.items() if isinstance(form, FeatureForm)]):
        raise MemberError(
            f"augmentation {other[0]} is for images and signals, and the view {tables[0]!r} is a table of features: "
            f"use {', '.join(_FOR_FEATURES)}"
        )
    network = build_seeded(member.build, _shapes(forms), len(training_set.classes), 0).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(first_row(_arrays(training_set)))
    if member.recipe.second_stage is not None and member.recipe.second_stage.thaws:
        network.freeze(True)  # needs a last layer that can be trained alone
    return float(counter.get_total_flops()) * member.recipe.total_epochs


def first_weights(member: NetworkMember, training_set: TrainingSet, seed: int) -> AnyNetwork:
    """The member's network before training."""
    _, forms = _as_arrays(member, training_set)
    return build_seeded(member.build, _shapes(forms), len(training_set.classes), seed)


def fit_member(member: NetworkMember, training_set: TrainingSet, context: FitContext) -> NetworkModel:
    """Train the member's network from its first weights."""
    return fit_phases(member, first_weights(member, training_set, context.seed), training_set, context)


def trained_network(member: TrainedMember, training_set: TrainingSet) -> tuple[AnyNetwork, bool]:
    """The network with the weights that the member names, and whether they hold its input scaling.

    Raises MemberError for weights of another network, of other shapes, or of other classes.
    """
    (_, forms), path = _as_arrays(member, training_set), Path(member.weights)
    network = build_seeded(member.build_untrained, _shapes(forms), len(training_set.classes), 0)
    try:
        state, classes = read_weights(path, "weights"), classes_in(path)
    except MemberError as error:
        raise MemberError(f"member {member.name!r}: {error}") from None
    if classes is not None and classes != training_set.classes:
        raise MemberError(
            f"member {member.name!r}: {path} predicts the classes {list(classes)}, the data have "
            f"{list(training_set.classes)}: name weights of these classes, in this order"
        )
    whole = "input.mean" in state
    holder: Any = network if whole else network.body
    try:
        load_exactly(holder, state, str(path))
    except MemberError as error:
        raise MemberError(f"member {member.name!r}: {error}") from None
    return network, whole


def adopt_weights(member: TrainedMember, training_set: TrainingSet, context: FitContext) -> NetworkModel:
    """The model of trained weights: nothing is learned but the input scaling, where the file does not hold it."""
    network, is_scaled = trained_network(member, training_set)
    training_set, forms = _as_arrays(member, training_set)
    if not is_scaled:
        network.fit_scaling(open_inputs(_arrays(training_set), "cpu"), training_set.rows)
    context.report(FitProgress(1, 1, 0.0))
    facts = {"loss": 0.0, "epochs": 0, "parameters": sum(p.numel() for p in network.parameters())}
    return NetworkModel(network.eval(), forms, training_set.classes, facts, multi_label=training_set.multi_label)


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
    recipe, (training_set, forms) = member.recipe, _as_arrays(member, training_set)
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
    facts = {
        "loss": lines[-1]["loss"],
        "epochs": len(lines),
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    return NetworkModel(network.eval(), forms, training_set.classes, facts, multi_label=training_set.multi_label)


def _as_arrays(member: NetworkMember, training_set: TrainingSet) -> tuple[TrainingSet, dict[str, Form]]:
    """The training set with the member's views as arrays, and what the training rows of each view look like."""
    training_set = training_set.with_views(member.views)
    views, recipes = training_set.views, training_set.recipes
    forms = {name: form_of(view, training_set.rows, recipes.get(name)) for name, view in views.items()}
    return replace(training_set, views={name: array_in(forms[name], views[name], name) for name in views}), forms


def _arrays(training_set: TrainingSet) -> list[NDArray[Any]]:
    return [array_of(view, name) for name, view in training_set.views.items()]


def _shapes(forms: Mapping[str, Form]) -> list[InputShape]:
    return [input_shape(form) for form in forms.values()]


def _write_history(path: Path, lines: list[dict[str, Any]]) -> None:
    """One line per epoch: stage, epoch, loss, lr and, where there is an inner split, inner_kl."""
    import pyarrow as pa
    from pyarrow import csv

    numbers = [("stage", pa.int64()), ("epoch", pa.int64())]
    schema = pa.schema([*numbers, *((name, pa.float64()) for name in ("loss", "lr", "inner_kl"))])
    with atomic_write(path) as part:
        csv.write_csv(pa.Table.from_pylist(lines, schema=schema), part)
