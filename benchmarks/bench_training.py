"""Training on a CPU: fold jobs in processes (G6), channels-last steps (G7), the share of data loading in an epoch (G8).

python benchmarks/bench_training.py [G6 G7 G8 augmentation scaling]
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import harness  # imported first, because it pins the number of threads
from foldstill.base_models import Recipe, TimmMember, train_members
from foldstill.base_models.engine import fit_network
from foldstill.base_models.inputs import DeviceInputs
from foldstill.base_models.rows import Phase
from foldstill.base_models.scaling import channel_scaling
from foldstill.base_models.trainer import Trainer
from foldstill.data.dataset import Dataset
from foldstill.data.erasing import Cutout, FrequencyMask, TimeMask
from foldstill.data.folds import make_plan
from foldstill.data.labels import Labels
from foldstill.data.mixing import CutMix
from foldstill.data.moving import HorizontalFlip, Shift
from foldstill.data.training import FitContext, TrainingSet
from foldstill.workers import Work

CLASSES = 6
HEAVY = (HorizontalFlip(), Shift(), Cutout(holes=8, size=0.1), FrequencyMask(), TimeMask(), CutMix())


def make_data(rows: int, height: int, width: int, channels: int = 4) -> Dataset:
    rng = np.random.default_rng(0)
    labels = Labels.from_hard(rng.integers(0, CLASSES, rows), classes=[str(c) for c in range(CLASSES)])
    return Dataset(labels, {"image": rng.integers(0, 256, (rows, height, width, channels), dtype=np.uint8)})


def g6() -> None:
    """Ten (member, fold) jobs: processes of one thread each, compared with one process of as many threads as cores."""
    data = make_data(500, 32, 64)
    plan = make_plan(data.labels, n_folds=5, test_share=0)
    recipe = Recipe(epochs=4, batch_size=32)
    members = [TimmMember(name, name, recipe=recipe) for name in ("test_efficientnet", "test_resnet")]
    with tempfile.TemporaryDirectory() as root:
        numbered = iter(range(1000))

        def in_processes() -> Path:
            folder = Path(root) / str(next(numbered))
            train_members(members, data, plan, folder)
            return folder

        def in_one_process() -> Path:
            """Run the same fits one after the other, with every operation spread over the cores."""
            folder = Path(root) / str(next(numbered))
            torch.set_num_threads(torch.get_num_interop_threads())
            for member in members:
                for fold in range(plan.n_folds):
                    fit(data, member, plan.training(fold))
            torch.set_num_threads(1)
            return folder

        def same(ours: Path, _: Path) -> None:
            """Check that the weights do not depend on the number of processes."""
            alone = Path(root) / "alone"
            train_members(members, data, plan, alone, work=Work(workers=1, device="cpu"))
            for weights in sorted(alone.rglob("weights.safetensors")):
                assert weights.read_bytes() == (ours / weights.relative_to(alone)).read_bytes(), weights

        ratio = harness.side_by_side(
            "G6 fold jobs in processes", ours=in_processes, baseline=in_one_process, same=same, repeats=3, clock="wall"
        )
    harness.floor(ratio, 1.1)


def g7() -> None:
    """One training step: images channels-last in memory, compared with the contiguous layout."""
    ratios = []
    for name in ("test_efficientnet", "test_resnet"):
        torch.manual_seed(0)
        images = torch.randn(32, 4, 64, 128)
        target = torch.softmax(torch.randn(32, CLASSES), dim=1)

        def step(
            layout: torch.memory_format, name: str = name, images: torch.Tensor = images, target: torch.Tensor = target
        ):
            torch.manual_seed(0)
            network = TimmMember("m", name).build([(64, 128, 4)], CLASSES).body.to(memory_format=layout)
            optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
            x = images.contiguous(memory_format=layout)

            def run() -> float:
                loss = torch.nn.functional.cross_entropy(network(x), target)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                return loss.item()

            return run

        def same(ours: float, theirs: float) -> None:
            assert abs(ours - theirs) < 1e-4, (ours, theirs)

        ratio = harness.side_by_side(
            f"G7 channels-last step, {name}",
            ours=step(torch.channels_last),
            baseline=step(torch.contiguous_format),
            same=same,
            repeats=15,
        )
        ratios.append(ratio)
    for ratio in ratios:
        harness.floor(ratio, 1.1)


def g8() -> None:
    """The time that gathering, scaling and augmenting add to an epoch, compared with an epoch on one fixed batch."""
    data = make_data(1024, 64, 128)
    network = TimmMember("m", "test_efficientnet").build([(64, 128, 4)], CLASSES)
    inputs, target = DeviceInputs(data.views["image"]), data.labels.target_NC
    training_set = TrainingSet.from_labels(data.labels, data.views, np.arange(1024))
    batches = list(inputs.batches(torch.arange(1024).split(32)))
    fixed = network.input(batches[0]).contiguous(memory_format=torch.channels_last)

    def epoch(augment: tuple = HEAVY) -> None:
        # Phases after the first keep the input scaling.
        phase = Phase(Recipe(epochs=1, batch_size=32, augment=augment), np.arange(1024), number=2)
        fit_network(network, training_set, phase, FitContext())

    def epoch_of_one_batch() -> None:
        """Run the same steps without gathering, scaling or augmenting."""
        network.train()
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
        target_BC = torch.from_numpy(target[:32]).float()
        for _ in batches:
            loss = torch.nn.functional.cross_entropy(network.body(fixed), target_BC)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()

    ratio = harness.side_by_side(
        "G8 epoch of one fixed batch", ours=epoch_of_one_batch, baseline=epoch, same=lambda _, __: None, repeats=7
    )
    print(f"G8 data and augmentation take {1 - 1 / ratio.median:.1%} of an epoch (goal 8 %, floor 15 %)")
    if 1 - 1 / ratio.median > 0.15:
        sys.exit("G8: data and augmentation take more than 15 % of an epoch")


def augmentation() -> None:
    """Milliseconds per step of augmentation, and of everything after it, inside the epochs of G8."""
    data, spent = make_data(1024, 64, 128), {"_augmented": [0.0], "_step": [0.0]}
    network = TimmMember("m", "test_efficientnet").build([(64, 128, 4)], CLASSES)
    training_set = TrainingSet.from_labels(data.labels, data.views, np.arange(1024))

    def watch(name: str) -> None:
        real = getattr(Trainer, name)

        def timed(*arguments):
            start = time.process_time()
            result = real(*arguments)
            spent[name][-1] += 1e3 / 32 * (time.process_time() - start)
            return result

        setattr(Trainer, name, timed)

    for name in spent:
        watch(name)
    for _ in range(7):
        fit_network(
            network,
            training_set,
            Phase(Recipe(epochs=1, augment=HEAVY, batch_size=32), np.arange(1024), number=2),
            FitContext(),
        )
        for each in spent.values():
            each.append(0.0)
    augmented, step = (float(np.median(each[:-1])) for each in spent.values())
    print(f"augmentation {augmented:.1f} ms, network and optimizer {step:.1f} ms: {augmented / (augmented + step):.1%}")


def scaling() -> None:
    """Scaling of bytes by counting, compared with blocks of 256 rows in float32."""
    images = make_data(512, 128, 256).views["image"]

    def by_blocks() -> tuple[torch.Tensor, torch.Tensor]:
        blocks = (torch.from_numpy(images[start : start + 256]).float() for start in (0, 256))
        return channel_scaling((block.permute(3, 0, 1, 2).flatten(1) for block in blocks), 4)

    def same(ours: tuple[torch.Tensor, torch.Tensor], theirs: tuple[torch.Tensor, torch.Tensor]) -> None:
        assert [each.tolist() for each in ours] == [each.tolist() for each in theirs]

    harness.side_by_side(
        "scaling of bytes", ours=lambda: DeviceInputs(images).scaling(np.arange(512)), baseline=by_blocks, same=same
    )


def fit(data: Dataset, member: TimmMember, rows: np.ndarray) -> None:
    torch.manual_seed(0)
    network = member.build([data.view(member.view).shape[1:]], CLASSES)
    # Not `member.fit`, which computes on one thread.
    training_set = TrainingSet.from_labels(data.labels, data.views, rows)
    fit_network(network, training_set, Phase(member.recipe, rows), FitContext())


if __name__ == "__main__":
    names = sys.argv[1:] or ["G6", "G7", "G8"]
    start = time.perf_counter()
    for name in names:
        {"G6": g6, "G7": g7, "G8": g8, "augmentation": augmentation, "scaling": scaling}[name]()
    print(f"{time.perf_counter() - start:.0f} s in total")
