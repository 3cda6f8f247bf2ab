"""Connect to the server of a target, or start one for its file."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from probes.engines.endpoint import llamacpp
from probes.engines.endpoint.client import Client
from probes.engines.endpoint.engine import EndpointEngine
from probes.errors import UnusableTargetError

if TYPE_CHECKING:
    from probes.targets.target import Target


def check(target: Target) -> None:
    """Raise UnusableTargetError if a target cannot be used; a file is not loaded for that."""
    if target.gguf is None:
        connect(target)
        return
    try:
        llamacpp.check(target.gguf)
    except UnusableTargetError as error:
        raise UnusableTargetError(f"target '{target.name}': {error}") from None


@cache
def connect(target: Target, cache_type: str | None = None) -> EndpointEngine:
    """Connect to the server of a target, or start one for its file; once a process.

    llama.cpp keeps keys and values in `cache_type`, if that is named. A server that is not there or
    serves another model raises UnusableTargetError.
    """
    try:
        if target.gguf is not None:
            server = llamacpp.serve(target.gguf, cache_type)
            client = Client(f"{server.address}/v1", token_budget=target.token_budget)
            return EndpointEngine(target, client, server.facts)
        assert target.address is not None
        facts = {"source": "endpoint", "repository": None}
        client = Client(target.address, token_budget=target.token_budget)
        return EndpointEngine(target, client, facts)
    except UnusableTargetError as error:
        raise UnusableTargetError(f"target '{target.name}': {error}") from None
