"""Names of devices, on the command line and in Python, with and without the GPUs they name."""

import pytest

from foldstill.base_models.device import pick_device, require_device
from foldstill.errors import MemberError
from foldstill.workers import Work
from made_up import call
from pretended_device import UNSUPPORTED
from pretended_gpu import pretended_gpu

EVERY_NAME = ["auto", "cpu", "cuda", "cuda:1", "mps"]
NO_NAME = ["meta", "xpu", "gpu", "cuda:", "cuda:one", "cuda:-1", "CPU", ""]


@pytest.mark.parametrize("name", NO_NAME)
def test_a_name_that_is_none_is_one_sentence_before_torch_is_asked(name, monkeypatch, capsys, tmp_path):
    with pytest.raises(MemberError, match=r"device must be auto, cpu, cuda, cuda:<number> or mps, got "):
        pick_device(name)
    monkeypatch.setenv("TERMINAL_WIDTH", "400")
    assert call(monkeypatch, "train", "experiment.toml", "--out", tmp_path / "run", "--device", name) == 2
    assert f"device must be auto, cpu, cuda, cuda:<number> or mps, got {name!r}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", "device 'cuda' needs a GPU, and torch finds no CUDA device: use device auto or cpu"),
        ("cuda:1", "device 'cuda:1' needs a GPU, and torch finds no CUDA device: use device auto or cpu"),
        ("mps", "device 'mps' needs the GPU of a Mac, and torch finds none: use device auto or cpu"),
    ],
)
def test_a_gpu_that_is_not_there_is_one_sentence(name, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    assert pick_device("auto") == "cpu"
    with pytest.raises(MemberError, match=f"^{message}$"):
        pick_device(name)


def test_the_machines_of_a_cluster_have_devices_of_their_own(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    require_device(Work("dask=tcp://host:8786", "cuda"))
    require_device(Work(1, "auto"))
    with pytest.raises(MemberError, match="device 'cuda' needs a GPU"):
        require_device(Work(2, "cuda"))


@pytest.mark.skipif(bool(UNSUPPORTED), reason=UNSUPPORTED)
def test_gpus_that_are_there_are_used_by_their_names():
    with pretended_gpu("cuda"):
        assert [pick_device(name) for name in EVERY_NAME[:-1]] == ["cuda", "cpu", "cuda", "cuda:1"]
        with pytest.raises(
            MemberError, match=r"torch finds 2 CUDA devices, counted from cuda:0, so use cuda:1 or less"
        ):
            pick_device("cuda:2")
    with pretended_gpu("mps"):
        assert [pick_device(name) for name in ("auto", "cpu", "mps")] == ["cpu", "cpu", "mps"]
