"""Texts that are hard to compare: garbled, stripped, ended early, or after another prompt."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from probes.engines.base import Generation
from probes.engines.endpoint.connection import connect
from probes.measure import engine_answers, engine_streams, engine_texts
from probes.targets.resolve import resolve
from tests.claims import test_engines as claims
from tests.support.stub_server import Stub, serve, with_fault

if TYPE_CHECKING:
    from probes import Model

PROMPT = "The capital of Japan is"


@dataclass
class Stripping(Stub):
    """A server that strips its texts, and ends them in another word."""

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = super()._complete(body)
        [choice] = answer["choices"]
        choice["text"] = f"{choice['text'].strip().rsplit(' ', 1)[0]} odd"
        return answer


@dataclass
class WithSystemPrompt(Stub):
    """A server that puts a system prompt before each chat."""

    def _encode_chat(self, messages: list[dict[str, str]]) -> list[int]:
        [asked] = messages
        return super()._encode_chat([{"role": "user", "content": f"Be kind. {asked['content']}"}])


@dataclass
class Caching(Stub):
    """A server that ends the first text after each prompt in another letter."""

    seen: set[str] = field(default_factory=set)

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = super()._complete(body)
        if body["prompt"] not in self.seen:
            self.seen.add(body["prompt"])
            answer["choices"][0]["text"] += "z"
        return answer


def test_garbled_text_is_no_text_of_the_reference(reference: Model) -> None:
    with serve(Stub(reference, plain=True, letters={ord("i"): "\ufffd"})) as address:
        engine = connect(resolve(address))
        [pair] = engine_texts.compare_with_reference(engine, reference, [PROMPT], 10)
    assert pair.is_garbled
    assert not pair.is_explained(1e9)


def test_stripped_text_is_encoded_with_its_space(reference: Model) -> None:
    with serve(Stripping(reference, plain=True)) as address:
        engine = connect(resolve(address))
        [pair] = engine_texts.compare_with_reference(engine, reference, [PROMPT], 10)
    assert pair.text.startswith(" Tokyo")
    assert pair.step == 9
    assert not pair.is_explained(0.1)


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_end_is_compared_with_the_token_in_its_place(reference: Model, reason: str) -> None:
    ids = reference.encode_prompt("Once")
    one, other = (
        Generation(ids, [new], [reference.decode(new)], finish_reasons=[why])
        for new, why in (([504, 505], reason), ([504, 505, 506], "length"))
    )
    pair = engine_texts.compare_texts(reference, "again", "Once", one, other)
    row = reference.logits_batch([[*ids, 504, 505]])[0][-1].double()
    end = float((row[reference.eos_token_ids].max() - row[506]).abs())
    expected = end if reason == "stop" else float("inf")
    assert pair.step == 2
    assert pair.margin == pytest.approx(expected, abs=1e-3)


def test_texts_left_out_are_counted(reference: Model) -> None:
    evidence: dict[str, Any] = {}
    with (
        serve(with_fault(Stub(reference), "ids left out", "repetition penalty")) as address,
        suppress(pytest.skip.Exception),
    ):
        claims.test_engine_gives_the_texts_of_its_reference(
            connect(resolve(address)), reference, evidence
        )
    assert evidence["texts_left_out"] > 0


def test_other_system_prompt_is_named_by_its_length(reference: Model) -> None:
    with serve(WithSystemPrompt(reference, plain=True, chat_only=True)) as address:
        said = engine_answers.compare_prompt_lengths(
            connect(resolve(address)), reference, ["Once"], 1
        )
    assert said.startswith("the server counts ")
    assert said.endswith("another system prompt, chat template or BOS")


def test_stream_is_compared_with_a_text_made_as_it_was(reference: Model) -> None:
    with serve(Caching(reference, plain=True)) as address:
        [pair] = engine_streams.stream_texts(connect(resolve(address)), ["Once"], 4)
    assert pair.problem == ""
