"""EEG files of clinics: electrodes by their names, signals at 200 Hz in microvolts, windows with labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from foldstill.errors import DataError, FoldstillError, FoldstillWarning
from foldstill.hms.edf import open_eeg
from foldstill.hms.edf_source import EdfData
from foldstill.hms.edf_windows import Windows, eeg_inputs, windows_of
from foldstill.hms.edf_writing import write_edf
from foldstill.hms.electrodes import channel_of, find_electrodes, mixed_references
from foldstill.hms.montage import EEG_CHANNELS
from foldstill.hms.source import HmsData
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_panels import PanelStack
from foldstill.hms.views_raw import RawEeg

RAW = RawEeg.example()


@pytest.fixture
def mne():
    return pytest.importorskip("mne", reason="pip install 'foldstill[eeg]'")


def waves(sfreq_hz: float, seconds: float, start_s: float = 0.0) -> np.ndarray:
    """A wave per electrode, all below 20 Hz, so that every sampling rate holds them: (20, T) in microvolts."""
    time_T = start_s + np.arange(round(seconds * sfreq_hz)) / sfreq_hz
    return np.stack([(20 + e) * np.sin(2 * np.pi * (2 + 0.7 * e) * time_T) for e in range(len(EEG_CHANNELS))])


def noise(seconds: int = 60, sfreq_hz: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 20, (len(EEG_CHANNELS), seconds * sfreq_hz))


def written(path: Path, signal_ET: np.ndarray | None = None, names=EEG_CHANNELS, sfreq_hz=100, **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_edf(path, names, noise() if signal_ET is None else signal_ET, sfreq_hz, **more)
    return path


@pytest.mark.parametrize(
    ("name", "electrode", "reference"),
    [
        *[(name, "Fp1", "") for name in ("Fp1", "FP1", "Fp1.", "EEG Fp1", "eeg fp1", "EEG FP1.")],
        *[
            ("EEG Fp1-REF", "Fp1", "REF"),
            ("Fp1-Ref", "Fp1", "REF"),
            ("POL Fp1-A1", "Fp1", "A1"),
            ("Fp1-LE", "Fp1", "LE"),
        ],
        *[("C3_M2", "C3", "M2"), ("C3-A1+A2", "C3", "A1A2"), ("C3-A1/A2", "C3", "A1A2"), ("Cz-AVG", "Cz", "AVG")],
        *[("T7..", "T3", ""), ("EEG T8-REF", "T4", "REF"), ("p7", "T5", ""), ("P8", "T6", "")],
        *[(name, "EKG", "") for name in ("EKG", "ECG", "ECG EKG", "EKG1", "ECGL", "ECG II", "EEG EKG")],
    ],
)
def test_an_electrode_is_found_by_the_names_that_recorders_give_it(name: str, electrode: str, reference: str) -> None:
    channel = channel_of(name)
    assert channel is not None
    assert (channel.electrode, channel.reference) == (electrode, reference)


@pytest.mark.parametrize("name", ["Fp1-F7", "T3-T5", "EEG Fpz-Cz", "A1", "Fpz", "EMG chin", "SpO2", "Status", "", "-"])
def test_a_difference_of_two_electrodes_and_other_channels_are_no_electrode(name: str) -> None:
    assert channel_of(name) is None


def test_the_very_name_comes_before_others_and_references_must_agree_within_a_difference() -> None:
    channels, left_out = find_electrodes(["T7", "T3", "Fp1-A1", "Fp1-A2", "F7-A2", "SpO2"])
    assert [channel.name for channel in channels.values()] == ["Fp1-A1", "F7-A2", "T3"]
    assert [channel.name for channel in left_out] == ["T7", "Fp1-A2"]
    assert mixed_references(channels) == ["Fp1-F7", "F7-T3"]
    assert mixed_references(find_electrodes(["Fp1-A1", "F7-A1", "Fp2-A2"])[0]) == []


@pytest.mark.parametrize("sfreq_hz", [128, 160, 200, 250, 512])
def test_any_sampling_rate_gives_the_same_signals_at_200_hz_in_microvolts(mne, sfreq_hz: int, tmp_path: Path) -> None:
    file = open_eeg(written(tmp_path / "a.edf", waves(sfreq_hz, 70), sfreq_hz=sfreq_hz))
    assert (file.sfreq_hz, file.seconds, file.problems) == (sfreq_hz, 70, ())
    got = file.record(7.5).eeg()
    # Rounding to 16 bits and the ripple of the filter: below a hundredth of the amplitude.
    np.testing.assert_allclose(got, waves(200, 50, start_s=7.5), atol=0.4)


def test_electrodes_keep_their_rows_whatever_order_and_names_a_file_has(mne, tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(len(EEG_CHANNELS))
    names = [f"EEG {EEG_CHANNELS[i].upper()}-REF" for i in order]
    file = open_eeg(written(tmp_path / "a.edf", waves(200, 60)[order], names, 200))
    np.testing.assert_allclose(file.record(0).eeg(), waves(200, 50), atol=0.01)
    assert file.problems == ()


def test_time_outside_a_file_and_missing_electrodes_are_nan_and_reported(mne, tmp_path: Path) -> None:
    path = written(tmp_path / "a.edf", waves(200, 60)[:-2], EEG_CHANNELS[:-2], 200)
    file = open_eeg(path)
    early, late = file.record(-20).eeg(), file.record(30).eeg()
    assert np.isnan(early[:18]).mean(axis=1).tolist() == [0.4] * 18
    assert np.isnan(late[:18]).mean(axis=1).tolist() == [0.4] * 18
    assert np.isnan(early[:, :4000]).all()
    np.testing.assert_allclose(early[:18, 4000:], waves(200, 30)[:18], atol=0.01)
    np.testing.assert_allclose(late[:18, :6000], waves(200, 30, start_s=30)[:18], atol=0.01)
    assert np.isnan(early[18:]).all()
    assert [(p.what, p.detail) for p in file.problems] == [("missing electrodes", "O2 EKG")]
    with pytest.warns(FoldstillWarning, match=r"^a\.edf: missing electrodes; first: O2 EKG$"):
        eeg_inputs(path, (RAW,))


def test_units_are_read_from_the_header(mne, tmp_path: Path) -> None:
    for unit, factor in (("uV", 1), ("mV", 1e3), ("V", 1e6), ("", 1)):
        file = open_eeg(written(tmp_path / "a.edf", waves(200, 60) / factor * 1000, sfreq_hz=200, unit=unit))
        np.testing.assert_allclose(file.record(0).eeg(), waves(200, 50) * 1000, rtol=0.01, atol=1000)
        assert bool(file.problems) == (unit == "")
    with pytest.raises(DataError, match=r"a\.edf has 'Fp1' in 'nV', wanted uV, mV or V"):
        open_eeg(written(tmp_path / "a.edf", unit="nV"))


def as_bdf(path: Path) -> Path:
    """The same file with 24 bits per value, as BioSemi writes it."""
    content = path.read_bytes()
    n, seconds, n_header = len(EEG_CHANNELS), int(content[236:244]), int(content[184:192])
    head = content[:n_header].replace(b"0       X", b"\xffBIOSEMIX", 1).replace(b"EDF+C", b"BDF+C")
    per_record = np.frombuffer(content[n_header:], "<i2").reshape(seconds, -1)
    n_values = per_record.shape[1] - 60  # 120 bytes of annotations
    out = path.with_suffix(".bdf")
    with out.open("wb") as stream:
        stream.write(head.replace(b"EDF Annotations", b"BDF Annotations"))
        for record in per_record:
            wide = record[:n_values].astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3]
            stream.write(wide.tobytes() + record[n_values:].tobytes().ljust(180, b"\0"))
    assert n_values % n == 0
    return out


def test_a_bdf_file_is_read_as_the_same_signals_in_edf(mne, tmp_path: Path) -> None:
    path = written(tmp_path / "a.edf", annotations=[(3.0, 1.0, "spike")])
    edf_file, bdf_file = open_eeg(path), open_eeg(as_bdf(path))
    np.testing.assert_array_equal(bdf_file.record(4).eeg(), edf_file.record(4).eeg())
    assert bdf_file.annotations() == edf_file.annotations()


def test_a_fif_file_is_read_and_electrodes_marked_as_bad_are_missing(mne, tmp_path: Path) -> None:
    info = mne.create_info(list(EEG_CHANNELS), 200, "eeg", verbose="error")
    raw = mne.io.RawArray(waves(200, 80) / 1e6, info, verbose="error")
    raw.set_meas_date(0)
    raw.set_annotations(mne.Annotations([30, 50], [2, 0], ["a", "b"], orig_time=raw.info["meas_date"]))
    raw.info["bads"] = ["Cz"]
    raw.crop(10).save(tmp_path / "x_raw.fif", verbose="error")
    file = open_eeg(tmp_path / "x_raw.fif")
    # The file starts at 10 s of the recording, and so do its times.
    assert [(a.onset_s, a.duration_s, a.text) for a in file.annotations()] == [(20, 2, "a"), (40, 0, "b")]
    got = file.record(5).eeg()
    wanted = waves(200, 50, start_s=15)
    wanted[EEG_CHANNELS.index("Cz")] = np.nan
    np.testing.assert_allclose(got, wanted, atol=0.01)
    assert [(p.what, p.detail) for p in file.problems] == [("electrodes marked as bad", "Cz")]


def test_annotations_are_events_with_their_times(mne, tmp_path: Path) -> None:
    marks = [(1.5, 2.0, "spike"), (1.75, 0.0, "eyes open"), (40.25, 4.0, "spike")]
    file = open_eeg(written(tmp_path / "a.edf", annotations=marks))
    assert [(a.onset_s, a.duration_s, a.text) for a in file.annotations()] == marks


@pytest.mark.parametrize(
    ("damage", "what", "detail"),
    [
        (lambda b: b[: len(b) * 2 // 3], "faults of the header", "Number of records from the header does not match"),
        (
            lambda b: b[:192] + b"EDF+D" + b[197:],
            "marked as discontinuous",
            "offsets after an interruption are too late",
        ),
    ],
    ids=["cut short", "discontinuous"],
)
def test_what_is_wrong_with_a_file_that_can_be_read_is_reported(
    mne, damage, what: str, detail: str, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.edf")
    path.write_bytes(damage(path.read_bytes()))
    [problem] = open_eeg(path).problems
    assert problem.what == what
    assert problem.detail.startswith(detail)


def test_annotations_in_latin_1_are_read(mne, tmp_path: Path) -> None:
    path = written(tmp_path / "a.edf", annotations=[(2.0, 1.0, "Anf\u00e4lle")])
    path.write_bytes(path.read_bytes().replace("\u00e4".encode(), "\u00e4 ".encode("latin-1")))
    assert [a.text for a in open_eeg(path).annotations()] == ["Anf\u00e4 lle"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, r"no file .*a\.edf"),
        (lambda p: p.write_bytes(b""), r"a\.edf does not begin as its suffix says"),
        (lambda p: as_bdf(written(p)).rename(p), r"a\.edf does not begin as its suffix says"),
        (lambda p: p.write_bytes(b"0       not an EDF"), r"a\.edf cannot be read \(.*\): it is damaged or not what"),
        (
            lambda p: written(p, noise()[:2], ("Fp1-F7", "SpO2")),
            r"has no electrode of the montage .*\['Fp1-F7', 'SpO2'\]",
        ),
        (lambda p: written(p, noise(60, 50), sfreq_hz=50), r"has 50 samples per second, views need 100 or more"),
    ],
    ids=["absent", "empty", "a BDF", "damaged", "no electrode", "slow"],
)
def test_a_file_that_cannot_be_used_is_one_sentence(mne, make, message: str, tmp_path: Path) -> None:
    make(tmp_path / "a.edf")
    with pytest.raises(DataError, match=message):
        open_eeg(tmp_path / "a.edf")


def test_without_mne_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("foldstill.errors.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"needs mne, which is not installed: pip install 'foldstill\[eeg\]'"):
        open_eeg(tmp_path / "a.edf")


def test_a_window_is_refused_when_its_middle_is_outside(mne, tmp_path: Path) -> None:
    file = open_eeg(written(tmp_path / "a.edf"))
    for offset_s in (-25.5, 35):
        with pytest.raises(
            DataError, match=r"a\.edf has 60 s, a window at .* has its middle outside: correct the offset"
        ):
            file.record(offset_s)


def test_a_recording_is_cut_into_windows_and_a_short_one_is_one(mne, tmp_path: Path) -> None:
    written(tmp_path / "deep" / "long.EDF", noise(75))
    written(tmp_path / "short.edf", noise(30))
    (tmp_path / "notes.txt").write_text("none")
    assert windows_of(tmp_path, 10).ids_N.tolist() == [
        *("deep/long.EDF@0", "deep/long.EDF@10", "deep/long.EDF@20"),
        "short.edf@0",
    ]
    assert windows_of(tmp_path / "deep" / "long.EDF", 12.5).offset_N.tolist() == [0, 12.5, 25]
    with pytest.warns(FoldstillWarning, match=r"short\.edf: windows that reach outside; first: at 0 s"):
        inputs = eeg_inputs(tmp_path, (RAW,))
    assert inputs.views["raw_eeg"].shape == (4, *RAW.shape)
    with pytest.raises(DataError, match="no EEG files at"):
        windows_of(tmp_path / "nothing")


def test_a_window_has_the_same_view_whatever_else_is_read(mne, tmp_path: Path) -> None:
    written(tmp_path / "a.edf", noise(75))
    written(tmp_path / "b.edf", noise(75, seed=1))
    files = np.asarray(["b.edf", "a.edf", "b.edf"])
    some = Windows(tmp_path, files, np.asarray([20.0, 10.0, 0.0])).views((RAW,))["raw_eeg"]
    everything = eeg_inputs(tmp_path, (RAW,))
    for row, name in enumerate(("b.edf@20", "a.edf@10", "b.edf@0")):
        np.testing.assert_array_equal(some[row], everything.views["raw_eeg"][everything.ids.tolist().index(name)])


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Two patients with two recordings of 60 s each, and a table of windows with votes."""
    rows = ["file,offset,calm,spike,patient,name"]
    for patient in ("p1", "p2"):
        for number in (1, 2):
            marks = [(12.0, 2.0, "calm"), (30.0, 0.0, "spike"), (45.0, 4.0, "noise")]
            written(tmp_path / "eeg" / patient / f"{number}.edf", noise(seed=number), annotations=marks)
            rows += [
                f"{patient}/{number}.edf,{offset},{3 - offset},{offset},{patient},{patient}{number}{offset}"
                for offset in (0, 2)
            ]
    (tmp_path / "windows.csv").write_text("\n".join(rows))
    return tmp_path


