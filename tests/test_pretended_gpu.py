"""The path of a GPU without a GPU: it computes what the CPU computes, and no step of a training waits for the GPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from foldstill.base_models import EarlyStopping, EegMember, Recipe, TimmMember
from foldstill.base_models.engine import Epoch, fit_network
from foldstill.base_models.inference import predict_proba
from foldstill.base_models.inputs import DeviceInputs
from foldstill.base_models.losses import KL
from foldstill.base_models.rows import Phase
from foldstill.data.augment import AnyAugmentation, Gain, Noise
from foldstill.data.erasing import ChannelDropout, Cutout, FrequencyMask, TimeMask
from foldstill.data.mixing import CutMix, Mixup, Mosaic, SameClassCutMix
from foldstill.data.moving import ChainReversal, HemisphereSwap, HorizontalFlip, Shift, TimeShift
from foldstill.data.training import FitContext, TrainingSet
from pretended_device import UNSUPPORTED
from pretended_gpu import Steps, pretended_gpu, watched_steps

pytestmark = pytest.mark.skipif(bool(UNSUPPORTED), reason=UNSUPPORTED)

# 16 pixels are the smallest side that these networks take; five batches of 16 and rows to judge an epoch by.
N, C = 96, 3
TRAINED, JUDGES = np.arange(80), np.arange(80, 96)
ON_IMAGES: tuple[AnyAugmentation, ...] = (
    HorizontalFlip(), Shift(), TimeShift(), Cutout(holes=2), TimeMask(masks=2), FrequencyMask(), Gain(), Noise(),
    ChannelDropout(), HemisphereSwap((1, 0, 3, 2)), ChainReversal(((0, 1), (2, 3))), Mixup(), CutMix(),
    SameClassCutMix(), Mosaic(epochs=1),
)  # fmt: skip
ON_SIGNALS = (*(op for op in ON_IMAGES if not isinstance(op, Shift | Cutout | FrequencyMask | CutMix)), CutMix("time"))
EVERYTHING = Recipe(
    epochs=2, batch_size=16, lr=3e-4, ema=0.9, augment=ON_IMAGES, early_stopping=EarlyStopping(patience=3),
    precision="float32",
)  # fmt: skip
PLAIN = Recipe(epochs=1, batch_size=16, lr=3e-4, precision="float32")
RESNET = TimmMember("m", "test_resnet", drop_rate=0.1, drop_path_rate=0.1)


@dataclass
class Trained:
    history: list[Epoch]
    proba: NDArray[np.float32]
    steps: Steps


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (N, 16, 16, 4)).astype(np.uint8)


def on_gpu(
    device: str, member: Any, view: NDArray[Any], recipe: Recipe, free_bytes: int = 2**34, **more: Any
) -> Trained:
    """A network trained and asked on the pretended device; `more` are further fields of the training set."""
    with pretended_gpu(device, free_bytes=free_bytes) as record, watched_steps(record) as steps:
        trained = on_cpu(member, view, recipe, device, **more)
    return Trained(trained.history, trained.proba, steps)


def on_cpu(member: Any, view: NDArray[Any], recipe: Recipe, device: str = "cpu", **more: Any) -> Trained:
    torch.manual_seed(0)
    network = member.build([view.shape[1:]], C)
    target = np.random.default_rng(1).dirichlet(np.ones(C), N)
    training_set = TrainingSet({"image": view}, ("a", "b", "c"), TRAINED, target, **more)
    judges = None if recipe.early_stopping is None else JUDGES
    history = fit_network(network, training_set, Phase(recipe, TRAINED, judges), FitContext(device=device))
    proba = predict_proba(network, DeviceInputs(view, device), np.arange(N), precision=recipe.precision)
    return Trained(history, proba, Steps())


def assert_same(one: Trained, two: Trained, tolerance: float = 2e-3) -> None:
    np.testing.assert_allclose([e.loss for e in one.history], [e.loss for e in two.history], rtol=tolerance)
    np.testing.assert_allclose(one.proba, two.proba, atol=tolerance)


@pytest.mark.parametrize(
    ("name", "free_bytes"),
    [
        pytest.param("test_resnet", 2**34, id="resident"),
        pytest.param("test_resnet", 1, id="read-ahead"),
        pytest.param("test_efficientnet", 2**34, id="efficientnet", marks=pytest.mark.slow),
    ],
)
def test_a_gpu_learns_what_a_cpu_learns_and_no_step_waits(images, name, free_bytes) -> None:
    member = TimmMember("m", name, drop_rate=0.1, drop_path_rate=0.1)
    cuda = on_gpu("cuda", member, images, EVERYTHING, free_bytes)
    assert_same(cuda, on_cpu(member, images, EVERYTHING))
    assert cuda.steps.number == 10
    assert cuda.steps.waits == []


@pytest.mark.parametrize("kind", ["signals", "images"])
@pytest.mark.parametrize("between", ["attention", "recurrent"])
@pytest.mark.slow
def test_an_eeg_member_learns_the_same_on_a_gpu(rng, kind, between) -> None:
    shape = (N, 4, 256) if kind == "signals" else (N, 32, 32, 4)
    view = rng.normal(size=shape).astype(np.float32)
    member = EegMember(
        "e", view="image", widths=(8, 16), features=16, heads=2, blocks=1, between=between, separate=(3,),
        temperature="class",
    )  # fmt: skip
    recipe = Recipe(
        epochs=2, batch_size=16, augment=ON_SIGNALS if kind == "signals" else ON_IMAGES, precision="float32"
    )
    cuda = on_gpu("cuda", member, view, recipe)
    assert_same(cuda, on_cpu(member, view, recipe), 5e-3)
    assert cuda.steps.waits == []


@pytest.mark.parametrize("sampling", ["balanced", "votes", "one_each"])
@pytest.mark.slow
def test_rows_are_drawn_on_a_gpu_as_on_a_cpu(images, sampling) -> None:
    more: dict[str, Any] = (
        {"unit_N": np.arange(N) // 2} if sampling == "one_each" else {"total_N": np.arange(1.0, N + 1)}
    )
    recipe = Recipe(epochs=2, batch_size=16, lr=3e-4, precision="float32", sampling=sampling)
    cuda = on_gpu("cuda", RESNET, images, recipe, **more)
    assert_same(cuda, on_cpu(RESNET, images, recipe, **more))
    assert cuda.steps.waits == []


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.slow
def test_other_optimizers_learn_the_same_on_a_gpu(images, optimizer) -> None:
    recipe = Recipe(epochs=2, batch_size=16, lr=3e-4, precision="float32", optimizer=optimizer)
    cuda = on_gpu("cuda", RESNET, images, recipe)
    assert_same(cuda, on_cpu(RESNET, images, recipe))
    assert cuda.steps.waits == []


def planted(fault: Callable[[torch.Tensor], torch.Tensor]) -> Recipe:
    """A recipe whose loss does something to the logits first."""

    class Faulty(KL):
        def __call__(self, logits_BC, target_BC, weight_B):
            return super().__call__(fault(logits_BC), target_BC, weight_B)

    return Recipe(epochs=1, batch_size=16, lr=3e-4, precision="float32", loss=Faulty())


def test_a_tensor_that_was_left_on_the_host_would_be_seen(images) -> None:
    with pytest.raises(RuntimeError, match=r"found cuda:0 and cpu .*test_pretended_gpu.py"):
        on_gpu("cuda", RESNET, images, planted(lambda logits: logits + torch.ones(C)))


def test_a_tensor_of_another_gpu_would_be_seen(images) -> None:
    with pytest.raises(RuntimeError, match=r"found cuda:1 and cuda:0 .*test_pretended_gpu.py"):
        on_gpu("cuda:1", RESNET, images, planted(lambda logits: logits + torch.ones(C, device="cuda")))


def test_a_generator_of_the_host_would_be_seen(images) -> None:
    def noisy(logits: torch.Tensor) -> torch.Tensor:
        return logits + torch.randn(logits.shape, generator=torch.Generator(), device=logits.device)

    with pytest.raises(RuntimeError, match=r"Expected a 'cuda' device type for generator but found 'cpu'"):
        on_gpu("cuda", RESNET, images, planted(noisy))


@pytest.mark.parametrize(
    ("operation", "fault"),
    [  # a number, a copy, a shape that depends on values
        ("_local_scalar_dense", lambda logits: logits * float(logits.detach().sum() > -1e9)),
        ("copy to the host", lambda logits: logits + 0 * logits.detach().cpu().sum().item()),
        ("copy from pageable memory", lambda logits: logits + torch.zeros(C).to(logits.device)),
        ("index by a mask", lambda logits: logits + 0 * logits[logits > 0].sum()),
        ("nonzero", lambda logits: logits + 0 * torch.nonzero(logits).sum()),
    ],
)
def test_a_step_that_waits_would_be_seen(images, operation, fault) -> None:
    waits = on_gpu("cuda", RESNET, images, planted(fault)).steps.waits
    assert (operation, "test_pretended_gpu.py") in {(wait.operation, wait.place.split(":")[0]) for wait in waits}
