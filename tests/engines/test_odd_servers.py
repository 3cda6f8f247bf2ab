"""The claims that requests alone decide, on servers with rare faults, and with short lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from probes.engines.endpoint.connection import connect
from probes.targets.resolve import resolve
from tests.claims import test_served as claims
from tests.support.stub_server import Stub, serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes import Model

pytestmark = pytest.mark.usefixtures("forget_servers")

SEED = 5


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LENGTH", 10)
    monkeypatch.setattr(claims, "RUNS", 2)


def decide(stub: Stub, check: Callable[..., None], *arguments: Any) -> dict[str, Any]:
    """Decide a claim on a server, and return its evidence."""
    evidence: dict[str, Any] = {}
    with serve(stub) as address:
        engine = connect(resolve(address))
        try:
            check(engine, *arguments, evidence)
        finally:
            engine.close()
    return evidence


# --- texts of the same request -------------------------------------------------------------------


@dataclass
class Unsteady(Stub):
    """A server that spoils every third text."""

    way: str = ""

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        third = len(self.requests) % 3 == 0
        if third and self.way == "cut":
            body = body | {"max_tokens": 2}
        answer = super()._complete(body)
        if third and self.way == "ended":
            answer = super()._complete(body | {"max_tokens": 2})
            answer["choices"][0]["finish_reason"] = "stop"
        if third and self.way == "garbled":
            answer["choices"][0]["text"] = answer["choices"][0]["text"][::-1]
        return answer


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("garbled", "the same tokens are another text"),
        ("cut", "one is cut after 2 tokens, the other has 10"),
        ("ended", "nats apart, where rounding explains"),
    ],
)
def test_spoiled_text_is_no_near_tie(reference: Model, way: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        decide(
            Unsteady(reference, way=way),
            claims.test_greedy_texts_are_the_same_in_every_run_and_alone,
        )
