import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldstill.data.labels import Labels
from foldstill.data.simplex import kl_divergence
from foldstill.errors import ArgumentError, DataError, FoldError, OOFError
from foldstill.oof.exports import export_table
from foldstill.oof.import_settings import ImportSettings
from foldstill.oof.imports import import_scores
from foldstill.oof.store import write_table
from foldstill.oof.table import OOFTable, ScoreTable
from made_up import write_csvs

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from real_tables import RSNA_HEADS, rsna_settings

N = 24
CLASSES = ("lpd", "gpd", "other")


@pytest.fixture
def table(rng) -> OOFTable:
    groups = np.arange(N) // 2
    labels = Labels.from_votes(
        rng.integers(0, 5, (N, 3)) + np.eye(3)[rng.integers(0, 3, N)],
        ids=[f"r{i:02}" for i in range(N)],
        groups=[f"p{g}" for g in groups],
        classes=CLASSES,
    )
    scores = ScoreTable(labels.ids, ("net_a", "net_b"), CLASSES, rng.dirichlet(np.ones(3), (N, 2)).astype(np.float32))
    return OOFTable(scores, labels, (groups % 3).astype(np.int16))


def _frame(table: OOFTable, member: int, columns: str = "{class}") -> pd.DataFrame:
    frame = pd.DataFrame(table.proba_NMC[:, member], columns=[columns.replace("{class}", c) for c in CLASSES])
    frame.insert(0, "row", table.labels.ids)
    return frame


def _truth(table: OOFTable) -> pd.DataFrame:
    labels = table.labels
    votes = {f"{c}_vote": labels.votes_NC[:, i].astype(int) for i, c in enumerate(CLASSES)}
    return pd.DataFrame({"row": labels.ids, "patient": labels.groups, "fold": table.fold_N} | votes)


def _same(imported: OOFTable, table: OOFTable) -> None:
    assert imported.proba_NMC == pytest.approx(table.proba_NMC, abs=1e-6)
    assert (imported.members, imported.classes) == (table.members, table.classes)
    assert imported.labels.ids.tolist() == table.labels.ids.tolist()
    assert imported.labels.groups.tolist() == table.labels.groups.tolist()
    assert imported.labels.votes_NC == pytest.approx(table.labels.votes_NC)
    assert imported.fold_N.tolist() == table.fold_N.tolist()
    assert not imported.folds_assigned


@pytest.mark.parametrize("form", ["npz", "csv", "wide-csv"])
def test_what_is_exported_is_imported_without_any_setting(table, tmp_path, form):
    out = {"npz": tmp_path / "t.npz", "csv": tmp_path / "t", "wide-csv": tmp_path / "t.csv"}[form]
    export_table(table, out, form)
    if form == "csv":
        paths = sorted((out / "members").iterdir())
        imported = import_scores(paths, ImportSettings(labels=str(out / "labels.csv")))
    else:
        imported = import_scores([out])
    _same(imported, table)
    assert imported.proba_NMC == pytest.approx(table.proba_NMC, abs=2e-7)
    assert imported.labels.stratum_N.tolist() == table.labels.stratum_N.tolist()


@pytest.mark.parametrize("form", ["npz", "csv", "wide-csv"])
def test_totals_that_are_a_guess_come_back_as_a_guess(table, tmp_path, form):
    guessed = replace(table, labels=replace(table.labels, counted=False))
    out = {"npz": tmp_path / "t.npz", "csv": tmp_path / "t", "wide-csv": tmp_path / "t.csv"}[form]
    export_table(guessed, out, form)
    paths = sorted((out / "members").iterdir()) if form == "csv" else [out]
    imported = import_scores(paths, ImportSettings(labels=str(out / "labels.csv")) if form == "csv" else None)
    _same(imported, guessed)
    assert not imported.labels.counted


def test_an_export_that_cannot_be_named_is_refused(table, tmp_path):
    with pytest.raises(OOFError, match=r"must end in .npz"):
        export_table(table, tmp_path / "t.csv", "npz")
    with pytest.raises(OOFError, match=r"npz, csv or wide-csv"):
        export_table(table, tmp_path / "t", "xlsx")
    named = OOFTable(ScoreTable(table.labels.ids, ("a/b", "c"), CLASSES, table.proba_NMC), table.labels, table.fold_N)
    with pytest.raises(OOFError, match=r"member name 'a/b' contains '/'"):
        export_table(named, tmp_path / "t", "csv")
    assert not list(tmp_path.iterdir())


