"""Batches of a view that does not fit into the memory of a GPU: gathered and copied while the network works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def read_ahead(data: Tensor, batches_of_rows: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
    """The rows of each batch on a CUDA device, without holding more of `data` in memory than two batches.

    `data` may be a memory map. A thread gathers the next batch into one of two pinned buffers, from which it is copied
    on a stream of its own, while the network works on the batch before.
    """
    if not batches_of_rows:
        return
    sizes = [len(rows_B) for rows_B in batches_of_rows]
    # All indices come to the host at once: one copy per batch would wait for the network each time.
    rows = torch.split(torch.cat(list(batches_of_rows)).cpu(), sizes)
    buffers = [torch.empty((max(sizes), *data.shape[1:]), dtype=data.dtype, pin_memory=True) for _ in range(2)]
    # An event that was never recorded has happened.
    copied = [torch.cuda.Event() for _ in buffers]  # type: ignore[no-untyped-call]
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def gather(step: int) -> Tensor:
        copied[step % 2].synchronize()
        buffer = buffers[step % 2][: sizes[step]]
        torch.index_select(data, 0, rows[step], out=buffer)
        return buffer

    with ThreadPoolExecutor(max_workers=1) as reader:
        gathered = reader.submit(gather, 0)
        for step in range(len(sizes)):
            with torch.cuda.stream(stream):
                batch = gathered.result().to(device, non_blocking=True)
                copied[step % 2].record(stream)
            if step + 1 < len(sizes):
                gathered = reader.submit(gather, step + 1)
            current = torch.cuda.current_stream(device)
            current.wait_stream(stream)
            batch.record_stream(current)
            yield batch
