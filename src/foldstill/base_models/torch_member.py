"""Members that are torch modules of the user's own. Importing this module imports no torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from foldstill.base_models.architecture import InputShape, Shape, channels_and_size
from foldstill.base_models.module_code import Factory, ModuleCode, factory_digest, factory_name, reason_of, split_module
from foldstill.base_models.recipes import Recipe, check_name, require
from foldstill.base_models.single_view import SingleViewMember
from foldstill.data.feature_form import FeatureForm
from foldstill.data.training import FitContext, TrainingSet
from foldstill.errors import MemberError, lacks_memory
from foldstill.settings import KindSettings

if TYPE_CHECKING:
    from torch import nn

    from foldstill.base_models.network_model import NetworkModel
    from foldstill.base_models.networks import Network

CODE = "module.py"
"""The copy of the user's file beside a model."""


@dataclass(frozen=True)
class TorchMember(KindSettings, SingleViewMember, kind="torch", title="Torch module"):
    """A torch module of your own, trained by the same engine as every other network.

    The class or function is called with the shape of a row as it is stored, (height, width, channels) of images or
    (channels, time) of signals, with the number of classes, and with the options. It returns a `torch.nn.Module` that
    takes scaled batches, (rows, channels, height, width) or (rows, channels, time), and gives logits (rows, classes).
    A feature table is encoded first, by what is fitted to the training rows: numbers get mean 0 and variance 1, and
    the mean where they are missing, with a further column that says so; a category has one column per level, all 0
    for a missing value and for a level that no training row has. The shape is then (encoded columns,).
    The file is executed, because the experiment names it. It may import what is installed, but no file beside it: a
    copy of it is kept with every model. After a change of its code, all members of the file are stale, because what a
    module depends on cannot be known; comments, docstrings and layout may change.

    Examples
    --------
    >>> import torch
    >>> from foldstill.data.features import Feature
    >>> def linear(shape, n_classes):
    ...     return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(shape[0] * shape[1], n_classes))
    >>> network = TorchMember("linear", module=linear, view="signal").build([(19, 200)], n_classes=6)
    >>> network(torch.zeros(4, 19, 200)).shape
    torch.Size([4, 6])

    The columns of a feature table take the place of a shape.

    >>> form = FeatureForm((Feature("carat"), Feature("color", ("D", "E", "F"))))
    >>> mlp = TorchMember("mlp", lambda shape, n_classes: torch.nn.Linear(*shape, n_classes), view="features")
    >>> mlp.build([form], n_classes=5).body
    Linear(in_features=4, out_features=5, bias=True)
    """

    files: ClassVar[tuple[str, ...]] = ("module", "weights")
    name: str
    module: str | Factory
    """A file and a class or function in it, such as "my_models.py:Net"; in Python, any factory of modules. A relative
    path starts at the folder of the experiment file."""
    view: str = "image"
    """Name of the view that the network reads."""
    options: Mapping[str, str | int | float | bool | list[int] | list[float] | list[str]] = field(default_factory=dict)
    """Further arguments of the class or function, by name."""
    weights: str = ""
    """Trained weights, one file per fold, as in "fold-{fold}.safetensors" (.pt or .pth hold a state dict): nothing is
    trained. See `weights` of timm members."""
    family: str = ""
    """Group of similar members, within which combiners can tie weights; the name of the module by default."""
    recipe: Recipe = field(default_factory=Recipe, kw_only=True)
    """How the network is trained."""

    def __post_init__(self) -> None:
        check_name(self.name)
        if isinstance(self.module, str):
            split_module(self.module)
        require(
            isinstance(self.module, str | type) or not hasattr(self.module, "state_dict"),
            f"member {self.name!r}: module is built already, and each fold needs a fresh one: give its class, or a "
            "function that builds it",
        )
        if not self.family:
            named = split_module(self.module)[1] if isinstance(self.module, str) else factory_name(self.module)
            object.__setattr__(self, "family", named)

    @classmethod
    def example(cls) -> TorchMember:
        return cls("torch", module=_pooled, recipe=Recipe(epochs=2, batch_size=8))

    @property
    def factory(self) -> Factory:
        """What builds the module; a file is read now."""
        try:
            return ModuleCode.read(self.module) if isinstance(self.module, str) else self.module
        except MemberError as error:
            raise MemberError(f"member {self.name!r}: {error}") from None

    def fit(self, training_set: TrainingSet, context: FitContext) -> NetworkModel:
        recorded = context.made_from.get("file.module") or context.made_from.get("files", {}).get("module")
        member = self.with_code(recorded)
        return replace(SingleViewMember.fit(member, training_set, context), code=member.kept_code(CODE))

    def load(self, folder: Path) -> NetworkModel:
        """The model in a folder, built by the copy of the file that was kept there."""
        member = self.with_copy(folder / CODE)
        return replace(SingleViewMember.load(member, folder), code=member.kept_code(CODE))

    def with_code(self, recorded: str | None) -> Self:
        """The member with the code of its file; raises MemberError if its digest is not the one that was recorded."""
        factory = self.factory
        if recorded not in (None, factory_digest(factory, recorded)):
            raise MemberError(f"{self.module} was changed while the run was going: start it again")
        return replace(self, module=factory)

    def with_copy(self, path: Path) -> Self:
        """The member with the code in a file that was kept beside a model; as it is where there is no such file."""
        if not path.is_file():
            return self
        named = self.module if isinstance(self.module, str) else factory_name(self.module)
        return replace(self, module=ModuleCode(path.read_text(encoding="utf-8"), split_module(named)[1]))

    def kept_code(self, name: str) -> dict[str, str]:
        """The text of its code under the name of the file that keeps it; empty for a factory of Python."""
        return {name: self.module.text} if isinstance(self.module, ModuleCode) else {}

    def build(self, shapes: Sequence[InputShape], n_classes: int) -> Network:
        """A fresh network for rows of this one shape, initialised from torch's global generator.

        Raises MemberError for a file that cannot be run, a module that cannot be built, and one that gives no logits.
        """
        from torch import nn

        from foldstill.base_models.networks import Network

        (read,) = shapes
        shape = (len(read.encoded_names),) if isinstance(read, FeatureForm) else tuple(read)
        factory = self.factory
        about = f"member {self.name!r}: {factory_name(factory)}"
        try:
            body = factory(shape, n_classes, **self.options)
        except MemberError as error:
            raise MemberError(f"member {self.name!r}: {error}") from error.__cause__
        except Exception as error:
            if lacks_memory(error):
                raise
            raise MemberError(
                f"{about}({shape}, {n_classes}{''.join(f', {k}={v!r}' for k, v in self.options.items())}) fails "
                f"({reason_of(error)}): take the shape of a row, the number of classes, and the options by name"
            ) from error
        if not isinstance(body, nn.Module):
            raise MemberError(f"{about} must return a torch.nn.Module, got {type(body).__name__}: return the module")
        channels, size = channels_and_size(shape)
        _try_batch(about, body, (2, channels, *size), n_classes)
        return Network(body, read if isinstance(read, FeatureForm) else channels)


