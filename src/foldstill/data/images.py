"""Image files as arrays of one size, one range and the same channels, whatever their depth and color mode.

N images, H x W image.
"""

import math
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from foldstill.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as OpenImage

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
"""Suffixes of the files that are read as images from a folder without a table."""

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
"""Tags of a TIFF file: the depth, whether 0 is white, and whether values are unsigned, signed or float."""

_DAMAGED = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, struct.error, OverflowError)
"""What decoders raise in a damaged file."""

ORIENTATION = 274
"""Tag of the EXIF orientation."""

_GAP = 2
"""How many times larger than wanted an image is decoded at least."""

_ROUNDING = 1e-6
"""How far a float pixel may lie outside 0 to 1."""

_DARK = 1 / 16
"""Images of 12 bits in files of 16 bits are at most this share of white."""


@dataclass(frozen=True)
class ImageReader:
    """Reads image files into one form.

    The full range of a file becomes the full range of the array: black is 0, and white is 255, or 65,535 for a depth of
    16. Float files must be in 0 to 1. Images are turned as their EXIF orientation says, and then scaled to one size.
    """

    height_width: tuple[int, int]
    color: Literal["rgb", "gray"]
    depth: Literal[8, 16]
    background: str = "black"
    """Color behind transparent pixels."""
    white: float = 0.0
    """Value of white in gray files of more than 8 bits; 0 takes the highest value of their depth, or 1 for floats."""

    def __post_init__(self) -> None:
        from PIL import ImageColor

        if min(self.height_width) < 1:
            raise DataError(f"data.size must be positive, got {self.height_width}: use for example 224 or (128, 256)")
        if self.depth not in (8, 16):
            raise DataError(f"data.depth must be 8 or 16 bits, got {self.depth!r}")
        if not 0 <= self.white < math.inf:
            raise DataError(f"data.white must be a positive number such as 4095, got {self.white}")
        try:
            ImageColor.getrgb(self.background)
        except ValueError:
            raise DataError(
                f'data.background must be a color such as "black" or "#808080", got {self.background!r}'
            ) from None

    @property
    def recipe(self) -> dict[str, Any]:
        """How a file becomes a row."""
        white = f", white {self.white:g} in gray files of more than 8 bits" if self.white else ""
        return {
            "size": list(self.height_width),
            "resampling": "bilinear, antialiased",
            "channels": "gray" if self.color == "gray" else "red, green, blue",
            "scaling": f"black 0, white {2**self.depth - 1}{white}",
            "orientation": "as EXIF says",
            "background": self.background,
        }

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image, (H, W, channels)."""
        return (*self.height_width, 3 if self.color == "rgb" else 1)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(f"uint{self.depth}")

    def read(self, source: Path | bytes, name: str) -> tuple[NDArray[Any], float | None]:
        """One image (H, W, channels) from a file or from its bytes, uint8 or uint16, and its brightness.

        The brightness is that of the brightest pixel as a share of white, in gray images of more than 8 bits; None in
        all others. Raises DataError with `name` for an image that is damaged, too large, or of a form whose range
        cannot be known.
        """
        with _opened(source, name) as image:
            values, brightness = self._pixels(image)
        return values.astype(self.dtype, copy=False), brightness

    def _pixels(self, image: "OpenImage") -> tuple[NDArray[Any], float | None]:
        """One image (H, W, channels), and its brightest pixel as a share of white if it is gray of more than 8 bits."""
        from PIL import Image, ImageOps

        # Reading the pixels drops the description of the file, so that comes first.
        white = _white(image, self.white)
        self._decode_small(image)
        if self.depth == 16 and white is None and ";16" in _raw_mode(image):
            raise DataError(
                "Pillow reads only 8 of the 16 bits of its color channels: set data.depth = 8, or save the images as "
                "uint16 in an .npz"
            )
        inverted = _tag(image, PHOTOMETRIC) == 0
        turned = ImageOps.exif_transpose(image)
        brightness = None
        if white is not None:
            unit_HW = _unit_range(turned, white)
            brightness = float(unit_HW.max())
            bands = [Image.fromarray(1 - unit_HW if inverted else unit_HW)]
        else:
            bands = list(_flattened(turned, self.background).convert("RGB" if self.color == "rgb" else "L").split())
            if self.depth == 16:
                bands = [Image.fromarray(np.asarray(band, np.float32) / np.float32(255)) for band in bands]
        height, width = self.height_width
        resized = [np.asarray(band.resize((width, height), Image.Resampling.BILINEAR)) for band in bands]
        pixels: NDArray[Any] = np.stack(resized, axis=-1)
        return pixels if pixels.dtype == np.uint8 else np.rint(pixels * np.float32(2**self.depth - 1)), brightness

    def _decode_small(self, image: "OpenImage") -> None:
        """Let a JPEG be decoded at 1/2, 1/4 or 1/8 of its size where that is still far more than is wanted.

        Half of the pixels per side that scaling averages are kept at least, as in `reducing_gap` of Pillow's `resize`.
        """
        if image.format not in ("JPEG", "MPO"):
            return
        height, width = (_GAP * side for side in self.height_width)
        turned = image.getexif().get(ORIENTATION, 1) > 4  # height and width change places
        image.draft(None, (height, width) if turned else (width, height))

    def check_white(self, n_deep: int, brightest: float) -> None:
        """Raises DataError for a white that no image needs, and warns of images that seem to need another.

        `n_deep` images are gray with more than 8 bits, and `brightest` is the brightness of the brightest of these.
        """
        if self.white and not n_deep:
            raise DataError(
                f"data.white = {self.white:g} has no effect, no image is gray with more than 8 bits: leave it out"
            )
        if n_deep and brightest <= _DARK:
            warnings.warn(
                f"the brightest pixel of {n_deep} images of more than 8 bits is {brightest:.2g} of white: "
                "if they hold fewer bits than the files say, set data.white to their value of white, such as 4095",
                stacklevel=2,
            )


@contextmanager
def _opened(source: Path | bytes, name: str) -> Iterator["OpenImage"]:
    """An open image; every error in the block becomes one that names it."""
    from PIL import Image, UnidentifiedImageError

    if not source:
        raise DataError(f"{name} has no bytes: store the bytes of its image file, or drop its row")
    try:
        with warnings.catch_warnings():
            # Pillow warns of images that are large, and refuses those of twice that size.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(BytesIO(source) if isinstance(source, bytes) else source) as image:
                yield image
    except Image.DecompressionBombError:
        raise DataError(
            f"{name} has more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,} pixels, which is too large to read: scale the "
            "image down or drop its row"
        ) from None
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except MemoryError:
        raise DataError(f"{name} does not fit into memory: scale the image down or drop its row") from None
    except _DAMAGED as error:
        unknown = isinstance(error, UnidentifiedImageError)
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = "its format is unknown" if unknown else reason
        raise DataError(f"{name} cannot be read as an image ({reason}): replace the file or drop its row") from error


def _white(image: "OpenImage", wanted: float) -> float | None:
    """The value of white in a gray image of more than 8 bits; None for up to 8 bits per channel, which Pillow scales.

    Raises DataError for a file of several images, and for one whose white is neither known nor `wanted`.
    """
    pages = getattr(image, "n_frames", 1)
    # A photo of some cameras (MPO) holds further views of the same picture.
    if pages > 1 and image.format != "MPO":
        raise DataError(f"it holds {pages} images, and one row is one image: save the wanted one as a file of its own")
    signed = _tag(image, SAMPLE_FORMAT) == 2
    if signed and image.mode == "L":
        raise DataError("its pixels are signed integers of 8 bits: save them unsigned, or as float from 0 to 1")
    if image.mode not in ("F", "I") and not image.mode.startswith("I;16"):
        return None
    if "transparency" in image.info:
        raise DataError("it has 16 bits and a transparent color: save it without transparency")
    if wanted or image.mode == "F":
        return wanted or 1.0
    # Older versions of Pillow open PNG files of 16 bits with the mode I.
    if signed or (image.mode == "I" and not _raw_mode(image).startswith("I;16")):
        raise DataError(
            f"its pixels are {'signed' if signed else '32-bit'} integers, whose value of white is not known: set "
            "data.white to it"
        )
    return float(2 ** (_tag(image, BITS_PER_SAMPLE) or 16) - 1)


def _unit_range(image: "OpenImage", white: float) -> NDArray[np.float32]:
    """The pixels (H, W) of a gray image as shares of white; raises DataError for values outside 0 to white."""
    values_HW = np.asarray(image)
    low, high = float(values_HW.min()), float(values_HW.max())
    # Written so that NaN is refused as well.
    if not -_ROUNDING * white <= low <= high <= (1 + _ROUNDING) * white:
        raise DataError(
            f"its pixels must be from 0 (black) to {white:g} (white), got {low:g} to {high:g}: set data.white to the "
            "value of white in all files"
        )
    unit_HW: NDArray[np.float32] = np.clip(values_HW.astype(np.float32) / np.float32(white), 0, 1)
    return unit_HW


def _flattened(image: "OpenImage", background: str) -> "OpenImage":
    """The image without transparency, laid over the background."""
    from PIL import Image

    if "transparency" not in image.info and image.mode not in ("RGBA", "LA", "PA", "RGBa", "La"):
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, background), image.convert("RGBA"))


def _raw_mode(image: "OpenImage") -> str:
    """How the file stores its pixels, such as `I;16B`."""
    for tile in getattr(image, "tile", ()):
        arguments = tile[3]
        return str(arguments if isinstance(arguments, str) else (arguments or ("",))[0])
    return ""


def _tag(image: "OpenImage", tag: int) -> Any:
    """The value of a TIFF tag, the first of several; None where there is none, or the file is no TIFF."""
    value = getattr(image, "tag_v2", {}).get(tag)
    return value[0] if isinstance(value, tuple) else value
