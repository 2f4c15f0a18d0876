"""Where jobs run, and how far they are: processes of this machine, its GPUs, or a Dask or Ray cluster."""

from foldstill.workers.choice import VARIABLE, Workers
from foldstill.workers.cpu_time import cpu_of_workers
from foldstill.workers.progress import OnProgress, Progress, silent
from foldstill.workers.shared_memory import SHARED_MEMORY, arrays_shared_in, folder_of_arrays, remove_shared_memory
from foldstill.workers.spreading import check_workers, spread
from foldstill.workers.work import Work

__all__ = [
    "SHARED_MEMORY",
    "VARIABLE",
    "OnProgress",
    "Progress",
    "Work",
    "Workers",
    "arrays_shared_in",
    "check_workers",
    "cpu_of_workers",
    "folder_of_arrays",
    "remove_shared_memory",
    "silent",
    "spread",
]
