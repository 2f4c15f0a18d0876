import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import foldstill.data.folder as folder_module
import foldstill.data.image_cache as image_cache_module
from foldstill.data.array_cache import release_pages
from foldstill.data.dataset import content_of
from foldstill.data.features import view_digest
from foldstill.data.folder import FolderData
from foldstill.data.image_cache import sums_of
from foldstill.data.images import ImageReader
from foldstill.digests import digest
from foldstill.errors import DataError, FileError, FoldstillWarning
from foldstill.workers import Progress, Work
from made_up import held_by_another_thread

DATA = FolderData(path="images", size=8)
ONE = Work(workers=1)


@pytest.fixture
def root(tmp_path, rng) -> Path:
    for number in range(12):
        path = tmp_path / "images" / ("cat" if number % 2 else "dog") / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (10, 12, 3), dtype=np.uint8)).save(path)
    return tmp_path


def folder_of(root: Path) -> Path:
    (folder,) = (root / "image-cache").iterdir()
    return folder


@pytest.fixture
def read(monkeypatch) -> list[str]:
    """Names of the images that were read, in this process."""
    names: list[str] = []
    real = ImageReader.read

    def noted(self: ImageReader, source: Path | bytes, name: str):
        names.append(Path(name).name)
        return real(self, source, name)

    monkeypatch.setattr(ImageReader, "read", noted)
    return names


def test_images_are_read_once_and_then_mapped(root, read):
    assert not DATA.is_prepared(root)
    assert DATA.prepare(root, ONE).startswith("12 images of 8 x 8 x 3 are in ")
    assert DATA.is_prepared(root)
    assert len(read) == 12
    images = DATA.load(root).view("image")
    assert len(read) == 12
    assert isinstance(images, np.memmap)
    with Image.open(root / "images" / "cat" / "03.png") as image:
        expected = np.asarray(image.resize((8, 8), Image.Resampling.BILINEAR))
    assert (images[DATA.load(root).labels.ids.tolist().index("cat/03.png")] == expected).all()
    assert view_digest(images) == digest(np.array(images))


def test_an_image_that_changed_is_read_again_and_other_settings_have_a_folder_of_their_own(root, read):
    before = np.array(DATA.load(root).view("image"))
    Image.new("RGB", (10, 12), (255, 0, 0)).save(root / "images" / "cat" / "01.png")
    notes = []
    DATA.prepare(root, replace(ONE, report=lambda progress: notes.append(progress.note)))
    assert set(notes) == {"12 images, which have changed"}
    after = DATA.load(root).view("image")
    assert (after != before).any(axis=(1, 2, 3)).tolist() == [True] + [False] * 11
    assert (after[0] == (255, 0, 0)).all()
    (root / "images" / "cat" / "03.png").unlink()
    assert len(DATA.load(root).view("image")) == 11
    assert len(read) == 12 + 12 + 11
    for other in (replace(DATA, size=6), replace(DATA, color="gray"), replace(DATA, depth=16)):
        assert not other.is_prepared(root)
        assert other.load(root).view("image").shape[1:] != (8, 8, 3) or other.depth == 16
    assert len(list((root / "image-cache").iterdir())) == 4
    assert DATA.is_prepared(root)


def test_force_reads_again_what_is_there(root, read):
    DATA.load(root)
    DATA.prepare(root, replace(ONE, force=True))
    assert len(read) == 24


def test_a_stopped_preparation_goes_on_where_it_was(root, read, monkeypatch):
    monkeypatch.setattr(folder_module, "PART_ROWS", 2)
    whole = np.array(replace(DATA, cache="whole").load(root).view("image"))
    read.clear()

    def stop(progress: Progress) -> None:
        if progress.done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DATA.prepare(root, replace(ONE, report=stop))
    assert not DATA.is_prepared(root)
    assert len(read) == 6
    assert (DATA.load(root).view("image") == whole).all()
    assert len(read) == len(set(read)) == 12
    assert sorted(path.name for path in folder_of(root).iterdir()) == [
        "image.json",
        "image.npy",
        "image_content.json",
        "image_content.npy",
        "image_sums.json",
        "image_sums.npy",
    ]


def test_a_stopped_preparation_of_images_that_changed_begins_again(root, read, monkeypatch):
    monkeypatch.setattr(folder_module, "PART_ROWS", 2)

    def stop(progress: Progress) -> None:
        if progress.done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        DATA.prepare(root, replace(ONE, report=stop))
    Image.new("RGB", (10, 12), (255, 0, 0)).save(root / "images" / "cat" / "01.png")
    assert (DATA.load(root).view("image")[0] == (255, 0, 0)).all()
    assert len(read) == 6 + 12


def test_processes_make_the_same_bytes_as_one(root, monkeypatch):
    monkeypatch.setattr(folder_module, "PART_ROWS", 2)
    monkeypatch.setattr(image_cache_module, "PARTS_PER_PROCESS", 1)
    for workers in (1, 2):
        replace(DATA, cache=f"by-{workers}").prepare(root, Work(workers=workers))
    one, two = ({path.name: path.read_bytes() for path in root.glob(f"by-{n}/*/*")} for n in (1, 2))
    assert one == two
    assert len(one) == 6


