"""What a GPU is asked on its first day: how fast networks train, what holds them back, and whether the tests pass.

python benchmarks/gpu.py [--out gpu.json] [--seconds 340] [--only engine,line] [--no-tests]   (on a machine with a GPU)
python benchmarks/gpu.py --tiny                                     (on a CPU and toy sizes: whether the script runs)

Every part is written to the JSON file when it is measured, so that a run that is cut off keeps what it has. A part that
would not fit into the seconds that are left is skipped and says so. The tests marked `gpu` run at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from foldstill.base_models import Recipe, TimmMember, inputs, train_members
from foldstill.base_models.cuda_graph import VARIABLE
from foldstill.base_models.engine import fit_network
from foldstill.base_models.inference import predict_proba
from foldstill.base_models.inputs import DeviceInputs, keep_views_on_device
from foldstill.base_models.networks import Network
from foldstill.base_models.rows import Phase
from foldstill.data.dataset import Dataset
from foldstill.data.erasing import Cutout, FrequencyMask, TimeMask
from foldstill.data.folds import make_plan
from foldstill.data.labels import Labels
from foldstill.data.mixing import Mixup
from foldstill.data.moving import HorizontalFlip, Shift
from foldstill.data.training import FitContext, FitProgress, TrainingSet
from foldstill.workers import Work

START = time.perf_counter()
CLASSES = 6
AUGMENT = (HorizontalFlip(), Shift(), Cutout(holes=4, size=0.15), FrequencyMask(), TimeMask(), Mixup())


@dataclass
class Bench:
    """Sizes of the measurements, and the data that all of them read."""

    tiny: bool
    images: np.ndarray = field(init=False)
    target_NC: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.device = "cpu" if self.tiny else "cuda"
        self.networks = ("test_efficientnet",) if self.tiny else ("efficientnet_b0", "efficientnet_b1", "resnet34d")
        self.batches = (16,) if self.tiny else (64, 256)
        self.height, self.width = (32, 64) if self.tiny else (128, 256)
        rng, n = np.random.default_rng(0), 160 if self.tiny else 17_000
        some = rng.integers(0, 256, (min(n, 1000), self.height, self.width, 4), dtype=np.uint8)
        self.images = some[np.arange(n) % len(some)]
        self.target_NC = rng.dirichlet(np.ones(CLASSES), n)

    def synchronize(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], Any], repeats: int) -> float:
        """Seconds per call, after three calls to warm up."""
        for _ in range(3):
            call()
        self.synchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        self.synchronize()
        return (time.perf_counter() - start) / repeats

    def network(self, name: str) -> Network:
        torch.manual_seed(0)
        return TimmMember("m", name).build([(self.height, self.width, 4)], CLASSES)

    def engine(self, name: str, batch: int, steps: int = 60, **recipe: Any) -> dict[str, float]:
        """Images per second of the training engine, from the faster of its last two epochs, and its last loss."""
        steps = 4 if self.tiny else steps
        at: list[float] = []

        def note(_: FitProgress) -> None:
            self.synchronize()
            at.append(time.perf_counter())

        settings = Recipe(epochs=3, batch_size=batch, **{"augment": AUGMENT, **recipe})
        rows = np.arange(batch * steps)
        training_set = TrainingSet({"image": self.images}, tuple("abcdef"), rows, self.target_NC)
        context = FitContext(device=self.device, report=note)
        history = fit_network(self.network(name), training_set, Phase(settings, rows), context)
        seconds = min(at[1] - at[0], at[2] - at[1])
        return {"images_per_s": round(len(rows) / seconds, 1), "loss": history[-1].loss}

    # -- parts

    def machine(self) -> dict[str, Any]:
        """Versions, memory bandwidth, and what the host needs to start one kernel."""
        found: dict[str, Any] = {"torch": torch.__version__, "cores": os.cpu_count()}
        if self.device == "cuda":
            about = torch.cuda.get_device_properties(0)
            found |= {"gpu": about.name, "gib": round(about.total_memory / 2**30, 1), "gpus": torch.cuda.device_count()}
            one = torch.empty(2**31, dtype=torch.uint8, device="cuda")
            other = torch.empty_like(one)
            found["copy_tb_per_s"] = round(2 * one.nbytes / self.seconds(lambda: other.copy_(one), 20) / 1e12, 2)
        small = torch.zeros(8, device=self.device)
        found["us_per_kernel"] = round(1e6 * self.seconds(lambda: small.add_(1), 2000), 2)
        return found

    def speed(self) -> dict[str, Any]:
        """The engine per network and batch; what augmentation, the average and reading ahead cost."""
        found = {f"{name}, batch {batch}": self.engine(name, batch) for name in self.networks for batch in self.batches}
        name, batch = self.networks[0], self.batches[0]
        found[f"{name}, batch {batch}, no augmentation"] = self.engine(name, batch, augment=())
        found[f"{name}, batch {batch}, average of weights"] = self.engine(name, batch, ema=0.99)
        # Another view of the same bytes, which is not on the GPU yet.
        with _set(inputs, "_FREE_SHARE", 0.0), _set(self, "images", self.images[:]):
            found[f"{name}, batch {batch}, read ahead"] = self.engine(name, batch)
        return found

    def graph(self) -> dict[str, Any]:
        """The engine with CUDA graphs; its losses must be near those without."""
        os.environ[VARIABLE] = "0" if self.tiny else "1"
        try:
            return {f"{n}, batch {b}": self.engine(n, b) for n in self.networks for b in self.batches}
        finally:
            del os.environ[VARIABLE]

    def waits(self) -> dict[str, Any]:
        """Kernels per step, the share of the time in which the GPU works, and the waits that torch itself reports."""
        name, batch, steps = self.networks[0], self.batches[0], 4 if self.tiny else 20
        kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.device == "cuda" else [])]
        start = time.perf_counter()
        with profile(activities=kinds) as run:
            self.engine(name, batch, steps)
        wall_us = 1e6 * (time.perf_counter() - start)
        events = run.key_averages()
        busy_us = sum(event.self_device_time_total for event in events)
        top = sorted(events, key=lambda event: -event.self_device_time_total)[:12]
        found = {
            "kernels_per_step": round(sum(e.count for e in events if "LaunchKernel" in e.key) / (3 * steps), 1),
            "gpu_ms_per_step": round(busy_us / 1e3 / (3 * steps), 3),
            "gpu_share_with_start": round(busy_us / wall_us, 3),
            "top_ms_per_step": {e.key[:70]: round(e.self_device_time_total / 1e3 / (3 * steps), 3) for e in top},
        }
        if self.device == "cuda":
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                torch.cuda.set_sync_debug_mode("warn")
                self.engine(name, batch, steps)
                torch.cuda.set_sync_debug_mode("default")
            found["reported_waits"] = sum("synchroniz" in str(each.message) for each in caught)
        return found

    def timm(self) -> dict[str, float]:
        """Images per second of timm's training step on one batch that lies ready, as timm's own benchmark does."""
        import timm
        from timm.optim import create_optimizer_v2

        found = {}
        for name in self.networks:
            network = timm.create_model(name, in_chans=4, num_classes=CLASSES)
            network = network.to(self.device, memory_format=torch.channels_last)
            optimizer, batch = create_optimizer_v2(network, opt="adamw", lr=1e-3), self.batches[0]
            x = torch.randn(batch, 4, self.height, self.width, device=self.device)
            x = x.contiguous(memory_format=torch.channels_last)
            target = torch.softmax(torch.randn(batch, CLASSES, device=self.device), dim=1)

            def step(network: Any = network, optimizer: Any = optimizer, x: Any = x, target: Any = target) -> None:
                with torch.autocast(self.device, torch.bfloat16, enabled=self.device == "cuda"):
                    loss = torch.nn.functional.cross_entropy(network(x), target)
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()

            found[name] = round(batch / self.seconds(step, 3 if self.tiny else 30), 1)
        return found

    def line(self) -> dict[str, Any]:
        """Wall time of every network on one of five folds, two epochs, through `train_members` with its files."""
        votes = np.stack([np.random.default_rng(0).multinomial(5, each) for each in self.target_NC])
        labels = Labels.from_votes(votes, groups=np.arange(len(votes)) // 4)
        members = [
            TimmMember(n, n, recipe=Recipe(epochs=2, batch_size=self.batches[0], augment=AUGMENT))
            for n in self.networks
        ]
        plan = make_plan(labels, n_folds=5, test_share=0)
        at: list[tuple[str, float]] = []
        with tempfile.TemporaryDirectory() as folder:
            work = Work(device=self.device, workers=1, report=lambda p: at.append((p.task, time.perf_counter())))
            start = time.perf_counter()
            train_members(members, Dataset(labels, {"image": self.images}), plan, Path(folder), folds=(0,), work=work)
            wall = time.perf_counter() - start
        seconds = [round(moment - start, 2) for _, moment in at]
        return {"wall_s": round(wall, 1), "progress_s": seconds, "rows": int(0.8 * len(votes))}

    def side_by_side(self) -> dict[str, Any]:
        """Two and three processes on one GPU, each training the first network: images per second of all together."""
        command = [sys.executable, __file__, "--engine", self.networks[0], *(["--tiny"] if self.tiny else [])]
        found = {}
        for number in (2, 3):
            running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(number)]
            deadline = time.perf_counter() + (90 if self.tiny else 25)
            try:
                said = [p.communicate(timeout=max(deadline - time.perf_counter(), 0.1))[0] for p in running]
            finally:
                for process in running:
                    process.kill()
            each = [float(text.split()[-1]) for text in said]
            found[f"{number} processes"] = {"each": each, "together": round(sum(each), 1)}
        return found

    def predictions(self) -> dict[str, float]:
        """Images per second of float32 predictions, and the largest difference from the CPU's probabilities."""
        found = {}
        view, rows = DeviceInputs(self.images, self.device), np.arange(64 if self.tiny else 4096)
        for name in self.networks:
            network = self.network(name)
            expected = predict_proba(network, DeviceInputs(self.images[:8]), rows[:8])
            proba = predict_proba(network, view, rows[:8])
            seconds = self.seconds(lambda network=network: predict_proba(network, view, rows), 2)
            found[name] = round(len(rows) / seconds, 1)
            found[f"{name}, difference"] = float(np.abs(proba - expected).max())
        return found

    def memory(self) -> dict[str, Any]:
        """Megabytes that are held after each of four trainings, which must not grow, and the most at any time."""
        held = []
        for _ in range(4):
            self.engine(self.networks[0], self.batches[0], steps=4)
            held.append(round(torch.cuda.memory_allocated() / 1e6, 1) if self.device == "cuda" else 0.0)
        peak = torch.cuda.max_memory_allocated() / 1e6 if self.device == "cuda" else 0.0
        return {"held_mb": held, "peak_mb": round(peak, 1)}


