"""Members that are EEG networks. Importing this module imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foldstill.base_models.architecture import Between, InputShape
from foldstill.base_models.recipes import NetworkSettings, Recipe, check_name, require
from foldstill.base_models.single_view import SingleViewMember
from foldstill.errors import MemberError

if TYPE_CHECKING:
    from foldstill.base_models.networks import Network


@dataclass(frozen=True)
class EegMember(NetworkSettings, SingleViewMember, kind="eeg", title="EEG network"):
    """A compact network that encodes each EEG channel and lets the channels attend to each other.

    Signals pass a residual encoder that all channels share, then attention between the channels. The encoder is 1-D for
    signals, and 2-D for images of which each channel is a spectrogram. The defaults have 0.6 million parameters on 19
    signals; features = 256 with separate = [18] has 2.2 million, and widths = [16, 32, 48, 64, 128, 256], kernel = 3,
    features = 256 on four spectrograms has 2.9 million.

    Examples
    --------
    >>> member = EegMember("eeg", widths=(8, 16), features=16, blocks=1, heads=2)
    >>> network = member.build([(19, 200)], n_classes=6)
    >>> sum(parameter.numel() for parameter in network.parameters())
    7560
    """

    name: str
    view: str = "raw_eeg"
    """Name of the view that the network reads: signals, or images of which each channel is a spectrogram."""
    widths: tuple[int, ...] = (16, 24, 32, 48, 64, 96)
    """Number of feature maps per residual block of the encoder; each block halves the length."""
    kernel: int = 5
    """Length of the convolution kernels, an odd number."""
    features: int = 128
    """Number of features per channel after the encoder."""
    between: Between = "attention"
    """How channels exchange information: by attention, or by a bidirectional recurrent network over their order."""
    blocks: int = 2
    """Number of attention blocks, or of recurrent layers; 0 pools the channels directly."""
    heads: int = 4
    """Number of attention heads."""
    separate: tuple[int, ...] = ()
    """Channels that get an encoder of their own because they are not EEG: 18 is the EKG of raw_eeg."""
    drop_rate: float = 0.1
    """Dropout rate in the encoder, in the attention and before the classifier."""
    family: str = "eeg"
    """Group of similar members, within which combiners can tie weights."""

    def __post_init__(self) -> None:
        check_name(self.name)
        require(bool(self.widths) and min(self.widths) > 0, f"widths must be positive numbers, got {list(self.widths)}")
        require(self.kernel > 0 and self.kernel % 2 == 1, f"kernel must be an odd length, got {self.kernel}")
        require(self.blocks >= 0, f"blocks must not be negative, got {self.blocks}")
        require(
            self.features > 0 and self.heads > 0 and self.features % (2 * self.heads) == 0,
            f"features must be a multiple of twice the heads, got {self.features} and {self.heads} heads",
        )
        require(0 <= self.drop_rate < 1, f"drop_rate must be in [0, 1), got {self.drop_rate}")

    @classmethod
    def example(cls) -> EegMember:
        recipe = Recipe(epochs=2, batch_size=8)
        return cls("eeg", view="signal", widths=(4, 8), features=8, blocks=1, heads=2, recipe=recipe)

    def build(self, shapes: Sequence[InputShape], n_classes: int) -> Network:
        """A fresh network for rows of this one shape, initialised from torch's global generator.

        Raises MemberError for rows that the encoder would halve to nothing, and for separate channels that do not
        exist.
        """
        from foldstill.base_models.eeg import EegBody, NodeEncoder
        from foldstill.base_models.heads import Head
        from foldstill.base_models.networks import Network
        from foldstill.base_models.nodes import Exchange, SoftmaxPool

        in_channels, size = self.channels_and_size(shapes)
        self._check_shape(in_channels, size)

        def encoder() -> NodeEncoder:
            return NodeEncoder(self.widths, self.kernel, self.features, self.drop_rate, images=len(size) == 2)

        body = EegBody(
            in_channels,
            self.separate,
            (encoder(), encoder() if self.separate else None),
            Exchange(in_channels, self.features, self.blocks, self.heads, self.drop_rate, self.between),
            SoftmaxPool(self.features),
            Head(self.features, n_classes, self.temperature, self.drop_rate),
        )
        return Network(body, in_channels)

    def _check_shape(self, in_channels: int, size: tuple[int, ...]) -> None:
        if min(size) < 2 ** len(self.widths):
            lengths = f"{size[0]} samples" if len(size) == 1 else f"images of {' x '.join(map(str, size))}"
            raise MemberError(
                f"member {self.name!r} halves its input {len(self.widths)} times, the view {self.view!r} has "
                f"{lengths}: give it fewer widths"
            )
        outside = [e for e in self.separate if not 0 <= e < in_channels]
        if outside or len(set(self.separate)) == in_channels:
            raise MemberError(
                f"member {self.name!r}: separate names the channels {list(self.separate)}, the view {self.view!r} has "
                f"{in_channels} channels from 0: name some of them, not all"
            )