def test_a_table_gives_windows_with_votes_groups_and_ids(mne, patients: Path) -> None:
    data = EdfData(path="eeg", table="windows.csv", votes=("calm", "spike"), group="patient", id="name", views=(RAW,))
    loaded = data.load(patients)
    assert loaded.labels.ids[:3].tolist() == ["p110", "p112", "p120"]
    assert loaded.labels.groups.tolist() == ["p1"] * 4 + ["p2"] * 4
    assert loaded.labels.votes_NC[:2].tolist() == [[3, 0], [1, 2]]
    assert loaded.units_N is not None
    assert loaded.units_N[:3].tolist() == ["p1/1.edf", "p1/1.edf", "p1/2.edf"]
    plain = replace(data, id="", group="").load(patients)
    assert plain.labels.ids[:2].tolist() == ["p1/1.edf@0", "p1/1.edf@2"]
    assert plain.labels.groups[:2].tolist() == ["p1/1.edf", "p1/1.edf"]
    assert replace(data, group="", group_by="folder").load(patients).labels.groups.tolist() == ["p1"] * 4 + ["p2"] * 4


def test_annotations_are_labels_in_the_middle_of_their_windows(mne, patients: Path) -> None:
    data = EdfData(path="eeg", classes=("spike", "calm"), group_by="folder", views=(RAW,))
    with pytest.warns(FoldstillWarning, match=r"p1/1\.edf and 3 more: windows that reach outside"):
        loaded = data.load(patients)
    assert loaded.labels.ids[:2].tolist() == ["p1/1.edf@-12", "p1/1.edf@5"]
    assert loaded.labels.classes == ("spike", "calm")
    assert loaded.labels.votes_NC[:2].tolist() == [[0, 1], [1, 0]]
    name, record, votes_C = data.sample(patients, "p2/1.edf@5")
    assert (name, votes_C.tolist()) == ("p2/1.edf@5", [1, 0])
    np.testing.assert_array_equal(record.eeg(), open_eeg(patients / "eeg" / "p2" / "1.edf").record(5).eeg())
    with pytest.raises(
        DataError, match=r"no annotation of data\.classes, their texts are \['calm', 'noise', 'spike'\]"
    ):
        replace(data, classes=("seizure", "rest")).load(patients)


