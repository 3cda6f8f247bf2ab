"""Log-probabilities as odd servers list them: one token alone, rounded, noisy, ids as texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch

from probes.engines.endpoint.connection import connect
from probes.errors import EndpointFailedError
from probes.measure import engine_logprobs, engine_replicas
from probes.targets.resolve import resolve
from tests.claims import test_engines as claims
from tests.support.stub_server import Stub, serve, with_fault

if TYPE_CHECKING:
    from probes import Model
    from probes.measure.engine_logprobs import Comparison

HOT = "log-probabilities at temperature 1.2"
PROMPTS = ["Once upon a time"]


@dataclass
class Listing(Stub):
    """A server that lists log-probabilities in another way."""

    way: str = ""

    def _logits(self, logits: torch.Tensor) -> torch.Tensor:
        noise = 0.03 * torch.randn(logits.shape) if self.way == "noisy" else 0.0
        return super()._logits(logits) + noise

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = super()._complete(body)
        listed = answer["choices"][0].get("logprobs", {})
        if self.way == "none":
            listed.clear()
        if self.way == "rounded":
            listed["token_logprobs"] = [round(value, 3) for value in listed["token_logprobs"]]
            listed["top_logprobs"] = [
                {token: round(value, 3) for token, value in row.items()}
                for row in listed["top_logprobs"]
            ]
        return answer

    def _list_content(self, laws: torch.Tensor, ids: list[int], top: int) -> list[dict[str, Any]]:
        content = super()._list_content(laws, ids, top)
        for step, token in zip(content, ids, strict=True):
            if self.way == "chosen alone":
                step["top_logprobs"] = []
            if self.way == "ids as texts":
                step |= {"token": f"token_id:{token}", "bytes": None}
        return content


def compare(stub: Stub, reference: Model) -> Comparison:
    with serve(stub) as address:
        return engine_logprobs.compare_logprobs(connect(resolve(address)), reference, PROMPTS, 4)


def in_chat(reference: Model, way: str) -> Stub:
    return Listing(reference, plain=True, chat_only=True, chat_logprobs=True, way=way)


def test_chosen_tokens_alone_are_compared(reference: Model) -> None:
    found = compare(in_chat(reference, "chosen alone"), reference)
    assert 0 < found.largest_change <= found.tolerance
    with serve(with_fault(in_chat(reference, "chosen alone"), HOT)) as address:
        engine = connect(resolve(address))
        found = engine_logprobs.compare_logprobs(engine, reference, PROMPTS, 4)
        [cause, *_] = engine_logprobs.explain_change(engine, reference, PROMPTS, 4)
    assert found.largest_change > found.tolerance
    assert cause.name == "the reference as it is, at temperature 1.2"


def test_ids_in_place_of_texts_are_read(reference: Model) -> None:
    found = compare(in_chat(reference, "ids as texts"), reference)
    assert len(found.steps) == 4
    assert found.largest_change <= found.tolerance


def test_rounded_values_widen_the_tolerance_by_a_step(reference: Model) -> None:
    found = compare(Listing(reference, way="rounded"), reference)
    assert found.listed_step == 0.001
    assert found.tolerance - 0.001 < found.largest_change <= found.tolerance


def test_missing_log_probabilities_are_not_judged(reference: Model) -> None:
    with (
        serve(Listing(reference, way="none")) as address,
        pytest.raises(pytest.skip.Exception, match="none of its texts has log-probabilities"),
    ):
        claims.test_engine_has_the_log_probabilities_of_its_reference(
            connect(resolve(address)), reference, {}
        )


def test_noisy_server_is_not_called_replicas(reference: Model) -> None:
    with serve(Listing(reference, way="noisy")) as address:
        engine = connect(resolve(address))
        kinds = engine_replicas.find_kinds(engine, reference, PROMPTS[0], 1, 1e-4)
        assert len(kinds) > 4
        assert not engine_replicas.describe_kinds(engine, reference, PROMPTS[0], 1, 1e-4)


def test_quantized_weights_are_named_before_replicas(
    reference: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LENGTH", 4)
    monkeypatch.setattr(engine_logprobs, "quantization_of", lambda _: "Q8_0")
    monkeypatch.setattr(engine_replicas, "describe_kinds", lambda *_: "replicas differ")
    with (
        serve(Listing(reference, way="noisy")) as address,
        pytest.raises(pytest.skip.Exception, match="weights in Q8_0: see engine-distance"),
    ):
        claims.test_engine_has_the_log_probabilities_of_its_reference(
            connect(resolve(address)), reference, {}
        )


def test_busy_server_leaves_replicas_unknown(
    reference: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise EndpointFailedError("it answers 429, 5 times")

    monkeypatch.setattr(engine_replicas, "find_kinds", fail)
    assert not engine_replicas.describe_kinds(reference, reference, PROMPTS[0], 1, 1e-4)


def test_replicas_explain_no_larger_change(reference: Model) -> None:
    stub = with_fault(Stub(reference), "another temperature on every second request")
    with serve(stub) as address:
        engine = connect(resolve(address))
        said = [
            engine_replicas.describe_kinds(engine, reference, PROMPTS[0], 1, 1e-4, change)
            for change in (1.0, 100.0)
        ]
    assert said[0].startswith("replicas differ: 2 kinds of answers")
    assert not said[1]