def test_a_folder_has_one_writer(root):
    DATA.load(root)
    folder = folder_of(root)
    with held_by_another_thread(folder):
        DATA.load(root)
        with pytest.raises(FileError, match="is being written by process"):
            DATA.prepare(root, replace(ONE, force=True))


def test_a_damaged_array_is_refused_and_can_be_made_again(root):
    DATA.load(root)
    array = folder_of(root) / "image.npy"
    whole = array.read_bytes()
    array.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DataError, match=r"image\.npy must have the checksum \w+ of its sidecar.*force it to be made"):
        DATA.load(root)
    DATA.prepare(root, replace(ONE, force=True))
    assert array.read_bytes() == whole


def test_images_that_cannot_be_read_are_counted_and_nothing_is_left(root):
    for name in ("cat/01.png", "dog/04.png"):
        (root / "images" / name).write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"2 of 12 images cannot be used; first: .*01.png cannot be read as an image"):
        DATA.load(root)
    assert not (root / "image-cache").exists()


def test_the_sidecar_has_sums_of_every_row_and_channel(root):
    images = DATA.load(root).view("image").astype(np.int64)
    sums = np.load(folder_of(root) / "image_sums.npy")
    assert (sums[..., 0] == images.sum(axis=(1, 2))).all()
    assert (sums[..., 1] == (images**2).sum(axis=(1, 2))).all()
    bright = np.full((300, 300, 2), 65535, np.uint16)
    assert sums_of(bright).tolist() == [[65535 * 90000, 65535**2 * 90000]] * 2


def test_contents_are_compared_without_a_look_at_the_images(root):
    Image.open(root / "images" / "cat" / "01.png").save(root / "images" / "dog" / "copy.png", optimize=True)
    data = replace(DATA, group="content")
    dataset = data.load(root)
    named = dict(zip(dataset.labels.ids.tolist(), dataset.labels.groups.tolist(), strict=True))
    assert named["dog/copy.png"] == named["cat/01.png"] == "cat/01.png"
    assert len(set(named.values())) == 12
    images, rows = dataset.view("image"), np.array([12, 0, 3])
    assert content_of(images).tolist() == content_of(np.array(images)).tolist()
    assert content_of(images, rows).tolist() == content_of(np.array(images)[rows]).tolist()
    assert content_of(images[1:]).tolist() == content_of(images).tolist()[1:]


def test_pages_of_a_map_leave_the_memory_and_come_back(root):
    images = DATA.load(root).view("image")
    before = np.array(images)
    release_pages(images)
    assert (images == before).all()
    release_pages(before)
    release_pages(images[2:])


def test_a_large_jpeg_is_decoded_at_a_smaller_size(tmp_path, rng):
    coarse = Image.fromarray(rng.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    coarse.resize((1600, 1200), Image.Resampling.BICUBIC).save(tmp_path / "large.jpg", quality=95)
    for height, width in ((60, 80), (150, 200)):
        values, _ = ImageReader((height, width), "rgb", 8).read(tmp_path / "large.jpg", "large.jpg")
        with Image.open(tmp_path / "large.jpg") as image:
            expected = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(values - expected).mean() < 0.5
        assert np.abs(values - expected).max() <= 4


def test_new_images_leave_no_file(root, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(root / "temporary"))
    (root / "temporary").mkdir()
    inputs = DATA.inputs(root / "images")
    assert list((root / "temporary").iterdir()) == []
    assert inputs.ids.tolist()[0] == "cat/01.png"
    assert (inputs.views["image"] == DATA.load(root).view("image")).all()


def test_the_journal_of_other_images_counts_as_none(root):
    DATA.load(root)
    folder = folder_of(root)
    sidecar = json.loads((folder / "image.json").read_text())
    assert sidecar["made_from"]["reader"]["height_width"] == [8, 8]
    (folder / "image.json").unlink()
    (folder / "progress.jsonl").write_bytes(b"\xff")
    assert not DATA.is_prepared(root)
    assert len(DATA.load(root).view("image")) == 12


KILLED = """
import os, signal, sys
from pathlib import Path
import foldstill.data.folder as module
from foldstill.data.folder import FolderData
from foldstill.workers import Work

def kill(progress):
    if progress.done >= 6:
        os.kill(os.getpid(), signal.SIGKILL)

module.PART_ROWS = 2
FolderData(path="images", size=8).prepare(Path(sys.argv[1]), Work(workers=1, report=kill))
"""


def test_a_killed_preparation_goes_on_to_the_same_bytes(root, read, monkeypatch):
    monkeypatch.setattr(folder_module, "PART_ROWS", 2)
    done = subprocess.run([sys.executable, "-c", KILLED, str(root)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert (folder_of(root) / ".lock").exists()
    with pytest.warns(FoldstillWarning, match="ended before it was done: going on from what it left"):
        DATA.prepare(root, ONE)
    assert len(read) == 6
    replace(DATA, cache="whole").prepare(root, ONE)
    killed, whole = ({p.name: p.read_bytes() for p in root.glob(f"{n}/*/*")} for n in ("image-cache", "whole"))
    assert killed == whole
