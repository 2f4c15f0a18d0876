from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from foldstill.errors import ArgumentError, DataError
from foldstill.hms.image import finish
from foldstill.hms.montage import BINS_PER_PANEL, CHAINS, EEG_CHANNELS, PANELS, spectrogram_columns
from foldstill.hms.record import Record
from foldstill.hms.storage import decode, encode
from foldstill.hms.views import VIEWS as KINDS
from foldstill.hms.views import view_of_kind
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_panels import PANEL_VIEWS, PanelStack, PanelStatistics
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram, ScipySpectrogram, StftSpectrogram
from foldstill.hms.views_wavelet import EEG_VIEWS, Denoised, Scalogram

PERCENTILES = ("p20", "p40", "p60", "p80")
VIEWS = [
    MelSpectrogram(),
    MelSpectrogram(n_mels=32, width=64, layout="stack", normalise="instance"),
    ScipySpectrogram(),
    ScipySpectrogram(crop="whole", height=64, width=128),
    StftSpectrogram(),
    RawEeg(),
    RawEeg(seconds=10, bin_size=2),
    KaggleSpectrogram(),
    KaggleSpectrogram(crop="whole", width=512, height=128, log_low=-6, log_high=10, gap=-6, normalise="instance"),
    KaggleSpectrogram(
        log_high=7, trim_bins=2, gap=-4, height=96, width=224, interpolation="cubic", antialias=False, normalise="panel"
    ),
    KaggleSpectrogram(order=("LL", "LP", "RP", "RL"), seconds=100, layout="channels"),
    PanelStatistics(of=KaggleSpectrogram()),
    PanelStatistics(of=KaggleSpectrogram(), statistics=PERCENTILES, beside=True),
    PanelStatistics(of=MelSpectrogram(), layout="channels"),
    PanelStack(),
    Scalogram(),
    Scalogram(order=3, height=32, width=64, layout="stack", normalise="panel"),
    PanelStack(of=(KaggleSpectrogram(), Scalogram())),
    Denoised(),
    Denoised(of=ScipySpectrogram(crop="whole"), wavelet="haar", level=1, threshold="hard"),
    *(kind.example() for kind in KINDS),
]


def test_kinds_titles_and_summaries_tell_views_apart():
    for name in ("kind", "title", "summary"):
        assert len({getattr(view, name) for view in KINDS}) == len(KINDS)
    assert all(view.summary.endswith(".") for view in KINDS)
    assert set(EEG_VIEWS) | set(PANEL_VIEWS) <= set(KINDS)
    assert all("eeg" in view.example().needs for view in EEG_VIEWS)


def test_a_view_is_found_by_its_kind():
    assert view_of_kind("mel") == MelSpectrogram()
    with pytest.raises(DataError, match=r"no view of kind 'panel_statistics' that needs no further settings"):
        view_of_kind("panel_statistics")


def walk(rng: np.random.Generator, seconds: int = 50) -> np.ndarray:
    """Random walks in microvolts: steep spectra as EEG has, from 20 channels."""
    steps = rng.standard_normal((len(EEG_CHANNELS), seconds * 200))
    return (5 * (steps.cumsum(axis=1) - steps.cumsum(axis=1).mean(axis=1, keepdims=True))).astype(np.float32)


@pytest.fixture
def record(rng) -> Record:
    power = np.exp(rng.normal(0, 2, (len(PANELS) * BINS_PER_PANEL, 330))).astype(np.float32)
    return Record(walk(rng), power, spectrogram_offset_s=40)


def real_record(real) -> Record:
    pq = pytest.importorskip("pyarrow.parquet")
    folder = real / "hms_eeg_sample"
    eeg = pq.read_table(folder / "train_eeg_1000913311.parquet")
    power = pq.read_table(folder / "train_spectrogram_1000189855.parquet")
    return Record(
        np.stack([eeg[c].to_numpy() for c in EEG_CHANNELS]),
        np.stack([power[c].to_numpy() for c in spectrogram_columns()]),
    )


