import numpy as np
import pytest
import torch
from torch import nn

from foldstill.base_models import TimmMember
from foldstill.base_models.networks import InputLayer, Network
from foldstill.errors import MemberError


@pytest.mark.parametrize(
    ("network", "channels", "size", "options"),
    [
        ("test_efficientnet", 1, (32, 64), {}),
        ("test_resnet", 5, (33, 20), {}),
        ("test_convnext", 3, (32, 32), {"patch_size": 2}),
        ("test_vit", 4, (32, 48), {}),
    ],
)
def test_any_channels_and_sizes(network, channels, size, options):
    built = TimmMember("m", network, options=options).build([(*size, channels)], 7).eval()
    with torch.inference_mode():
        assert built(torch.zeros(2, channels, *size)).shape == (2, 7)


def test_the_input_layer_scales_each_channel_and_resizes(rng):
    raw = torch.from_numpy(rng.integers(0, 256, (2, 3, 8, 8), dtype=np.uint8))
    layer = InputLayer(3, (16, 4))
    layer.mean[:] = torch.tensor([10.0, 20.0, 30.0])
    layer.std[:] = torch.tensor([1.0, 2.0, 4.0])
    x = layer(raw)
    assert x.shape == (2, 3, 16, 4)
    layer.resize = None
    expected = (raw.numpy() - np.array([10, 20, 30])[:, None, None]) / np.array([1, 2, 4])[:, None, None]
    np.testing.assert_allclose(layer(raw).numpy(), expected, rtol=1e-6)


def test_signals_pass_through_a_body_of_their_own():
    body = torch.nn.Sequential(torch.nn.Conv1d(19, 4, 3), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    assert Network(body, 19)(torch.zeros(2, 19, 50)).shape == (2, 4)


def test_the_weights_carry_the_input_scaling():
    """Constants that are stored apart from the weights are forgotten, or wrong where they are used."""
    built = TimmMember("m", "test_resnet").build([(16, 16, 3)], 2)
    assert {"input.mean", "input.std"} <= built.state_dict().keys()


def test_a_stem_stride_of_one_keeps_the_resolution():
    coarse = TimmMember("m", "test_resnet").build([(32, 32, 3)], 2).eval()
    fine = TimmMember("m", "test_resnet", stem_stride=1).build([(32, 32, 3)], 2).eval()
    x = torch.zeros(1, 3, 32, 32)
    assert fine.body.forward_features(x).shape[2] == 2 * coarse.body.forward_features(x).shape[2]


def test_unknown_names_get_near_ones():
    with pytest.raises(MemberError, match=r"no network 'test_resnt'.*test_resnet"):
        TimmMember("m", "test_resnt").build([(16, 16, 3)], 2)


def test_a_size_that_the_network_refuses_is_one_sentence():
    with pytest.raises(MemberError, match=r"member 'm'.*refuses images of 20 x 20.*set image_size"):
        TimmMember("m", "test_coatnet").build([(20, 20, 3)], 2)


def test_a_refused_option_names_itself():
    with pytest.raises(MemberError, match=r"timm refuses 'test_resnet'.*patch_sise"):
        TimmMember("m", "test_resnet", options={"patch_sise": 4}).build([(16, 16, 3)], 2)


def test_missing_pretrained_weights_are_one_sentence(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def fail(*_args, **_kwargs):
        raise OSError("no route to the hub")

    monkeypatch.setattr("timm.models._builder.load_pretrained", fail)
    with pytest.raises(MemberError, match=r"pretrained weights of 'test_resnet'.*no route.*pretrained = false"):
        TimmMember("m", "test_resnet", pretrained=True).build([(16, 16, 3)], 2)


def test_a_stem_that_has_no_stride_to_change_is_refused():
    with pytest.raises(MemberError, match="stem_stride"):
        TimmMember("m", "test_vit", stem_stride=1, image_size=32).build([(16, 16, 3)], 2)


@pytest.mark.parametrize(
    "network",
    [TimmMember("m", "test_efficientnet"), TimmMember("m", "test_vit", image_size=32, temperature="row")],
    ids=["timm", "own head"],
)
def test_a_frozen_network_trains_its_classifier_and_can_be_thawed(network):
    built = network.build([(32, 32, 3)], 4).train()
    last = built.classifier
    built.freeze(True)
    built.train()
    assert {id(p) for p in built.parameters() if p.requires_grad} == {id(p) for p in last.parameters()}
    assert last.training
    assert not any(m.training for m in built.body.modules() if m is not last and m not in set(last.modules()))
    built.freeze(False)
    built.train()
    assert all(p.requires_grad for p in built.parameters())
    assert all(m.training for m in built.modules())


def test_a_network_without_a_classifier_cannot_be_frozen():
    body = torch.nn.Sequential(torch.nn.Conv1d(19, 4, 3), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    with pytest.raises(MemberError, match="no last layer"):
        Network(body, 19).freeze(True)


@pytest.mark.parametrize("name", ["test_efficientnet", "mobilenetv3_small_050"])
def test_activations_whose_input_is_needed_again_are_not_in_place_and_give_the_same(name):
    """In place, autograd copies the input of each of them before it is overwritten."""
    torch.manual_seed(0)
    network = TimmMember("m", name).build([(32, 32, 3)], 3).train()
    activations = [m for m in network.modules() if isinstance(m, nn.SiLU | nn.Hardswish)]
    images, values = torch.randint(0, 256, (4, 3, 32, 32)), []
    for inplace in (False, True):
        assert len(activations) > 3
        if not inplace:
            assert not any(activation.inplace for activation in activations)
        for activation in activations:
            activation.inplace = inplace
        network.zero_grad()
        loss = network(images).square().sum()
        loss.backward()
        values.append([loss.detach(), *(p.grad for p in network.parameters())])
    assert all(torch.equal(one, two) for one, two in zip(*values, strict=True))
