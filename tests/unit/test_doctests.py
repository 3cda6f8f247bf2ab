from __future__ import annotations

import doctest
from importlib import import_module
from pkgutil import iter_modules

import pytest

import probes
from probes._util.files import PACKAGE


def module_names(package: str = "probes", folder: str = str(PACKAGE)) -> list[str]:
    """List every module of a package by its files: importing some takes seconds."""
    names = [package]
    for module in iter_modules([folder], f"{package}."):
        if module.ispkg:
            names += module_names(module.name, f"{folder}/{module.name.rpartition('.')[2]}")
        elif not module.name.endswith("__main__"):
            names.append(module.name)
    return names


@pytest.mark.filterwarnings("default")  # a library's warning is not part of an example
@pytest.mark.parametrize("name", module_names())
def test_examples_are_right(name: str) -> None:
    module = import_module(name)
    names = {"load": probes.load, **vars(module)}  # examples load models without importing that
    assert doctest.testmod(module, globs=names, optionflags=doctest.ELLIPSIS).failed == 0
