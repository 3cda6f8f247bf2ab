"""The claims about engines, on a server of the embedded model: clean, and with each fault."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from probes.data import questions
from probes.data.questions import built_in_questions
from probes.engines.endpoint.connection import connect
from probes.engines.toy import ToyEngine
from probes.errors import EndpointFailedError, UndecidableError, UnusableTargetError
from probes.measure import (
    engine_logprobs,
    engine_sampling,
    engine_streams,
    quantization_cost,
    scored_windows,
)
from probes.measure.engine_prompts import encode_prompts
from probes.targets.resolve import resolve
from tests.claims import test_engines as claims
from tests.claims import test_loading as loading
from tests.support.stub_server import Stub, connect_to, serve, with_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probes import Model
    from probes.engines.endpoint.engine import EndpointEngine

    Check = Callable[[Any, Model, dict[str, Any]], None]


def sampling(asked: str) -> Check:
    def check(engine: Any, reference: Model, evidence: dict[str, Any]) -> None:
        claims.test_draws_follow_the_settings_asked_for(
            engine, reference, 5, evidence, claims.ASKED[asked]
        )

    return check


def ids(engine: Any, reference: Model, evidence: dict[str, Any]) -> None:
    claims.test_engine_has_the_ids_of_its_reference(engine, reference, evidence, True)


def streams(engine: Any, _: Model, evidence: dict[str, Any]) -> None:
    claims.test_streamed_text_is_the_whole_one(engine, evidence)


def power(engine: Any, reference: Model, evidence: dict[str, Any]) -> None:
    claims.test_draws_would_show_other_settings(engine, reference, 5, evidence)


def cost(engine: Any, reference: Model, evidence: dict[str, Any]) -> None:
    kind = quantization_cost.name_storage(engine)
    loading.compare_predictions(reference, engine, kind, evidence, thorough=False)
    [found] = evidence["quantization_costs"]
    assert (found["kind"], found["bytes"], found["whole"]) == ("as served", 0, False)
    assert found["perplexity_ratio"] is not None


CHECKS: dict[str, Check] = {
    "engine-ids": ids,
    "engine-ids chat": claims.test_engine_renders_a_chat_as_its_reference,
    "engine-logprobs": claims.test_engine_has_the_log_probabilities_of_its_reference,
    "engine-distance": claims.test_engine_is_no_farther_from_its_reference_than_4_bit_weights,
    "engine-greedy alone": claims.test_engine_gives_the_same_texts_alone_and_among_others,
    "engine-greedy": claims.test_engine_gives_the_texts_of_its_reference,
    "engine-greedy chat": claims.test_chat_answers_continue_the_rendered_chat,
    "engine-sampling hot": sampling("temperature 1.4, top_p 0.9"),
    "engine-sampling unasked": sampling("nothing"),
    "engine-stops": claims.test_engine_stops_where_it_is_told_to,
    "engine-power": power,
    "engine-streams": streams,
    "quantization-cost": cost,
}

SEEN = [
    ("no BOS", "engine-ids", "400 texts have other ids"),
    ("two BOS", "engine-ids", "400 texts have other ids"),
    ("two BOS", "engine-ids chat", "2 of 2 chats are rendered otherwise"),
    ("no chat template", "engine-ids chat", "2 of 2 chats are rendered otherwise"),
    ("no chat template", "engine-greedy chat", "those of the message without a chat template"),
    ("two BOS", "engine-logprobs", "they are those of a second BOS"),
    (
        "log-probabilities at temperature 1.2",
        "engine-logprobs",
        "the reference, at temperature 1.2",
    ),
    ("another model", "engine-logprobs", "another model"),
    ("another model", "engine-distance", "nats from the reference's"),
    ("two BOS", "quantization-cost", "in as served another token is most likely at"),
    ("another text among others", "engine-greedy alone", "no near-tie"),
    ("repetition penalty", "engine-greedy", "no near-tie"),
    ("temperature applied twice", "engine-sampling hot", "they follow temperature applied twice"),
    ("temperature ignored", "engine-sampling hot", "they follow greedy decoding"),
    ("one token only", "engine-power", "do not show a doubled temperature"),
    (
        "another temperature on every second request",
        "engine-logprobs",
        "replicas differ: 2 kinds of answers to one request: 6 of 12 requests ('fp_",
    ),
    (
        "another temperature on every second request",
        "engine-sampling hot",
        # How far is not sure: its list is of that temperature, too.
        "they follow two kinds of settings, as replicas may: temperature ",
    ),
    ("stop string kept", "engine-stops", "told to stop at"),
    ("stop string ignored", "engine-stops", "told to stop at"),
    ("one token too many", "engine-stops", "told to stop at 3 tokens"),
    ("wrong reason", "engine-stops", "(stop), not"),
    ("stream drops the last part", "engine-streams", "the text is another"),
]
"""Each fault, a claim that it turns red, and words of the message."""


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for short texts, and for as few as show a fault."""
    monkeypatch.setattr(claims, "LENGTH", 10)
    monkeypatch.setattr(scored_windows, "CONTEXT", 64)
    monkeypatch.setattr(questions, "load_questions", lambda _: built_in_questions()[:4])
    monkeypatch.setattr(engine_sampling, "SAMPLES", 2)


