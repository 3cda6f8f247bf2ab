"""Define faults: small, named, reversible ways of breaking the stack under test.

Each represents an error of a real stack, and names the claims that must fail while it is applied.
Nothing is imported from torch or transformers before a fault is applied.
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
"""Is called instead of a function, with that function as the first argument."""

# As our loader sees it: the package replaces itself.
LIBRARY = "probes.engines.transformers.loading:transformers"
MIXIN = "transformers.generation.utils:GenerationMixin"
WARPERS = "transformers.generation.logits_process:"
MISTRAL = "transformers.models.mistral.modeling_mistral"
CACHES = "transformers.cache_utils:"


@dataclass(frozen=True)
class Fault:
    """One way of breaking the stack under test.

    The `claims` must fail while it is applied; `checks` is pytest's `-k` expression for enough
    checks to see it, all if empty.
    """

    name: str
    stands_for: str
    claims: tuple[str, ...]
    checks: str
    apply: Callable[[Model], Patch]


CATALOGUE: dict[str, Fault] = {}
"""All faults by name, in the order of the claims that they fail."""


def choose_one_for_each_claim() -> dict[str, tuple[str, ...]]:
    """Return few faults, each with claims it turns red: every claim that a fault names, once.

    Those that the fewest faults name come first. A claim goes to a fault that is chosen for another
    claim if there is one, else to the first that names it first.
    """
    naming: dict[str, list[Fault]] = {}
    for each in CATALOGUE.values():
        for claim in each.claims:
            naming.setdefault(claim, []).append(each)
    chosen: dict[str, set[str]] = {}
    for claim, faults in sorted(naming.items(), key=lambda item: len(item[1])):
        best = min(faults, key=lambda each: (each.name not in chosen, each.claims[0] != claim))
        chosen.setdefault(best.name, set()).add(claim)
    return {
        name: tuple(claim for claim in each.claims if claim in chosen[name])
        for name, each in CATALOGUE.items()
        if name in chosen
    }


def fault(
    stands_for: str, *claims: str, checks: str = ""
) -> Callable[[Callable[[Model], Patch]], Callable[[Model], Patch]]:
    """Register a function that returns a patch as a fault, under its own name."""

    def enter(apply: Callable[[Model], Patch]) -> Callable[[Model], Patch]:
        name = apply.__name__.replace("_", "-")
        CATALOGUE[name] = Fault(name, stands_for, claims, checks, apply)
        return apply

    return enter


def wrapped(owner: Any, name: str, wrapper: Wrapper) -> Patch:
    """Call `wrapper(original, ...)` instead of `owner.name(...)`.

    The owner is an object or its place: `package.module:Class`.
    """
    owner = pkgutil.resolve_name(owner) if isinstance(owner, str) else owner
    original = getattr(owner, name)

    @functools.wraps(original)
    def replacement(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    return mock.patch.object(owner, name, staticmethod(replacement) if static else replacement)


def result(change: Callable[[Any], Any]) -> Wrapper:
    """Return a wrapper that changes the result of the original."""
    return lambda original, *args, **kwargs: change(original(*args, **kwargs))


def with_arguments(**forced: Any) -> Wrapper:
    """Return a wrapper that overrides these keyword arguments of the original."""
    return lambda original, *args, **kwargs: original(*args, **(kwargs | forced))


@contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace the value of an attribute, also of a compiled object's property."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
