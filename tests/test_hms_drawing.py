from pathlib import Path

import pytest

from foldstill.errors import DataError, FileError
from foldstill.hms.drawing import draw_eeg, draw_view, open_record
from foldstill.hms.files import HmsFolder
from foldstill.hms.synthetic import write_synthetic_hms
from foldstill.hms.views import HmsView
from foldstill.hms.views_kaggle import KaggleSpectrogram
from foldstill.hms.views_panels import PanelStack
from foldstill.hms.views_raw import RawEeg
from foldstill.hms.views_spectra import MelSpectrogram
from foldstill.hms.views_wavelet import Denoised, Scalogram


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("drawing") / "hms"
    write_synthetic_hms(out, patients=2, recordings=1)
    return out


@pytest.mark.parametrize(
    "view",
    [MelSpectrogram(), Scalogram(), KaggleSpectrogram(), PanelStack(), RawEeg(), Denoised()],
    ids=lambda v: v.name,
)
def test_every_kind_of_view_is_drawn(folder, tmp_path, view: HmsView):
    from PIL import Image

    record, _ = open_record(HmsFolder(folder))
    draw_view(view, record, tmp_path / "view.png")
    with Image.open(tmp_path / "view.png") as image:
        colours = image.convert("RGB").getcolors(2**24)
    assert len(colours) > 20


def test_an_eeg_is_drawn_as_experts_read_it(folder, tmp_path):
    record, row = open_record(HmsFolder(folder), str(HmsFolder(folder).frame().eeg_id[0]))
    draw_eeg(record, tmp_path / "eeg.png", title=row.ids_N[0])
    assert (tmp_path / "eeg.png").stat().st_size > 10_000


def test_an_unknown_sample_and_another_format_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match=r"no sample '12'.*ids are like"):
        open_record(HmsFolder(folder), "12")
    record, _ = open_record(HmsFolder(folder), str(HmsFolder(folder).frame().eeg_id[0]))
    with pytest.raises(FileError, match=r"view\.jpg: the suffix .* must be one of \.png"):
        draw_view(MelSpectrogram(), record, tmp_path / "view.jpg")
