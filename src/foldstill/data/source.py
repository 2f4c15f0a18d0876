"""What a data source is: settings that load a data set, read new rows and know the submission format of their data.

N samples, C classes.
"""

from abc import ABC
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from foldstill.data.dataset import Dataset, Inputs
from foldstill.data.simplex import Float
from foldstill.data.submission import SampleSubmission, submission_like
from foldstill.settings import Kind, KindSettings
from foldstill.workers import Work

if TYPE_CHECKING:
    from typing import Self


class Submission(Protocol):
    """The file format in which a competition takes scores."""

    def write(self, ids: Sequence[str], proba_NC: Float, classes: Sequence[str], out: Path) -> None:
        """Write one row per id to `out`; raises DataError where the ids or the classes do not fit the format."""
        ...


class DataSource(Kind, Protocol):
    """Settings of one kind of data, a frozen dataclass.

    `foldstill.testing.check_source` checks an implementation. `PlainSource` gives the defaults of data that need no
    preparation and have no submission format of their own.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    needs_preparation: ClassVar[bool]
    """Whether `prepare` must have run before `load`. What is prepared is fixed, so a search cannot vary it."""

    @classmethod
    def example(cls, folder: Path) -> "tuple[Self, Path]":
        """The smallest working instance, and where new rows for `inputs` are.

        Every file that either needs is written below `folder`, which is the root for `prepare` and `load`.
        """
        ...

    def is_prepared(self, root: Path) -> bool:
        """Whether `load` finds everything it needs, so that nothing has to be prepared first."""
        ...

    def prepare(self, root: Path, work: Work = ...) -> object:
        """Make what `load` needs and is missing; does nothing where nothing is needed.

        The text of what it returns, if any, says what there is now.

        Parameters
        ----------
        root : Path
            Folder at which relative paths in the settings start.
        work : Work
            How many processes to use, on which device, and whether to make finished files again.
        """
        ...

    def load(self, root: Path) -> Dataset:
        """The data set; the same settings and files give the same data set.

        Raises
        ------
        DataError
            Where a file is missing, damaged or not prepared.
        """
        ...

    def inputs(self, path: Path) -> Inputs:
        """New rows in the form of the data set; their labels are neither needed nor read."""
        ...

    def submission(self, data: Path, out: Path, sample: Path | None) -> Submission | None:
        """The format in which scores of the rows in `data` are written to `out`; None for an ordinary score file.

        Parameters
        ----------
        data : Path
            Where the scored rows are.
        out : Path
            The file to write; its name may ask for a submission.
        sample : Path or None
            The competition's sample file, where the user named one.

        Raises
        ------
        DataError
            Where a submission is asked for and cannot be written.
        """
        ...


class PlainSource(KindSettings, ABC):
    """Defaults of a data source whose data need no preparation and have no submission format of their own."""

    needs_preparation: ClassVar[bool] = False

    def is_prepared(self, root: Path) -> bool:
        """True: these data need no preparation."""
        return True

    def prepare(self, root: Path, work: Work = Work()) -> object:
        """Nothing to prepare."""
        return None

    def submission(self, data: Path, out: Path, sample: Path | None) -> SampleSubmission | None:
        """A submission in the form of a sample file, where there is one."""
        return None if sample is None else submission_like(sample, out)