@pytest.fixture(scope="module")
def clean(reference: Model) -> Iterator[EndpointEngine]:
    with connect_to(Stub(reference)) as engine:
        yield engine


@pytest.mark.parametrize("check", CHECKS)
def test_clean_server_holds(
    clean: EndpointEngine, reference: Model, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    if "unasked" in check:  # as many as show what was not asked for
        monkeypatch.setattr(engine_sampling, "SAMPLES", 8)
    CHECKS[check](clean, reference, {})


@pytest.mark.parametrize(("fault", "check", "words"), SEEN)
def test_fault_is_found_and_named(reference: Model, fault: str, check: str, words: str) -> None:
    with connect_to(with_fault(Stub(reference), fault)) as engine:
        with pytest.raises((AssertionError, pytest.fail.Exception)) as failed:
            CHECKS[check](engine, reference, {})
        assert words in str(failed.value)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("top_k 40", "they follow top_k 40, though it was not asked for"),
        ("repetition penalty", "they follow repetition_penalty 1.3, though it was not asked for"),
    ],
)
def test_unasked_setting_is_found_and_named(
    reference: Model, monkeypatch: pytest.MonkeyPatch, fault: str, words: str
) -> None:
    monkeypatch.setattr(engine_sampling, "SAMPLES", 8)
    with (
        connect_to(with_fault(Stub(reference), fault)) as engine,
        pytest.raises(pytest.fail.Exception, match=words),
    ):
        sampling("nothing")(engine, reference, {})


def test_draws_are_judged_from_texts_alone(reference: Model) -> None:
    hot = sampling("temperature 1.4, top_p 0.9")
    with connect_to(Stub(reference, plain=True)) as engine:
        assert engine.name == "OpenAI-compatible"
        sampling("nothing")(engine, reference, {})
        hot(engine, reference, {})
    with connect_to(with_fault(Stub(reference, plain=True), "temperature ignored")) as engine:
        assert "logprobs" not in engine.capabilities
        with pytest.raises(pytest.fail.Exception, match="they follow greedy decoding"):
            hot(engine, reference, {})


# --- streams -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (None, ""),
        ("stream splits a character", "the text is another"),
        ("stream without an end", "no [DONE] comes last"),
        ("stream without a reason", "its finish_reason is '', that of the whole 'length'"),
        (
            "stream counts a token too many",
            "its usage counts 5 new tokens, that of the whole 4",
        ),
    ],
)
def test_stream_is_judged(fault: str | None, problem: str) -> None:
    toy = ToyEngine(next_logits=lambda _: torch.tensor([0.0, 0.0, 0.0, 1.0, 0.0, 0.0]))
    stub = Stub(toy, letters={ord("b"): "\N{PARTY POPPER}"})
    with connect_to(with_fault(stub, fault) if fault else stub) as engine:
        [pair] = engine_streams.stream_texts(engine, ["abc"], 4)
    assert pair.whole == 4 * "\N{PARTY POPPER}"
    assert pair.problem == problem


# --- replicas ------------------------------------------------------------------------------------


def test_replicas_are_recognised_by_their_texts(reference: Model) -> None:
    stub = with_fault(Stub(reference, plain=True), "another model on every second request")
    with connect_to(stub) as engine:
        with pytest.raises(AssertionError) as failed:
            CHECKS["engine-greedy"](engine, reference, {})
        assert "replicas differ: 2 kinds of answers" in str(failed.value)


# --- chat completions alone ----------------------------------------------------------------------

IN_CHAT = [
    *("engine-greedy alone", "engine-greedy", "engine-sampling hot", "engine-stops"),
    "engine-streams",
]


@pytest.fixture(scope="module")
def chatting(reference: Model) -> Iterator[EndpointEngine]:
    with connect_to(Stub(reference, plain=True, chat_only=True)) as engine:
        yield engine


