"""The claims that requests alone decide, on a server of the embedded model: clean, and at fault."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from probes.data.questions import built_in_questions
from probes.data.tokenizer_texts import STORIES
from probes.errors import UndecidableError
from probes.measure import served_answers, served_draws, served_variety
from tests.claims import test_served as claims
from tests.support.stub_server import Stub, connect_to, with_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from probes import Model
    from probes.engines.endpoint.engine import EndpointEngine

    Check = Callable[[Any, dict[str, Any]], None]

SEED = 5


def with_seed(check: Callable[..., None], *arguments: Any) -> Check:
    return lambda engine, evidence: check(engine, SEED, evidence, *arguments)


CHECKS: dict[str, Check] = {
    "greedy-argmax": claims.test_greedy_takes_the_most_likely_token_that_is_listed,
    "greedy-deterministic": claims.test_greedy_texts_are_the_same_in_every_run_and_alone,
    "stories-greedy": claims.test_three_greedy_runs_of_a_server_are_the_same,
    "next-token": claims.test_tokyo_leads_what_is_listed,
    "top-k of one": with_seed(claims.test_drawn_with_a_top_k_of_one_is_greedy),
    "top-k": with_seed(claims.test_draws_are_of_the_k_most_likely_tokens),
    "temperature-formula": with_seed(claims.test_draws_follow_the_listed_law_at_a_temperature, 1.6),
    "top-p-reference": with_seed(claims.test_draws_are_of_the_nucleus, 0.5),
    "filter-order": with_seed(claims.test_draws_follow_the_order_that_the_server_documents),
    "samples-follow-distribution": with_seed(claims.test_draws_under_min_p_follow_the_listed_law),
    "seeded": with_seed(claims.test_a_seed_decides_what_is_drawn),
    "seeded, others": with_seed(claims.test_other_seeds_draw_other_texts),
    "collapse": with_seed(claims.test_near_greedy_draws_are_the_greedy_text),
    "heat-varies": with_seed(claims.test_hot_draws_differ_though_the_nucleus_is_narrow, STORIES[0]),
    "heat-wide-varies-more": with_seed(
        claims.test_wide_hot_draws_vary_more_and_are_less_likely, STORIES[0]
    ),
    "penalties": claims.test_greedy_choices_follow_the_penalized_list,
    "knowledge-accuracy": with_seed(
        claims.test_near_greedy_answers_of_a_server_are_right_more_often
    ),
    "stop-strings": claims.test_stop_string_ends_a_text_of_a_server,
    "stop-ids": claims.test_one_of_several_ids_ends_a_text_of_a_server,
}

SEEN = [
    ("repetition penalty", "greedy-argmax", "nats behind the most likely one"),
    ("another text among others", "greedy-deterministic", "greedy texts differ"),
    ("another text among others", "stories-greedy", "greedy stories differ"),
    ("another model", "next-token", "behind the token that leads the list"),
    ("top_k ignored", "top-k of one", "those of a top_k of 1 differ"),
    ("top_k 40", "top-k", "are tokens that the settings drop"),
    ("temperature applied twice", "temperature-formula", "do not follow the log-prob"),
    ("top_p ignored", "top-p-reference", "are tokens that the settings drop"),
    ("filters before the temperature", "filter-order", "they follow filters before the temp"),
    ("settings ignored", "samples-follow-distribution", "are tokens that the settings drop"),
    ("seed ignored", "seeded", "texts differ though they have the same seed"),
    ("one seed for all", "seeded, others", "16 seeds give one text"),
    ("settings ignored", "collapse", "runs give the greedy text, at least"),
    ("temperature ignored", "heat-varies", "of 40 texts 40 are the same"),
    ("temperature ignored", "heat-wide-varies-more", "wide-hot texts are as likely"),
    ("penalties ignored", "penalties", "nats behind the first of the list after the penalty"),
    ("temperature ignored", "knowledge-accuracy", "wide-hot does not answer clearly fewer"),
    ("stop string kept", "stop-strings", "told to stop at"),
    ("stop ids ignored", "stop-ids", "it was told to stop at"),
]
"""Each fault, a claim that it turns red, and words of the message."""


@pytest.fixture(scope="module")
def clean(reference: Model) -> Iterator[EndpointEngine]:
    with connect_to(Stub(reference)) as engine:
        yield engine


@pytest.fixture(scope="module")
def noisy(reference: Model) -> Iterator[EndpointEngine]:
    with connect_to(with_fault(Stub(reference), "noise")) as engine:
        yield engine


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LENGTH", 10)
    monkeypatch.setattr(claims, "RUNS", 2)
    monkeypatch.setattr(served_draws, "SAMPLES", 4)
    monkeypatch.setattr(served_variety, "COMPARED", 12)
    monkeypatch.setattr(served_variety, "RUNS", 3)
    monkeypatch.setattr(served_answers, "RUNS", 1)
    monkeypatch.setattr(served_answers, "PLAIN", "{}")  # as the embedded model is asked
    few = built_in_questions()[:20]
    monkeypatch.setattr("probes.data.questions.load_questions", lambda _: few)


@pytest.mark.parametrize("check", CHECKS)
def test_clean_server_holds(clean: EndpointEngine, check: str) -> None:
    CHECKS[check](clean, {})


@pytest.mark.parametrize("check", CHECKS)
def test_noisy_server_is_not_red(noisy: EndpointEngine, check: str) -> None:
    with suppress(pytest.skip.Exception):
        CHECKS[check](noisy, {})


def test_noise_lets_greedy_stories_differ(noisy: EndpointEngine) -> None:
    evidence: dict[str, Any] = {}
    CHECKS["stories-greedy"](noisy, evidence)
    assert any(pair.step is not None for pair in evidence["repeated"])


@pytest.mark.parametrize(("fault", "check", "words"), SEEN)
def test_fault_is_found_and_named(reference: Model, fault: str, check: str, words: str) -> None:
    with connect_to(with_fault(Stub(reference), fault)) as engine:
        with pytest.raises((AssertionError, pytest.fail.Exception)) as failed:
            CHECKS[check](engine, {})
        assert words in str(failed.value)


@pytest.mark.parametrize(
    ("fault", "check"), [("stop ids ignored", "stop-ids"), ("stop string kept", "stop-strings")]
)
def test_fault_is_found_through_noise(reference: Model, fault: str, check: str) -> None:
    words = next(words for seen, found, words in SEEN if (seen, found) == (fault, check))
    with connect_to(with_fault(Stub(reference), fault, "noise")) as engine:
        with pytest.raises((AssertionError, pytest.fail.Exception)) as failed:
            CHECKS[check](engine, {})
        assert words in str(failed.value)


@pytest.mark.parametrize(
    ("noise", "ends"), [(0.005, AssertionError), (0.05, pytest.skip.Exception)]
)
def test_ignored_seed_is_no_noise(
    reference: Model, monkeypatch: pytest.MonkeyPatch, noise: float, ends: type[BaseException]
) -> None:
    monkeypatch.setattr(claims, "LENGTH", 20)  # as it is shipped
    with (
        connect_to(with_fault(Stub(reference, noise=noise), "seed ignored", "noise")) as engine,
        pytest.raises(ends, match="8 of 8 texts differ though they have the same seed"),
    ):
        CHECKS["seeded"](engine, {})


# --- servers that tell less ----------------------------------------------------------------------

BY_TEXTS = ["greedy-deterministic", "seeded", "seeded, others", "stop-strings"]


@pytest.mark.parametrize("chat_only", [False, True], ids=["completions", "chat alone"])
def test_texts_alone_decide(reference: Model, chat_only: bool) -> None:
    with connect_to(Stub(reference, plain=True, chat_only=chat_only)) as engine:
        for check in BY_TEXTS:
            CHECKS[check](engine, {})
        with pytest.raises(UndecidableError, match="takes no top_k"):
            CHECKS["top-k of one"](engine, {})
        with pytest.raises(UndecidableError, match="takes no ids to stop at"):
            CHECKS["stop-ids"](engine, {})


@pytest.mark.parametrize(
    ("fault", "check", "words"),
    [
        ("another model on every second request", "greedy-deterministic", "is not listed"),
        ("seed ignored", "seeded", "which its engine does not promise to keep"),
    ],
)
def test_texts_that_differ_are_not_judged_without_a_list(
    reference: Model, fault: str, check: str, words: str
) -> None:
    with connect_to(with_fault(Stub(reference, plain=True), fault)) as engine:
        with pytest.raises(pytest.skip.Exception) as skipped:
            CHECKS[check](engine, {})
        assert words in str(skipped.value)
