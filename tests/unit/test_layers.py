"""Imports point one way: read from the source, so that nothing has to be imported to know it."""

from __future__ import annotations

import ast
from functools import cache
from typing import TYPE_CHECKING

import pytest

from probes._util.files import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAVY = {"torch", "transformers", "tokenizers", "bitsandbytes", "accelerate"}

WITHOUT_TORCH = (
    "probes",
    "probes.upgrade",
    "probes.schema.claim",
    "probes.schema.comparison",
    "probes.cli",
    "probes.upgrade",
    "probes.plugin",
    "probes.schema.record",
    "probes.report",
    "probes.targets",
)
"""What must work, or begin quickly, where torch is not there or not needed yet."""

TALKATIVE = {
    "probes.__main__",
    "probes.upgrade.bisect_command",
    "probes.cli",
    "probes.upgrade.matrix_command",
    "probes.upgrade.matrix_terminal",
    "probes.plugin",
    "probes.plugin.summary",
    "probes.report.console",
}
"""What speaks to a user: pytest's plugin, the tables, the commands."""

SPEAKING = {"pytest", "_pytest", "typer", "click", "rich", "argparse"}


@cache
def sources() -> dict[str, ast.Module]:
    """Every module of the package by name."""
    found = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = ("probes", *file.relative_to(PACKAGE).with_suffix("").parts)
        name = ".".join(parts).removesuffix(".__init__")
        found[name] = ast.parse(file.read_text(encoding="utf-8"), str(file))
    return found


def statements(node: ast.AST, *, in_functions: bool) -> Iterator[ast.AST]:
    """The nodes that are run when a module is imported, and on demand those that run later."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if not in_functions and isinstance(child, (ast.FunctionDef, ast.Lambda)):
            continue
        yield child
        yield from statements(child, in_functions=in_functions)


def imports(name: str, *, in_functions: bool) -> set[str]:
    """What a module imports, by full name."""
    found = set()
    for node in statements(sources()[name], in_functions=in_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            assert node.level == 0, f"{name} imports relatively"
            found |= {f"{module}.{alias.name}" for alias in node.names} | {module}
    return found


def reached(name: str) -> set[str]:
    """The packages that importing a module imports, by whatever way."""
    seen, waiting, packages = set(), [name], set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        parents = {module.rpartition(".")[0]} - {""}
        for other in imports(module, in_functions=False) | parents:
            packages.add(other.partition(".")[0])
            if other in sources():
                waiting.append(other)
    return packages


def packages_of(name: str) -> set[str]:
    return {module.partition(".")[0] for module in imports(name, in_functions=True)}


each_module = pytest.mark.parametrize("name", sources())
quiet_modules = pytest.mark.parametrize(
    "name", sorted(n for n in {*sources()} - TALKATIVE if not n.startswith("probes.training"))
)


@each_module
def test_only_the_plugin_imports_pytest(name: str) -> None:
    assert name == "probes.plugin" or not packages_of(name) & {"pytest", "_pytest"}


@each_module
def test_only_the_model_module_and_training_load_by_transformers(name: str) -> None:
    used = {
        node.attr
        for node in ast.walk(sources()[name])
        if isinstance(node, ast.Attribute) and node.attr == "from_pretrained"
    }
    assert not used or name.startswith(("probes.engines.transformers.model", "probes.training"))


@pytest.mark.parametrize(
    "name", [n for n in sources() if n.startswith(WITHOUT_TORCH[1:]) or n == WITHOUT_TORCH[0]]
)
def test_whatever_needs_no_model_imports_no_torch(name: str) -> None:
    assert reached(name) & HEAVY == set()


def test_the_modules_named_here_exist() -> None:
    assert set(WITHOUT_TORCH) <= set(sources())


def test_the_model_reaches_torch_as_this_test_would_see() -> None:
    assert {"torch", "transformers"} <= reached("probes.engines.transformers.model")
    assert "torch" in reached("probes.measure.embeddings")


@quiet_modules
def test_a_probe_knows_no_runner_no_options_and_no_terminal(name: str) -> None:
    assert packages_of(name) & SPEAKING == set()


@quiet_modules
def test_a_probe_prints_nothing(name: str) -> None:
    calls = [node.func for node in ast.walk(sources()[name]) if isinstance(node, ast.Call)]
    assert "print" not in {call.id for call in calls if isinstance(call, ast.Name)}
