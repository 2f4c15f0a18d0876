"""How work is done: where jobs run, on which device, and what receives the progress."""

import os
from dataclasses import dataclass

from foldstill.arguments import require_types
from foldstill.errors import ArgumentError
from foldstill.workers.choice import VARIABLE, Workers
from foldstill.workers.notebook_bars import bars_in_notebooks
from foldstill.workers.processes import in_joblib_context
from foldstill.workers.progress import OnProgress


@dataclass(frozen=True)
class Work:
    """How a stage is run. None of these values changes a result.

    Examples
    --------
    >>> Work(workers=2).cpu_workers.count
    2
    >>> Work(workers="dask=tcp://host:8786", device="cpu").cpu_workers.address
    'tcp://host:8786'
    """

    workers: int | str | None = None
    """Where jobs run: a number of processes of one thread each on a CPU, or `slots=cuda:0,cuda:1` (one process per GPU
    that is named), `dask=local`, `dask=tcp://HOST:8786`, `ray=local`, `ray=auto`. None takes FOLDSTILL_WORKERS, then an
    active `joblib.parallel_config`, then one process per core and all GPUs."""
    device: str = "auto"
    """Where networks run: auto, cpu, cuda, cuda:<number> or mps; auto is the first CUDA GPU, or else the CPU."""
    force: bool = False
    """Whether finished work is done again."""
    report: OnProgress = bars_in_notebooks
    """Receives the progress of every task: bars below the cell of a notebook, and nothing elsewhere, by default. Give
    `foldstill.workers.silent` to see nothing in notebooks either."""

    def __post_init__(self) -> None:
        require_types(Work, vars(self))
        if isinstance(self.workers, int) and self.workers < 1:
            raise ArgumentError(f"workers of Work must be 1 or more, or None for one per core, got {self.workers}")
        if isinstance(self.workers, str):
            Workers.parse(self.workers)

    @property
    def chosen_workers(self) -> Workers | None:
        """What somebody chose; None for what fits the machine."""
        text = self.workers or os.environ.get(VARIABLE)
        if text:
            return Workers.parse(str(text))
        return in_joblib_context()

    @property
    def cpu_workers(self) -> Workers:
        """Where jobs run that use no GPU."""
        chosen = self.chosen_workers
        if chosen is not None and chosen.kind != "slots":
            return chosen
        from joblib import cpu_count

        return Workers("processes", int(cpu_count()))
