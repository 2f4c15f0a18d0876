"""The path of a GPU without a GPU: it computes what the CPU computes, and no step of a training waits for the GPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from foldstill.base_models import EarlyStopping, EegMember, Recipe, TimmMember
from foldstill.base_models.engine import fit_network
from foldstill.base_models.inference import predict_proba
from foldstill.base_models.inputs import DeviceInputs
from foldstill.base_models.losses import KL
from foldstill.base_models.precision import lower_precision
from foldstill.base_models.rows import Phase
from foldstill.base_models.tensor_file import read_tensors
from foldstill.base_models.trainer import Epoch
from foldstill.data.augment import AnyAugmentation, Gain, Noise
from foldstill.data.erasing import ChannelDropout, Cutout, FrequencyMask, TimeMask
from foldstill.data.mixing import CutMix, Mixup, Mosaic, SameClassCutMix
from foldstill.data.moving import ChainReversal, HemisphereSwap, HorizontalFlip, Shift, TimeShift
from foldstill.data.training import FitContext, TrainingSet
from foldstill.errors import MemberError
from pretended_device import UNSUPPORTED
from pretended_gpu import Steps, captured_modules, pretended_gpu, watched_steps

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


def on_cpu(
    member: Any, view: NDArray[Any], recipe: Recipe, device: str = "cpu", context: Any = None, **more: Any
) -> Trained:
    torch.manual_seed(0)
    network = member.build([view.shape[1:]], C)
    target = np.random.default_rng(1).dirichlet(np.ones(C), N)
    training_set = TrainingSet({"image": view}, ("a", "b", "c"), TRAINED, target, **more)
    judges = None if recipe.early_stopping is None else JUDGES
    history = fit_network(
        network, training_set, Phase(recipe, TRAINED, judges), FitContext(device=device, **(context or {}))
    )
    proba = predict_proba(network, DeviceInputs(view, device), np.arange(N))
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


@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_other_devices_learn_the_same(images, device) -> None:
    recipe = Recipe(epochs=1, batch_size=16, lr=3e-4, augment=(HorizontalFlip(), Mixup()), sampling="votes")
    more: dict[str, Any] = {"total_N": np.arange(1.0, N + 1)}
    precision = "float32" if device == "cuda:1" else "auto"  # which is float32 on mps
    gpu = on_gpu(device, RESNET, images, replace(recipe, precision=precision), **more)
    assert_same(gpu, on_cpu(RESNET, images, recipe, **more))
    assert gpu.steps.waits == []


def test_a_network_of_features_is_refused_on_a_device_without_float64(rng) -> None:
    with pretended_gpu("mps"), pytest.raises(MemberError, match="float64, which mps lacks: use device cpu"):
        DeviceInputs(rng.normal(size=(N, 5)), "mps")


@pytest.mark.parametrize(("capability", "dtype"), [((9, 0), torch.bfloat16), ((7, 5), torch.float16)])
def test_a_step_is_computed_in_the_lower_precision_that_the_gpu_has(images, capability, dtype) -> None:
    """A T4 has no bfloat16, though torch says that it is supported."""
    recipe = replace(PLAIN, precision="auto")
    with pretended_gpu(capability=capability) as record, watched_steps(record) as steps:
        assert lower_precision("auto", torch.device("cuda")) is dtype
        cuda = on_cpu(RESNET, images, recipe, "cuda")
    cpu = on_cpu(RESNET, images, recipe)
    np.testing.assert_allclose(cuda.proba, cpu.proba, atol=0.05)
    # The weights differ, because they were trained in another precision; predictions of equal weights do not.
    assert np.abs(cuda.proba - cpu.proba).max() > 1e-6
    assert steps.waits == []


def test_predictions_are_float32_on_a_gpu(images) -> None:
    torch.manual_seed(0)
    network = RESNET.build([images.shape[1:]], C)
    expected = predict_proba(network, DeviceInputs(images), np.arange(N))
    with pretended_gpu():
        proba = predict_proba(network, DeviceInputs(images, "cuda"), np.arange(N))
    np.testing.assert_allclose(proba, expected, atol=1e-6)


def test_a_training_in_float16_resumes_with_the_scale_of_its_loss(images, tmp_path, monkeypatch) -> None:
    """The scale begins at 65,536, and is halved after each step whose gradient overflows."""

    class Loud(KL):
        def __call__(self, logits_BC, target_BC, weight_B):
            return 1000 * super().__call__(logits_BC, target_BC, weight_B)

    def stop(progress: Any) -> None:
        if progress.done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("foldstill.base_models.engine.CHECKPOINT_S", 0.0)
    recipe = replace(PLAIN, epochs=3, precision="float16", loss=Loud())
    with pretended_gpu():
        unbroken = on_cpu(RESNET, images, recipe, "cuda")
        with pytest.raises(KeyboardInterrupt):
            on_cpu(RESNET, images, recipe, "cuda", context={"folder": tmp_path, "report": stop})
        tensors, _ = read_tensors(tmp_path / "checkpoint-1.safetensors", error=MemberError, cure="")
        resumed = on_cpu(RESNET, images, recipe, "cuda", context={"folder": tmp_path})
    assert 1 < tensors["optimization.scale"].item() < 2**16
    assert resumed.history == unbroken.history
    np.testing.assert_array_equal(resumed.proba, unbroken.proba)


def needs_memory_for(rows: int) -> Recipe:
    """A recipe whose loss fails as CUDA does for batches of more rows."""

    def fail(logits: torch.Tensor) -> torch.Tensor:
        if len(logits) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return logits

    return planted(fail)


@pytest.mark.parametrize(
    ("rows", "cure"), [(5, "set batch_size to 4, which fits"), (1, "batches of 2 do not fit either, so use a smaller")]
)
def test_a_batch_that_does_not_fit_is_one_sentence_with_the_size_that_fits(images, rows, cure) -> None:
    with pytest.raises(MemberError, match=f"batches of 16 rows need more memory than cuda:1 has: {cure}"):
        on_gpu("cuda:1", RESNET, images, needs_memory_for(rows))


def test_predictions_that_do_not_fit_are_made_of_smaller_batches(images) -> None:
    torch.manual_seed(0)
    network = RESNET.build([images.shape[1:]], C)
    expected = predict_proba(network, DeviceInputs(images), np.arange(N))
    sizes = []

    def fail(_: Any, inputs: Any) -> None:
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > 40:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    network.body.register_forward_pre_hook(fail)
    with pretended_gpu():
        proba = predict_proba(network, DeviceInputs(images, "cuda"), np.arange(N))
    assert sizes == [256, 128, 64, 32, 32, 32]
    np.testing.assert_allclose(proba, expected, atol=1e-6)


def test_a_view_that_is_read_ahead_is_pinned_two_batches_at_a_time(images) -> None:
    with pretended_gpu(free_bytes=1) as record:
        inputs = DeviceInputs(images, "cuda")
        rows = torch.arange(N, device="cuda").flip(0)
        batches = [batch.cpu() for batch in inputs.batches(rows.split(16))]
    assert record.pinned_bytes == 2 * images[:16].nbytes
    np.testing.assert_array_equal(torch.cat(batches).permute(0, 2, 3, 1), images[::-1])


def test_an_epoch_that_fails_ends_the_thread_that_reads_ahead(images) -> None:
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="found cuda:0 and cpu"):
        on_gpu("cuda", RESNET, images, planted(lambda logits: logits + torch.ones(C)), free_bytes=1)
    assert threading.active_count() == before


def test_kernels_are_measured_where_batches_have_one_size_and_rounded_nowhere_else(images) -> None:
    """Teachers get as many rows as the batch has of a fold, and each number of rows would be measured."""
    seen = {}

    @dataclass(frozen=True)
    class Teacher:
        passes: None = None

        def open(self, device: str) -> Any:
            return self

        def __call__(self, batch: Any) -> torch.Tensor:
            seen["teacher"] = torch.backends.cudnn.benchmark
            return torch.full((len(batch.rows_B), C), 1 / C, device=batch.rows_B.device)

        def end_epoch(self) -> None:
            seen["end"] = torch.backends.cudnn.benchmark

    def look(logits: torch.Tensor) -> torch.Tensor:
        seen["training"] = torch.backends.cudnn.benchmark
        return logits

    on_gpu("cuda", RESNET, images, planted(look), teacher=Teacher())
    assert seen == {"teacher": False, "training": True, "end": False}
    assert not torch.backends.cudnn.benchmark
    network = RESNET.build([images.shape[1:]], C)
    network.body.register_forward_pre_hook(lambda *_: seen.update(tf32=torch.backends.cudnn.allow_tf32))
    predict_proba(network, DeviceInputs(images), np.arange(2))
    assert not seen["tf32"]
    assert torch.backends.cudnn.allow_tf32


def test_a_captured_network_learns_the_same_and_is_released(images, monkeypatch) -> None:
    """The passes before a capture are made on the pretended device, so that what they change would show."""
    plain = on_gpu("cuda", RESNET, images, replace(EVERYTHING, epochs=2))
    monkeypatch.setenv("FOLDSTILL_CUDA_GRAPH", "1")
    before = len(captured_modules)
    captured = on_gpu("cuda", RESNET, images, replace(EVERYTHING, epochs=2))
    [body] = captured_modules[before:]
    assert "forward" not in vars(body)
    assert captured.history == plain.history
    np.testing.assert_array_equal(captured.proba, plain.proba)
    with pytest.raises(MemberError, match="FOLDSTILL_CUDA_GRAPH=1 needs a CUDA GPU and the device is cpu: unset it"):
        on_cpu(RESNET, images, PLAIN)
    monkeypatch.setenv("FOLDSTILL_CUDA_GRAPH", "yes")
    with pytest.raises(MemberError, match="must be 0 or 1, got 'yes'"):
        on_cpu(RESNET, images, PLAIN)


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
