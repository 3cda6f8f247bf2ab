from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def project() -> dict[str, Any]:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    table: dict[str, Any] = content["project"]
    return table


def requirements(*extras: str) -> list[Requirement]:
    table = project()
    more = [line for extra in extras for line in table["optional-dependencies"][extra]]
    return [Requirement(line) for line in [*table["dependencies"], *more]]


def constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def applies(requirement: Requirement, python: str) -> bool:
    versions = {"python_version": python, "python_full_version": f"{python}.1", "extra": ""}
    return requirement.marker is None or requirement.marker.evaluate(versions)


def imported(file: Path) -> set[str]:
    """The top-level names of what a module imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_each_requirement_once(python: str) -> None:
    pins = [pin for pin in map(Requirement, constraints()) if applies(pin, python)]
    versions = {canonicalize_name(pin.name): str(pin.specifier) for pin in pins}
    assert len(versions) == len(pins)
    for requirement in requirements("dev"):
        if applies(requirement, python):
            name = canonicalize_name(requirement.name)
            assert name in versions, f"{name} is missing in constraints.txt"
            assert requirement.specifier.contains(versions[name].removeprefix("=="))


def test_constraints_are_sorted_and_exact() -> None:
    lines = constraints()
    assert lines == sorted(lines, key=lambda line: line.partition("=")[0])
    for line in lines:
        assert re.fullmatch(
            r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; python_version [<>=]+ '3\.\d+')?", line
        )


def test_every_imported_package_is_declared() -> None:
    distributions = packages_distributions()
    known = requirements(*(set(project()["optional-dependencies"]) - {"dev"}))
    declared = {canonicalize_name(requirement.name) for requirement in known}
    for file in sorted((ROOT / "probes").rglob("*.py")):
        for name in imported(file) - set(sys.stdlib_module_names) - {"probes"}:
            owners = {canonicalize_name(owner) for owner in distributions.get(name, [name])}
            is_part = name in ("_pytest", "pydantic_core")  # of pytest and of pydantic
            assert owners & declared or is_part, f"{file.name} imports {name}"


def test_installing_page_names_each_package_and_extra() -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z]+)` \|", page, flags=re.MULTILINE)
    assert sorted(rows) == sorted(project()["optional-dependencies"])
    for line in project()["dependencies"]:
        assert re.search(rf"[| ]{Requirement(line).name}[,; |]", page), line
