"""Every assertion of a claim has a message: a reader of the report learns nothing from `False`."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

CLAIMS = Path(__file__).parents[1] / "claims"


@pytest.mark.parametrize("file", sorted(CLAIMS.glob("*.py")), ids=lambda file: file.name)
def test_every_assertion_of_a_claim_has_a_message(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    wordless = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert) and node.msg is None
    ]
    assert not wordless, "\n".join(wordless)
