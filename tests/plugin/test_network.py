"""A run on a folder or on the embedded model asks nothing of the network."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

LOADS = """
@pytest.mark.claim("loads", title="It needs the weights.")
def test_loads(model, evidence):
    evidence["text"] = model.generate("The capital of Japan is", max_new_tokens=1).text
"""


def test_no_connection_is_tried_where_no_hub_id_is_named(
    warm_project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refuse(*arguments: Any, **_: Any) -> None:
        tried.append(arguments)
        raise OSError("no network here")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    warm_project.test_file(LOADS)
    result = warm_project.run()
    assert result.ret == 0
    assert tried == []
    with pytest.raises(OSError, match="no network here"):  # the trap is set
        socket.create_connection(("example.com", 443))
    (evidence,) = warm_project.claims()["loads"]["evidence"]
    assert evidence["values"]["text"] == "Tokyo"
