"""Packages that import a module of theirs when it is first used (PEP 562)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


def import_on_use(package: str) -> Callable[[str], ModuleType]:
    """Return the `__getattr__` of a package: it imports the module of that name.

    Tests that name `measure.knowledge` are collected without what it imports.

    >>> import_on_use("json")("decoder").__name__
    'json.decoder'
    """

    def import_submodule(name: str) -> ModuleType:
        try:
            return import_module(f"{package}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{package}.{name}":
                raise
            raise AttributeError(f"module {package!r} has no attribute {name!r}") from None

    return import_submodule
