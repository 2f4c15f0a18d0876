"""Image files of every depth, orientation and color mode give the same pixels, or one sentence that names the file."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foldstill.data.folder import FolderData
from foldstill.errors import ArgumentError, DataError

RAMP = np.tile(np.linspace(0, 1, 40), (40, 1))
EIGHTH = [0, 52, 104, 157, 209]
"""Every eighth pixel of the ramp in 8 bits."""


def load(folder: Path, *names: str, **settings) -> np.ndarray:
    lines = [f"{name},{i % 2}" for i, name in enumerate(names)]
    (folder / "labels.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    data = FolderData(path=".", table="labels.csv", label="label", **({"size": 40} | settings))
    return data.load(folder).view("image")


def ramp_files(folder: Path) -> list[str]:
    """The same ramp, as people store it."""
    gray = np.rint(RAMP * 255).astype(np.uint8)
    deep = np.rint(RAMP * 65535).astype(np.uint16)
    Image.fromarray(gray).save(folder / "l8.png")
    Image.fromarray(np.stack([gray] * 3, axis=-1)).save(folder / "rgb.png")
    Image.fromarray(np.stack([gray] * 3 + [np.full_like(gray, 255)], axis=-1)).save(folder / "rgba.png")
    Image.fromarray(gray).convert("P").save(folder / "palette.png")
    Image.fromarray(deep).save(folder / "i16.png")
    Image.fromarray(deep).save(folder / "i16.tif")
    Image.fromarray(RAMP.astype(np.float32)).save(folder / "float.tif")
    Image.fromarray(65535 - deep).save(folder / "white_is_zero.tif", tiffinfo={262: 0})
    return sorted(path.name for path in folder.iterdir())


def test_the_same_picture_gives_the_same_pixels_whatever_its_depth(tmp_path):
    names = ramp_files(tmp_path)
    assert len(names) == 8
    for name, pixels in zip(names, load(tmp_path, *names), strict=True):
        assert np.abs(pixels[0, ::8, 0].astype(int) - EIGHTH).max() <= 1, name
    gray = load(tmp_path, *names, color="gray")
    assert np.abs(gray[:, 0, ::8, 0].astype(int) - EIGHTH).max() <= 1


def test_sixteen_bits_are_kept_where_they_are_asked_for(tmp_path):
    names = ramp_files(tmp_path)
    kept = load(tmp_path, *names, depth=16, color="gray")
    assert kept.dtype == np.uint16
    by_name = dict(zip(names, kept[:, 0, :, 0].astype(int), strict=True))
    exact = np.rint(RAMP[0] * 65535)
    assert (by_name["i16.png"] == exact).all()
    assert (by_name["i16.tif"] == exact).all()
    assert np.abs(by_name["white_is_zero.tif"] - exact).max() <= 1
    assert np.abs(by_name["float.tif"] - exact).max() <= 1
    assert (by_name["l8.png"] == 257 * np.rint(RAMP[0] * 255)).all()
    assert load(tmp_path, *names, depth=16).shape == (8, 40, 40, 3)


def test_resizing_does_not_change_the_range(tmp_path):
    names = ramp_files(tmp_path)
    small = load(tmp_path, *names, size=(10, 20))[:, 5, 2:-2].astype(int)
    assert np.abs(small - small[names.index("l8.png")]).max() <= 1


def test_photos_are_turned_as_their_orientation_says(tmp_path):
    upright = np.zeros((40, 80, 3), np.uint8)
    upright[:20, :40] = 255
    for orientation, stored in ((1, upright), (6, np.rot90(upright)), (3, np.rot90(upright, 2))):
        exif = Image.Exif()
        exif[274] = orientation
        for suffix in ("png", "tif"):
            Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / f"{orientation}.{suffix}", exif=exif)
    deep = Image.fromarray(np.rot90(upright[..., 0].astype(np.uint16) * 257).copy())
    deep.save(tmp_path / "deep.png", exif=exif_of(6))
    names = ["1.png", "6.png", "3.png", "1.tif", "6.tif", "3.tif", "deep.png"]
    for name, pixels in zip(names, load(tmp_path, *names, size=(40, 80)), strict=True):
        assert (pixels == upright).all(), name


def exif_of(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


@pytest.mark.parametrize(("background", "expected"), [("black", 100), ("white", 227), ("#0000ff", 100)])
def test_transparency_is_laid_over_the_named_color(tmp_path, background, expected):
    half = np.full((40, 40, 4), (200, 200, 200, 128), np.uint8)
    Image.fromarray(half).save(tmp_path / "rgba.png")
    Image.fromarray(half[..., 2:]).save(tmp_path / "la.png")
    for pixels in load(tmp_path, "rgba.png", "la.png", background=background):
        assert abs(int(pixels[0, 0, 0]) - expected) <= 1
    palette = Image.fromarray(np.zeros((40, 40), np.uint8)).convert("P")
    palette.save(tmp_path / "hole.png", transparency=0)
    (hole,) = load(tmp_path, "hole.png", "rgba.png", background=background)[:1]
    assert tuple(hole[0, 0]) == {"black": (0, 0, 0), "white": (255, 255, 255), "#0000ff": (0, 0, 255)}[background]


def test_a_white_of_twelve_bits_is_hinted_at_and_can_be_named(tmp_path):
    for name in ("a.png", "b.png"):
        Image.fromarray(np.rint(RAMP * 4095).astype(np.uint16)).save(tmp_path / name)
    with pytest.warns(UserWarning, match=r"brightest pixel of 2 images .* is 0.062 of white: .*set data.white"):
        load(tmp_path, "a.png", "b.png")
    named = load(tmp_path, "a.png", "b.png", white=4095)
    assert np.abs(named[0, 0, ::8, 0].astype(int) - EIGHTH).max() <= 1
    Image.fromarray((RAMP * 255).astype(np.float32)).save(tmp_path / "f.tif")
    Image.fromarray(np.rint(RAMP * 255).astype(np.int32)).save(tmp_path / "i32.tif")
    named = load(tmp_path, "f.tif", "i32.tif", white=255)
    assert np.abs(named[:, 0, ::8, 0].astype(int) - EIGHTH).max() <= 1


def save_broken(folder: Path, name: str) -> None:
    path = folder / name
    gray = Image.fromarray(np.rint(RAMP * 255).astype(np.uint8))
    if name == "float_to_255.tif":
        Image.fromarray((RAMP * 255).astype(np.float32)).save(path)
    elif name == "nan.tif":
        Image.fromarray(np.where(RAMP > 0.5, np.nan, 0).astype(np.float32)).save(path)
    elif name == "int32.tif":
        Image.fromarray(np.rint(RAMP * 255).astype(np.int32)).save(path)
    elif name == "two_pages.tif":
        gray.save(path, save_all=True, append_images=[gray])
    elif name == "moving.webp":
        other = Image.fromarray(np.rint((1 - RAMP) * 255).astype(np.uint8))
        gray.save(path, save_all=True, append_images=[other])
    elif name == "bomb.png":
        Image.new("1", (20000, 10000)).save(path)
    elif name in ("cut.png", "cut.jpg"):
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif name == "empty.png":
        path.write_bytes(b"")
    elif name == "noise.png":
        path.write_bytes(np.random.default_rng(0).integers(0, 256, 500, dtype=np.uint8).tobytes())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("float_to_255.tif", r"from 0 \(black\) to 1 \(white\), got 0 to 255: set data.white"),
        ("nan.tif", r"got nan to nan"),
        ("int32.tif", r"integers, whose value of white is not known: set data.white"),
        ("two_pages.tif", r"it holds 2 images"),
        ("moving.webp", r"it holds 2 images"),
        ("bomb.png", r"has more than 178,956,970 pixels"),
        ("cut.png", r"cannot be read as an image \(.*\): replace the file or drop its row"),
        ("cut.jpg", r"cannot be read as an image \(.*\): replace the file or drop its row"),
        ("empty.png", r"cannot be read as an image"),
        ("noise.png", r"cannot be read as an image"),
    ],
)
def test_what_cannot_be_known_is_refused_with_the_name_of_the_file(tmp_path, name, message):
    Image.new("L", (40, 40)).save(tmp_path / "good.png")
    save_broken(tmp_path, name)
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path, "good.png", name)
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_file_never_raises_anything_else(tmp_path):
    """Bytes of every form are changed and cut at random."""
    rng = np.random.default_rng(0)
    names = ramp_files(tmp_path)
    Image.fromarray(np.rint(RAMP * 255).astype(np.uint8)).save(tmp_path / "photo.jpg", exif=exif_of(6))
    for name in [*names, "photo.jpg"]:
        whole = (tmp_path / name).read_bytes()
        for _ in range(30):
            bad = bytearray(whole[: rng.integers(len(whole)) or None])
            for at in rng.integers(0, max(len(bad), 1), 8):
                bad[at : at + 1] = rng.bytes(1)
            (tmp_path / f"bad-{name}").write_bytes(bad)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    load(tmp_path, f"bad-{name}", names[0])
            except DataError as error:
                assert f"bad-{name}" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"background": "blackish"}, r'data.background must be a color such as "black"'),
        ({"depth": 12}, r"depth of FolderData must be one of 8, 16, got 12"),
        ({"white": -1.0}, r"data.white must be a positive number"),
        ({"white": 4095.0}, r"data.white = 4095 has no effect"),
    ],
)
def test_settings_of_pixels_are_obeyed_or_refused(tmp_path, settings, message):
    for name in ("a.png", "b.png"):
        Image.new("L", (40, 40)).save(tmp_path / name)
    with pytest.raises((DataError, ArgumentError), match=message):
        load(tmp_path, "a.png", "b.png", **settings)