def check(view, record: Record) -> np.ndarray:
    made = view.make(record)
    assert made.shape == view.shape
    assert made.dtype == np.float32
    assert np.isfinite(made).all()
    if view.bounds is not None:
        assert view.bounds[0] - 1e-4 <= made.min()
        assert made.max() <= view.bounds[1] + 1e-4
    return made


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_every_view_is_finite_of_its_shape_and_inside_its_bounds(view, record):
    check(view, record)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_every_view_survives_gaps_flat_channels_and_nothing_at_all(view, record):
    eeg, power = record.eeg_ET.copy(), record.spectrogram_FS.copy()
    eeg[3, 100:2000], eeg[7], eeg[2] = np.nan, np.nan, 0
    power[:, 50:60] = np.nan
    check(view, replace(record, eeg_ET=eeg, spectrogram_FS=power))
    check(view, Record(np.full_like(eeg, np.nan), np.full_like(power, np.nan)))
    check(view, replace(record, eeg_ET=eeg[:, :6000], spectrogram_FS=power[:, :100]))


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)
def test_every_view_is_made_of_real_files(view, real):
    check(view, real_record(real))


def librosa_mel(eeg_ET: np.ndarray) -> np.ndarray:
    """The public recipe, pair by pair; (128, 256, 4)."""
    librosa = pytest.importorskip("librosa")
    image = np.zeros((128, 256, 4), np.float32)
    for panel, chain in enumerate(CHAINS.values()):
        for a, b in pairwise(chain):
            x = eeg_ET[EEG_CHANNELS.index(a)] - eeg_ET[EEG_CHANNELS.index(b)]
            x = np.nan_to_num(x, nan=np.nanmean(x)) if np.isfinite(x).any() else np.zeros_like(x)
            mel = librosa.feature.melspectrogram(
                y=x, sr=200, hop_length=len(x) // 256, n_fft=1024, n_mels=128, fmin=0, fmax=20, win_length=128
            )
            image[:, :, panel] += (librosa.power_to_db(mel, ref=np.max)[:, :256] + 40) / 40
    return image / 4


def test_the_mel_view_is_librosas_recipe(rng):
    eeg = walk(rng)
    eeg[1, 500:900], eeg[2], eeg[14] = np.nan, eeg[3], np.nan  # a gap, a pair of zeros, a dead electrode
    np.testing.assert_allclose(MelSpectrogram().make(Record(eeg)), librosa_mel(eeg), atol=1e-4)


def test_the_mel_view_is_librosas_recipe_on_real_eeg(real):
    record = real_record(real)
    np.testing.assert_allclose(MelSpectrogram().make(record), librosa_mel(record.eeg_ET), atol=1e-4)


@pytest.mark.parametrize("microvolts", [1e-6, 1e-3, 1e4])
def test_the_mel_view_keeps_the_recipes_floor_at_any_amplitude(rng, microvolts):
    eeg = (walk(rng) * microvolts).astype(np.float32)
    np.testing.assert_allclose(MelSpectrogram().make(Record(eeg)), librosa_mel(eeg), atol=2e-4)


def unresized(view: ScipySpectrogram, record: Record) -> np.ndarray:
    return view.full_spectra(view.signals(record)[None])[0]


def scipy_panels(eeg_ET: np.ndarray) -> np.ndarray:
    """The SciPy recipe, pair by pair in double precision; (4, 129, frames)."""
    from scipy.signal import spectrogram

    out = []
    for chain in CHAINS.values():
        total = 0
        for a, b in pairwise(chain):
            x = eeg_ET[EEG_CHANNELS.index(a)] - eeg_ET[EEG_CHANNELS.index(b)]
            total = total + spectrogram(x.astype(np.float64), nperseg=150, noverlap=128, nfft=256)[2]
        out.append(np.log(np.clip(np.nan_to_num(total / 4, nan=0), np.exp(-6), np.exp(10))))
    return np.stack(out)


