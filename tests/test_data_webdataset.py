import gzip
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foldstill.data.webdataset import WebDatasetData
from foldstill.errors import DataError
from made_up import refusals_of_damage


def png(shade: int) -> bytes:
    with io.BytesIO() as stream:
        Image.new("RGB", (6, 4), (shade, 0, 0)).save(stream, "PNG")
        return stream.getvalue()


def write(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def shard(start: int = 0, n: int = 4) -> dict[str, bytes]:
    return {
        f"{k:03d}.{extension}": content
        for k in range(start, start + n)
        for extension, content in {
            "png": png(10 * k),
            "cls": b"%d\n" % (k % 2),
            "json": json.dumps({"patient": k // 2, "cat": k, "dog": 3, "hard": "dog" if k % 2 else "cat"}).encode(),
        }.items()
    }


DATA = WebDatasetData(path="x.tar", label="cls", size=4)


def test_members_of_one_name_are_one_sample(tmp_path):
    write(tmp_path / "x.tar", shard())
    dataset = WebDatasetData(path="x.tar", label="cls", classes=("cat", "dog"), group="patient", size=4).load(tmp_path)
    assert dataset.labels.ids.tolist() == ["000", "001", "002", "003"]
    assert dataset.labels.votes_NC.tolist() == [[1, 0], [0, 1], [1, 0], [0, 1]]
    assert dataset.labels.groups.tolist() == ["0", "0", "1", "1"]
    assert dataset.view("image")[:, 0, 0, 0].tolist() == [0, 10, 20, 30]


def test_labels_are_members_of_text_or_keys_of_the_json(tmp_path):
    write(tmp_path / "x.tar", shard())
    votes = WebDatasetData(path="x.tar", votes=("cat", "dog"), size=4).load(tmp_path).labels
    assert votes.votes_NC.tolist() == [[0, 3], [1, 3], [2, 3], [3, 3]]
    assert WebDatasetData(path="x.tar", label="hard", size=4).load(tmp_path).labels.classes == ("cat", "dog")


def test_shards_of_a_folder_are_one_data_set(tmp_path):
    (tmp_path / "shards").mkdir()
    write(tmp_path / "shards" / "b.tar", shard(4))
    write(tmp_path / "shards" / "a.tar", {"./folder": b""} | shard())
    dataset = WebDatasetData(path="shards", label="cls", size=4).load(tmp_path)
    assert dataset.labels.ids.tolist() == [f"{k:03d}" for k in range(8)]
    assert dataset.view("image")[:, 0, 0, 0].tolist() == [10 * k for k in range(8)]


def test_the_headers_of_prepared_shards_are_read_once_per_command(tmp_path, monkeypatch):
    write(tmp_path / "x.tar", shard())
    DATA.prepare(tmp_path)
    opened = []
    monkeypatch.setattr(tarfile, "open", lambda path, mode, open=tarfile.open: opened.append(path) or open(path, mode))
    assert DATA.is_prepared(tmp_path)
    assert opened == []
    assert len(DATA.load(tmp_path).labels) == 4
    assert opened == [tmp_path / "x.tar"]


def test_folders_inside_a_shard_belong_to_the_name_of_a_sample(tmp_path):
    write(tmp_path / "x.tar", {"a/1.png": png(1), "a/1.cls": b"0", "b/1.png": png(2), "b/1.cls": b"1"})
    assert DATA.load(tmp_path).labels.ids.tolist() == ["a/1", "b/1"]


class Trap:
    """Ends the test when somebody unpickles it."""

    def __reduce__(self):
        return pytest.fail, ("a member was unpickled",)


def test_pickles_are_never_opened(tmp_path):
    members = shard(n=2) | {"000.pyd": pickle.dumps(Trap()), "001.pickle": pickle.dumps(Trap())}
    write(tmp_path / "x.tar", members)
    assert len(DATA.load(tmp_path).labels) == 2
    for extension in ("pyd", "pickle"):
        with pytest.raises(DataError, match=rf"members \.{extension} can hold pickled Python objects, .*never opened"):
            WebDatasetData(path="x.tar", label=extension, size=4).load(tmp_path)


def test_new_samples_need_no_labels(tmp_path):
    write(tmp_path / "new.tar", {"a.jpg": png(1), "b.PNG": png(2)})
    inputs = DATA.inputs(tmp_path / "new.tar")
    assert inputs.ids.tolist() == ["a", "b"]
    assert inputs.views["image"][:, 0, 0, 0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("members", "settings", "message"),
    [
        ({"004.png": png(4)}, {}, r"the sample '004' of .*x.tar has no 'cls', it has \['png'\]: name another"),
        ({"004.cls": b"1"}, {}, r"the sample '004' of .* must have one image, it has the members \['cls'\]: remove"),
        ({"000.jpg": png(4)}, {}, r"sample '000' .* must have one image, .*\['cls', 'jpg', 'json', 'png'\]: name one"),
        ({}, {"image": "jpg"}, r"the sample '000' of .* must have one image"),
        ({"004.png": b"x" * 90, "004.cls": b"1"}, {}, r"004.png in .*x.tar cannot be read as an image \(its format"),
        ({"004.png": b"", "004.cls": b"1"}, {}, r"004.png in .*x.tar has no bytes"),
        ({"004.png": png(4), "004.cls": b"\xff\xfe"}, {}, r"004.cls in .*x.tar is no text"),
        ({"004.png": png(4), "004.json": b"{"}, {"label": "hard"}, r"004.json in .*x.tar is no JSON"),
        ({"004.png": png(4), "004.json": b'{"hard": [1]}'}, {"label": "hard"}, r"'hard' .* must be one number or text"),
        ({"./000.cls": b"1"}, {}, r"x.tar holds the member ./000.cls twice"),
    ],
)
def test_what_is_missing_or_damaged_is_refused_with_the_name_of_the_sample(tmp_path, members, settings, message):
    write(tmp_path / "x.tar", shard() | members)
    with pytest.raises(DataError, match=message) as error:
        WebDatasetData(**({"path": "x.tar", "label": "cls", "size": 4} | settings)).load(tmp_path)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar"]


def test_paths_without_shards_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    write(tmp_path / "empty.tar", {})
    (tmp_path / "x.tar").write_bytes(gzip.compress(b"x" * 5000))
    (tmp_path / "two").mkdir()
    for name in ("a", "b"):
        write(tmp_path / "two" / f"{name}.tar", shard(n=1))
    messages = {
        "none": "no tar file in .*none",
        "y.tar": "no file .*y.tar",
        "x.tar": "x.tar is not a tar file without compression",
        "empty.tar": "holds no sample",
        "two": r"the sample '000' is in .*a.tar and again in .*b.tar",
    }
    for path, message in messages.items():
        with pytest.raises(DataError, match=message):
            WebDatasetData(path=path, label="cls").load(tmp_path)
    with pytest.raises(DataError, match="must name tar files"):
        WebDatasetData(path="", label="cls")


def test_the_image_is_chosen_where_a_sample_has_several(tmp_path):
    write(
        tmp_path / "x.tar",
        {"a.input.png": png(1), "a.mask.png": png(2), "a.cls": b"0", "b.input.png": png(3)}
        | {
            "b.mask.png": png(4),
            "b.cls": b"1",
        },
    )
    chosen = WebDatasetData(path="x.tar", label="cls", image="mask.png", size=4).load(tmp_path)
    assert np.asarray(chosen.view("image"))[:, 0, 0, 0].tolist() == [2, 4]


def test_a_damaged_shard_never_raises_anything_else(tmp_path):
    write(tmp_path / "x.tar", shard())
    assert refusals_of_damage(tmp_path / "x.tar", lambda: DATA.load(tmp_path), changes=12) > 10