PARTS = {
    "machine": 10,
    "speed": 70,
    "graph": 50,
    "timm": 30,
    "line": 60,
    "waits": 25,
    "side_by_side": 50,
    "predictions": 25,
    "memory": 10,
}
"""Every part in the order in which it is measured, with the seconds that it is given."""


@contextmanager
def _set(target: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(target, name)
    setattr(target, name, value)
    try:
        yield
    finally:
        setattr(target, name, before)


def main() -> None:
    """Measure every part that fits into the time, then run the tests."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="Path of the JSON file.")
    parser.add_argument("--seconds", type=float, default=340, help="Seconds of all measurements.")
    parser.add_argument("--only", help="Parts to measure, with commas between them.")
    parser.add_argument("--tiny", action="store_true", help="Toy sizes on a CPU.")
    parser.add_argument("--no-tests", action="store_true", help="Leave the tests out.")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.tiny and not torch.cuda.is_available():
        sys.exit("no CUDA device: use --tiny to try the script on a CPU")
    bench = Bench(options.tiny)
    if options.engine:
        print(bench.engine(options.engine, bench.batches[0])["images_per_s"])
        return
    found: dict[str, Any] = {}
    for name in options.only.split(",") if options.only else PARTS:
        left = options.seconds - (time.perf_counter() - START)
        start = time.perf_counter()
        if left < PARTS[name]:
            found[name] = f"skipped: {left:.0f} s are left, {PARTS[name]} are needed"
        else:
            try:
                with keep_views_on_device():
                    found[name] = getattr(bench, name)()
            except Exception as error:  # the other parts are worth having
                found[name] = {"failed": f"{type(error).__name__}: {error}"[:1000]}
        found[f"{name}_s"] = round(time.perf_counter() - start, 1)
        options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {found[f'{name}_s']} s, {json.dumps(found[name])}", flush=True)
    if not (options.no_tests or options.tiny):
        tests = Path(__file__).parents[1] / "tests"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "gpu",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "default",
            str(tests),
        ]
        sys.exit(subprocess.run(command).returncode)


if __name__ == "__main__":
    main()