def test_the_scipy_view_is_scipys(rng):
    eeg = walk(rng, seconds=60)
    view = ScipySpectrogram(crop="whole")
    eeg[4, 3000:3100] = np.nan
    made = unresized(view, Record(eeg))
    np.testing.assert_allclose(made, scipy_panels(eeg), atol=1e-4)
    assert made.shape == (4, 129, (12_000 - 150) // 22 + 1)


def torch_stft(eeg_ET: np.ndarray) -> np.ndarray:
    """The STFT recipe with torch and the polynomial form of the filter in double precision; (96, 224, 4)."""
    torch = pytest.importorskip("torch")
    from scipy.signal import butter, filtfilt

    pairs = [(a, b) for chain in CHAINS.values() for a, b in pairwise(chain)]
    x = np.stack([eeg_ET[EEG_CHANNELS.index(a)] - eeg_ET[EEG_CHANNELS.index(b)] for a, b in pairs]).astype(np.float64)
    x = filtfilt(*butter(5, (0.25, 40), btype="bandpass", fs=200), x)
    x /= np.median(np.median(np.abs(x - np.median(x, axis=1, keepdims=True)), axis=1)) * 1.4826
    hann = torch.hann_window(256, dtype=torch.float64)
    parts = torch.stft(torch.from_numpy(x.copy()), 800, 44, 256, window=hann, pad_mode="reflect", return_complex=True)
    logs = np.log(np.clip(parts[:, 2:98].abs().numpy() / 15, np.exp(-4), np.exp(7)))
    return logs.reshape(4, 4, 96, -1).mean(axis=1)[:, :, 2:226].transpose(1, 2, 0) + 1


def test_the_stft_view_is_torchs_transform_of_scipys_filter(rng):
    eeg = walk(rng)
    np.testing.assert_allclose(StftSpectrogram().make(Record(eeg)), torch_stft(eeg), atol=2e-3)


def test_the_scipy_and_stft_views_agree_with_their_references_on_real_eeg(real):
    record = real_record(real)
    np.testing.assert_allclose(unresized(ScipySpectrogram(), record), scipy_panels(record.eeg_ET), atol=2e-4)
    np.testing.assert_allclose(StftSpectrogram().make(record), torch_stft(record.eeg_ET), atol=2e-3)


def test_the_raw_view_has_the_banana_the_midline_and_the_ekg(rng):
    time = np.arange(10_000) / 200
    eeg = np.zeros((20, 10_000), np.float32)
    eeg[EEG_CHANNELS.index("Fp1")] = 100 * np.sin(2 * np.pi * 5 * time)
    eeg[EEG_CHANNELS.index("Cz")] = 100 * np.sin(2 * np.pi * 9 * time)
    eeg[EEG_CHANNELS.index("EKG")] = 500 * np.sin(2 * np.pi * 2 * time)
    eeg += rng.standard_normal(eeg.shape).astype(np.float32)
    strong = np.flatnonzero(np.abs(RawEeg().make(Record(eeg))).mean(axis=1) > 5)
    # Fp1 begins both left chains; Cz is in both midline differences. The EKG has a scale of its own.
    assert strong.tolist() == [0, 4, 16, 17]
    tone = np.abs(np.fft.rfft(RawEeg(clip=1e6).make(Record(eeg)), axis=1)).argmax(axis=1) / 50
    assert tone[[0, 4, 16, 17, 18]].tolist() == [5, 5, 9, 9, 2]


def test_the_spectrogram_is_cut_at_the_label(rng):
    power = np.exp(np.tile(np.arange(400, dtype=np.float32) / 100, (400, 1)))
    view = KaggleSpectrogram(log_low=-1, log_high=8)
    np.testing.assert_allclose(
        view.make(Record(None, power, spectrogram_offset_s=61))[0, :, 0], np.arange(30, 330) / 100, atol=1e-6
    )
    late = view.make(Record(None, power, spectrogram_offset_s=400))[0, :, 0]
    assert (late[200:] == 0).all()  # over the end is a gap
    middle = replace(view, seconds=100).make(Record(None, power, spectrogram_offset_s=0))[0, :, 0]
    np.testing.assert_allclose(middle, np.arange(125, 175) / 100, atol=1e-6)


def test_panels_are_ordered_as_asked(rng):
    power = np.repeat(np.exp([0, 1, 2, 3]), 100).astype(np.float32)[:, None] * np.ones((1, 300), np.float32)
    view = KaggleSpectrogram(order=("RP", "LL"), layout="channels")
    np.testing.assert_allclose(view.make(Record(None, power))[0, 0], [3, 0], atol=1e-6)


def test_global_features_are_pixelwise_statistics_over_panels(record):
    of = KaggleSpectrogram()
    panels = of.panels(record)
    made = PanelStatistics(of=of, layout="channels").make(record)
    low, high = panels.min(axis=0), panels.max(axis=0)
    np.testing.assert_allclose(made, np.stack([low, high, panels.mean(axis=0), high - low], axis=-1), atol=1e-6)
    beside = PanelStatistics(of=of, statistics=PERCENTILES, beside=True).make(record)[..., 0]
    np.testing.assert_array_equal(beside[:, :300], of.make(record)[..., 0])
    np.testing.assert_allclose(beside[:100, 300:], np.percentile(panels, 20, axis=0), atol=1e-6)


def test_a_stack_holds_the_panels_of_all_its_views(record):
    stack = PanelStack().make(record)
    assert stack.shape == (128, 256, 8)
    np.testing.assert_allclose(stack[:, :, 4:], MelSpectrogram().make(record), atol=1e-6)


def test_instance_and_panel_normalisation_leave_mean_zero_and_spread_one(rng):
    panels = rng.normal([[[3]], [[-2]]], [[[1]], [[4]]], (2, 40, 50)).astype(np.float32)
    image = finish(panels, "stack", "instance")
    assert (image.mean(), image.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-4))
    each = finish(panels, "channels", "panel")
    np.testing.assert_allclose(each.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(each.std(axis=(0, 1)), 1, atol=1e-4)


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (-4.0, 8.0), (0.0, 12.0)])
def test_eight_bits_keep_half_a_step_of_the_range(rng, bounds):
    values = rng.uniform(*bounds, (50, 50)).astype(np.float32)
    back = decode(encode(values, bounds), bounds)
    assert np.abs(back - values).max() <= (bounds[1] - bounds[0]) / 255 / 2 + 1e-5


