"""The errors that a user's mistake raises, one class per package, and what several of them have in common.

Each message is one sentence: what was wanted, what was received, where, and the cure.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


class FoldstillError(ValueError):
    """A mistake in the input, not in foldstill; the command line prints the message and exits with code 2.

    Examples
    --------
    >>> import foldstill as fs
    >>> try:
    ...     fs.oof_table([[[0.9, 0.9]]], votes=[[3, 0]], folds=[0])
    ... except fs.FoldstillError as error:
    ...     print(type(error).__name__)
    OOFError
    """


class FoldstillWarning(UserWarning):
    """What foldstill did with an input that its user should know; the command line prints the message as one line."""


class FileError(FoldstillError):
    """A file or folder that cannot be read or written."""


class ArgumentError(FoldstillError, TypeError):
    """An argument of a public function or a setting that is of the wrong type."""


class DataError(FoldstillError):
    """Labels, votes, inputs or files that do not hold what they should."""


class EstimatorError(FoldstillError):
    """An estimator of scikit-learn that cannot be made, fitted, saved or read."""


class FoldError(FoldstillError):
    """A fold plan that cannot be made, or that would leak."""


class MemberError(FoldstillError):
    """A member that cannot be built or trained."""


class OOFError(FoldstillError):
    """A score table that is not valid."""


class StackError(FoldstillError):
    """A combiner that cannot be fitted or applied."""


class DistillError(FoldstillError):
    """A student, soft target or export that cannot be made."""


class CompareError(FoldstillError):
    """Arms that cannot be compared."""


class CostError(FoldstillError):
    """A cost that cannot be counted or measured."""


class ExperimentError(FoldstillError):
    """An experiment file or a run folder that is not valid."""


_NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "out of memory", "failed to map segment")
"""What torch, CUDA and the linker say when memory is used up."""


def lacks_memory(error: BaseException) -> bool:
    """Whether memory was used up, which some libraries say in the text of another error only.

    >>> lacks_memory(MemoryError()), lacks_memory(RuntimeError("CUDA out of memory.")), lacks_memory(KeyError("memory"))
    (True, True, False)
    """
    in_text = isinstance(error, RuntimeError | ImportError) and any(words in str(error) for words in _NO_MEMORY)
    return in_text or isinstance(error, MemoryError)


def require_package(package: str, extra: str, *, purpose: str, error: type[FoldstillError]) -> None:
    """Raise an error where a package is not installed that a purpose needs; the package is not imported.

    >>> require_package("json", "none", purpose="reading settings", error=FileError)
    >>> require_package("nowhere", "eeg", purpose="reading a.edf", error=FileError)
    Traceback (most recent call last):
    foldstill.errors.FileError: reading a.edf needs nowhere, which is not installed: pip install 'foldstill[eeg]'
    """
    if find_spec(package) is None:
        raise error(f"{purpose} needs {package}, which is not installed: {pip_install(extra)}")


def pip_install(extra: str) -> str:
    """The command that installs the packages of an extra."""
    return f"pip install 'foldstill[{extra}]'"


@contextmanager
def at(place: object) -> Iterator[None]:
    """Begin the message of an error in the block with its place, such as a file or a member, unless it names it.

    >>> with at("folds.csv"):
    ...     raise FoldError("folds must be numbered from 0, got -3: correct them")
    Traceback (most recent call last):
    foldstill.errors.FoldError: folds.csv: folds must be numbered from 0, got -3: correct them
    """
    try:
        yield
    except FoldstillError as error:
        if str(place) in str(error):
            raise
        raise type(error)(f"{place}: {error}") from error.__cause__
