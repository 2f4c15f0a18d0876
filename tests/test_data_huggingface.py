import io

import numpy as np
import pytest
from PIL import Image

from foldstill import from_huggingface
from foldstill.data.images import ImageReader
from foldstill.errors import DataError

datasets = pytest.importorskip("datasets")


def png(shade: int) -> bytes:
    with io.BytesIO() as stream:
        Image.new("RGB", (6, 4), (shade, 0, 0)).save(stream, "PNG")
        return stream.getvalue()


@pytest.fixture
def dataset():
    columns = {
        "img": [{"bytes": png(10 * n), "path": None} for n in range(6)],
        "label": [n % 2 for n in range(6)],
        "patient": [f"p{n // 2}" for n in range(6)],
        "cat": [1, 2, 3, 4, 5, 6],
        "dog": [0, 1, 0, 1, 0, 1],
    }
    features = datasets.Features(
        img=datasets.Image(),
        label=datasets.ClassLabel(names=["cat", "dog"]),
        patient=datasets.Value("string"),
        cat=datasets.Value("int64"),
        dog=datasets.Value("int64"),
    )
    return datasets.Dataset.from_dict(columns, features=features)


def test_class_labels_become_class_names(dataset):
    made = from_huggingface(dataset, image="img", label="label", group="patient", size=4)
    assert made.labels.classes == ("cat", "dog")
    assert made.labels.votes_NC[:2].tolist() == [[1, 0], [0, 1]]
    assert made.labels.groups.tolist() == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert made.view("image")[:, 0, 0, 0].tolist() == [10 * n for n in range(6)]
    part = from_huggingface(dataset.select([4, 1]), image="img", label="label", size=4)
    assert part.view("image")[:, 0, 0, 0].tolist() == [40, 10]


def test_votes_and_files_on_the_disk_are_read(dataset, tmp_path):
    (tmp_path / "a.png").write_bytes(png(77))
    files = datasets.Dataset.from_dict({"image": [str(tmp_path / "a.png")] * 2, "cat": [1, 2], "dog": [3, 4]})
    made = from_huggingface(files.cast_column("image", datasets.Image()), votes=("cat", "dog"), size=4)
    assert made.labels.votes_NC.tolist() == [[1, 3], [2, 4]]
    assert np.unique(made.view("image")[..., 0]).tolist() == [77]


def test_a_cache_is_used_by_the_next_call(dataset, tmp_path, monkeypatch):
    first = from_huggingface(dataset, image="img", label="label", size=4, cache=tmp_path / "kept")
    monkeypatch.setattr(ImageReader, "read", None)
    again = from_huggingface(dataset, image="img", label="label", size=4, cache=str(tmp_path / "kept"))
    assert again.digest == first.digest


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (lambda d: d, {"image": "image"}, "has no images in 'image', its columns are"),
        (lambda d: d, {"image": "label"}, "has no images in 'label'"),
        (lambda d: d, {"label": "class"}, "has no 'class' .for label., it has"),
        (lambda d: datasets.DatasetDict(train=d), {}, r"wants one split .* got DatasetDict: .*dataset\[.train.\]"),
        (lambda d: d, {"label": ""}, "must name one of votes, shares, annotators, heads or label"),
    ],
)
def test_mistakes_are_one_sentence(dataset, change, settings, message):
    with pytest.raises(DataError, match=message):
        from_huggingface(change(dataset), **({"image": "img", "label": "label", "size": 4} | settings))
