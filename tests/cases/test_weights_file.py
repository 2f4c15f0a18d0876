"""Pretrained weights come from a file on a machine without a network, in one way."""

import pytest
import timm
import torch
from safetensors.torch import save_file

import foldstill as fs
from foldstill.errors import FoldstillError, MemberError


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The same weights in every form in which people have them."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(3)
    state = timm.create_model("test_resnet").state_dict()
    save_file(state, folder / "w.safetensors")
    torch.save(state, folder / "w.pth")
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}, "epoch": 3}, folder / "run.pt")
    save_file(timm.create_model("test_vit").state_dict(), folder / "other.safetensors")
    save_file(timm.create_model("test_resnet", num_classes=7).state_dict(), folder / "seven.safetensors")
    torch.save({"weights": folder}, folder / "objects.pth")
    (folder / "cut.safetensors").write_bytes((folder / "w.safetensors").read_bytes()[:500])
    return folder


def member(path, **settings) -> fs.TimmMember:
    return fs.TimmMember(**({"name": "a", "network": "test_resnet", "pretrained": str(path)} | settings))


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "run.pt"])
@pytest.mark.parametrize(("channels", "classes"), [(3, 4), (1, 6), (5, 1000)])
def test_weights_of_a_file_are_adapted_to_channels_and_classes(weights, name, channels, classes):
    network = member(weights / name).build([(32, 32, channels)], classes)
    values = torch.load(weights / "w.pth", weights_only=True)
    held = network.body.state_dict()
    different = {
        key for key in values if held[key].shape != values[key].shape or not torch.equal(held[key], values[key])
    }
    first = {key for key in values if values[key].shape[1:2] == (3,)}
    assert different <= first | {"fc.weight", "fc.bias"}
    assert bool(different & first) == (channels != 3)
    assert network(torch.zeros(2, channels, 32, 32, dtype=torch.uint8)).shape == (2, classes)


def test_a_head_of_other_classes_in_the_file_is_replaced(weights):
    network = member(weights / "seven.safetensors", temperature="row").build([(32, 32, 3)], 4)
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.safetensors", "no file of pretrained weights at .*none.safetensors"),
        ("w.txt", r"pretrained must be true, false or a file such as"),
        ("cut.safetensors", r"cut.safetensors cannot be read as weights"),
        ("objects.pth", r"objects.pth needs unpickling, which could run any code"),
        (
            "other.safetensors",
            r"other.safetensors (does not fit|holds the weights of another network than) 'test_resnet'",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named(weights, name, message):
    with pytest.raises(MemberError, match=f"member 'a': .*{message}") as error:
        member(weights / name).build([(32, 32, 3)], 4)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", [{"checkpoint_path": "w.pth"}, {"pretrained_cfg_overlay": {"file": "w.pth"}}])
def test_other_ways_to_name_weights_are_told_the_right_one(option):
    with pytest.raises(FoldstillError, match=r"names weights in another way.*pretrained = \"weights.safetensors\""):
        fs.TimmMember(name="a", network="test_resnet", pretrained=True, options=option)


def test_without_a_network_the_way_by_a_file_is_named(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("offline")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(MemberError, match=r'name a file, as in pretrained = "weights.safetensors"'):
        fs.TimmMember(name="a", network="test_resnet", pretrained=True).build([(32, 32, 3)], 4)


def test_networks_of_a_local_folder_are_left_to_timm(monkeypatch):
    asked = []
    create = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **rest: asked.append(name) or create("test_resnet", **rest))
    fs.TimmMember(name="a", network="local-dir:/weights/net").build([(32, 32, 3)], 4)
    assert asked == ["local-dir:/weights/net"]
