"""scikit-learn estimators as bytes, by skops: nothing is unpickled.

skops lists the types of a file before it makes any. Beyond the types that skops trusts, only classes of scikit-learn
and of a few modules of SciPy are accepted, never functions, so that a file cannot run code. A file that was changed on
purpose can still crash the process, because compiled trees do not check their indices.
"""

import importlib
import io
import json
import re
import sys
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any
from zipfile import ZipFile, ZipInfo

from foldstill.errors import EstimatorError

_TRUSTED = ("sklearn.", "scipy.interpolate.", "scipy.sparse.")
_DTYPE = "numpy.dtype"
"""The type of arrays, which imputers keep; skops stores it as an empty array."""
_NEVER = re.compile(r"(^|\.)(externals|tests|_testing|datasets)(\.|$)")
"""Modules of scikit-learn whose classes read or write files."""


@contextmanager
def torch_hidden() -> Iterator[None]:
    """Inside the block `import torch` fails unless torch is loaded already.

    scikit-learn and skops list their classes by importing every module of scikit-learn, one of which would load torch;
    without torch they leave it out.
    """
    if "torch" in sys.modules:
        yield
        return
    hidden: Any = None
    sys.modules["torch"] = hidden
    try:
        yield
    finally:
        del sys.modules["torch"]


def dump_estimator(estimator: Any) -> bytes:
    """Return the estimator in the skops format.

    The bytes depend only on the estimator, except for unused bytes between the fields of compiled trees.

    Raises EstimatorError when it contains types that `load_estimator` refuses.

    >>> from sklearn.linear_model import Ridge
    >>> load_estimator(dump_estimator(Ridge(alpha=2.0))).alpha
    2.0
    """
    with torch_hidden():
        from skops.io.exceptions import UnsupportedTypeException

    try:
        data = _dumped(estimator)
    except (UnsupportedTypeException, AttributeError, TypeError, ValueError) as error:
        raise EstimatorError(
            f"the scikit-learn estimator {type(estimator).__name__} cannot be saved by skops ({error}): "
            "use another estimator"
        ) from error
    _trusted_types(data, "saved")
    return data


def load_estimator(data: bytes) -> Any:
    """Return the estimator in `data`; raise EstimatorError when it is no skops file or contains other types."""
    from zipfile import BadZipFile

    with torch_hidden():
        from skops.io import loads

    try:
        return loads(data, trusted=_trusted_types(data, "loaded"))
    except (BadZipFile, KeyError, ValueError, TypeError, AttributeError, ImportError) as error:
        raise EstimatorError(
            f"the saved scikit-learn estimator cannot be read ({error}): fit it and save it again"
        ) from error


def _trusted_types(data: bytes, action: str) -> list[str]:
    """Return the names of the types in a file that skops does not trust by default, when all are acceptable."""
    with torch_hidden():
        from skops.io import get_untrusted_types

    names = get_untrusted_types(data=data)
    refused = [name for name in names if not _is_acceptable(name)]
    if refused:
        raise EstimatorError(
            f"a scikit-learn estimator cannot be {action}, it contains {refused}: only types of scikit-learn, NumPy "
            "and SciPy are accepted"
        )
    return list(names)


def _is_acceptable(name: str) -> bool:
    """Whether this is the full name of a class in an accepted module."""
    if name == _DTYPE:
        return True
    module, _, attribute = name.rpartition(".")
    if not module.startswith(_TRUSTED) or _NEVER.search(module):
        return False
    try:
        return isinstance(getattr(importlib.import_module(module), attribute, None), type)
    except ImportError:
        return False


class _Parts(dict[str, bytes]):
    """The arrays of an estimator by the name of their file: what skops uses of a ZipFile while it saves one."""

    def namelist(self) -> Container[str]:
        return self.keys()

    def writestr(self, name: str, data: memoryview) -> None:
        self[name] = bytes(data)


def _dumped(estimator: Any) -> bytes:
    """Return a skops file without the times and memory addresses that differ at every save.

    It is what `skops.io.dumps` makes, but with a schema on one line: `dumps` indents it, which Python's JSON does
    several times slower. For a forest this takes as long as to fit it.
    """
    with torch_hidden():
        import skops
        from skops.io._utils import SaveContext, get_state

    parts = _Parts()
    context = SaveContext(zip_file=parts)
    state = get_state(estimator, context)
    context.clear_memo()
    schema = json.dumps(state | {"protocol": context.protocol, "_skops_version": skops.__version__})
    number = {name: str(i) for i, name in enumerate(dict.fromkeys(re.findall(r'"__id__": (\d+)', schema)))}
    schema = re.sub(r'("__id__": )(\d+)', lambda match: match[1] + number[match[2]], schema)
    new_name = {name: f"{i}.bin" for i, name in enumerate(dict.fromkeys(re.findall(r'"file": "([^"]+)"', schema)))}
    schema = re.sub(r'("file": ")([^"]+)"', lambda match: match[1] + new_name[match[2]] + '"', schema)
    buffer = io.BytesIO()
    with ZipFile(buffer, "w") as archive:
        # ZipInfo has a fixed date of its own.
        for old, new in new_name.items():
            archive.writestr(ZipInfo(new), parts[old])
        archive.writestr(ZipInfo("schema.json"), schema)
    return buffer.getvalue()
