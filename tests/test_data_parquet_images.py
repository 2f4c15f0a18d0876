import json
from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import foldstill.data.parquet_images as module
from foldstill.data.parquet_images import ParquetImagesData
from foldstill.errors import DataError
from made_up import refusals_of_damage

N = 10


def encoded(shade: int) -> bytes:
    with BytesIO() as stream:
        Image.new("RGB", (6, 4), (shade, shade // 2, 0)).save(stream, "PNG")
        return stream.getvalue()


def table(*, start: int = 0, structure: bool = True, **columns) -> pa.Table:
    images = [encoded(20 * n) for n in range(N)]
    values = [{"bytes": image, "path": None} for image in images] if structure else images
    usual = {
        "image": values,
        "label": [n % 2 for n in range(N)],
        "name": [f"{start + n:03d}" for n in range(N)],
        "patient": [n // 2 for n in range(N)],
    }
    return pa.table(usual | columns)


def of_hugging_face(content: pa.Table) -> pa.Table:
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    return content.replace_schema_metadata({"huggingface": json.dumps(features)})


@pytest.mark.parametrize("structure", [True, False])
def test_bytes_and_the_structure_of_hugging_face_give_the_same_images(tmp_path, structure):
    pq.write_table(table(structure=structure), tmp_path / "x.parquet", row_group_size=3)
    dataset = ParquetImagesData(path="x.parquet", label="label", size=4, id="name", group="patient").load(tmp_path)
    assert dataset.view("image")[:, 0, 0].tolist() == [[20 * n, 10 * n, 0] for n in range(N)]
    assert dataset.labels.ids.tolist() == [f"{n:03d}" for n in range(N)]
    assert dataset.labels.groups.tolist() == [str(n // 2) for n in range(N)]
    assert dataset.labels.classes == ("0", "1")


def test_class_names_of_hugging_face_are_used_and_can_be_replaced(tmp_path):
    pq.write_table(of_hugging_face(table()), tmp_path / "x.parquet")
    data = ParquetImagesData(path="x.parquet", label="label", size=4)
    assert data.load(tmp_path).labels.classes == ("cat", "dog")
    assert data.load(tmp_path).labels.votes_NC[:2].tolist() == [[1, 0], [0, 1]]
    other = ParquetImagesData(path="x.parquet", label="label", size=4, classes=("left", "right"))
    assert other.load(tmp_path).labels.classes == ("left", "right")


def test_the_files_of_a_folder_are_one_data_set_in_the_order_of_their_names(tmp_path):
    (tmp_path / "shards").mkdir()
    pq.write_table(table(start=N), tmp_path / "shards" / "b.parquet", row_group_size=4)
    pq.write_table(table(), tmp_path / "shards" / "a.parquet", row_group_size=3)
    (tmp_path / "shards" / "readme.txt").write_text("no parquet file")
    dataset = ParquetImagesData(path="shards", label="label", id="name", size=4).load(tmp_path)
    assert dataset.labels.ids.tolist() == [f"{n:03d}" for n in range(2 * N)]
    assert dataset.view("image")[:, 0, 0, 0].tolist() == 2 * [20 * n for n in range(N)]


def test_a_row_group_larger_than_a_part_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "GROUP_ROWS", 3)
    monkeypatch.setattr(module, "BATCH_ROWS", 2)
    pq.write_table(table(), tmp_path / "x.parquet")
    data = ParquetImagesData(path="x.parquet", label="label", size=4)
    images, _ = data._labelled(tmp_path)
    assert [len(rows) for rows, _ in images.parts()] == [3, 3, 3, 1]
    assert data.load(tmp_path).view("image")[:, 0, 0, 0].tolist() == [20 * n for n in range(N)]


def test_new_files_need_no_labels_and_no_ids(tmp_path):
    pq.write_table(table().select(["image"]), tmp_path / "new.parquet")
    inputs = ParquetImagesData(path="x.parquet", label="label", size=4, id="name").inputs(tmp_path / "new.parquet")
    assert inputs.ids.tolist() == [str(n) for n in range(N)]
    assert inputs.views["image"].shape == (N, 4, 4, 3)


@pytest.mark.parametrize(
    ("columns", "settings", "message"),
    [
        ({}, {"image": "picture"}, r"has no column 'picture' \(for image\), it has \['image', 'label'"),
        ({}, {"image": "label"}, r"'label' in .* must hold the bytes of image files, .*got int64"),
        ({}, {"label": "class"}, r"has no 'class' \(for label\), it has \['label', 'name', 'patient'\]"),
        ({"image": [b"x" * 50] * N}, {"id": "name"}, r"first: image 000 of .*its format is unknown"),
        ({"image": [encoded(0)] * 9 + [None]}, {"id": "name"}, r"image 009 of .*x.parquet has no bytes: store"),
        ({"image": [encoded(0)] * 9 + [encoded(0)[:40]]}, {}, r"image 9 of .*x.parquet cannot be read as an image"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path, columns, settings, message):
    pq.write_table(table(**columns), tmp_path / "x.parquet")
    with pytest.raises(DataError, match=message) as error:
        ParquetImagesData(**({"path": "x.parquet", "label": "label", "size": 4} | settings)).load(tmp_path)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.parquet"]


def test_paths_without_parquet_files_are_refused(tmp_path):
    (tmp_path / "none").mkdir()
    (tmp_path / "x.parquet").write_bytes(b"PAR1 and more")
    pq.write_table(table().slice(0, 0), tmp_path / "empty.parquet")
    messages = {
        "none": "no parquet file in .*none",
        "y.parquet": "no file .*y.parquet",
        "x.parquet": "x.parquet is not a parquet file",
        "empty.parquet": "has no rows",
    }
    for path, message in messages.items():
        with pytest.raises(DataError, match=message):
            ParquetImagesData(path=path, label="label").load(tmp_path)
    with pytest.raises(DataError, match="must name one of votes, shares, annotators, heads or label"):
        ParquetImagesData(path="x.parquet")
    with pytest.raises(DataError, match=r"data\.image a column of them, got 'x.parquet' and ''"):
        ParquetImagesData(path="x.parquet", image="", label="label")


def test_a_changed_file_is_read_again(tmp_path):
    pq.write_table(table(), tmp_path / "x.parquet")
    data = ParquetImagesData(path="x.parquet", label="label", size=4)
    before = np.array(data.load(tmp_path).view("image"))
    pq.write_table(table(image=[encoded(7)] * N), tmp_path / "x.parquet")
    assert not data.is_prepared(tmp_path)
    assert (data.load(tmp_path).view("image")[..., 0] == 7).all()
    assert not (before[..., 0] == 7).any()


def test_a_damaged_file_never_raises_anything_else(tmp_path):
    pq.write_table(table(), tmp_path / "x.parquet", row_group_size=4, compression="none")
    data = ParquetImagesData(path="x.parquet", label="label", id="name", size=4)
    assert refusals_of_damage(tmp_path / "x.parquet", lambda: data.load(tmp_path), changes=6) > 20
