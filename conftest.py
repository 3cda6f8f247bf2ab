"""Root of the tests. The plugin itself comes with the package, through its entry point."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from probes.plugin.options import selects_gpu

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

CLAIMS = Path(__file__).parent / "tests" / "claims"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Collect the claims alone under `-m gpu`, unless a folder is named."""
    if config.args_source is not config.ArgsSource.TESTPATHS or not selects_gpu(config):
        return None
    inside = collection_path.is_relative_to(CLAIMS)
    return None if inside or CLAIMS.is_relative_to(collection_path) else True
