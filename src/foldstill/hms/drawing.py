"""Pictures of one recording: any view as a member reads it, and the EEG as an expert reads it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from foldstill.data.signals import Signal, band_pass, line_for_gaps
from foldstill.errors import DataError
from foldstill.files import atomic_write, check_output, refuse_unmarked
from foldstill.hms.chains import chain_differences, midline_differences
from foldstill.hms.files import HmsFolder, read_eeg, read_spectrogram
from foldstill.hms.image import PanelView
from foldstill.hms.montage import CHAIN_PAIRS, EEG_SECONDS, MIDLINE_PAIRS, SFREQ_HZ, channel_index
from foldstill.hms.record import Record
from foldstill.hms.rows import LabelRows, LabelRule, label_rows
from foldstill.hms.views import View
from foldstill.hms.views_wavelet import Denoised

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIGNAL_NAMES = (*(f"{a}-{b}" for a, b in (*CHAIN_PAIRS, *MIDLINE_PAIRS)), "EKG")


def open_record(folder: HmsFolder, sample: str = "", *, rows: LabelRule = "unique_votes") -> tuple[Record, LabelRows]:
    """The signals and the row of one sample; `sample` is its id or that of its recording, empty for the first sample.

    Raises DataError with three ids as examples where there is no such sample.
    """
    table = label_rows(folder, rows)
    matches = np.flatnonzero((table.ids_N == sample) | (table.recordings_N == sample) | (sample == ""))
    if not len(matches):
        raise DataError(
            f"no sample {sample!r} among the {len(table)} of {folder.table}; ids are like {table.ids_N[:3].tolist()}: "
            "name one of its samples or recordings"
        )
    row = table.take(matches[:1])
    recording, spectrogram = str(row.recordings_N[0]), str(row.spectrograms_N[0])
    record = Record(
        eeg_ET=read_eeg(folder.eeg(recording)).values if recording else None,
        spectrogram_FS=read_spectrogram(folder.spectrogram(spectrogram)).values,
        eeg_offset_s=float(row.eeg_offset_N[0]),
        spectrogram_offset_s=float(row.spectrogram_offset_N[0]),
    )
    return record, row


def draw_view(view: View, record: Record, out: Path, *, title: str = "") -> None:
    """Draw a view of a record: panels with low frequencies at the bottom, or signals one below the other."""
    from matplotlib.figure import Figure

    values = view.make(record)
    if values.ndim == 2:
        figure = Figure(figsize=(14, 9), layout="constrained")
        axes = figure.subplots()
        _signals(axes, values, EEG_SECONDS, spacing=float(np.abs(values).max()) or 1.0)
    else:
        panels = values.transpose(2, 0, 1)
        figure = Figure(figsize=(7 * (1 if len(panels) == 1 else 2), 9), layout="constrained")
        grid = figure.subplots(-(-len(panels) // 2), 1 if len(panels) == 1 else 2, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            upright = _upright(view, panel)
            shown = axes.imshow(upright, aspect="auto", vmin=values.min(), vmax=values.max(), cmap="viridis")
            axes.set_xlabel("column")
        figure.colorbar(shown, ax=grid)
    figure.suptitle(title or view.name, parse_math=False)
    _save(figure, out)


def draw_eeg(record: Record, out: Path, *, seconds: float = 10, title: str = "") -> None:
    """Draw the middle of an EEG as experts read it: double banana, 0.5 to 70 Hz, 100 microvolts between the signals."""
    from matplotlib.figure import Figure

    eeg_ET = line_for_gaps(record.eeg_window())
    ekg = eeg_ET[channel_index(("EKG",))]
    x_ET = np.concatenate(
        [chain_differences(eeg_ET), midline_differences(eeg_ET), ekg / max(float(ekg.std()) / 20, 1e-6)]
    )
    x_ET = band_pass(x_ET, 0.5, 70, order=2, sfreq_hz=SFREQ_HZ)
    half = round(seconds * SFREQ_HZ / 2)
    middle = x_ET.shape[1] // 2
    figure = Figure(figsize=(14, 9), layout="constrained")
    axes = figure.subplots()
    _signals(axes, x_ET[:, middle - half : middle + half], seconds, spacing=100)
    figure.suptitle(title or "EEG, 100 microvolts between signals", parse_math=False)
    _save(figure, out)


def _signals(axes: "Axes", x_ET: Signal, seconds: float, spacing: float) -> None:
    # A gap after each chain, as on printed EEGs.
    level = -spacing * (np.arange(len(x_ET)) + 0.5 * (np.arange(len(x_ET)) // 4))
    time = np.linspace(0, seconds, x_ET.shape[1], endpoint=False)
    axes.plot(time, (x_ET + level[:, None]).T, color="black", linewidth=0.5)
    axes.set_yticks(level, SIGNAL_NAMES[: len(level)])
    axes.set_xlabel("seconds")
    axes.margins(x=0)


def _upright(view: View, image: Signal) -> Signal:
    """The image with low frequencies at the bottom of each panel, and the panels in their order from the top."""
    source = view.of if isinstance(view, Denoised) else view
    height = source.panels_shape[1] if isinstance(source, PanelView) else image.shape[0]
    upright: Signal = image.reshape(-1, height, image.shape[1])[:, ::-1].reshape(image.shape)
    return upright


def check_drawing(out: Path, *, force: bool = False) -> None:
    """Raise FileError unless a view can be drawn at `out`; a PNG that foldstill did not write needs `force`."""
    check_output(out, (".png",))
    refuse_unmarked(out, out.exists() and b"foldstill" in out.read_bytes()[:1024], force=force)


def _save(figure: "Figure", out: Path) -> None:
    check_output(out, (".png",))
    with atomic_write(out) as part:
        figure.savefig(part, dpi=80, metadata={"Software": "foldstill"})
