"""Blocks in which a GPU is pretended: what torch says of its devices, generators, streams and captured graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import timm  # noqa: F401 - cannot be imported for the first time while a device is pretended
import torch
from torch import Tensor
from torch.nn.modules import rnn
from torch.utils._python_dispatch import _disable_current_modes

from foldstill.base_models.trainer import Trainer
from pretended_device import Calls, Operations, Pretended, Record, Wait

RealGenerator = torch.Generator


class GpuGenerator(RealGenerator):
    """A generator that says it is on the device."""

    on: torch.device

    @property
    def device(self) -> torch.device:
        return self.on


class AnyGenerator(RealGenerator):
    """What `torch.Generator` is while a GPU is pretended."""

    def __new__(cls, device: Any = "cpu") -> Any:
        device = torch.device(device)
        if device.type == "cpu":
            return RealGenerator.__new__(RealGenerator, device="cpu")
        generator = RealGenerator.__new__(GpuGenerator, device="cpu")
        generator.on = device
        return generator


class Stream:
    """A stream of which everything is finished at once."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def wait_stream(self, other: Any) -> None: ...
    def wait_event(self, event: Any) -> None: ...
    def synchronize(self) -> None: ...


class Event:
    def __init__(self, *_: Any, **__: Any) -> None: ...
    def record(self, *_: Any) -> None: ...
    def synchronize(self) -> None: ...


class RecurrentOnHost(torch.autograd.Function):
    """cuDNN's recurrent network, which the dispatcher would hand to the driver: computed on the host, both ways."""

    @staticmethod
    def forward(ctx: Any, settings: Any, x: Any, h: Any, *weights: Any) -> Any:
        hosts = [t.host.detach().requires_grad_() for t in (x, h, *weights)]
        with torch.enable_grad(), _disable_current_modes():
            out, last = torch._C._VariableFunctions.gru(hosts[0], hosts[1], hosts[2:], *settings)
        ctx.hosts, ctx.out, ctx.last, ctx.on = hosts, out, last, x.on
        return Pretended(out.detach(), x.on), Pretended(last.detach(), x.on)

    @staticmethod
    def backward(ctx: Any, grad_out: Any, grad_last: Any) -> Any:
        grads = [None if g is None else g.host for g in (grad_out, grad_last)]
        with _disable_current_modes():
            found = torch.autograd.grad([ctx.out, ctx.last], ctx.hosts, grads, allow_unused=True)
        return None, *(None if g is None else Pretended(g, ctx.on) for g in found)


def _gru(kind: str) -> Any:
    real = torch._VF.gru

    def gru(x: Tensor, h: Tensor, weights: Any, *settings: Any) -> Any:
        if not isinstance(x, Pretended):
            return real(x, h, weights, *settings)
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
            x, h, weights = x.to(dtype), h.to(dtype), [w.to(dtype) for w in weights]
        return RecurrentOnHost.apply(settings, x, h, *weights)

    return gru


def _enter_inference_mode(self: Any) -> None:
    """Views of ordinary tensors are ordinary in inference mode, which a pretended tensor cannot be: no gradients."""
    self.was_enabled = torch.is_grad_enabled()
    torch._C._set_grad_enabled(False)


def _leave_inference_mode(self: Any, *_: Any) -> None:
    torch._C._set_grad_enabled(self.was_enabled)


captured_modules: list[torch.nn.Module] = []
"""Every module that was captured in CUDA graphs, in order."""


def _graphed(module: torch.nn.Module, sample: Any, num_warmup_iters: int = 3, **_: Any) -> Any:
    """What torch does before it captures: forward and backward passes that change gradients and running statistics."""
    for _step in range(num_warmup_iters):
        out = module(*sample)
        torch.autograd.grad(out.sum(), [p for p in module.parameters() if p.requires_grad], allow_unused=True)
    own = module.forward
    module.forward = lambda *inputs: own(*inputs)  # type: ignore[method-assign]
    captured_modules.append(module)
    return module


@dataclass
class Steps:
    """The steps of all epochs, and what the host waited for between the first step of an epoch and its last."""

    number: int = 0
    waits: list[Wait] = field(default_factory=list)


@contextlib.contextmanager
def watched_steps(record: Record) -> Iterator[Steps]:
    """Inside the block, counts the steps of the training engine and collects their waits."""
    steps, span = Steps(), [0, 0]
    real_epoch, real_step = Trainer.epoch, Trainer._step

    def step(*args: Any) -> Any:
        if span[1] == 0:
            span[0] = len(record.waits)
        loss = real_step(*args)
        span[1] = len(record.waits)
        steps.number += 1
        return loss

    def epoch(*args: Any) -> Any:
        span[:] = [0, 0]
        result = real_epoch(*args)
        steps.waits += record.waits[span[0] : span[1]]
        return result

    with mock.patch.object(Trainer, "epoch", epoch), mock.patch.object(Trainer, "_step", step):
        yield steps


@contextlib.contextmanager
def pretended_gpu(
    device: str = "cuda", *, free_bytes: int = 2**34, capability: tuple[int, int] = (9, 0), count: int = 2
) -> Iterator[Record]:
    """Inside the block a GPU of this kind, "cuda" or "mps", is a device like any other; gives what is recorded."""
    kind = torch.device(device).type
    record = Record()
    was_cudnn, was_overwrite = (
        torch.backends.cudnn.enabled,
        torch.__future__.get_overwrite_module_params_on_conversion(),
    )
    cuda = {
        "_lazy_init": lambda: None,
        "is_available": lambda: kind == "cuda",
        "device_count": lambda: count if kind == "cuda" else 0,
        "mem_get_info": lambda *_: (free_bytes, 2 * free_bytes),
        "get_device_capability": lambda *_: capability,
        "is_bf16_supported": lambda *_, **__: True,
        "get_rng_state": lambda *_: RealGenerator().get_state(),
        "set_rng_state": lambda *_: None,
        "manual_seed_all": lambda *_: None,
        "manual_seed": lambda *_: None,
        "Stream": Stream,
        "stream": lambda *_: contextlib.nullcontext(),
        "current_stream": lambda *_: Stream(),
        "Event": Event,
        "device": lambda *_: contextlib.nullcontext(),
        "synchronize": lambda *_: None,
        "is_current_stream_capturing": lambda *_: False,
        "make_graphed_callables": _graphed,
    }
    with contextlib.ExitStack() as stack:

        def put(target: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(target, name, value))

        for name, value in cuda.items():
            put(torch.cuda, name, value)
        put(torch.backends.mps, "is_available", lambda: kind == "mps")
        for name in ("manual_seed", "set_rng_state"):
            put(torch.mps, name, lambda *_: None)
        put(torch.mps, "get_rng_state", lambda *_: RealGenerator().get_state())
        put(torch, "Generator", AnyGenerator)
        put(rnn._VF, "gru", _gru(kind))
        put(torch.nn.GRU, "flatten_parameters", lambda self: None)
        put(torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda self: None)
        put(torch.inference_mode, "__enter__", _enter_inference_mode)
        put(torch.inference_mode, "__exit__", _leave_inference_mode)
        stack.callback(setattr, torch.backends.cudnn, "enabled", was_cudnn)
        torch.backends.cudnn.enabled = False
        # A parameter cannot be turned into another kind of tensor in place.
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, was_overwrite)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        default = torch.device(kind, torch.device(device).index or 0)
        stack.enter_context(Operations(record, default))
        stack.enter_context(Calls(record, default))
        yield record