def test_a_file_foldstill_wrote_is_read_as_it_is(table, tmp_path):
    write_table(table, tmp_path / "t.parquet")
    _same(import_scores([tmp_path / "t.parquet"]), table)
    assert import_scores([tmp_path / "t.parquet"], ImportSettings(drop_members=("*_b",))).members == ("net_a",)


@pytest.mark.parametrize("columns", ["{class}", "{class}_prediction", "p_{class}", "{class}_vote"])
def test_one_csv_per_member_with_a_csv_of_labels_is_enough(table, tmp_path, columns, rng):
    shuffled = _frame(table, 1, columns).sample(frac=1, random_state=0)
    paths = write_csvs(tmp_path, net_a=_frame(table, 0, columns), net_b=shuffled)
    (labels,) = write_csvs(tmp_path, train=_truth(table))
    imported = import_scores(paths, ImportSettings(labels=str(labels), group="patient"))
    _same(imported, table)


def test_members_as_parquet_with_ids_in_the_index(table, tmp_path):
    for m, name in enumerate(table.members):
        _frame(table, m).set_index("row").to_parquet(tmp_path / f"{name}.parquet")
    _truth(table).to_parquet(tmp_path / "train.pq")
    paths = [tmp_path / "net_a.parquet", tmp_path / "net_b.parquet"]
    _same(import_scores(paths, ImportSettings(labels=str(tmp_path / "train.pq"), group="patient")), table)


def test_classes_in_another_order_between_members_are_matched_by_name(table, tmp_path):
    other = _frame(table, 1)[["row", "other", "lpd", "gpd"]]
    paths = write_csvs(tmp_path, net_a=_frame(table, 0), net_b=other)
    (labels,) = write_csvs(tmp_path, train=_truth(table))
    _same(import_scores(paths, ImportSettings(labels=str(labels), group="patient")), table)


def test_a_member_with_other_classes_is_refused(table, tmp_path):
    other = _frame(table, 1).rename(columns={"other": "rest"})
    paths = write_csvs(tmp_path, net_a=_frame(table, 0), net_b=other)
    (labels,) = write_csvs(tmp_path, train=_truth(table))
    with pytest.raises(OOFError, match=r"member 'net_b' has no scores for \['other'\], .*net_b.csv has .*same classes"):
        import_scores(paths, ImportSettings(labels=str(labels)))


def test_a_member_with_missing_rows_is_refused_with_their_ids(table, tmp_path):
    paths = write_csvs(tmp_path, net_a=_frame(table, 0), net_b=_frame(table, 1).drop(index=[3, 7]))
    (labels,) = write_csvs(tmp_path, train=_truth(table))
    with pytest.raises(DataError, match=r"member 'net_b' lacks 2 of 24 rows; first ids: \['r03', 'r07'\]"):
        import_scores(paths, ImportSettings(labels=str(labels)))


def test_a_member_with_repeated_rows_is_refused(table, tmp_path):
    frame = _frame(table, 1)
    paths = write_csvs(tmp_path, net_a=_frame(table, 0), net_b=pd.concat([frame, frame.iloc[:2]]))
    (labels,) = write_csvs(tmp_path, train=_truth(table))
    with pytest.raises(OOFError, match=r"member 'net_b' has 2 ids more than once; first: \['r00', 'r01'\]"):
        import_scores(paths, ImportSettings(labels=str(labels)))


def test_duplicate_ids_in_the_labels_are_refused(table, tmp_path):
    truth = _truth(table)
    truth.loc[1, "row"] = "r00"
    paths = write_csvs(tmp_path, net_a=_frame(table, 0))
    (labels,) = write_csvs(tmp_path, train=truth)
    with pytest.raises(DataError, match=r"ids must be unique, 1 are not"):
        import_scores(paths, ImportSettings(labels=str(labels), id="row"))


