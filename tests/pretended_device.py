"""A GPU that is not there: tensors that say `cuda:0` and compute on the CPU, so that mistakes show without a GPU.

Every operation computes real numbers, so a training on the pretended device must give what the CPU gives. What a GPU
would refuse raises: tensors of two devices in one operation, a generator of another device, float64 on MPS. What the
host would wait for is recorded with the line of the package that asked for it: a number that is read, a copy to the
host, a copy from memory that is not pinned, a shape that depends on values.

Streams, memory, and the kernels themselves are not pretended. The classes here are made of private parts of torch, so
`UNSUPPORTED` says why a version of torch cannot be used.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

CPU = torch.device("cpu")
aten = torch.ops.aten

READS_A_NUMBER = {aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default, aten.item.default}
VALUES_MAKE_SHAPE = {
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.bincount.default,
    aten.repeat_interleave.Tensor,
}
TAKES_INDICES = {
    aten.index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
    aten._unsafe_index.Tensor,
}
COPIES = {aten.copy_.default, aten._to_copy.default, aten.copy.default, aten._foreach_copy_.default}
CONVOLUTIONS = {aten.convolution.default, aten.convolution_backward.default}
HALVES = (torch.bfloat16, torch.float16)


class Pretended(Tensor):
    """A tensor on the pretended device; `host` holds its values, `on` is its device."""

    host: Tensor
    on: torch.device

    @staticmethod
    def __new__(cls, host: Tensor, on: torch.device) -> Pretended:
        with torch._C._DisableTorchDispatch():
            shell = torch.empty_strided(host.shape, host.stride(), dtype=host.dtype, device="meta")
        # Autograd takes it for a tensor of `meta`, which has no streams; autocast goes by the keys of the device.
        self = Tensor._make_subclass(cls, shell, False, device_for_backend_keys=on)
        self.host, self.on = host, on
        return self

    @property
    def device(self) -> torch.device:
        return self.on

    @property
    def is_cuda(self) -> bool:
        return self.on.type == "cuda"

    @property
    def is_meta(self) -> bool:
        return False

    def __repr__(self, **_: Any) -> str:
        return f"Pretended({self.host!r}, {self.on})"

    def is_pinned(self, *_: Any) -> bool:
        return False

    def record_stream(self, _: Any) -> None:
        """Nothing is computed later than it is asked for."""

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} of a pretended tensor outside of the pretended device")


def _unsupported() -> str:
    try:
        Pretended(torch.zeros(1), torch.device("cuda", 0))
        torch._C._nn._parse_to("cpu")
    except (AttributeError, TypeError, RuntimeError) as error:
        return f"torch {torch.__version__} cannot pretend a device: {error}"
    return ""


UNSUPPORTED = _unsupported()
"""Why this version of torch cannot pretend a device; empty where it can."""


@dataclass(frozen=True)
class Wait:
    """An operation for which the host waits for the device, and the line of the package that asked for it."""

    operation: str
    place: str


@dataclass
class Record:
    """What happened on the pretended device."""

    waits: list[Wait] = field(default_factory=list)
    pinned_bytes: int = 0
    """Bytes of host memory that were pinned, in all."""

    def wait(self, operation: str) -> None:
        self.waits.append(Wait(operation, place()))


def place() -> str:
    """The line of the package, or else of the tests, that asked for the running operation."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if "/src/foldstill/" in name or ("/tests/test_" in name):
            return f"{name.split('/src/foldstill/')[-1].split('/tests/')[-1]}:{frame.f_lineno}"
        frame = frame.f_back
    return "unknown"


def pinned(tensor: Tensor, record: Record) -> Tensor:
    """A copy in memory that is taken for pinned."""
    copy = tensor.clone()
    copy.is_taken_for_pinned = True  # type: ignore[attr-defined]
    record.pinned_bytes += copy.nbytes
    return copy


def is_pinned(tensor: Tensor) -> bool:
    """Whether a tensor, or the tensor it is a view of, is in memory that is taken for pinned."""
    base = tensor if tensor._base is None else tensor._base
    return getattr(tensor, "is_taken_for_pinned", False) or getattr(base, "is_taken_for_pinned", False)


