"""How much memory tensors take at one time: counted where operations make them, and where they are freed."""

import weakref
from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveMemory(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside the block every new tensor counts until it is freed; `peak` is the most bytes there were at once."""

    def __init__(self, apart: Iterable[Tensor]) -> None:
        """Memory of the tensors `apart`, and of views of them, is not counted."""
        super().__init__()  # type: ignore[no-untyped-call]
        self._known = {_key(tensor) for tensor in apart}
        self._now = 0
        self.peak: int = 0

    def count(self, tensor: Tensor) -> None:
        """Count the tensor's memory, once."""
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key in self._known:
            return
        self._known.add(key)
        self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)
        # The wrapper in Python lives as long as the memory itself, so its end is that of the last tensor on it.
        weakref.finalize(storage, self._freed, key, storage.nbytes())

    def _freed(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._now -= size

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = operation(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor):
                self.count(leaf)
        return made


def _key(tensor: Tensor) -> int:
    key: int = tensor.untyped_storage()._cdata
    return key
