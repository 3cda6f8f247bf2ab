"""What an older transformers lacks, played on the installed one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

import probes
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN
from probes.engines.session_cache import forget_session
from probes.measure import determinism

if TYPE_CHECKING:
    from probes import Model

CONTINUATIONS = [[4720, 349], [3658, 349]]


@pytest.fixture(scope="module")
def model() -> Model:
    return probes.load("embedded")


@pytest.fixture
def no_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that cannot change their attention once they are loaded."""
    monkeypatch.setattr(
        "probes.engines.transformers.attention.can_switch_attention", lambda _: False
    )


def test_logits_after_a_prompt_whose_cache_cannot_be_repeated(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = model.logits_after(CAPITAL_OF_JAPAN, CONTINUATIONS)
    prefill = model._prefill(CAPITAL_OF_JAPAN)
    monkeypatch.setattr(model, "_prefill", lambda _: replace(prefill, key_values=object()))
    cost = model.cost
    made_anew = model.logits_after(CAPITAL_OF_JAPAN, CONTINUATIONS)
    assert made_anew.shape == shared.shape
    assert made_anew.allclose(shared, atol=1e-4)
    assert model.cost.tokens - cost.tokens == 2 * (len(model.encode(CAPITAL_OF_JAPAN)) + 2)


def test_branches_whose_cache_cannot_be_chosen_from_are_made_anew(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_session(model)  # no text has begun
    monkeypatch.setattr("probes.engines.transformers.branches.find_plain_cache", lambda _: None)
    prompt, cost = model.encode(CAPITAL_OF_JAPAN), model.cost
    follow, texts = model.follow_branches(), [[*prompt, *each] for each in CONTINUATIONS]
    for length in (0, 1, 2):
        found = follow([text[: len(prompt) + length] for text in texts])
    assert model.cost.tokens - cost.tokens == 2 * (3 * len(prompt) + 3)
    for logits, text in zip(found, texts, strict=True):
        assert logits.allclose(model.logits(text)[-1], atol=1e-4)


def test_static_cache_is_no_part_of_the_network_afterwards(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate = model.network.generate

    def generate_and_keep_the_cache(*args: Any, **settings: Any) -> Any:
        model.network._cache = torch.nn.Linear(2, 2)
        return generate(*args, **settings)

    before = set(model.network.state_dict())
    monkeypatch.setattr(model.network, "generate", generate_and_keep_the_cache)
    model.generate(CAPITAL_OF_JAPAN, max_new_tokens=1)
    assert set(model.network.state_dict()) == before


def test_network_loaded_in_inference_mode_can_be_converted() -> None:
    fresh = probes.load(probes.load("embedded").target.model_copy(update={"name": "converted"}))
    with torch.inference_mode():
        network = fresh.network
    assert not any(each.is_inference() for each in network.state_dict().values())
    assert not any(each.is_inference() for each in network.buffers())


def test_attention_is_compared_with_a_copys(model: Model, no_switch: None) -> None:
    (variation,) = determinism.vary_attention(model, [CAPITAL_OF_JAPAN], 5)
    assert variation.name == "attention eager"
    assert 0 < variation.noise <= variation.tolerance
    assert not variation.differences
    assert model.network.config._attn_implementation == "sdpa"


def test_no_copy_is_made_of_a_large_model(
    model: Model, no_switch: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probes.engines.transformers.attention.TWIN_LIMIT", 0)
    assert list(determinism.vary_attention(model, [CAPITAL_OF_JAPAN], 5)) == []


def test_the_baseline_is_made_before_the_attention_is_switched() -> None:
    fresh = probes.load(probes.load("embedded").target.model_copy(update={"name": "fresh"}))
    (variation,) = determinism.vary_attention(fresh, [CAPITAL_OF_JAPAN], 5)
    assert variation.noise > 0, "eager was compared with itself"
    assert fresh.network.config._attn_implementation == "sdpa"
