from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.project import Project

LOADS = """
@pytest.mark.claim("loads", title="It needs the weights.")
def test_loads(model, evidence):
    evidence["text"] = model.generate("The capital of Japan is", max_new_tokens=1).text
"""


def test_folder_target_needs_no_network(
    warm_project: Project, copy_of_embedded: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refuse(*arguments: Any, **_: Any) -> None:
        tried.append(arguments)
        raise OSError("no network here")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    warm_project.test_file(LOADS)
    result = warm_project.run("--target", str(copy_of_embedded("never-loaded-before")))
    assert result.ret == 0
    assert tried == []
    with pytest.raises(OSError, match="no network here"):  # the trap is set
        socket.create_connection(("example.com", 443))
    (evidence,) = warm_project.claims()["loads"]["evidence"]
    assert evidence["values"]["text"] == "Tokyo"