def test_rows_without_any_id_are_matched_by_position_only_when_as_many(table, tmp_path):
    paths = write_csvs(tmp_path, net_a=_frame(table, 0).drop(columns="row"), net_b=_frame(table, 1).drop(columns="row"))
    (labels,) = write_csvs(tmp_path, train=_truth(table).drop(columns="row"))
    imported = import_scores(paths, ImportSettings(labels=str(labels), group="patient"))
    assert imported.proba_NMC == pytest.approx(table.proba_NMC, abs=1e-6)
    write_csvs(tmp_path, net_b=_frame(table, 1).drop(columns="row").iloc[:-1])
    with pytest.raises(OOFError, match=r"member 'net_b' has 23 rows, the labels 24, and no id to match them by"):
        import_scores(paths, ImportSettings(labels=str(labels), group="patient"))


def test_logits_and_rows_off_one_are_named_by_member(table, tmp_path):
    logits = _frame(table, 1)
    logits[list(CLASSES)] = np.log(logits[list(CLASSES)])
    paths = write_csvs(tmp_path, net_a=_frame(table, 0), net_b=logits)
    (labels,) = write_csvs(tmp_path, train=_truth(table))
    with pytest.raises(OOFError, match=r"member 'net_b' must be probabilities .*space='logit'"):
        import_scores(paths, ImportSettings(labels=str(labels)))


def test_percentages_are_refused_with_their_own_cure(table, tmp_path):
    percent = _frame(table, 1)
    percent[list(CLASSES)] = (100 * percent[list(CLASSES)]).round(2)
    paths = write_csvs(tmp_path, net_a=_frame(table, 0), net_b=percent)
    (labels,) = write_csvs(tmp_path, train=_truth(table))
    with pytest.raises(OOFError, match=r"member 'net_b' must be .*: if these are percentages, divide them by 100$"):
        import_scores(paths, ImportSettings(labels=str(labels)))


def test_a_column_beside_those_of_the_classes_is_named_in_the_refusal(table, tmp_path):
    frames = {name: _frame(table, i).assign(epoch=3) for i, name in enumerate(("net_a", "net_b"))}
    paths = write_csvs(tmp_path, **frames)
    truth = _truth(table)
    votes = [column for column in truth if column.endswith("_vote")]
    truth["label"] = [CLASSES[i] for i in truth[votes].to_numpy().argmax(axis=1)]
    (labels,) = write_csvs(tmp_path, train=truth.drop(columns=votes))
    with pytest.raises(OOFError, match=r"net_a.csv: member 'net_a': columns \['epoch'\] .*--classes lpd gpd other on"):
        import_scores(paths, ImportSettings(labels=str(labels)))
    assert import_scores(paths, ImportSettings(labels=str(labels), classes=CLASSES)).classes == CLASSES


@pytest.mark.parametrize("columns", ["prob_{class}", "{class}_prob"])
def test_columns_called_prob_are_matched_to_the_classes(table, tmp_path, columns):
    paths = write_csvs(tmp_path, net_a=_frame(table, 0, columns), net_b=_frame(table, 1, columns))
    (labels,) = write_csvs(tmp_path, train=_truth(table))
    _same(import_scores(paths, ImportSettings(labels=str(labels), group="patient")), table)


def test_a_group_across_folds_is_refused(table, tmp_path):
    truth = _truth(table)
    truth.loc[0, "fold"] = 2
    paths = write_csvs(tmp_path, net_a=_frame(table, 0))
    (labels,) = write_csvs(tmp_path, train=truth)
    with pytest.raises(FoldError, match=r"group 'p0' is in fold . and fold ."):
        import_scores(paths, ImportSettings(labels=str(labels), group="patient"))


def test_folds_may_lie_in_a_file_of_their_own_by_group_as_flags(table, tmp_path):
    paths = write_csvs(tmp_path, net_a=_frame(table, 0), net_b=_frame(table, 1))
    flags = pd.DataFrame({"patient": [f"p{g}" for g in range(12)]})
    for k in range(3):
        flags[f"fold{k}"] = (np.arange(12) % 3 == k).astype(int)
    labels, folds = write_csvs(tmp_path, train=_truth(table).drop(columns="fold"), folds=flags)
    settings = ImportSettings(labels=str(labels), group="patient", folds=str(folds), fold="fold*")
    _same(import_scores(paths, settings), table)
    write_csvs(tmp_path, folds=flags.iloc[1:])
    with pytest.raises(OOFError, match=r"has no fold for 1 ids or groups; first: \['p0'\]"):
        import_scores(paths, settings)
    write_csvs(tmp_path, folds=flags.assign(fold0=1))
    with pytest.raises(OOFError, match=r"must hold one 1 per row"):
        import_scores(paths, settings)


