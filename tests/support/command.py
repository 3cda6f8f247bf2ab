"""Run a command in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from probes.cli import main


def run(*arguments: str | Path) -> int:
    """Run a command, and return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    code = ended.value.code or 0
    assert isinstance(code, int)
    return code