def test_windows_that_overlap_are_never_in_two_groups(mne, patients: Path) -> None:
    data = EdfData(path="eeg", table="windows.csv", votes=("calm", "spike"), group="name", views=(RAW,))
    with pytest.raises(
        DataError, match=r"windows p1/1\.edf@0 and p1/1\.edf@2 overlap and are in the groups \['p110', 'p112'\]"
    ):
        data.load(patients)


def test_a_file_in_several_groups_is_reported(mne, tmp_path: Path) -> None:
    written(tmp_path / "a.edf", noise(110))
    (tmp_path / "w.csv").write_text("file,offset,label,hour\na.edf,55,x,2\na.edf,0,y,1\n")
    data = EdfData(path="a.edf", table="w.csv", label="label", group="hour", views=(RAW,))
    with pytest.warns(FoldstillWarning, match=r"1 files have windows in several groups, first a\.edf"):
        loaded = data.load(tmp_path)
    assert loaded.labels.groups.tolist() == ["2", "1"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("p1/3.edf,0,1,0,p1,x", r"windows\.csv names 'p1/3\.edf' \(1 such files\)"),
        ("p1/1.edf,900,1,0,p1,x", r"1\.edf has 60 s, a window at 900 to 950 s has its middle outside"),
        ("p1/1.edf,,1,0,p1,x", r"windows\.csv has no offset for 'p1/1\.edf'"),
        ("p1/1.edf,soon,1,0,p1,x", r"offset in .*windows\.csv"),
    ],
)
def test_a_wrong_row_of_the_table_is_one_sentence(mne, patients: Path, row: str, message: str) -> None:
    with (patients / "windows.csv").open("a") as stream:
        stream.write(f"\n{row}")
    data = EdfData(path="eeg", table="windows.csv", votes=("calm", "spike"), group="patient", views=(RAW,))
    with pytest.raises(DataError, match=message):
        data.load(patients)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": ""}, "data.path is empty"),
        ({"step_s": 0.0}, r"data\.step_s must be more than 0 seconds, got 0"),
        ({"label": "x"}, r"data\.label names a column and there is no table"),
        ({"table": "w.csv"}, "data must name one of votes, shares or label"),
        ({"table": "w.csv", "label": "x", "group": "p", "group_by": "folder"}, r"data\.group_by has no effect"),
        ({"views": (RAW, RAW)}, "with different names"),
        ({"views": (KaggleSpectrogram(),)}, r"view kaggle_spectrogram .*reads spectrogram files .*such as mel"),
        ({"views": (PanelStack(),)}, r"view panel_stack .*reads spectrogram files"),
    ],
)
def test_wrong_settings_are_refused_before_a_file_is_read(settings: dict, message: str) -> None:
    with pytest.raises(FoldstillError, match=message):
        EdfData(**({"path": "eeg"} | settings))


def test_a_view_without_content_in_every_window_is_refused(mne, tmp_path: Path) -> None:
    view = RawEeg(bin_size=40, name="brain")
    flat = written(tmp_path / "flat.edf", np.zeros((20, 6000)))
    with pytest.raises(DataError, match=r"view brain has the same value everywhere in all 2 windows"):
        eeg_inputs(flat, (view,))


def test_data_of_the_competition_score_eeg_files_with_the_views_of_the_eeg(mne, patients: Path) -> None:
    hms = HmsData(folder="none", views=(KaggleSpectrogram.example(), RAW))
    for path in (patients / "eeg", patients / "eeg" / "p1" / "1.edf"):
        with pytest.warns(FoldstillWarning, match=r"views \['kaggle_spectrogram'\] .* are left out"):
            inputs = hms.inputs(path)
        own = EdfData(path="eeg", views=(RAW,)).inputs(path)
        assert inputs.ids.tolist() == own.ids.tolist()
        assert inputs.recipes == own.recipes
        np.testing.assert_array_equal(inputs.views["raw_eeg"], own.views["raw_eeg"])
    with pytest.raises(DataError, match=r"reads spectrogram files"):
        HmsData(folder="none", views=(KaggleSpectrogram.example(),)).inputs(path)
