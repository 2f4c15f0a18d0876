import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from foldstill.data import make_plan
from foldstill.data.simplex import kl_divergence
from foldstill.errors import DataError
from foldstill.hms import synthetic
from foldstill.hms.chains import chain_differences
from foldstill.hms.files import HmsFolder, read_eeg, read_spectrogram
from foldstill.hms.montage import CHAINS, CLASSES, EEG_CHANNELS, VOTE_COLUMNS
from foldstill.hms.synthetic import _session, chain_power, sessions, write_synthetic_hms
from foldstill.hms.synthetic_eeg import Episode, draw_episode, draw_patient, simulate
from foldstill.hms.synthetic_source import SyntheticHmsData
from foldstill.hms.synthetic_votes import FEW, MANY, draw_votes, evidence
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_spectra import MelSpectrogram

SPIKES = {"rate_hz": 1.0, "sharpness": 1.0, "laterality": 1.0, "amplitude_uv": 150.0, "evolution": 0.0}


def contents(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "hms"
    write_synthetic_hms(out, patients=6, seed=2, recordings=3, test_patients=1)
    return out


def test_the_files_have_the_competitions_schema(made):
    train = HmsFolder(made).frame()
    assert list(train.columns)[:9] == [
        *("eeg_id", "eeg_sub_id", "eeg_label_offset_seconds"),
        *("spectrogram_id", "spectrogram_sub_id", "spectrogram_label_offset_seconds"),
        *("label_id", "patient_id", "expert_consensus"),
    ]
    assert train.patient_id.nunique() == 5
    assert train.label_id.is_unique
    assert {p.stem for p in (made / "train_eegs").iterdir()} == set(train.eeg_id.astype(str))
    assert {p.stem for p in (made / "train_spectrograms").iterdir()} == set(train.spectrogram_id.astype(str))
    votes = train[list(VOTE_COLUMNS)].to_numpy()
    assert (votes.sum(axis=1) >= 1).all()
    assert (votes.sum(axis=1) <= 28).all()
    assert (np.take(CLASSES, votes.argmax(axis=1)) == train.expert_consensus).all()
    for row in train.groupby("eeg_id").last().reset_index().itertuples():
        eeg = read_eeg(HmsFolder(made).eeg(row.eeg_id))
        power = read_spectrogram(HmsFolder(made).spectrogram(row.spectrogram_id))
        assert not [p for p in (*eeg.problems, *power.problems) if p.what not in ("missing values",)]
        # Both windows of every label lie inside their files.
        assert eeg.values.shape[1] >= (row.eeg_label_offset_seconds + 50) * 200
        assert power.values.shape[1] * 2 >= row.spectrogram_label_offset_seconds + 600


def test_the_test_split_has_files_for_the_samples_rows(made):
    test, sample = pd.read_csv(made / "test.csv"), pd.read_csv(made / "sample_submission.csv")
    assert sample.eeg_id.tolist() == test.eeg_id.tolist()
    assert not set(test.patient_id) & set(HmsFolder(made).frame().patient_id)
    folder = HmsFolder(made, "test")
    for row in test.itertuples():
        assert read_eeg(folder.eeg(row.eeg_id)).values.shape == (20, 10_000)
        assert read_spectrogram(folder.spectrogram(row.spectrogram_id)).values.shape == (400, 300)


def test_the_truth_of_every_row_is_what_its_votes_were_drawn_from(made):
    train, truth = HmsFolder(made).frame(), pd.read_csv(made / "truth.csv")
    both = train.merge(truth, on=["eeg_id", "eeg_sub_id"], validate="one_to_one")
    assert len(both) == len(train) == len(truth)
    votes, share = both[list(VOTE_COLUMNS)].to_numpy(), both[list(CLASSES)].to_numpy()
    assert share.sum(axis=1) == pytest.approx(1)
    # Rows of a recording with other shares, in place of their own, fit their votes less.
    shares = votes / votes.sum(axis=1, keepdims=True)
    own = kl_divergence(target=shares, proba=share)
    assert own < 0.7 * kl_divergence(target=shares, proba=np.roll(share, len(share) // 2, axis=0))


def test_the_same_seed_makes_the_same_bytes_and_another_does_not(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_synthetic_hms(tmp_path / name, patients=2, seed=seed, recordings=1)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c
    with pytest.raises(DataError, match="already holds HMS files"):
        write_synthetic_hms(tmp_path / "a", patients=2)


def test_a_patient_is_the_same_whatever_the_number_of_patients():
    few, many = list(sessions(1, 5, recordings=2)), list(sessions(2, 5, recordings=2))
    np.testing.assert_array_equal(few[0].eeg_ET, many[0].eeg_ET)


@pytest.fixture
def silent(monkeypatch) -> list[bool]:
    """Sessions without signals, where only decisions are counted; whether each had a bad electrode."""
    bad: list[bool] = []

    def flat(rng, patient, seconds, episodes, electrodes=()):
        bad.append(bool(electrodes))
        return np.zeros((1, round(seconds) * 200), np.float32)

    monkeypatch.setattr(synthetic, "simulate", flat)
    monkeypatch.setattr(synthetic, "chain_power", lambda eeg: np.zeros((4, 300), np.float32))
    return bad


def test_label_rows_of_a_recording_overlap_and_some_change_their_votes(silent):
    recordings = [r for i in range(60) for r in _session(np.random.default_rng([0, i]), i, 4).recordings]
    assert any(len(r.windows) > 3 for r in recordings)
    changes = [len({w.votes_C.tobytes() for w in r.windows}) for r in recordings]
    assert 0.03 < np.mean(np.array(changes) > 1) < 0.5


def spectrum(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.signal import welch

    return welch(x, fs=200, nperseg=1600)


def test_the_background_falls_with_frequency_and_alpha_is_posterior(rng):
    patient = replace(draw_patient(rng), alpha_hz=10.0, alpha_uv=25.0, muscle_uv=0.0, line_uv=5.0, blinks_per_s=0.0)
    eeg = simulate(rng, patient, 100, ())
    hz, power = spectrum(eeg)
    band = {
        name: power[:, (hz >= lo) & (hz < hi)].mean(axis=1)
        for name, lo, hi in (("d", 1, 3), ("a", 9, 11), ("b", 18, 30))
    }
    assert (band["d"][:19] > 5 * band["b"][:19]).all()
    assert band["a"][EEG_CHANNELS.index("O1")] > 5 * band["a"][EEG_CHANNELS.index("Fp1")]
    hum = power[:19, np.abs(hz - 60).argmin()] / power[:19, (hz > 50) & (hz < 58)].mean(axis=1)
    assert (hum > 8).all()
    beats = spectrum(eeg[19])
    assert 0.8 <= beats[0][beats[1].argmax()] <= 12  # a heart rate or one of its harmonics


def test_blinks_are_frontal_and_muscle_is_fast_and_temporal(rng):
    quiet = replace(
        draw_patient(rng), background_uv=2.0, alpha_uv=0.0, theta_uv=0.0, muscle_uv=0.0, line_uv=0.0, blinks_per_s=0.0
    )
    blinking = simulate(rng, replace(quiet, blinks_per_s=0.3), 100, ()).std(axis=1)
    assert blinking[EEG_CHANNELS.index("Fp1")] > 4 * blinking[EEG_CHANNELS.index("O1")]
    hz, power = spectrum(simulate(rng, replace(quiet, muscle_uv=20.0), 100, ()))
    fast = power[:, (hz > 30) & (hz < 90)].mean(axis=1)
    assert fast[EEG_CHANNELS.index("T3")] > 8 * fast[EEG_CHANNELS.index("Pz")]


@pytest.mark.parametrize(
    ("name", "low", "high"), [("LPD", 0.5, 2.5), ("GPD", 0.5, 2.5), ("LRDA", 1, 4), ("GRDA", 1, 4)]
)
def test_patterns_have_their_rate_and_their_place(name, low, high):
    """Over many patients the side is clear in lateralised patterns and absent in generalised ones."""
    ratios = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        patient = draw_patient(rng)
        episode = draw_episode(rng, patient, name, 0, 60)
        assert low <= episode.rate_hz <= high
        with_it, without = (simulate(np.random.default_rng(1), patient, 60, e) for e in ((episode,), ()))
        chains = chain_differences(with_it - without).std(axis=1).reshape(len(CHAINS), 4).mean(axis=1)
        left, right = chains[:2].mean(), chains[2:].mean()
        ratios.append(max(left, right) / min(left, right))
    assert (np.median(ratios) > 2) == name.startswith("L")


def test_periodic_discharges_recur_at_their_rate(rng):
    patient = draw_patient(rng)
    episode = Episode("periodic", 0, 100, **SPIKES)
    eeg = simulate(np.random.default_rng(0), patient, 100, (episode,)) - simulate(
        np.random.default_rng(0), patient, 100, ()
    )
    strongest = eeg[:19][np.abs(eeg[:19]).std(axis=1).argmax()]
    peaks = np.flatnonzero(
        (strongest[1:-1] > strongest[:-2]) & (strongest[1:-1] > strongest[2:]) & (strongest[1:-1] > 50)
    )
    assert 85 <= 1 + (np.diff(peaks) > 60).sum() <= 115  # noise on a crest makes several peaks of it


def test_a_seizure_slows_and_grows(rng):
    patient = draw_patient(rng)
    episode = Episode("seizure", 0, 100, 7.0, 0.6, 1.0, 150.0, 1.0)
    eeg = simulate(np.random.default_rng(0), patient, 100, (episode,)) - simulate(
        np.random.default_rng(0), patient, 100, ()
    )
    strongest = eeg[:19][eeg[:19].std(axis=1).argmax()]
    early, late = strongest[400:4000], strongest[-4000:-400]
    rate = [hz[power.argmax()] for hz, power in (spectrum(early), spectrum(late))]
    assert rate[0] > 5.5
    assert rate[1] < 4.5
    assert late.std() > 1.5 * early.std()


def test_evidence_names_the_pattern_in_the_judged_middle_only():
    lpd = Episode("periodic", 20, 200, **SPIKES)
    assert CLASSES[evidence((lpd,), 13.0, 50).argmax()] == "LPD"
    assert CLASSES[evidence((lpd,), 13.0, -30).argmax()] == "Other"  # it begins after the middle
    assert CLASSES[evidence((lpd,), 400.0, 50).argmax()] == "Other"  # it drowns
    half = evidence((Episode("periodic", 20, 200, **{**SPIKES, "laterality": 0.5}),), 13.0, 50)
    assert half[CLASSES.index("LPD")] == pytest.approx(half[CLASSES.index("GPD")])
    assert half.sum() == pytest.approx(1)


def test_a_doubtful_middle_is_read_as_what_the_ten_minutes_show():
    """Half of the judged ten seconds hold rhythmic delta; the patient has had it for minutes, or never before."""
    begins = 75.0  # in the middle of 50 s that begin at 50
    now = Episode("rhythmic", begins, begins + 10, **{**SPIKES, "sharpness": 0.0})
    before = Episode("rhythmic", -200, 40, **{**SPIKES, "sharpness": 0.0})
    spikes = Episode("periodic", -200, 40, **SPIKES)
    lrda = CLASSES.index("LRDA")
    alone, usual, unusual = (evidence(e, 13.0, 50)[lrda] for e in ((now,), (now, before), (now, spikes)))
    assert usual > alone + 0.05
    assert unusual < usual


def test_votes_scatter_more_than_a_multinomial_and_few_votes_are_often_unanimous(rng):
    share = np.array([0.05, 0.45, 0.05, 0.05, 0.05, 0.35])
    many = [draw_votes(rng, share, MANY) for _ in range(800)]
    shares = np.array([v[1] / v.sum() for v in many])
    expected = np.mean([0.45 * 0.55 / v.sum() for v in many])
    assert shares.var() > 1.4 * expected
    assert shares.mean() == pytest.approx(0.45, abs=0.03)
    few = [draw_votes(rng, share, FEW) for _ in range(400)]
    assert {int(v.sum()) for v in few} <= set(range(1, 8))
    assert {int(v.sum()) for v in many} <= set(range(10, 29))
    assert np.mean([v.max() == v.sum() for v in few]) > 0.25


def test_gaps_and_bad_channels_come_at_the_real_rates(silent):
    made = [_session(np.random.default_rng([0, i]), i, 2) for i in range(700)]
    eegs = [np.isnan(r.cut(s.eeg_ET)[0]).any() for s in made for r in s.recordings]
    assert np.mean(eegs) == pytest.approx(0.048, abs=0.018)
    assert np.mean([np.isnan(s.spectrogram_FS).any() for s in made]) == pytest.approx(0.087, abs=0.033)
    assert np.mean(silent) == pytest.approx(0.048, abs=0.025)


def test_the_spectrogram_file_is_the_power_density_of_its_chains():
    time = np.arange(60 * 200) / 200
    eeg = np.zeros((20, len(time)), np.float32)
    eeg[EEG_CHANNELS.index("T3")] = 40 * np.sin(2 * np.pi * 10.15625 * time)  # bin 52 of 1,024
    panels = chain_power(eeg).reshape(4, 100, -1)
    assert panels.shape[2] == 30
    assert (panels[0, :, 5:-5].argmax(axis=0) == 52 - 3).all()
    # Two of four differences hold a sine of power 40^2 / 2. A Hann window spreads it over 1.5 bins of 1/4 Hz.
    assert panels[0, 49, 10] == pytest.approx(2 / 4 * 40**2 / 2 / (1.5 / 4), rel=0.02)
    assert panels[1].max() < 1e-3


def test_the_data_set_in_memory_is_the_one_on_disk(tmp_path):
    from foldstill.hms.source import HmsData

    views = (MelSpectrogram(n_mels=16, width=32), KaggleSpectrogram(height=16, width=32, layout="channels"))
    memory = SyntheticHmsData(patients=3, recordings=2, seed=6, views=views).load(tmp_path)
    write_synthetic_hms(tmp_path / "hms", patients=4, seed=6, recordings=2)
    disk = HmsData(folder="hms", views=views)
    disk.prepare(tmp_path)
    read = disk.load(tmp_path)
    order = np.argsort(memory.labels.ids), np.argsort(read.labels.ids)
    assert memory.labels.ids[order[0]].tolist() == read.labels.ids[order[1]].tolist()
    np.testing.assert_array_equal(memory.labels.votes_NC[order[0]], read.labels.votes_NC[order[1]])
    for name in ("mel", "kaggle_spectrogram"):
        # Files are rounded to hundredths, which moves some pixels by a step or two.
        off = np.abs(memory.view(name)[order[0]].astype(int) - read.view(name)[order[1]].astype(int))
        assert np.quantile(off, 0.99) <= 2


@pytest.mark.slow
def test_the_classes_can_be_learnt_across_patients():
    """A linear model on a few band powers beats the class prior on patients it never saw."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    view = MelSpectrogram(n_mels=16, width=16)
    data = SyntheticHmsData(patients=60, recordings=4, seed=1, views=(view,)).load(Path())
    plan = make_plan(data.labels, n_folds=3, test_share=0.0)
    x = data.view("mel").reshape(len(data.labels), 16, 16, 4).mean(axis=2).reshape(len(data.labels), -1)
    y = data.labels.votes_NC.argmax(axis=1)
    right = prior = 0.0
    for fold in range(3):
        train, held = plan.training(fold), plan.held_out(fold)
        scaler = StandardScaler().fit(x[train])
        model = LogisticRegression(C=0.1, max_iter=500).fit(scaler.transform(x[train]), y[train])
        right += (model.predict(scaler.transform(x[held])) == y[held]).sum()
        prior += (np.bincount(y[train]).argmax() == y[held]).sum()
    assert right > prior + 0.1 * len(y)


def test_impossible_sizes_are_refused():
    with pytest.raises(DataError, match="1 or more"):
        SyntheticHmsData(patients=0)
    with pytest.raises(DataError, match="leave patients to train on"):
        write_synthetic_hms(Path("never"), patients=2, test_patients=2)
