import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from foldstill.data.labels import Labels
from foldstill.errors import DataError, OOFError
from foldstill.oof.arrays import oof_table
from foldstill.oof.column_names import members_by_columns, score_columns
from foldstill.oof.store import (
    read_labels,
    read_scores,
    read_table,
    write_scores,
    write_table,
)
from foldstill.oof.table import FoldScores, OOFTable, ScoreTable


@pytest.fixture
def table(rng) -> OOFTable:
    n, members, classes = 40, ("net__a", "net b", "gbm"), ("lpd", "gpd_2", "other")
    labels = Labels.from_votes(
        rng.integers(1, 9, (n, 3)) / 3,
        ids=[f"row {i}" for i in range(n)],
        groups=np.arange(n) // 4,
        classes=classes,
        sample_weight=rng.random(n),
        counted=False,
    )
    proba = rng.dirichlet(np.ones(3), (n, 3)).astype(np.float32)
    scores = ScoreTable(labels.ids, members, classes, proba, ("net", "net", "tree"))
    return OOFTable(scores, labels, (np.arange(n) // 4 % 5).astype(np.int16), "digest0")


@pytest.fixture
def written(table, tmp_path) -> Path:
    """The table in a file that a test may damage."""
    path = tmp_path / "oof.parquet"
    write_table(table, path)
    return path


def _same(a: OOFTable, b: OOFTable) -> None:
    assert a.proba_NMC.tobytes() == b.proba_NMC.tobytes()
    assert a.proba_NMC.dtype == b.proba_NMC.dtype == np.float32
    assert a.labels.digest == b.labels.digest
    assert a.labels.counted == b.labels.counted
    assert a.fold_N.tolist() == b.fold_N.tolist()
    assert (a.members, a.classes, a.scores.families) == (b.members, b.classes, b.scores.families)
    assert (a.plan_digest, a.folds_assigned) == (b.plan_digest, b.folds_assigned)


def test_a_table_reads_back_bit_by_bit(table, tmp_path):
    write_table(table, tmp_path / "oof.parquet")
    _same(read_table(tmp_path / "oof.parquet"), table)
    assigned = replace(table, plan_digest="", folds_assigned=True)
    write_table(assigned, tmp_path / "oof.parquet")
    _same(read_table(tmp_path / "oof.parquet"), assigned)
    assert [p.name for p in tmp_path.iterdir()] == ["oof.parquet"]


def test_anybody_can_read_the_file(table, tmp_path):
    write_table(table, tmp_path / "oof.parquet")
    frame = pq.read_table(tmp_path / "oof.parquet").to_pandas()
    assert frame.columns[:4].tolist() == ["id", "group", "stratum", "sample_weight"]
    assert frame["p__net b__gpd_2"].to_numpy().tolist() == table.proba_NMC[:, 1, 1].tolist()
    assert frame["votes__other"].to_numpy().tolist() == table.labels.votes_NC[:, 2].tolist()
    assert frame["fold"].tolist() == table.fold_N.tolist()


ODD_NAMES = (
    "id",
    "group",
    "fold",
    "votes__x",
    "votes:x",
    "a",
    "a:b",
    "b:c",
    "a__b",
    "b__c",
    "%3A",
    ":",
    "p:a:b",
    "Ärger ✓",
    "x y.z",
)


@pytest.mark.parametrize("seed", range(8))
def test_a_table_reads_back_whatever_its_classes_and_members_are_called(rng, tmp_path, seed):
    rng = np.random.default_rng(seed)
    classes, members = (tuple(rng.choice(ODD_NAMES, k, replace=False).tolist()) for k in (4, 5))
    labels = Labels.from_votes(
        rng.integers(0, 9, (12, 4)) + np.eye(4)[rng.integers(0, 4, 12)],
        ids=rng.permutation([*ODD_NAMES[:11], "007"]),
        groups=[f"{name} {seed}" for name in ODD_NAMES[:12]],
        classes=classes,
        stratum=rng.choice(ODD_NAMES, 12),
        sample_weight=rng.random(12),
    )
    proba = rng.dirichlet(np.ones(4), (12, 5)).astype(np.float32)
    table = OOFTable(ScoreTable(labels.ids, members, classes, proba), labels, (np.arange(12) % 3).astype(np.int16))
    write_table(table, tmp_path / "oof.parquet")
    _same(read_table(tmp_path / "oof.parquet"), table)
    scores = FoldScores(labels.ids, members, classes, np.stack([proba, proba[::-1]]))
    write_scores(scores, tmp_path / "test.parquet", labels)
    folded, read = read_scores(tmp_path / "test.parquet"), read_labels(tmp_path / "test.parquet")
    assert isinstance(folded, FoldScores)
    assert folded.proba_KNMC.tobytes() == scores.proba_KNMC.tobytes()
    assert read is not None
    assert (read.digest, read.stratum_N.tolist()) == (labels.digest, labels.stratum_N.tolist())


def test_names_that_would_meet_in_a_column_are_numbered_and_the_metadata_names_them(rng, tmp_path):
    members, classes = ("a", "a__b", "net"), ("c", "b__c")
    labels = Labels.from_votes(rng.integers(1, 5, (4, 2)), classes=classes)
    proba = rng.dirichlet(np.ones(2), (4, 3)).astype(np.float32)
    table = OOFTable(ScoreTable(labels.ids, members, classes, proba), labels, np.array([0, 1, 0, 1], np.int16))
    write_table(table, tmp_path / "t.parquet")
    frame = pq.read_table(tmp_path / "t.parquet").to_pandas()
    assert frame["p__1__0"].to_numpy().tolist() == proba[:, 1, 0].tolist()
    assert frame["votes__b__c"].to_numpy().tolist() == labels.votes_NC[:, 1].tolist()
    _same(read_table(tmp_path / "t.parquet"), table)


def test_members_are_found_in_columns_only_where_there_is_one_reading():
    columns = [name for of_member in score_columns(("a__b", "net"), ("c", "b__c")) for name in of_member]
    assert members_by_columns(["id", *columns], ("c", "b__c")) == ("a__b", "net")
    three_readings = ["p__a__x", "p__a__a__x", "p__a__a__a__x", "p__a__a__a__a__x"]
    assert members_by_columns(three_readings, ("x", "a__x")) == ()
    assert members_by_columns(["p__c", "p__b__c"], ("c", "b__c")) == ()


def test_names_that_are_empty_are_refused(table):
    with pytest.raises(OOFError, match=r"member names must not be empty"):
        replace(table.scores, members=("net", "", "gbm"))
    with pytest.raises(DataError, match=r"class names must not be empty"):
        replace(table.labels, classes=("lpd", "", "other"))


def test_the_same_table_gives_the_same_bytes(table, tmp_path):
    write_table(table, tmp_path / "a.parquet")
    write_table(table, tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_scores_alone_and_of_fold_models_read_back(table, tmp_path, rng):
    path = tmp_path / "scores.parquet"
    write_scores(table.scores, path)
    read = read_scores(path)
    assert isinstance(read, ScoreTable)
    assert read.proba_NMC.tobytes() == table.proba_NMC.tobytes()
    assert read_labels(path) is None

    proba = rng.dirichlet(np.ones(3), (4, 40, 3)).astype(np.float32)
    scores = FoldScores(table.labels.ids, table.members, table.classes, proba, table.scores.families)
    write_scores(scores, path, table.labels)
    folded, labels = read_scores(path), read_labels(path)
    assert isinstance(folded, FoldScores)
    assert labels is not None
    assert folded.proba_KNMC.tobytes() == proba.tobytes()
    assert folded.ids.tolist() == table.labels.ids.tolist()
    assert labels.digest == table.labels.digest
    assert folded.families == table.scores.families


def test_an_oof_table_can_be_read_as_scores(table, tmp_path):
    write_table(table, tmp_path / "oof.parquet")
    read = read_scores(tmp_path / "oof.parquet")
    assert isinstance(read, ScoreTable)
    assert read.ids.tolist() == table.labels.ids.tolist()


def test_labels_of_other_rows_are_not_written(table, tmp_path):
    with pytest.raises(OOFError, match=r"same ids in the same order"):
        write_scores(table.scores, tmp_path / "s.parquet", table.labels.take(np.arange(40)[::-1]))
    assert not list(tmp_path.iterdir())


def _with_meta(path: Path, change) -> None:
    stored = pq.read_table(path)
    meta = json.loads(stored.schema.metadata[b"foldstill"])
    change(meta)
    pq.write_table(stored.replace_schema_metadata({"foldstill": json.dumps(meta)}), path)


def test_files_that_are_no_table_are_refused_with_the_cure(table, tmp_path):
    path = tmp_path / "oof.parquet"
    with pytest.raises(OOFError, match=r"no file .*oof.parquet: correct the path"):
        read_table(path)
    path.write_text("id,p\na,0.5\n")
    with pytest.raises(OOFError, match=r"oof.parquet is not a parquet file .*a CSV must be named .csv"):
        read_table(path)
    pq.write_table(pa.table({"id": ["a"]}), path)
    with pytest.raises(OOFError, match=r"no score table of foldstill: bring it in with `foldstill oof import"):
        read_table(path)
    write_scores(table.scores, path)
    with pytest.raises(OOFError, match=r"holds scores, not an OOF table"):
        read_table(path)


def test_another_schema_version_is_refused(written):
    _with_meta(written, lambda meta: meta.update(schema_version=99))
    with pytest.raises(OOFError, match=r"has schema version 99, this foldstill reads 2"):
        read_table(written)


def test_missing_columns_are_named(written):
    stored = pq.read_table(written)
    pq.write_table(stored.drop_columns(["p__gbm__lpd"]), written)
    with pytest.raises(OOFError, match=r"lacks 1 columns, first: \['p__gbm__lpd'\]"):
        read_table(written)


def test_a_truncated_file_is_refused(written):
    written.write_bytes(written.read_bytes()[:-20])
    with pytest.raises(OOFError, match=r"is not a parquet file"):
        read_table(written)


def test_values_that_another_program_changed_are_refused(table, written):
    """Other programs write no seal, and the metadata of foldstill survives in them."""
    stored = pq.read_table(written)
    pq.write_table(stored, written)
    assert read_table(written).labels.digest == table.labels.digest
    for name in stored.column_names:
        if stored[name].type not in (pa.string(), pa.large_string()):
            values = stored[name].to_numpy().copy()
            values[0] += 1
            changed = stored.set_column(stored.column_names.index(name), name, pa.array(values))
        else:
            changed = stored.set_column(
                stored.column_names.index(name), name, pa.array(["other", *stored[name].to_pylist()[1:]])
            )
        pq.write_table(changed, written)
        with pytest.raises(OOFError, match=r"oof\.parquet was changed after foldstill wrote it"):
            read_table(written)


@pytest.mark.parametrize(
    "key", ["", "members", "classes", "families", "columns", "kind", "plan", "folds_assigned", "counted"]
)
def test_metadata_that_another_program_changed_are_refused_by_the_name_of_the_file(tmp_path: Path, key: str) -> None:
    """Such a program writes no seal, and keeps or changes the metadata."""
    path = tmp_path / "t.parquet"
    write_table(oof_table([[[0.9, 0.1]], [[0.2, 0.8]]], votes=[[3, 0], [1, 2]], folds=[0, 1]), path)
    table = pq.read_table(path)
    known = json.loads(table.schema.metadata[b"foldstill"])
    pq.write_table(table, path)
    read_table(path)
    others = (7, [], ["x", "y", "z"], [[1]], {"a": 1}, [None])
    changed = [known | {key: other} for other in others] if key else [None, [], 7]
    if key:
        changed.append({name: value for name, value in known.items() if name != key})
    for metadata in changed:
        pq.write_table(table.replace_schema_metadata({"foldstill": json.dumps(metadata)}), path)
        with pytest.raises(OOFError, match=r"t\.parquet"):
            read_table(path)
    pq.write_table(table.replace_schema_metadata({"foldstill": "{"}), path)
    with pytest.raises(OOFError, match=r"t\.parquet is damaged, its JSON cannot be read"):
        read_table(path)