def test_a_table_without_folds_gets_group_folds(table, tmp_path):
    paths = write_csvs(tmp_path, net_a=_frame(table, 0))
    (labels,) = write_csvs(tmp_path, train=_truth(table).drop(columns="fold"))
    imported = import_scores(paths, ImportSettings(labels=str(labels), group="patient", n_folds=4))
    assert imported.folds_assigned
    assert len(imported.folds) == 4


def test_labels_in_the_members_own_files_must_agree(table, tmp_path):
    frames = [_frame(table, m, "{class}_prediction").merge(_truth(table), on="row") for m in range(2)]
    paths = write_csvs(tmp_path, net_a=frames[0], net_b=frames[1].iloc[::-1])
    _same(import_scores(paths, ImportSettings(group="patient")), table)
    frames[1].loc[2, "lpd_vote"] += 1
    write_csvs(tmp_path, net_b=frames[1])
    with pytest.raises(OOFError, match=r"hold different labels for 1 of 24 rows; first ids: \['r02'\]"):
        import_scores(paths, ImportSettings(group="patient"))


def test_hard_labels_and_members_that_name_a_class(table, tmp_path, rng):
    named = np.array(CLASSES)[table.proba_NMC.argmax(axis=2)]
    frames = {
        name: pd.DataFrame({"row": table.labels.ids, "pred": named[:, m]}) for m, name in enumerate(table.members)
    }
    paths = write_csvs(tmp_path, **frames)
    truth = _truth(table).assign(label=named[:, 0])[["row", "patient", "fold", "label"]]
    (labels,) = write_csvs(tmp_path, train=truth)
    imported = import_scores(paths, ImportSettings(labels=str(labels), group="patient", classes=CLASSES, smoothing=0.8))
    assert (imported.proba_NMC.argmax(axis=2) == table.proba_NMC.argmax(axis=2)).all()
    assert imported.proba_NMC.max() == pytest.approx(0.8)
    assert imported.labels.target_NC.argmax(axis=1).tolist() == table.proba_NMC[:, 0].argmax(axis=1).tolist()
    with pytest.raises(OOFError, match=r"only name a class.*state it, with .*smoothing"):
        import_scores(paths, ImportSettings(labels=str(labels), classes=CLASSES))


def test_an_npz_is_guessed_or_named_key_by_key(table, tmp_path):
    labels = table.labels
    shares = labels.target_NC
    path = tmp_path / "x.npz"
    np.savez(
        path,
        pred=table.proba_NMC,
        target=shares,
        n_votes=labels.total_N,
        fold=table.fold_N,
        patient=labels.groups,
        members=table.members,
        classes=CLASSES,
        id=labels.ids,
    )
    imported = import_scores([path], ImportSettings(group="patient"))
    _same(imported, table)
    assert not imported.labels.counted
    with pytest.raises(DataError, match=r"has no 'subject' \(for group\), it has \['pred'"):
        import_scores([path], ImportSettings(group="subject"))
    (truth,) = write_csvs(tmp_path, train=_truth(table).rename(columns={"row": "id"}).iloc[::-1])
    outside = import_scores([path], ImportSettings(labels=str(truth), group="patient"))
    assert outside.labels.ids.tolist() == table.labels.ids[::-1].tolist()
    assert outside.proba_NMC == pytest.approx(table.proba_NMC[::-1], abs=1e-6)
    assert outside.fold_N.tolist() == table.fold_N[::-1].tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"votes": np.ones((4, 2))}, "has no predictions"),
        ({"pred": np.full((4, 1, 2), 0.5)}, "has no labels that foldstill recognises"),
        ({"pred": np.full((4, 1, 2), 0.5), "votes": np.ones((3, 2))}, "predictions of 4 rows, the labels are 3"),
        (
            {"pred": np.full((4, 1, 2), 0.5), "votes": np.ones((4, 3))},
            "predictions of 2 classes, the labels in .* are of",
        ),
        ({"pred": np.full((4, 1, 2), 0.2), "votes": np.ones((4, 2))}, "multi-label"),
        ({"pred": np.full((4, 1, 2), 0.5), "votes": np.zeros((4, 2))}, "4 of 4 rows have no vote at all"),
        ({"pred": np.full((4, 1, 2), 0.5), "votes": np.ones((4, 2)), "fold": [0, 1, 0, -1]}, "holds no test rows"),
        ({"pred": np.full((4, 1, 2), 0.5), "target": np.full((4, 2), 0.7)}, "vote shares: rows must sum to 1"),
    ],
)
def test_an_npz_that_does_not_fit_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises((OOFError, DataError), match=message):
        import_scores([tmp_path / "x.npz"])


