from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.model_folders import write_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make a sound model folder; a keyword replaces a file's content, None leaves it out."""

    def make(name: str = "model", **files: Any) -> Path:
        return write_folder(tmp_path / name, **files)

    return make