@pytest.mark.parametrize("check", IN_CHAT)
def test_chat_only_server_holds(chatting: EndpointEngine, reference: Model, check: str) -> None:
    CHECKS[check](chatting, reference, {})


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("no chat template", "engine-greedy", "those of the message without a chat template"),
        ("temperature ignored", "engine-sampling hot", "they follow greedy decoding"),
    ],
)
def test_fault_is_found_in_chat(reference: Model, fault: str, check: str, words: str) -> None:
    stub = Stub(reference, plain=True, chat_only=True, length="max_completion_tokens")
    with connect_to(with_fault(stub, fault)) as engine:
        with pytest.raises((AssertionError, pytest.fail.Exception)) as failed:
            CHECKS[check](engine, reference, {})
        assert words in str(failed.value)


def test_chat_log_probabilities_are_judged(reference: Model) -> None:
    stub = Stub(reference, plain=True, chat_only=True, chat_logprobs=True)
    for fault in (None, "log-probabilities at temperature 1.2"):
        with connect_to(with_fault(stub, fault) if fault else stub) as engine:
            found = engine_logprobs.compare_logprobs(engine, reference, ["Once"], 4)
        assert len(found.steps) == 4
        assert (found.largest_change > found.tolerance) is bool(fault)


def test_chat_only_server_says_what_it_lacks(chatting: EndpointEngine) -> None:
    reason = chatting.explain_missing("token-ids")
    assert reason == (
        "its server has chat completions alone, without token-ids: token ids as a prompt"
    )


def test_reasoning_in_its_own_field_is_not_judged(reference: Model) -> None:
    stub = Stub(reference, plain=True, chat_only=True)
    with (
        connect_to(with_fault(stub, "reasoning apart")) as engine,
        pytest.raises(UndecidableError, match="a field of its own, reasoning_content"),
    ):
        engine.generate("Once", max_new_tokens=2)


def test_chat_needs_a_template_of_the_reference(
    chatting: EndpointEngine, reference: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(reference), "explain_missing", lambda *_: "it has no template")
    with pytest.raises(UndecidableError, match="takes messages alone, and its reference cannot"):
        encode_prompts(chatting, reference, ["Once"])


# --- models that change --------------------------------------------------------------------------


def test_another_model_behind_an_address_is_noticed(reference: Model) -> None:
    stub = Stub(reference)
    with connect_to(stub) as engine:
        engine.generate("Once", max_new_tokens=1)
        stub.name = "another"
        with pytest.raises(UnusableTargetError, match="was 'stub' and is now 'another'"):
            engine.generate("Once", max_new_tokens=1)


def test_text_whose_ids_are_not_all_told_is_left_out(reference: Model) -> None:
    with connect_to(with_fault(Stub(reference), "ids left out")) as engine:
        made = engine.generate("Once", max_new_tokens=4, top_logprobs=2)
        assert made.ids == [[]]
        assert made.text


# --- servers that fail ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("broken", "answers 400: "),
        ("rubbish", "answers no JSON object"),
        ("no text", "the server's answer has no text"),
    ],
)
def test_failing_server_is_named_in_one_line(reference: Model, fault: str, words: str) -> None:
    with connect_to(with_fault(Stub(reference), fault)) as engine:
        with pytest.raises(EndpointFailedError, match=words) as failed:
            engine.generate("Once", max_new_tokens=2)
        assert "\n" not in str(failed.value)


def test_busy_server_is_asked_again(reference: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with connect_to(with_fault(Stub(reference), "busy")) as engine:
        assert len(engine.generate("Once", max_new_tokens=2).ids[0]) == 2


def test_server_that_is_gone_is_named_in_one_line() -> None:
    with serve(Stub(None)) as address:
        pass
    with pytest.raises(UnusableTargetError, match=r"does not answer: .*is the server running"):
        connect(resolve(f"{address}#gone"))


def test_other_model_is_refused(reference: Model) -> None:
    with (
        serve(Stub(reference)) as address,
        pytest.raises(UnusableTargetError, match="serves 'stub', not 'other'"),
    ):
        connect(resolve(f"{address}#other"))


def test_key_is_sent_and_kept_nowhere(reference: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBES_API_KEY", "k-0123456789")
    stub = Stub(reference)
    with connect_to(stub) as engine:
        engine.generate("Once", max_new_tokens=1)
        facts = engine.facts().model_dump_json()
    assert {sent["authorization"] for sent in stub.headers} == {"Bearer k-0123456789"}
    assert "k-0123456789" not in facts
