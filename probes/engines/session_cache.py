"""Measurements kept for the session: claims that need the same text or distribution share it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, TypeVar

from pydantic import BaseModel

Measure = TypeVar("Measure", bound=Callable[..., Any])

_ATTRIBUTE = "_measured_this_session"


def once_per_session(measure: Measure) -> Measure:
    """Call a measurement once a session for each engine, its first argument, and equal arguments.

    Functions among the arguments are not compared: another argument names them. An error is not
    kept.

    >>> from types import SimpleNamespace
    >>> model, calls = SimpleNamespace(), []
    >>> @once_per_session
    ... def count(model, prompts):
    ...     calls.append(prompts)
    >>> count(model, ["a", "b"]), count(model, ("a", "b")), len(calls)
    (None, None, 1)
    """
    signature = inspect.signature(measure)

    @functools.wraps(measure)
    def remembered(engine: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(engine, *args, **kwargs)
        bound.apply_defaults()
        key = (measure, *(_hashable(value) for value in list(bound.arguments.values())[1:]))
        results = vars(engine).setdefault(_ATTRIBUTE, {})
        if key not in results:
            results[key] = measure(engine, *args, **kwargs)
        return results[key]

    return remembered  # type: ignore[return-value]


def forget_session(engine: Any) -> None:
    """Forget every measurement kept with an engine."""
    vars(engine).pop(_ATTRIBUTE, None)


def _hashable(value: Any) -> Any:
    match value:
        case str():
            return value
        case Mapping():
            return frozenset((key, _hashable(each)) for key, each in value.items())
        case Set():
            return frozenset(map(_hashable, value))
        case Sequence():
            return tuple(map(_hashable, value))
        case Callable():
            return None
        case BaseModel():
            return type(value), value.model_dump_json()
        case _:
            return value
