"""Faults: small, named, reversible ways of breaking what the claims guard.

Each stands for something that went wrong in a real stack, and names the claims that must fail
while it lasts. Nothing is imported from torch or transformers before a fault is made.
"""

from __future__ import annotations

import functools
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    from probes import Model

Patch = AbstractContextManager[Any]
Wrapper = Callable[..., Any]
"""Called in place of a function, with that function first."""

# As our loader sees it: the package replaces itself.
LIBRARY = "probes.engines.transformers.loading:transformers"
MIXIN = "transformers.generation.utils:GenerationMixin"
WARPERS = "transformers.generation.logits_process:"
MISTRAL = "transformers.models.mistral.modeling_mistral"
CACHES = "transformers.cache_utils:"


@dataclass(frozen=True)
class Fault:
    """One way of breaking the stack under test.

    Attributes:
        name: what is broken.
        stands_for: the real case it stands for, in one line.
        claims: the claims that must fail while it lasts.
        checks: pytest's `-k` expression for the checks that are enough to see it; all if empty.
        apply: breaks the stack, for a freshly loaded model, until the context ends.
    """

    name: str
    stands_for: str
    claims: tuple[str, ...]
    checks: str
    apply: Callable[[Model], Patch]


CATALOGUE: dict[str, Fault] = {}
"""Every fault by its name, in the order of the claims they are for."""


def fault(
    stands_for: str, *claims: str, checks: str = ""
) -> Callable[[Callable[[Model], Patch]], Callable[[Model], Patch]]:
    """Enter a function that makes a patch into the catalogue, under its own name."""

    def enter(apply: Callable[[Model], Patch]) -> Callable[[Model], Patch]:
        name = apply.__name__.replace("_", "-")
        CATALOGUE[name] = Fault(name, stands_for, claims, checks, apply)
        return apply

    return enter


def wrapped(owner: Any, name: str, wrapper: Wrapper) -> Patch:
    """Call `wrapper(original, ...)` wherever `owner.name(...)` is called.

    Args:
        owner: an object, or where to find it: `package.module:Class`.
        name: of the function.
        wrapper: what is called in its place.
    """
    owner = pkgutil.resolve_name(owner) if isinstance(owner, str) else owner
    original = getattr(owner, name)

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    return mock.patch.object(owner, name, staticmethod(replacement) if static else replacement)


def result(change: Callable[[Any], Any]) -> Wrapper:
    """A wrapper that changes what the original returns."""
    return lambda original, *args, **kwargs: change(original(*args, **kwargs))


def with_arguments(**forced: Any) -> Wrapper:
    """A wrapper that calls the original with these keyword arguments, whatever was given."""
    return lambda original, *args, **kwargs: original(*args, **(kwargs | forced))


@contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Another value for an attribute, be it one that a compiled object computes."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
