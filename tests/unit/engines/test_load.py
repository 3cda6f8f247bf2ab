"""What `probes.load` accepts, and what it refuses in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

import probes
from probes._util.files import PACKAGE
from probes.errors import UserError


def test_load_accepts_a_path() -> None:
    assert probes.load(Path(PACKAGE / "embedded")).encode("Once") == [1, 5713]


@pytest.mark.parametrize("target", ["http://127.0.0.1:9/v1#tiny"])
def test_load_refuses_what_a_server_computes(target: str) -> None:
    with pytest.raises(UserError, match=r"is computed by a server: `probes run` decides"):
        probes.load(target)


def test_generate_refuses_a_prompt_without_tokens() -> None:
    with pytest.raises(UserError, match="a prompt without tokens"):
        probes.load("embedded").generate([])
