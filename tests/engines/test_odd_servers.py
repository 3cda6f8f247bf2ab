"""The claims that requests alone decide, on servers with rare faults, and with short lists."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from probes.data.corpus import built_in_corpus
from probes.data.tokenizer_texts import STORIES
from probes.engines.base import Generation, TopLogprobs
from probes.engines.endpoint.connection import connect
from probes.errors import UndecidableError
from probes.measure import engine_chats, scored_windows, served_draws, served_texts, served_variety
from probes.measure.engine_texts import TextPair
from probes.schema.sampling import PLAIN, InForce, Sampling
from probes.stats.sampling_reference import apply_filters
from probes.targets.resolve import resolve
from tests.claims import test_served as claims
from tests.support.stub_server import Stub, connect_to, serve, with_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import torch

    from probes import Model

SEED = 5


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LENGTH", 10)
    monkeypatch.setattr(claims, "RUNS", 2)
    monkeypatch.setattr(served_draws, "SAMPLES", 2)
    monkeypatch.setattr(served_variety, "COMPARED", 12)


def decide(stub: Stub, check: Callable[..., None], **arguments: Any) -> dict[str, Any]:
    """Decide a claim on a server, and return its evidence."""
    evidence: dict[str, Any] = {}
    with connect_to(stub) as engine:
        check(engine, evidence=evidence, **arguments)
    return evidence


# --- texts that are to stop ----------------------------------------------------------------------

STOPS = claims.test_stop_string_ends_a_text_of_a_server


@dataclass
class Written(Stub):
    """A server without ids that strips its texts, writes Chinese, says nothing, or counts none."""

    way: str = ""

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        answer = super()._complete(body | {"stop": []})
        [choice] = answer["choices"]
        if self.way == "Chinese":
            choice["text"] = "".join(chr(0x4E00 + ord(each)) for each in choice["text"])
        if self.way == "empty":
            choice["text"] = ""
        if self.way == "another text":
            choice["text"] = f"{len(self.requests)} {choice['text']}"
        for stop in body.get("stop") or []:
            if stop in choice["text"] and "stop string ignored" not in self.faults:
                choice["text"] = choice["text"].split(stop)[0]
                choice["finish_reason"] = "stop"
        if self.way == "stripped":
            choice["text"] = choice["text"].strip()
        if self.way == "not counted":
            del answer["usage"]
        return answer


@pytest.mark.parametrize("way", ["stripped", "Chinese", "not counted"])
def test_stop_strings_are_taken_from_any_text(reference: Model, way: str) -> None:
    stub = Written(reference, plain=True, way=way)
    found = decide(stub, STOPS)["engine_stops"]
    assert sum(stop.shows_string for stop in found) >= 4
    assert any(not stop.shows_string for stop in found) == (way != "not counted")
    with pytest.raises(AssertionError, match="told to stop at"):
        decide(with_fault(stub, "stop string ignored"), STOPS)


@pytest.mark.parametrize("way", ["empty", "another text"])
def test_no_stop_string_is_not_decided(reference: Model, way: str) -> None:
    with pytest.raises(pytest.skip.Exception, match="or others when they are to stop"):
        decide(Written(reference, plain=True, way=way), STOPS)


def test_more_tokens_than_allowed_are_counted(reference: Model) -> None:
    with pytest.raises(AssertionError, match="the text is '4 tokens: "):
        decide(with_fault(Stub(reference, plain=True), "one token too many"), STOPS)


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


# --- short lists ---------------------------------------------------------------------------------


@dataclass
class Listing(Stub):
    """A server that lists log-probabilities in another way, and may draw at random when greedy."""

    way: str = ""
    is_random: bool = False

    def _sampling(self, body: dict[str, Any]) -> Sampling | None:
        return PLAIN if self.is_random else super()._sampling(body)

    def _list_content(self, laws: torch.Tensor, ids: list[int], top: int) -> list[dict[str, Any]]:
        content = super()._list_content(laws, ids, top)
        for step in content:
            if self.way == "chosen alone":
                step["top_logprobs"] = [
                    {name: step[name] for name in ("token", "bytes", "logprob")}
                ]
            if self.way == "none but the chosen":
                step["top_logprobs"] = []
            if self.way == "unlisted as -9999" and all(
                each["token"] != step["token"] for each in step["top_logprobs"]
            ):
                step["logprob"] = -9999.0
        return content


SHORT_LISTS = ("chosen alone", "none but the chosen")


def in_chat(reference: Model, way: str, *, is_random: bool = False) -> Stub:
    return Listing(
        reference, plain=True, chat_only=True, chat_logprobs=True, way=way, is_random=is_random
    )


@pytest.mark.parametrize("is_random", [False, True])
@pytest.mark.parametrize("way", SHORT_LISTS)
@pytest.mark.parametrize(
    "check", [claims.test_greedy_takes_the_most_likely_token_that_is_listed,
              claims.test_tokyo_leads_what_is_listed]
)  # fmt: skip
def test_chosen_token_alone_shows_no_most_likely_one(
    reference: Model, check: Callable[..., None], way: str, is_random: bool
) -> None:
    with pytest.raises(pytest.skip.Exception, match="it lists no other token beside its own"):
        decide(in_chat(reference, way, is_random=is_random), check)


@pytest.mark.parametrize("way", SHORT_LISTS)
def test_chosen_token_alone_shows_no_near_tie(reference: Model, way: str) -> None:
    check = claims.test_greedy_texts_are_the_same_in_every_run_and_alone
    decide(in_chat(reference, way), check)
    with pytest.raises(pytest.skip.Exception, match="how close the tokens were is not listed"):
        decide(in_chat(reference, way, is_random=True), check)


def test_collapse_is_not_decided_by_chosen_tokens_alone(reference: Model) -> None:
    with pytest.raises(pytest.skip.Exception, match="it lists no other token beside its own"):
        decide(
            in_chat(reference, "none but the chosen"),
            claims.test_near_greedy_draws_are_the_greedy_text,
            seed=SEED,
        )


# --- likelihood of draws -------------------------------------------------------------------------

VARIES = claims.test_wide_hot_draws_vary_more_and_are_less_likely


def test_sentinel_of_unlisted_token_is_bounded_by_the_list(reference: Model) -> None:
    found = decide(in_chat(reference, "unlisted as -9999"), VARIES, seed=SEED, prompt=STORIES[0])
    assert -20 < found["wide_log_likelihood"] < found["narrow_log_likelihood"]


@dataclass
class Processed(Stub):
    """A server that lists log-probabilities after filters, as vLLM may."""

    def _complete(self, body: dict[str, Any]) -> dict[str, Any]:
        self.sampling = self._sampling(body)
        return super()._complete(body)

    def _logits(self, logits: torch.Tensor) -> torch.Tensor:
        left = logits if self.sampling is None else apply_filters(logits, self.sampling)
        return left.clamp_min(-9999.0)


def test_likelihood_after_filters_is_not_judged(reference: Model) -> None:
    with pytest.raises(UndecidableError, match="after filters, not those of all tokens"):
        decide(Processed(reference), VARIES, seed=SEED, prompt=STORIES[0])


@dataclass
class Certain(Stub):
    """A server whose list gives every token but the first a probability of 0."""

    def _logits(self, logits: torch.Tensor) -> torch.Tensor:
        return apply_filters(logits, Sampling(top_k=1)).clamp_min(-9999.0)


def test_near_greedy_texts_of_certain_tokens_are_judged(reference: Model) -> None:
    check = claims.test_near_greedy_draws_are_the_greedy_text
    found = decide(Certain(reference), check, seed=SEED)
    assert all(each.probability.lower == 1 for each in found["near_greedy_texts"])


def test_filtered_draws_show_the_filter_or_are_not_decided(
    reference: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = claims.test_draws_under_min_p_follow_the_listed_law
    assert decide(Stub(reference), check, seed=SEED)["shown_after_tokens"]
    monkeypatch.setattr(served_draws, "SAMPLES", 1)
    monkeypatch.setattr(served_draws, "LENGTH", 1)
    with pytest.raises(pytest.skip.Exception, match="would not show no filter, though one was"):
        decide(Stub(reference), check, seed=SEED)


# --- laws of draws -------------------------------------------------------------------------------


def test_flat_rest_of_a_nucleus_is_unclear() -> None:
    flat = [math.log(each) for each in [0.15, 0.1, *[5e-6] * 18]]
    nucleus = InForce(Sampling(top_p=0.2, top_k=0))
    assert not served_draws.is_clear(flat, nucleus)
    steep = [math.log(each) for each in [0.15, 0.1, *[1e-3] * 18]]
    assert served_draws.is_clear(steep, nucleus)
    assert served_draws.is_clear(flat, InForce(Sampling(top_p=0.2, top_k=2)))


# --- noise ---------------------------------------------------------------------------------------


def text_of(token: int, *, moved: float, margin: float) -> Generation:
    steps = [
        TopLogprobs([5, 6], [-0.5 - moved, -1.5], -0.5 - moved),
        TopLogprobs([token, 15 - token, 9], [-0.7, -0.7 - margin, -10.0], -0.7),
    ]
    return Generation([], [[5, token]], [str(token)], top_logprobs=[steps])


@dataclass
class Scripted:
    """An engine whose second texts have moved, and are others where the margin is 0.05 nats."""

    moved: list[float]
    greedy: int = 0
    """How often it was asked for greedy texts."""
    capabilities = frozenset({"logprobs"})
    precision = "bfloat16"

    def generate_batch(self, prompts: Sequence[str], **settings: Any) -> list[Generation]:
        self.greedy += "sampling" not in settings
        again = "sampling" in settings or self.greedy > 1
        return [
            text_of(8 if again and not at else 7, moved=each * again, margin=0.05)
            for at, each in zip(range(len(prompts)), self.moved, strict=True)
        ]


@pytest.mark.parametrize(
    ("moved", "is_explained"), [([0.5, 0, 0, 0, 0], False), ([0, 0.5, 0, 0, 0], True)]
)
def test_noise_is_measured_on_other_pairs_than_the_judged(
    moved: list[float], is_explained: bool
) -> None:
    pairs = served_texts.draw_top_1(Scripted(moved), seed=0, length=2)
    assert [pair.is_explained for pair in pairs] == [is_explained, True, True, True, True]


def test_near_tie_is_not_decided_without_noise_of_other_pairs() -> None:
    [pair] = served_texts.repeat_together(Scripted([0.5]), 2, runs=2, prompts=("Once",))
    assert not pair.is_decided


# --- fewer log-probabilities than are asked for --------------------------------------------------


@dataclass
class Limited(Stub):
    """A server that refuses to list more than so many log-probabilities, as vLLM does."""

    most: int = 5

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        asked = max((body or {}).get(name) or 0 for name in ("logprobs", "prompt_logprobs"))
        if asked > self.most:
            said = f"Requested sample logprobs of {asked}, greater than max allowed: {self.most}"
            return 400, {"error": {"message": said}}
        return super().answer(path, body)


@pytest.mark.parametrize("most", [0, 1, 5])
def test_largest_list_is_learned_once(reference: Model, most: int) -> None:
    stub = Limited(reference, most=most)
    with connect_to(stub) as engine:
        for _ in range(2):
            text = engine.generate("Once", max_new_tokens=2, do_sample=False, top_logprobs=20)
        prompt = engine.prompt_logprobs(text.prompt_ids or [1, 504], 20)
        streamed = engine.stream("Once", max_new_tokens=2, do_sample=False)
    assert text.top_logprobs is not None
    assert [len(step.ids) for step in text.top_logprobs[0]] == [max(1, most)] * 2
    assert len(prompt[0].ids) >= max(1, most)
    assert streamed.text == text.text
    assert len(stub.requests) < 12


def test_windows_are_not_scored_by_the_tokens_that_follow_alone(reference: Model) -> None:
    texts = scored_windows.cut_windows(reference, built_in_corpus(), context_length=16, most=2)
    with serve(Limited(reference, most=0)) as address:
        engine = connect(resolve(address))
        with pytest.raises(UndecidableError, match="no likely tokens along a prompt"):
            scored_windows.compare_listed(reference, engine, texts)
        engine.close()


SEEDED = claims.test_a_seed_decides_what_is_drawn


def test_short_lists_tell_nothing_of_seeds(reference: Model) -> None:
    stub = Limited(reference)
    decide(stub, SEEDED, seed=SEED)
    with pytest.raises(pytest.skip.Exception, match="no list tells how often rounding lets them"):
        decide(with_fault(stub, "seed ignored"), SEEDED, seed=SEED)


@pytest.mark.parametrize("most", [0, 5])
def test_short_lists_end_no_check_in_an_error(reference: Model, most: int) -> None:
    check = claims.test_greedy_takes_the_most_likely_token_that_is_listed
    stub = Limited(reference, most=most)
    if most:
        assert decide(stub, check)["steps"] > 0
        with pytest.raises(pytest.fail.Exception, match="behind the most likely one"):
            decide(with_fault(stub, "repetition penalty"), check)
        return
    with pytest.raises(pytest.skip.Exception, match="it lists no other token beside its own"):
        decide(stub, check)


# --- answers in chats ----------------------------------------------------------------------------

CHATS = [[{"role": "user", "content": text}] for text in ("Who are you?", "Count to ten.")]


@dataclass
class WithChats(Stub):
    """A server with OpenAI's API that has both completions and chat completions."""

    plain: bool = True

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        if path == "/v1/chat/completions" and body is not None:
            with self.lock:
                return self._chat(body)
        return super().answer(path, body)


