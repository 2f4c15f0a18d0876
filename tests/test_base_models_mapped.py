"""Views that are memory maps of a cache are scaled by the sums in it, and their pages do not stay in memory."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import foldstill.base_models.inputs as inputs_module
import foldstill.base_models.mapped_view as mapped_view
from foldstill.base_models.inputs import DeviceInputs
from foldstill.data.folder import FolderData

N = 12


@pytest.fixture(params=[8, 16])
def images(request, tmp_path: Path, rng: np.random.Generator) -> np.ndarray:
    for number in range(N):
        path = tmp_path / "images" / ("cat" if number % 2 else "dog") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 20 * number + 10, (9, 7, 3), dtype=np.uint8)
        pixels[..., 1] = 7
        Image.fromarray(pixels).save(path)
    return FolderData(path="images", size=(9, 7), depth=request.param).load(tmp_path).view("image")


def test_the_scaling_from_stored_sums_is_that_of_the_pixels_of_these_rows_alone(images):
    for rows in (np.arange(N), np.array([5, 2, 9]), np.array([0])):
        mean_C, std_C = DeviceInputs(images).scaling(rows)
        pixels = images[rows].astype(np.float64)
        np.testing.assert_array_equal(mean_C.numpy(), pixels.mean(axis=(0, 1, 2)).astype(np.float32))
        expected = pixels.std(axis=(0, 1, 2))
        np.testing.assert_allclose(std_C.numpy(), np.where(expected > 0, expected, 1), rtol=1e-6)
        in_memory = DeviceInputs(np.array(images)).scaling(rows)
        torch.testing.assert_close((mean_C, std_C), in_memory, rtol=1e-6, atol=0)


def test_pixels_are_not_read_for_the_scaling(images, monkeypatch):
    monkeypatch.setattr(inputs_module, "channel_scaling", None)
    assert DeviceInputs(images).scaling(np.arange(N))[0].shape == (3,)


def test_a_part_of_a_map_is_scaled_by_its_own_pixels(images):
    mean_C, _ = DeviceInputs(images[3:]).scaling(np.arange(4))
    np.testing.assert_allclose(mean_C.numpy(), images[3:7].mean(axis=(0, 1, 2)), rtol=1e-6)


def test_images_of_16_bits_become_floats_in_a_batch_and_not_before(images):
    inputs = DeviceInputs(images)
    assert np.shares_memory(inputs._data.numpy(), images)
    (batch,) = inputs.batches([torch.tensor([11, 2])])
    expected = images[[11, 2]].transpose(0, 3, 1, 2)
    assert batch.dtype == (torch.uint8 if images.dtype == np.uint8 else torch.float32)
    assert (batch.numpy() == expected).all()
    bright = DeviceInputs(np.full((2, 3, 3, 1), 65535, np.uint16))
    assert [batch.unique().tolist() for batch in bright.batches([torch.tensor([0])])] == [[65535.0]]


def test_batches_are_the_same_when_pages_are_released_after_each(images, monkeypatch):
    released = []
    monkeypatch.setattr(mapped_view, "KEPT_BYTES", 0)
    monkeypatch.setattr(mapped_view, "release_pages", lambda array: released.append(len(array)))
    rows = [torch.tensor([3, 1]), torch.tensor([0, 11])]
    batches = list(DeviceInputs(images).batches(rows))
    assert released == [N, N]
    for rows_B, batch in zip(rows, batches, strict=True):
        assert (batch.numpy() == images[rows_B.numpy()].transpose(0, 3, 1, 2)).all()
