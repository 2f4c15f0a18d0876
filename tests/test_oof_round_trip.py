"""What is exported is imported again, whatever ids, groups, strata, classes and members are called."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from foldstill.data.labels import Labels
from foldstill.errors import OOFError
from foldstill.oof import ImportSettings, export_table, import_scores
from foldstill.oof.table import OOFTable, ScoreTable

ODD = (
    "007",
    "7",
    "7.0",
    "-1",
    "NA",
    "None",
    "nan",
    "id",
    "fold",
    "label",
    "p__a",
    "a__b",
    "a;b",
    "a,b",
    '"',
    " x",
    "é",
)
NAMES = st.one_of(st.sampled_from(ODD), st.text("ab01._- ,;", min_size=1, max_size=4))
FILE_NAMES = st.one_of(st.sampled_from(["007", "m__x", "p__a", "NA", "é"]), st.text("ab01_", min_size=1, max_size=4))


@st.composite
def tables(draw: st.DrawFn) -> OOFTable:
    n = draw(st.integers(4, 8))
    ids = draw(st.lists(NAMES, min_size=n, max_size=n, unique=True))
    classes = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    members = draw(st.lists(FILE_NAMES, min_size=1, max_size=3, unique_by=str.casefold))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    labels = Labels.from_votes(
        rng.integers(0, 4, (n, len(classes))) + np.eye(len(classes))[rng.integers(0, len(classes), n)],
        ids=ids,
        groups=[f"{name}{i}" for i, name in enumerate(draw(st.lists(NAMES, min_size=n, max_size=n)))],
        classes=classes,
        stratum=draw(st.lists(NAMES, min_size=n, max_size=n)),
        sample_weight=rng.random(n) + 0.1,
        counted=draw(st.booleans()),
    )
    proba = rng.dirichlet(np.ones(len(classes)), (n, len(members))).astype(np.float32)
    scores = ScoreTable(labels.ids, tuple(members), tuple(classes), proba)
    return OOFTable(scores, labels, (np.arange(n) % 2).astype(np.int16))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(table=tables(), form=st.sampled_from(["npz", "csv", "wide-csv"]))
def test_import_of_export_is_the_same_table(table: OOFTable, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / {"npz": "t.npz", "csv": "t", "wide-csv": "t.csv"}[form]
        try:
            export_table(table, out, form)  # type: ignore[arg-type]
        except OOFError:  # names that cannot be told apart in columns
            assume(False)
        paths = [out / "members" / f"{m}.csv" for m in table.members] if form == "csv" else [out]
        read = import_scores(paths, ImportSettings(labels=str(out / "labels.csv")) if form == "csv" else None)
    assert (read.members, read.classes) == (table.members, table.classes)
    for name in ("ids", "groups", "stratum_N"):
        assert getattr(read.labels, name).tolist() == getattr(table.labels, name).tolist()
    np.testing.assert_allclose(read.labels.votes_NC, table.labels.votes_NC, atol=1e-7)
    np.testing.assert_allclose(read.proba_NMC, table.proba_NMC, atol=1e-6)
    assert read.fold_N.tolist() == table.fold_N.tolist()
