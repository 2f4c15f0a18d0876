"""Peak memory of tensors, counted from the operation that creates each to the moment it is freed."""

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside the block, count every new tensor until it is freed; `peak` is the largest number of bytes at one time."""

    def __init__(self, ignored: Iterable[Tensor]) -> None:
        """Memory of the tensors `ignored`, and of views of them, is not counted."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._seen = {_storage_key(tensor) for tensor in ignored}
        self._current = 0
        self.peak: int = 0

    def count(self, tensor: Tensor) -> None:
        """Count the tensor's memory, once."""
        storage, key = tensor.untyped_storage(), _storage_key(tensor)
        if key in self._seen:
            return
        self._seen.add(key)
        self._current += storage.nbytes()
        self.peak = max(self.peak, self._current)
        # The Python wrapper lives as long as the memory itself: it is freed with the last tensor that uses it.
        weakref.finalize(storage, self._freed, key, storage.nbytes())

    def _freed(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self._current -= size

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return result


def _storage_key(tensor: Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key
