"""A data source: time series in the tab-separated format of the UCR archive, one series per line after its class."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from foldstill.data import Dataset, Labels
from foldstill.data.dataset import Inputs
from foldstill.data.source import PlainSource
from foldstill.errors import DataError


@dataclass(frozen=True, kw_only=True)
class UCRData(PlainSource, kind="ucr", title="UCR time series"):
    """Time series in the tab-separated format of the UCR archive."""

    path: str
    """Path of the .tsv file, relative to the experiment file."""

    @classmethod
    def example(cls, folder: Path) -> tuple[Self, Path]:
        signal_NT = np.random.default_rng(0).normal(size=(40, 24)).round(3)
        lines = ["\t".join([f"class-{n % 2}", *map(str, signal_T)]) for n, signal_T in enumerate(signal_NT)]
        (folder / "example.tsv").write_text("\n".join(lines), encoding="utf-8")
        return cls(path="example.tsv"), folder / "example.tsv"

    def load(self, root: Path) -> Dataset:
        class_N, signal_NET = self._read(root / self.path)
        return Dataset(Labels.from_hard(class_N), {"signal": signal_NET})

    def inputs(self, path: Path) -> Inputs:
        _, signal_NET = self._read(path)
        return Inputs(np.arange(len(signal_NET)).astype(np.str_), {"signal": signal_NET})

    def _read(self, path: Path) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
        if not path.is_file():
            raise DataError(f"data.path must be a .tsv file of the UCR archive, got {path}, which is not a file")
        frame = pd.read_csv(path, sep="\t", header=None)
        return frame[0].to_numpy(str), frame.drop(columns=0).to_numpy(np.float32)[:, None, :]
