"""Requests to servers that refuse, fail or hang, and the key that goes with them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from probes.engines.endpoint import client as endpoint_client
from probes.engines.endpoint import served_model
from probes.engines.endpoint.answers import lists_logprobs, read_completion
from probes.engines.endpoint.client import KEYS, Client, read_key
from probes.engines.endpoint.connection import connect
from probes.engines.endpoint.dialects import TRANSFORMERS
from probes.engines.endpoint.requests import translate_settings
from probes.engines.endpoint.streams import join_stream
from probes.engines.endpoint.usage import count_tokens
from probes.errors import EndpointFailedError, OverTokenBudgetError, UnusableTargetError
from probes.schema.sampling import Sampling
from probes.targets.resolve import resolve
from tests.support.stub_server import Stub, serve

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = (200, {"data": [{"id": "tuned"}]})
SECRET = "k-0123456789-abcdefghijklmnopqrstuvwxyz"


@dataclass
class Scripted(Stub):
    """A server that drops some connections, then gives one answer at each path, after a while."""

    engine: Any = None
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    seconds: float = 0.0
    drops: int = 0

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        if self.drops:
            self.drops -= 1
            return 0, {}
        if body is not None:
            time.sleep(self.seconds)
        return self.answers.get(path, (404, {}))


def join_error(said: dict[str, Any]) -> Any:
    return join_stream(f"data: {json.dumps(said)}\n\n".encode())


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(time, "sleep", lambda _: None)


# --- the key -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["k-\u00e9t\u00e9-0123456789", "k-0123\n456789", "k-0123\x00456"])
def test_read_key_quotes_no_key_it_refuses(key: str) -> None:
    with pytest.raises(UnusableTargetError, match="the key in PROBES_API_KEY has") as failed:
        read_key({"PROBES_API_KEY": key})
    assert "k-" not in str(failed.value)


def test_line_break_behind_key_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBES_API_KEY", f"{SECRET}\n")
    server = Scripted(answers={"/v1/models": MODELS})
    with serve(server) as address:
        connect(resolve(address)).close()
    assert {sent["authorization"] for sent in server.headers} == {f"Bearer {SECRET}"}


def test_error_text_is_redacted_before_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBES_API_KEY", SECRET)
    text = "x" * 285 + SECRET
    with serve(Scripted(answers={"/v1/completions": (400, text)})) as address:
        client = Client(address)
        with pytest.raises(EndpointFailedError, match="answers 400: ") as failed:
            client.post("completions", {})
        client.close()
    assert "k-0123" not in str(failed.value)


@pytest.mark.parametrize("read", [lambda said: read_completion(said, None), join_error])
def test_error_in_an_answer_is_redacted_before_it_is_cut(
    monkeypatch: pytest.MonkeyPatch, read: Callable[[dict[str, Any]], Any]
) -> None:
    monkeypatch.setenv("PROBES_API_KEY", SECRET)
    with pytest.raises(EndpointFailedError, match="xxx") as failed:
        read({"error": "x" * 165 + SECRET})
    assert "k-0123" not in str(failed.value)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("", "answers 401: it asks for a key, and PROBES_API_KEY holds none: "),
        (SECRET, "answers 401: it refuses the key in PROBES_API_KEY or OPENAI_API_KEY: "),
    ],
)
def test_connect_names_a_missing_or_refused_key(
    monkeypatch: pytest.MonkeyPatch, key: str, words: str
) -> None:
    monkeypatch.setenv("PROBES_API_KEY", key)
    with (
        serve(Scripted(answers={"/v1/models": (401, {"error": "no"})})) as address,
        pytest.raises(UnusableTargetError, match=words) as failed,
    ):
        connect(resolve(f"{address}#tuned"))
    assert "\n" not in str(failed.value)


def test_key_refused_for_texts_ends_the_run() -> None:
    answers = {"/v1/models": MODELS} | dict.fromkeys(
        ("/v1/completions", "/v1/chat/completions"), (401, {"error": "no key"})
    )
    with (
        serve(Scripted(answers=answers)) as address,
        pytest.raises(UnusableTargetError, match="answers 401: it asks for a key") as failed,
    ):
        connect(resolve(address)).explain_missing("token-ids")
    assert "\n" not in str(failed.value)


def test_facts_name_address_and_served_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBES_API_KEY", SECRET)
    answers = {f"/{SECRET}/v1/models": MODELS}
    with serve(Scripted(answers=answers)) as address:
        inner = address.replace("/v1", f"/{SECRET}/v1")
        facts = connect(resolve(inner)).facts()
    assert facts.address == address.replace("/v1", "/<secret>/v1")
    assert (facts.source, facts.served_model) == ("endpoint", "tuned")


# --- servers that know few paths -----------------------------------------------------------------


@pytest.mark.parametrize("answer", [(403, {}), (200, "<html>"), (200, []), (500, {})])
def test_connect_treats_any_failure_at_props_as_absence(answer: tuple[int, Any]) -> None:
    with serve(Scripted(answers={"/v1/models": MODELS, "/props": answer})) as address:
        engine = connect(resolve(address))
    assert engine.name == "OpenAI-compatible"
    assert engine.served.name == "tuned"


def test_connect_needs_no_list_of_models_if_one_is_named() -> None:
    with serve(Scripted(answers={"/v1/models": (500, {})})) as address:
        assert connect(resolve(f"{address}#tuned")).served.name == "tuned"


def test_address_without_version_is_named_as_the_cause() -> None:
    with serve(Scripted()) as address:
        bare = address.removesuffix("/v1")
        with pytest.raises(UnusableTargetError, match="/v1 may be missing at the end"):
            connect(resolve(bare))
        with pytest.raises(EndpointFailedError, match="answers 404: /v1 may be missing"):
            connect(resolve(f"{bare}#tuned")).generate("Once")
    with serve(Scripted(answers={"/v1/models": MODELS})) as address:
        bare = address.removesuffix("/v1")
        words = f"{bare} has no models, and {address} has: name the second"
        with pytest.raises(UnusableTargetError, match=re.escape(words)):
            connect(resolve(f"{bare}#tuned"))


def test_refused_field_is_quoted_in_one_line() -> None:
    refusal = {"detail": "Unexpected fields in the request:\n {'min_p'}"}
    answers = {"/v1/models": MODELS, "/v1/completions": (422, refusal)}
    with serve(Scripted(answers=answers)) as address:
        with pytest.raises(EndpointFailedError, match=r"answers 422: .*min_p") as failed:
            connect(resolve(address)).generate("Once")
        assert "\n" not in str(failed.value)


TEXT = {"text": " Tokyo", "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ([], "answers no JSON object"),
        ({}, "has no text"),
        ({"choices": "none"}, "has no text"),
        ({"choices": [5]}, "has no text"),
        ({"choices": [{"text": 5}]}, "has no text"),
        ({"choices": [{"message": "Tokyo"}]}, "has no text"),
        ({"choices": [TEXT | {"token_ids": 5}]}, "token ids of another form"),
        ({"choices": [TEXT | {"token_ids": ["5"]}]}, "token ids of another form"),
        ({"choices": [TEXT | {"token_ids": [True]}]}, "token ids of another form"),
        ({"choices": [TEXT | {"token_ids": [-1]}]}, "token ids of another form"),
        ({"choices": [TEXT | {"logprobs": 5}]}, "log-probabilities that cannot be read"),
        (
            {"choices": [TEXT | {"logprobs": {"content": [{"id": 5, "logprob": "NaN"}]}}]},
            "log-probabilities that cannot be read",
        ),
        (
            {"choices": [TEXT | {"logprobs": {
                "content": [{"id": 5, "logprob": float("nan"), "top_logprobs": []}]}}]},
            "log-probabilities that cannot be read",
        ),
    ],
)  # fmt: skip
def test_unreadable_answer_is_quoted_in_one_line(answer: Any, words: str) -> None:
    answers = {"/v1/models": MODELS, "/v1/completions": (200, answer)}
    with serve(Scripted(answers=answers)) as address:
        with pytest.raises(EndpointFailedError, match=words) as failed:
            connect(resolve(address)).generate("Once", top_logprobs=None)
        assert "\n" not in str(failed.value)


@pytest.mark.parametrize(
    "refusal", [(200, {"error": "Unexpected endpoint"}), (400, {"error": "not this model"})]
)
def test_chat_is_tried_where_completions_fail(refusal: tuple[int, Any]) -> None:
    said = {"choices": [{"message": {"content": "Tokyo"}}]}
    answers = {"/v1/completions": refusal, "/v1/chat/completions": (200, said)}
    with serve(Scripted(answers=answers | {"/v1/models": MODELS})) as address:
        assert connect(resolve(address)).asks_in_chat


@pytest.mark.parametrize(
    ("choice", "lists"),
    [
        ({"message": {"content": ""}, "logprobs": {"content": []}}, True),
        ({"message": {"content": None, "reasoning_content": "Hm"}}, True),
        ({"message": {"content": "a"}, "logprobs": None}, False),
    ],
)
def test_logprobs_are_not_ruled_out_by_an_empty_text(choice: Any, lists: bool) -> None:
    assert lists_logprobs({"choices": [choice]}) is lists


def test_server_that_ignores_stream_is_named() -> None:
    @dataclass
    class AtOnce(Scripted):
        def stream(self, answer: dict[str, Any], _: bool) -> bytes:
            return json.dumps(answer).encode()

    answers = {"/v1/models": MODELS, "/v1/completions": (200, {"choices": [TEXT]})}
    with (
        serve(AtOnce(answers=answers)) as address,
        pytest.raises(EndpointFailedError, match="does not stream, it answers at once: "),
    ):
        connect(resolve(address)).stream("Once")


@pytest.mark.parametrize("settings", [[1], {"params": None}, {"params": {"temperature": "hot"}}])
def test_odd_settings_of_llamacpp_are_left_out(settings: Any) -> None:
    answers = {"/v1/models": MODELS, "/props": (200, {"default_generation_settings": settings})}
    with serve(Scripted(answers=answers)) as address:
        engine = connect(resolve(address))
        assert (engine.name, engine.stated_defaults) == ("llama.cpp", {})


def test_odd_list_of_paths_names_no_server() -> None:
    answers = {"/v1/models": MODELS, "/openapi.json": (200, {"paths": None})}
    with serve(Scripted(answers=answers)) as address:
        assert connect(resolve(address)).name == "OpenAI-compatible"


def test_budget_holds_where_prompts_are_longer_than_estimated() -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 1}
    answers = {"/v1/completions": (200, {"choices": [TEXT], "usage": usage})}
    body = {"prompt": "Once", "max_tokens": 1}
    with serve(Scripted(answers=answers)) as address:
        client = Client(address, token_budget=2500, concurrent=1)
        with pytest.raises(OverTokenBudgetError):
            client.post_all("completions", [body] * 20)
        assert client.requests == 3
        client.close()
        client = Client(address, token_budget=2500)
        client.post("completions", body)
        with pytest.raises(OverTokenBudgetError):
            client.post_all("completions", [body] * 2)
        assert client.requests == 1
        client.close()


@pytest.mark.parametrize(
    ("answer", "tokens"),
    [
        ({"usage": {"prompt_tokens": -9, "completion_tokens": True}, "choices": [TEXT]}, 3),
        ({"choices": [{"message": {"content": None, "reasoning_content": "x" * 40}}]}, 11),
    ],
)
def test_count_tokens_of_odd_answers(answer: dict[str, Any], tokens: int) -> None:
    assert count_tokens({"prompt": "Once", "max_tokens": 5}, answer) == tokens


def test_usage_that_cannot_be_read_is_left_out() -> None:
    answers = {
        "/v1/models": MODELS,
        "/v1/completions": (200, {"choices": [TEXT], "usage": {"prompt_tokens": "two"}}),
    }
    with serve(Scripted(answers=answers)) as address:
        engine = connect(resolve(address))
        assert engine.generate("Once", max_new_tokens=4).new_tokens == [None]
        # Twice, as the first request finds out whether it completes texts: four bytes a token.
        assert engine.cost.tokens == 2 * (1 + 2)


def test_answer_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_client, "LARGEST", 1000)
    answers = {"/v1/completions": (200, {"choices": ["and " * 1000]})}
    with serve(Scripted(answers=answers)) as address:
        client = Client(address)
        with pytest.raises(UnusableTargetError, match=r"does not end its answer: 4,0.. bytes"):
            client.post("completions", {})
        client.close()


def test_server_that_stays_busy_is_named() -> None:
    with serve(Scripted(answers={"/v1/completions": (429, {"error": "later"})})) as address:
        client = Client(address)
        with pytest.raises(EndpointFailedError, match=r"answers 429, 5 times: .*later"):
            client.post("completions", {})
        client.close()


def test_another_list_of_models_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served_model, "LIST_AGAIN", -1.0)
    entry = {"id": "tuned", "root": "m/first"}
    server = Scripted(
        answers={
            "/v1/models": (200, {"data": [entry]}),
            "/v1/completions": (200, {"choices": [TEXT]}),
        }
    )
    with serve(server) as address:
        engine = connect(resolve(address))
        engine.generate("Once")
        server.answers["/v1/models"] = (200, {"data": [entry | {"root": "m/second"}]})
        words = r"listed 'tuned' \(root 'm/first'\) and now lists 'tuned' \(root 'm/second'\)"
        with pytest.raises(UnusableTargetError, match=words):
            engine.generate("Once")


@pytest.mark.parametrize("dropped", [1, 9])
def test_dropped_connection_is_tried_again(dropped: int) -> None:
    server = Scripted(answers={"/v1/completions": (200, {"id": 1})}, drops=dropped)
    with serve(server) as address:
        client = Client(address)
        if dropped == 1:
            assert client.post("completions", {}) == {"id": 1}
        else:
            with pytest.raises(UnusableTargetError, match="does not answer: Server disconnected"):
                client.post("completions", {})
        client.close()
    assert len(server.headers) == min(dropped + 1, 5)


# --- slow servers --------------------------------------------------------------------------------


def test_wait_is_what_the_server_asks_for_up_to_a_minute() -> None:
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    asked = ("45", "900", None, "soon", past, past.replace("2015", "2999"))
    assert [endpoint_client._wait(each, 1) for each in asked] == [45, 60, 0.5, 0.5, 0, 60]


def test_requests_wait_for_others_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(endpoint_client, "TIMEOUT", 0.2)
    with serve(Scripted(answers={"/v1/completions": (200, {})}, seconds=0.4)) as address:
        client = Client(address)
        assert client.post_all("completions", [{}] * 8) == [{}] * 8
        with pytest.raises(UnusableTargetError, match="does not answer: timed out"):
            client.post("completions", {})
        client.close()


HANG = """
import sys
from probes.engines.endpoint.client import Client
client = Client(sys.argv[1])
client.post_all("completions", [{}] * 12)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_interrupt_waits_for_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    server = Scripted(seconds=8.0)
    with serve(server) as address:
        process = subprocess.Popen(
            [sys.executable, "-c", HANG, address], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while len(server.headers) < 8 and time.monotonic() < deadline:
            time.sleep(0.05)
        begun = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        errors = process.communicate(timeout=30)[1]
        assert time.monotonic() - begun < 4  # the server takes 8
        assert b"KeyboardInterrupt" in errors
    assert len(server.headers) == 8


def test_settings_of_transformers_serve_are_in_one_field() -> None:
    hot = translate_settings(TRANSFORMERS, Sampling(temperature=1.4, top_k=16), {})
    greedy = translate_settings(TRANSFORMERS, None, {"do_sample": False, "stop_strings": ["."]})
    unasked = translate_settings(TRANSFORMERS, None, {})
    plain = {"top_p": 1.0, "repetition_penalty": 1.0}
    assert json.loads(hot["generation_config"]) == {
        "do_sample": True,
        "temperature": 1.4,
        "top_k": 16,
        **plain,
    }
    assert json.loads(greedy["generation_config"]) == {"do_sample": False, "top_k": 0, **plain}
    assert greedy["stop"] == ["."]
    assert unasked == {}