def compare_chats(reference: Model, stub: Stub) -> list[TextPair]:
    with connect_to(stub) as engine:
        return engine_chats.compare_answers(engine, reference, CHATS, 8)


def test_other_answers_in_chats_are_no_near_ties(reference: Model) -> None:
    pairs = compare_chats(reference, with_fault(WithChats(reference), "no chat template"))
    assert not all(pair.is_explained(1e-3) for pair in pairs)


@pytest.mark.parametrize("place", [0, -1], ids=["in the chat", "in the answer"])
def test_answers_that_are_encoded_in_another_way_are_not_judged(
    reference: Model, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    encode, rendered = reference.encode, [reference.render_chat(chat) for chat in CHATS]

    def insert(text: str, **settings: Any) -> list[int]:
        ids = encode(text, **settings)
        start = next((each for each in rendered if text.startswith(each)), text)
        if text == start:
            return ids
        at = 0 if place == 0 else len(encode(start, **settings))
        return [*ids[:at], 300, *ids[at:]]

    stub = with_fault(WithChats(reference), "no chat template")
    monkeypatch.setattr(reference, "encode", insert)
    with pytest.raises(UndecidableError, match="no answer in a chat can be compared"):
        compare_chats(reference, stub)


def test_garbled_answers_in_chats_are_not_judged(reference: Model) -> None:
    letters = {ord(letter): "\ufffd" for letter in " aeiou.\n"}
    with pytest.raises(UndecidableError, match="no answer in a chat can be compared"):
        compare_chats(reference, WithChats(reference, letters=letters))