class Operations(TorchDispatchMode):
    """Computes operations of the device on the host, and checks and records them."""

    def __init__(self, record: Record, device: torch.device) -> None:
        super().__init__()
        self.record, self.default = record, device

    @classmethod
    def is_infra_mode(cls) -> bool:
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        leaves, spec = tree_flatten((args, kwargs))
        ours = [x for x in leaves if isinstance(x, Pretended)]
        wanted = self._target(kwargs.get("device"), ours)
        if not ours and (wanted is None or wanted.type == "cpu"):
            pin = kwargs.pop("pin_memory", False)
            made = func(*args, **kwargs)
            return pinned(made, self.record) if pin else made
        others = [x for x in leaves if isinstance(x, Tensor) and not isinstance(x, Pretended)]
        self._check_devices(func, args, ours, others)
        self._note_wait(func, args, kwargs, ours, wanted)
        host_leaves = [x.host if isinstance(x, Pretended) else x for x in leaves]
        host_args, host_kwargs = tree_unflatten(host_leaves, spec)
        host_kwargs = {key: value for key, value in host_kwargs.items() if key != "pin_memory"}
        if host_kwargs.get("device") is not None:
            host_kwargs["device"] = CPU
        if func in CONVOLUTIONS and any(isinstance(x, Tensor) and x.dtype in HALVES for x in host_leaves):
            made = _in_float32(func, host_args, host_kwargs)
        else:
            made = func(*host_args, **host_kwargs)
        if func is aten.copy_.default and not isinstance(args[0], Pretended):
            return args[0]
        if func is aten._fused_sdp_choice.default or (ours and wanted is not None and wanted.type == "cpu"):
            return made
        return self._on_device(made, ours, wanted or ours[0].on)

    def _target(self, device: Any, ours: list[Pretended]) -> torch.device | None:
        if device is None:
            return None
        if torch.device(device).type == "meta":  # what autograd takes pretended tensors for
            return ours[0].on if ours else self.default
        return torch.device(device)

    def _on_device(self, made: Any, ours: list[Pretended], device: torch.device) -> Any:
        same = {id(x.host): x for x in ours}

        def wrapped(x: Any) -> Any:
            if not isinstance(x, Tensor) or isinstance(x, Pretended):
                return x
            if device.type == "mps" and x.dtype == torch.float64:
                raise TypeError(f"the MPS framework doesn't support float64 ({place()})")
            found = same.get(id(x))
            return Pretended(x, device) if found is None else found

        return tree_map(wrapped, made)

    def _check_devices(self, func: Any, args: Any, ours: list[Pretended], others: list[Tensor]) -> None:
        """Raises RuntimeError for tensors of two devices, as torch does; numbers and indices may be on the host."""
        if func in COPIES or not ours:
            return
        apart = [x for x in others if x.ndim > 0]
        if func in TAKES_INDICES:
            indices = {id(x) for x in args[1] if x is not None}
            apart = [x for x in apart if id(x) not in indices]
            if not isinstance(args[0], Pretended):
                apart = [args[0]]
        apart += [x for x in ours if x.on != ours[0].on]
        if apart:
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found {ours[0].on} and {apart[0].device} "
                f"({func}, {place()})"
            )

    def _note_wait(self, func: Any, args: Any, kwargs: Any, ours: list[Pretended], wanted: Any) -> None:
        name = func._schema.name.split("::")[1]
        if func in READS_A_NUMBER or func in VALUES_MAKE_SHAPE:
            self.record.wait(name)
        elif func in TAKES_INDICES:
            indices = [x for x in args[1] if x is not None]
            if any(x.dtype in (torch.bool, torch.uint8) for x in indices):
                self.record.wait(f"{name} by a mask")
            elif any(not isinstance(x, Pretended) for x in indices):
                self.record.wait(f"{name} by indices on the host")
        elif func is aten._to_copy.default and wanted is not None:
            if ours and wanted.type == "cpu":
                self.record.wait("copy to the host")
            elif not ours and not (is_pinned(args[0]) and kwargs.get("non_blocking")):
                self.record.wait("copy from pageable memory")
        elif func in (aten.copy_.default, aten.copy.default):
            into, source = args[0], args[1]
            if isinstance(source, Pretended) and not isinstance(into, Pretended):
                if not (is_pinned(into) and (args[2:3] == (True,) or kwargs.get("non_blocking"))):
                    self.record.wait("copy to the host")
            elif not isinstance(source, Pretended) and source.ndim + into.ndim > 0 and not is_pinned(source):
                self.record.wait("copy from pageable memory")


def _in_float32(func: Any, args: Any, kwargs: Any) -> Any:
    """Sums in float32, as a GPU does; bfloat16 convolutions of some CPUs leave parts of a gradient unwritten."""
    kind = next(x.dtype for x in tree_flatten(args)[0] if isinstance(x, Tensor) and x.dtype in HALVES)
    made = func(*tree_map(lambda x: x.float() if isinstance(x, Tensor) else x, args), **kwargs)
    return tree_map(lambda x: x.to(kind) if isinstance(x, Tensor) else x, made)


