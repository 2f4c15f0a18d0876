from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import nn

from foldstill.base_models import EarlyStopping, Recipe
from foldstill.base_models.engine import fit_network
from foldstill.base_models.inference import predict_proba
from foldstill.base_models.inputs import DeviceInputs
from foldstill.base_models.losses import KL
from foldstill.base_models.networks import Network
from foldstill.base_models.optimization import WarmedAverage
from foldstill.base_models.rows import Phase
from foldstill.data.augment import Noise
from foldstill.data.batch import Batch
from foldstill.data.mixing import Mixup, Mosaic
from foldstill.data.moving import HorizontalFlip
from foldstill.data.simplex import kl_divergence
from foldstill.data.training import FitContext, TrainingSet
from foldstill.errors import MemberError

N, C = 96, 3
SEED_0 = FitContext(seed=0)


@pytest.fixture
def data(rng):
    """Small images whose brightness tells the class, with soft targets."""
    shown = rng.integers(0, C, N)
    images = (rng.normal(60, 15, (N, 8, 8, 2)) + 60 * shown[:, None, None, None]).clip(0, 255).astype(np.uint8)
    target = 0.8 * np.eye(C)[shown] + 0.2 / C
    return images, target


def network(seed=0):
    torch.manual_seed(seed)
    body = nn.Sequential(
        nn.Conv2d(2, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(), nn.Linear(72, C)
    )
    return Network(body, 2)


def train(data, rows=None, net=None, recipe=None, *, judges=None, context=SEED_0, number=1, keep_best=True, **rest):
    """A network trained on rows of the data, and the history; `rest` are further fields of the training set."""
    images, target = data
    net = net or network()
    rows = np.arange(N) if rows is None else rows
    training_set = TrainingSet({"image": images}, ("a", "b", "c"), rows, target, **rest)
    phase = Phase(recipe or Recipe(epochs=4, batch_size=16), rows, judges, number, keep_best)
    return net, fit_network(net, training_set, phase, context)


@dataclass(frozen=True)
class Taught:
    """A teacher that gives what a function says of the batch."""

    targets: Callable[[Batch], torch.Tensor]
    passes: None = None

    def open(self, device):
        return self

    def __call__(self, batch):
        return self.targets(batch)

    def end_epoch(self):
        pass


def same(one, two):
    a, b = one.state_dict(), two.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_it_learns(data):
    net, history = train(data, recipe=Recipe(epochs=15, batch_size=16))
    proba = predict_proba(net, DeviceInputs(data[0]), np.arange(N))
    assert proba.dtype == np.float32
    np.testing.assert_allclose(proba.sum(axis=1), 1, atol=1e-6)
    assert kl_divergence(target=data[1], proba=proba) < 0.1
    assert history[-1].loss < history[0].loss / 3


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_callers_randomness_alone(data):
    recipe = Recipe(epochs=2, batch_size=16, augment=(HorizontalFlip(), Noise(), Mixup()))
    torch.manual_seed(7)
    expected = torch.rand(3)
    nets = [network(), network(), network()]
    torch.manual_seed(7)
    train(data, net=nets[0], recipe=recipe)
    assert torch.equal(torch.rand(3), expected)
    train(data, net=nets[1], recipe=recipe)
    train(data, net=nets[2], recipe=recipe, context=FitContext(seed=1))
    assert same(nets[0], nets[1])
    assert not same(nets[0], nets[2])


def test_rows_outside_are_never_read(data):
    """Labels, weights and inputs of other rows may be anything: nothing of the training moves."""
    images, target = data
    rows = np.arange(0, N, 2)
    net, history = train(data, rows=rows)
    images, target, weight = images.copy(), target.copy(), np.ones(N)
    images[1::2], target[1::2], weight[1::2] = 255, np.nan, np.nan
    other, other_history = train((images, target), rows=rows, weight_N=weight)
    assert same(net, other)
    assert history == other_history


def test_scaling_comes_from_the_training_rows(data):
    images, _ = data
    rows = np.arange(10, 40)
    net, _ = train(data, rows=rows)
    values = images[rows].reshape(-1, 2).astype(np.float64)
    np.testing.assert_allclose(net.input.mean, values.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(net.input.std, values.std(axis=0), rtol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "float32", "float64"])
def test_scaling_equals_two_passes_for_every_type(rng, dtype):
    signals = (rng.normal(100, 20, (600, 3, 11)) * [[1], [0.5], [1]]).astype(dtype)
    mean, std = DeviceInputs(signals).scaling(np.arange(500))
    values = signals[:500].astype(np.float64).transpose(1, 0, 2).reshape(3, -1)
    np.testing.assert_allclose(mean, values.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(std, values.std(axis=1), rtol=1e-4)


def test_a_constant_channel_is_left_unscaled_and_nan_is_refused():
    signals = np.ones((4, 2, 5), np.float32)
    _, std = DeviceInputs(signals).scaling(np.arange(4))
    assert std.tolist() == [1.0, 1.0]
    signals[3, 1, 2] = np.nan
    assert DeviceInputs(signals).scaling(np.arange(3))[0].tolist() == [1.0, 1.0]
    with pytest.raises(MemberError, match=r"channels \[1\] hold NaN"):
        DeviceInputs(signals).scaling(np.arange(4))


def test_signals_are_trained_on_too(rng):
    signals = rng.normal(size=(40, 5, 20)).astype(np.float32)
    target = np.eye(2)[(signals[:, 0].mean(axis=1) > 0).astype(int)]
    training_set = TrainingSet({"signal": signals}, ("low", "high"), np.arange(40), target)
    net = Network(nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(5, 2)), 5)
    recipe = Recipe(epochs=30, batch_size=10, lr=0.1)
    fit_network(net, training_set, Phase(recipe, np.arange(40)), FitContext())
    assert kl_divergence(target=target, proba=predict_proba(net, DeviceInputs(signals), np.arange(40))) < 0.3


def test_batches_have_one_shape_and_what_is_left_over_is_dropped(data):
    sizes = []

    class Watched(nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def forward(self, x):
            sizes.append(len(x))
            return self.body(x)

    net = network()
    net.body = Watched(net.body)
    train(data, rows=np.arange(70), net=net, recipe=Recipe(epochs=1, batch_size=32))
    assert sizes == [32, 32]
    sizes.clear()
    predict_proba(net, DeviceInputs(data[0]), np.arange(70), batch_size=32)
    assert sizes == [32, 32, 32]
    sizes.clear()
    train(data, rows=np.arange(20), net=net, recipe=Recipe(epochs=1, batch_size=32))
    assert sizes == [20]


def test_padding_does_not_move_predictions(data):
    net, _ = train(data)
    inputs = DeviceInputs(data[0])
    at_once = predict_proba(net, inputs, np.arange(N), batch_size=N)
    np.testing.assert_allclose(predict_proba(net, inputs, np.arange(N), batch_size=17), at_once, atol=1e-6)
    np.testing.assert_allclose(predict_proba(net, inputs, np.array([5, 3]), batch_size=17), at_once[[5, 3]], atol=1e-6)


@pytest.mark.parametrize("destroy", [Noise(std=1e3), Mosaic(epochs=9)], ids=lambda op: op.kind)
def test_augmentation_never_touches_what_is_predicted_and_judged(data, destroy):
    """A reference project made mosaics of its validation rows during the warm-up."""
    net, _ = train(data)
    inputs = DeviceInputs(data[0])
    clean = predict_proba(net, inputs, np.arange(N))
    scaled = net.input(torch.from_numpy(data[0]).permute(0, 3, 1, 2)).detach()
    seen = []
    hook = net.body.register_forward_pre_hook(lambda _module, args: seen.append((net.training, args[0].clone())))
    recipe = Recipe(epochs=1, batch_size=16, lr=1e-12, augment=(destroy,), early_stopping=EarlyStopping())
    train(data, rows=np.arange(48), net=net, recipe=recipe, judges=np.arange(48, N), number=2)
    hook.remove()
    for training, x in seen:
        rows = scaled[:48] if training else scaled[48:]
        as_it_is = (x[:, None] == rows).flatten(2).all(dim=2).any(dim=1)
        assert as_it_is.all() != training
        assert as_it_is.any() != training
    assert {training for training, _ in seen} == {True, False}
    net.load_state_dict(train(data)[0].state_dict())
    np.testing.assert_array_equal(predict_proba(net, inputs, np.arange(N)), clean)


def test_the_rate_of_a_step_is_the_schedules(data):
    """A reference project never stepped its schedule, and trained at one rate without knowing."""
    torch.manual_seed(0)
    net = Network(nn.Sequential(nn.Flatten(), nn.Linear(128, C)), 2)
    recipe = Recipe(
        epochs=2,
        batch_size=16,
        optimizer="sgd",
        weight_decay=0,
        schedule="step",
        warmup=0,
        step_epochs=1,
        step_factor=1e-9,
    )
    after = [net.body[1].weight.detach().clone()]
    context = FitContext(report=lambda _: after.append(net.body[1].weight.detach().clone()))
    _, history = train(data, net=net, recipe=recipe, context=context)
    assert [epoch.lr for epoch in history] == [3e-3, pytest.approx(3e-12)]
    assert (after[1] - after[0]).abs().max() > 1e-3
    assert (after[2] - after[1]).abs().max() < 1e-6


def test_row_weights_scale_what_a_row_teaches(data):
    """Rows of weight 0 might as well not be there, as far as weights without batch norm are concerned."""
    images, target = data

    def plain():
        torch.manual_seed(0)
        return Network(nn.Sequential(nn.Flatten(), nn.Linear(128, C)), 2)

    weight = np.where(np.arange(N) < N // 2, 2.0, 0.0)
    wrong = target.copy()
    wrong[N // 2 :] = wrong[N // 2 :, ::-1]
    recipe = Recipe(epochs=1, batch_size=N, optimizer="sgd", weight_decay=0)
    one, _ = train((images, wrong), net=plain(), recipe=recipe, weight_N=weight)
    two, _ = train((images, target), net=plain(), recipe=recipe, weight_N=weight)
    three, _ = train((images, wrong), net=plain(), recipe=recipe)
    assert same(one, two)
    assert not same(one, three)


def test_a_draw_by_votes_leaves_rows_without_votes_out(data):
    images, target = data
    total = np.where(np.arange(N) % 4 == 0, 1.0, 0.0)
    wrong = np.where(total[:, None] > 0, target, target[:, ::-1])
    recipe = Recipe(epochs=2, batch_size=16, sampling="votes")
    one, _ = train((images, wrong), recipe=recipe, total_N=total)
    two, _ = train((images, target), recipe=recipe, total_N=total)
    assert same(one, two)
    assert not same(one, train(data, recipe=replace(recipe, sampling="uniform"))[0])


def test_the_average_follows_the_weights_as_the_formula_says():
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, 1.0)
    average = WarmedAverage(module, 0.5)
    expected = 1.0
    for step, value in enumerate([2.0, 4.0, -1.0]):
        nn.init.constant_(module.weight, value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.module.weight.item() == pytest.approx(expected)


def test_a_recipe_with_an_average_ends_with_it(data):
    """The first steps are the same, so the averaged weights lie between the first and the last ones."""
    last, _ = train(data, recipe=Recipe(epochs=1, batch_size=16))
    averaged, _ = train(data, recipe=Recipe(epochs=1, batch_size=16, ema=0.99))
    first = network().body[5].weight
    assert not same(last, averaged)
    assert (averaged.body[5].weight - first).norm() < (last.body[5].weight - first).norm()


def test_clipping_bounds_a_step(data):
    recipe = {"epochs": 1, "batch_size": N, "optimizer": "sgd", "lr": 1.0, "schedule": "constant", "warmup": 0.0}
    first = network().state_dict()
    for clip, moved_far in ((1e-3, False), (0, True)):
        net, _ = train(data, recipe=Recipe(**recipe, clip_norm=clip, weight_decay=0))
        moved = sum((value - first[key]).square().sum() for key, value in net.named_parameters()) ** 0.5
        # Nesterov's first step is (1 + momentum) times the gradient.
        assert (moved > 2e-3) == moved_far


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_norms_and_biases_are_not_decayed(data, optimizer):
    # small steps: Adam's first one has the size of the rate whatever the gradient, and must not jump over zero
    recipe = {"epochs": 1, "batch_size": N, "optimizer": optimizer, "lr": 1e-3, "schedule": "constant", "warmup": 0.0}
    _, target = data
    still = np.full_like(target, 1 / C)

    def silent():
        """Its logits are all equal whatever the input, so the loss has no gradient and only decay can move it."""
        torch.manual_seed(0)
        body = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.ReLU(), nn.Linear(4, C))
        nn.init.zeros_(body[3].weight)
        nn.init.ones_(body[3].bias)
        return Network(body, 2)

    net, _ = train((data[0], still), net=silent(), recipe=Recipe(**recipe, weight_decay=0.1))
    assert torch.equal(net.body[1].bias, silent().body[1].bias)
    assert net.body[1].weight.abs().sum() < silent().body[1].weight.abs().sum()


def test_a_loss_that_is_not_finite_stops_with_epoch_and_step(data):
    calls = []

    class Broken(KL):
        def __call__(self, logits_BC, target_BC, weight_B):
            calls.append(1)
            return logits_BC.sum() * (float("nan") if len(calls) == 9 else 1e-6)

    with pytest.raises(MemberError, match=r"became nan in epoch 2, step 3 of 6"):
        train(data, recipe=Recipe(epochs=4, batch_size=16, loss=Broken()))


def test_a_target_provider_sees_the_augmented_batch(data):
    seen = []

    def targets(batch):
        seen.append(batch)
        assert torch.equal(
            batch.mixed(torch.from_numpy(data[1]).float()[batch.rows_B]).sum(dim=1).round(), torch.ones(16)
        )
        return torch.full((len(batch.rows_B), C), 1 / C)

    net, _ = train(data, teacher=Taught(targets), recipe=Recipe(epochs=12, batch_size=16, augment=(Mixup(),)))
    assert {batch.augmentation_pass for batch in seen} == set(range(12))
    assert all(len(batch.mixes) == 1 and batch.inputs.shape == (16, 2, 8, 8) for batch in seen)
    proba = predict_proba(net, DeviceInputs(data[0]), np.arange(N))
    np.testing.assert_allclose(proba, 1 / C, atol=0.15)


def test_mixing_partners_stay_within_their_fold(data):
    fold = np.arange(N) % 3

    def targets(batch):
        (mix,) = batch.mixes
        rows = batch.rows_B[mix.partner_BP]
        assert torch.equal(rows[:, 0] % 3, rows[:, 1] % 3)
        return torch.full((len(batch.rows_B), C), 1 / C)

    train(data, teacher=Taught(targets), fold_N=fold, recipe=Recipe(epochs=1, batch_size=16, augment=(Mixup(),)))


def test_a_tempered_loss_replaces_the_recipes(data):
    soft, _ = train(data, recipe=Recipe(epochs=1, batch_size=16, loss=KL(temperature=4.0)))
    plain, _ = train(data, recipe=Recipe(epochs=1, batch_size=16))
    assert not same(soft, plain)


def test_early_stopping_keeps_the_best_epoch_on_its_own_rows(data):
    images, target = data
    opposed = target.copy()
    rows, judges = np.arange(48), np.arange(48, N)
    opposed[judges] = target[judges][:, [1, 2, 0]]  # the more is learnt, the worse the judges find it
    recipe = Recipe(epochs=30, batch_size=16, early_stopping=EarlyStopping(patience=3))
    net, history = train((images, opposed), rows=rows, judges=judges, recipe=recipe)
    kl = [epoch.inner_kl for epoch in history]
    assert len(history) < 30
    assert len(history) == kl.index(min(kl)) + 1 + 3
    proba = predict_proba(net, DeviceInputs(images), judges)
    assert kl_divergence(target=opposed[judges], proba=proba) == pytest.approx(min(kl), rel=1e-4)


@pytest.mark.parametrize("warm_up", [{"augment": (Mosaic(epochs=4),)}, {"unweighted_epochs": 4, "row_weight": "clamp"}])
def test_an_epoch_of_the_warm_up_is_not_the_best_one(warm_up, data):
    """What was best on mosaics says nothing of what follows: the reference project forgets its best score there too."""
    images, target = data
    opposed, judges = target.copy(), np.arange(48, N)
    opposed[judges] = target[judges][:, [1, 2, 0]]  # the more is learnt, the worse the judges find it
    recipe = Recipe(epochs=12, batch_size=16, early_stopping=EarlyStopping(patience=2), **warm_up)
    net, history = train((images, opposed), rows=np.arange(48), judges=judges, recipe=recipe, total_N=np.ones(N))
    kl = [epoch.inner_kl for epoch in history]
    assert min(kl[:4]) < min(kl[4:])
    assert len(history) == 4 + kl[4:].index(min(kl[4:])) + 1 + 2
    proba = predict_proba(net, DeviceInputs(images), judges)
    assert kl_divergence(target=opposed[judges], proba=proba) == pytest.approx(min(kl[4:]), rel=1e-4)


def test_a_stage_can_end_with_its_last_weights_though_an_earlier_epoch_was_better(data):
    """What a second stage that starts from the final weights of the first is given."""
    images, target = data
    opposed, judges = target.copy(), np.arange(48, N)
    opposed[judges] = target[judges][:, [1, 2, 0]]
    recipe = Recipe(epochs=5, batch_size=16, early_stopping=EarlyStopping(patience=5))
    final, history = train((images, opposed), rows=np.arange(48), judges=judges, recipe=recipe, keep_best=False)
    best, _ = train((images, opposed), rows=np.arange(48), judges=judges, recipe=recipe)
    kl = [
        kl_divergence(target=opposed[judges], proba=predict_proba(n, DeviceInputs(images), judges))
        for n in (final, best)
    ]
    assert kl == pytest.approx([history[-1].inner_kl, min(e.inner_kl for e in history)], rel=1e-4)
    assert kl[0] > kl[1] + 0.01


def test_rows_have_no_weight_of_their_votes_in_the_unweighted_epochs(data):
    """Heavy rows alone are trained on after the warm-up, and all alike in it; sample weights count throughout."""
    votes = {"total_N": np.where(np.arange(N) < N // 2, 2.0, 0.0), "weight_N": np.linspace(0.5, 1.5, N)}
    recipe = Recipe(epochs=2, batch_size=16, row_weight="clamp", unweighted_epochs=1)
    warmed, history = train(data, recipe=recipe, **votes)
    _, light = train(data, recipe=replace(recipe, row_weight="none", unweighted_epochs=0), **votes)
    _, heavy = train(data, recipe=replace(recipe, unweighted_epochs=0), **votes)
    assert history[0].loss == light[0].loss
    assert history[1].loss != light[1].loss
    assert history[0].loss != heavy[0].loss
    again, _ = train(data, recipe=recipe, total_N=votes["total_N"])
    assert not same(warmed, again)  # sample weights are ones where none are given


def test_adam_decays_its_averages_as_told(data):
    one, two = (
        train(data, recipe=Recipe(epochs=1, batch_size=16, betas=betas))[0] for betas in ((0.9, 0.999), (0.5, 0.999))
    )
    assert not same(one, two)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_cpu_trains_in_float32_alone(data, precision):
    with pytest.raises(
        MemberError, match=f'precision = "{precision}" needs a CUDA GPU and the device is cpu: set "auto"'
    ):
        train(data, recipe=Recipe(precision=precision))


def test_scaling_is_computed_once_for_the_same_rows(data, monkeypatch):
    inputs, read = DeviceInputs(data[0]), []
    monkeypatch.setattr(inputs, "_values", lambda rows: read.append(len(rows)) or DeviceInputs._values(inputs, rows))
    first = inputs.scaling(np.arange(60))
    assert inputs.scaling(np.arange(60)) is first
    assert inputs.scaling(np.arange(61)) is not first
    assert read == [60, 61]


@pytest.mark.parametrize("rows", [3, 15, 16, 17, 100])
def test_scaling_of_bytes_by_counting_is_exact(rng, rows):
    images = rng.integers(0, 256, (100, 5, 7, 3)).astype(np.uint8)
    mean, std = DeviceInputs(images).scaling(np.arange(rows))
    values = images[:rows].reshape(-1, 3).astype(np.float64)
    assert mean.tolist() == values.mean(axis=0).astype(np.float32).tolist()
    assert std.tolist() == values.std(axis=0).astype(np.float32).tolist()


def test_early_stopping_needs_rows_to_judge_on(data):
    with pytest.raises(MemberError, match="go together"):
        train(data, recipe=Recipe(early_stopping=EarlyStopping()))
    with pytest.raises(MemberError, match="go together"):
        train(data, judges=np.arange(5))


def test_one_row_cannot_be_trained_on(data):
    with pytest.raises(MemberError, match="2 rows or more, got 1"):
        train(data, rows=np.arange(1))


def test_a_read_only_memory_map_is_read_as_it_lies(data, tmp_path):
    np.save(tmp_path / "view.npy", data[0])
    mapped = np.load(tmp_path / "view.npy", mmap_mode="r")
    one, _ = train(data)
    two, _ = train((mapped, data[1]))
    assert same(one, two)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["auto", "float16", "float32"])
@pytest.mark.parametrize(
    ("free_share", "graph"), [(0.5, "0"), (0.0, "0"), (0.5, "1")]
)  # resident, read ahead, captured
def test_a_gpu_learns_the_same_thing(data, monkeypatch, precision, free_share, graph):
    images, target = data
    monkeypatch.setattr("foldstill.base_models.inputs._FREE_SHARE", free_share)
    monkeypatch.setenv("FOLDSTILL_CUDA_GRAPH", graph)
    recipe = Recipe(epochs=15, batch_size=16, ema=0.9, augment=(HorizontalFlip(), Mixup()), precision=precision)
    net, _ = train(data, recipe=recipe, context=FitContext(device="cuda"))
    proba = predict_proba(net, DeviceInputs(images, "cuda"), np.arange(N))
    assert kl_divergence(target=target, proba=proba) < 0.2
    np.testing.assert_allclose(proba, predict_proba(net, DeviceInputs(images), np.arange(N)), atol=1e-4)


@pytest.mark.gpu
def test_a_training_on_a_gpu_goes_on_where_it_stopped(data, every_epoch_saved, tmp_path):
    def stop(progress):
        if progress.done == 2:
            raise KeyboardInterrupt

    recipe = Recipe(epochs=4, batch_size=16, ema=0.9, augment=(HorizontalFlip(), Mixup()))
    _, unbroken = train(data, recipe=recipe, context=FitContext(device="cuda"))
    with pytest.raises(KeyboardInterrupt):
        train(data, recipe=recipe, context=FitContext(device="cuda", folder=tmp_path, report=stop))
    _, resumed = train(data, recipe=recipe, context=FitContext(device="cuda", folder=tmp_path))
    np.testing.assert_allclose([e.loss for e in resumed], [e.loss for e in unbroken], rtol=0.05)


@pytest.mark.gpu
def test_a_batch_that_a_gpu_cannot_hold_is_one_sentence(data):
    class Greedy(KL):
        def __call__(self, logits_BC, target_BC, weight_B):
            free, _ = torch.cuda.mem_get_info()
            # Rows of a sixth of the free memory each.
            taken = torch.empty(len(logits_BC) * (free // 6), dtype=torch.uint8, device="cuda")
            return super().__call__(logits_BC, target_BC, weight_B) + 0 * taken[0]

    with pytest.raises(MemberError, match=r"need more memory than cuda has: set batch_size to [24], which"):
        train(data, recipe=Recipe(epochs=1, batch_size=16, loss=Greedy()), context=FitContext(device="cuda"))
