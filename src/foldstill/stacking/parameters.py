"""The settings of a combiner as nested parameters of scikit-learn, such as `combiner__ridge`."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from foldstill.errors import StackError
from foldstill.stacking.combiner import Combiner
from foldstill.stacking.kinds import COMBINERS
from foldstill.stacking.recalibrate import Recalibrated


def combiner_of(value: Any) -> Combiner:
    """The settings that a value stands for: settings, the name of a kind, or None for `Recalibrated`.

    >>> combiner_of("convex").kind, combiner_of(None).kind
    ('convex', 'recalibrated')
    """
    kinds = {str(one.kind): one for one in COMBINERS}
    if value is None:
        return Recalibrated()
    if isinstance(value, str) and value in kinds:
        return kinds[value]()
    if isinstance(value, str):
        raise StackError(f"no combiner is called {value!r}: choose from {sorted(kinds)}")
    if isinstance(value, type) or not hasattr(value, "fit") or not hasattr(value, "kind"):
        raise StackError(
            f"combiner of StackedClassifier must be the settings of a combiner, or the name of one, got {value!r}: "
            'give for example "convex", or foldstill.stacking.convex.Convex()'
        )
    combiner: Combiner = value
    return combiner


def nested_parameters(settings: Any) -> dict[str, Any]:
    """Every setting by its name, and those of settings and estimators inside it by `name__inner`.

    >>> nested_parameters(combiner_of("log_pool"))["ridge"]
    0.001
    """
    if _is_estimator(settings):
        found: dict[str, Any] = settings.get_params(deep=True)
        return found
    own = _own_settings(settings)
    inside = {f"{name}__{key}": inner for name, value in own.items() for key, inner in nested_parameters(value).items()}
    return own | inside


def with_parameters(settings: Any, changes: Mapping[str, Any]) -> Any:
    """The same settings with some parameters changed, by the names that `nested_parameters` gives them.

    >>> with_parameters(combiner_of("log_pool"), {"ridge": 0.5}).ridge
    0.5
    """
    if _is_estimator(settings):
        from sklearn.base import clone

        return clone(settings).set_params(**changes)
    own = _own_settings(settings)
    changed: dict[str, Any] = {}
    nested: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, value in changes.items():
        name, _, inner = key.partition("__")
        if name not in own:
            raise StackError(
                f"{type(settings).__name__} has no parameter {name!r}: choose from {sorted(own) or 'none'}"
            )
        if inner:
            nested[name][inner] = value
        else:
            changed[name] = value
    for name, inside in nested.items():
        changed[name] = with_parameters(changed.get(name, own[name]), inside)
    return replace(settings, **changed)


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "get_params") and not isinstance(value, type)


def _own_settings(value: Any) -> dict[str, Any]:
    """The fields of settings; empty for other values. The kind is left out, because it belongs to the class."""
    if not is_dataclass(value) or isinstance(value, type):
        return {}
    return {one.name: getattr(value, one.name) for one in fields(value) if one.init and one.name != "kind"}