def _try_batch(about: str, body: nn.Module, batch: tuple[int, ...], n_classes: int) -> None:
    """Raises MemberError unless a module gives logits for two rows, in evaluation and in training."""
    import torch
    from torch.nn.parameter import is_lazy

    lazy = any(is_lazy(value) for value in (*body.parameters(), *body.buffers()))
    for training in (False, True):
        # A copy, because running statistics of a norm would change. Lazy modules take their shapes from a first batch.
        tried = (body if lazy and not training else copy.deepcopy(body)).train(training)
        mode = "in training" if training else "in evaluation"
        try:
            with torch.no_grad():
                logits: Any = tried(torch.zeros(batch))
        except Exception as error:
            if lacks_memory(error):
                raise
            raise MemberError(
                f"{about} fails {mode} on a batch of shape {batch} ({reason_of(error)}): take (rows, channels, ...)"
            ) from error
        is_tensor = isinstance(logits, torch.Tensor)
        received = f"a tensor of shape {tuple(logits.shape)}" if is_tensor else f"a {type(logits).__name__}"
        if not is_tensor or tuple(logits.shape) != (batch[0], n_classes) or not logits.is_floating_point():
            raise MemberError(
                f"{about} must give logits of shape ({batch[0]}, {n_classes}) for {batch[0]} rows and {n_classes} "
                f"classes, got {received} {mode}: return one logit per class"
            )


def _pooled(shape: Shape, n_classes: int) -> nn.Module:
    """The module of the example: one convolution, pooled."""
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(shape[2], 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, n_classes)
    )