def test_unbounded_views_are_stored_as_half_precision(rng):
    values = rng.normal(0, 5, (50, 50)).astype(np.float32)
    np.testing.assert_allclose(decode(encode(values, None), None), values, rtol=1e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MelSpectrogram(layout="wide"), "layout of MelSpectrogram must be one of 'channels', 'stack'"),
        (lambda: MelSpectrogram(window=129), "even window"),
        (lambda: MelSpectrogram(top_db=120), "at most 80"),
        (lambda: ScipySpectrogram(overlap=150), "overlap < window"),
        (lambda: ScipySpectrogram(window=149), "an even window"),
        (lambda: StftSpectrogram(bins=500), "first_bin"),
        (lambda: RawEeg(high_hz=100), "inside 0 and 100 Hz"),
        (lambda: KaggleSpectrogram(crop="whole"), "needs a width"),
        (lambda: KaggleSpectrogram(order=("LL", "XX")), "order of KaggleSpectrogram must be a list or tuple of one of"),
        (lambda: KaggleSpectrogram(gap=9), "log_low <= gap"),
        (lambda: PanelStatistics(of=KaggleSpectrogram(), statistics=("median",)), "percentile such as p20"),
        (lambda: PanelStatistics(of=KaggleSpectrogram(normalise="panel")), "would have no effect"),
        (lambda: PanelStatistics(of=KaggleSpectrogram(), statistics=("p20",), beside=True), "needs 4 statistics"),
        (lambda: PanelStack(of=()), "at least one view"),
        (lambda: Record(np.zeros((19, 100), np.float32)), r"must be \(20, time\)"),
        (lambda: MelSpectrogram().make(Record()), "needs an EEG"),
    ],
)
def test_settings_that_cannot_work_are_refused(make, message):
    with pytest.raises((DataError, ArgumentError), match=message):
        make()


def test_views_are_settings_that_a_file_can_hold():
    pydantic = pytest.importorskip("pydantic")
    reader = pydantic.TypeAdapter(PanelStack)
    text = {"kind": "panel_stack", "of": [{"kind": "stft", "bins": 48}, {"kind": "mel"}], "height": 64}
    assert reader.validate_python(text) == PanelStack(of=(StftSpectrogram(bins=48), MelSpectrogram()), height=64)
    with pytest.raises(pydantic.ValidationError, match="heigth"):
        reader.validate_python({"heigth": 64})