def test_one_member_may_come_without_its_axis_and_annotators_without_some_votes(tmp_path, rng):
    scorers = rng.integers(0, 3, (N, 4))
    scorers[3, 1:] = -1
    np.savez(tmp_path / "x.npz", pred=rng.dirichlet(np.ones(3), N), scorers=scorers, group=np.arange(N))
    imported = import_scores([tmp_path / "x.npz"], ImportSettings(annotators="scorers", classes=CLASSES))
    assert imported.members == ("m0",)
    assert imported.labels.total_N[[0, 3]].tolist() == [4, 1]


def test_files_that_cannot_be_imported_together_are_refused(tmp_path):
    with pytest.raises(OOFError, match=r"paths of an import must name a file, got none"):
        import_scores([])
    with pytest.raises(OOFError, match=r"import one .npz at a time"):
        import_scores([tmp_path / "a.npz", tmp_path / "b.npz"])
    with pytest.raises(DataError, match=r"no file .*a.csv"):
        import_scores([tmp_path / "a.csv"])
    (tmp_path / "a.parquet").write_text("id,lpd\nr,1\n")
    with pytest.raises(OOFError, match=r"a.parquet is not a parquet file .*a CSV must be named .csv"):
        import_scores([tmp_path / "a.parquet"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"votes": "v", "label": "y"}, "name one of votes, shares, annotators or label"),
        ({"space": "log"}, "space of ImportSettings must be one of 'proba', 'logit'"),
        ({"votes": "v", "total": "n"}, "total goes with shares only"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(settings, message):
    with pytest.raises((OOFError, ArgumentError), match=message):
        ImportSettings(**settings)


def test_hms_imports_as_the_command_line_asks(real):
    settings = ImportSettings(group="patient_id", stratum="quality", drop_members=("*_nb", "*_nbtta"))
    imported = import_scores([real / "hms_oof" / "hms_oof.npz"], settings)
    assert imported.proba_NMC.shape == (12992, 33, 6)
    assert imported.folds == [0, 1, 2]
    assert imported.classes == ("seizure", "lpd", "gpd", "lrda", "grda", "other")
    assert kl_divergence(target=imported.labels.target_NC, proba=imported.proba_NMC.mean(axis=1)) == pytest.approx(
        0.4623, abs=1e-4
    )


def test_one_table_per_head_with_sample_weights_and_folds_by_patient(real):
    folder = real / "rsna2023_oof"
    paths = sorted(folder.glob("*96x256x256.parquet"))
    for head in RSNA_HEADS:
        settings = rsna_settings(head, folder / "folds.parquet")
        imported = import_scores(paths, settings)
        assert imported.proba_NMC.shape == (4711, 4, 3)
        assert len(np.unique(imported.labels.groups)) == 3147
        assert len(imported.folds) == 5
        assert set(imported.labels.sample_weight_N.tolist()) == {1.0, 2.0, 4.0}


def test_several_heads_at_once_are_refused(real):
    paths = sorted((real / "rsna2023_oof").glob("*96x256x256.parquet"))
    with pytest.raises(OOFError, match=r"rows must sum to 1"):
        import_scores(paths)


def test_multi_label_targets_are_refused(real):
    settings = ImportSettings(votes="gold_standard")
    with pytest.raises(OOFError, match=r"yes or no of its own \(multi-label\), import one two-class table per finding"):
        import_scores([real / "ecg_codetest" / "ecg_codetest.npz"], settings)