LOWERED = {
    torch.conv1d,
    torch.conv2d,
    torch._C._nn.linear,
    torch.matmul,
    torch.bmm,
    Tensor.matmul,
    Tensor.__matmul__,
    torch._C._nn.scaled_dot_product_attention,
}
RAISED = {
    torch.softmax,
    Tensor.softmax,
    torch.log_softmax,
    Tensor.log_softmax,
    torch.nn.functional.softmax,
    torch.nn.functional.log_softmax,
    torch.layer_norm,
    torch.group_norm,
    torch.exp,
    torch.log,
    torch.pow,
    torch.norm,
    torch.cosine_similarity,
    torch.sum,
    Tensor.sum,
}
"""What autocast of a GPU brings to the lower precision, and to float32: the part of its lists that networks use."""


class Calls(TorchFunctionMode):
    """Answers calls that name the device, for which torch would ask the driver."""

    def __init__(self, record: Record, device: torch.device) -> None:
        super().__init__()
        self.record, self.default = record, device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.to, Tensor.cuda):
            return self._to(func, args[0], args[1:], dict(kwargs))
        if func is torch._C._nn._parse_to:
            return func(*args, **kwargs)
        if func is Tensor.pin_memory:
            return pinned(args[0], self.record)
        if func is Tensor.tolist and isinstance(args[0], Pretended):
            return args[0].cpu().tolist()
        if func is Tensor.numpy and isinstance(args[0], Pretended):
            raise TypeError(f"can't convert {args[0].on} device type tensor to numpy. Use Tensor.cpu() first")
        args, kwargs = self._autocast(func, args, kwargs)
        self._check_generator(func, args, kwargs)
        device = kwargs.get("device")
        if device is None or torch.device(device).type != self.default.type:
            return func(*args, **kwargs)
        return self._made_on(self._indexed(device), func, args, kwargs)

    def _indexed(self, device: Any) -> torch.device:
        """The device with its number, such as cuda:0 for cuda."""
        device = torch.device(device)
        return device if device.index is not None else torch.device(device.type, 0)

    def _made_on(self, device: torch.device, func: Any, args: Any, kwargs: Any) -> Any:
        values = args[0] if args else None
        host_args, host_kwargs = tree_map(_host, (args, kwargs))
        made = func(*host_args, **{**host_kwargs, "device": "cpu"})
        if getattr(func, "__name__", "") in ("tensor", "as_tensor", "asarray") and not isinstance(values, Pretended):
            self.record.wait("copy from pageable memory")
        if device.type == "mps" and made.dtype == torch.float64:
            raise TypeError(f"the MPS framework doesn't support float64 ({place()})")
        return made if isinstance(made, Pretended) else Pretended(made, device)

    def _autocast(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        kind = self.default.type
        if not torch.is_autocast_enabled(kind) or (func not in LOWERED and func not in RAISED):
            return args, kwargs
        dtype = torch.get_autocast_dtype(kind) if func in LOWERED else torch.float32

        def cast(x: Any) -> Any:
            is_float = isinstance(x, Pretended) and x.dtype in (torch.float32, *HALVES)
            return x.to(dtype) if is_float and x.dtype != dtype else x

        return tree_map(cast, (args, kwargs))

    def _check_generator(self, func: Any, args: Any, kwargs: Any) -> None:
        generator = kwargs.get("generator")
        if not isinstance(generator, torch._C.Generator):
            return
        ours = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, Pretended)]
        device = kwargs.get("device")
        wanted = ours[0].on if ours else CPU if device is None else torch.device(device)
        if generator.device.type != wanted.type:
            raise RuntimeError(
                f"Expected a '{wanted.type}' device type for generator but found '{generator.device.type}' "
                f"({getattr(func, '__name__', func)}, {place()})"
            )

    def _to(self, func: Any, x: Tensor, args: Any, kwargs: Any) -> Tensor:
        if func is Tensor.cuda:
            args, kwargs = ("cuda",), {}
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype, *args[1:])
        copy = kwargs.pop("copy", False)
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        layout = {} if memory_format is None else {"memory_format": memory_format}
        if device is None or device.type == "meta":  # what autograd takes pretended tensors for
            device = x.device
        target = self._indexed(device) if device.type == self.default.type else device
        if target == x.device:
            if dtype in (None, x.dtype) and not copy and memory_format is None:
                return x
            return Tensor.to(x, dtype=dtype or x.dtype, copy=copy, **layout)
        if isinstance(x, Pretended):
            moved = Tensor.to(x, CPU, dtype or x.dtype, non_blocking, copy, **layout)
            return moved if target.type == "cpu" else Pretended(moved, target)
        if not (is_pinned(x) and non_blocking):
            self.record.wait("copy from pageable memory")
        if target.type == "mps" and (dtype or x.dtype) == torch.float64:
            raise TypeError(f"the MPS framework doesn't support float64 ({place()})")
        return Pretended(Tensor.to(x.detach(), dtype=dtype or x.dtype, copy=True, **layout), target)


def _host(x: Any) -> Any:
    return x.host if isinstance(x, Pretended) else x
