"""Prompts that `generate` does not compute again, and settings under which it has to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import probes
from probes import Model

PROMPTS = ["The capital of Japan is", "Once"]


@pytest.fixture
def begun() -> Iterator[Model]:
    """A model whose branches began with `PROMPTS`."""
    model = probes.load("embedded")
    model.follow_branches()([model.encode(prompt) for prompt in PROMPTS])
    yield model
    model.unload()


@pytest.mark.parametrize(
    ("name", "value"),
    [("use_cache", False), ("num_beams", 2), ("cache_implementation", "static")],
)
def test_settings_of_the_weights_keep_generate_from_continuing_a_cache(
    begun: Model, name: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert begun.reuse_prompts(PROMPTS)
    monkeypatch.setattr(begun.network.generation_config, name, value)
    expected = begun.generate_batch(PROMPTS, max_new_tokens=4)
    found = begun.generate_batch(PROMPTS, max_new_tokens=4, **begun.reuse_prompts(PROMPTS))
    assert begun.reuse_prompts(PROMPTS) == {}
    assert [each.ids for each in found] == [each.ids for each in expected]


def test_network_that_takes_no_cache_class_continues_none(
    begun: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(begun.network, "_supports_cache_class", False, raising=False)
    assert begun.reuse_prompts(PROMPTS) == {}


def test_prompt_past_the_attention_window_is_computed_again(begun: Model) -> None:
    long = [begun.encode("one two three four five six seven eight nine ten " * 8)]
    assert len(long[0]) > begun.network.config.sliding_window
    begun.follow_branches()(long)
    assert begun.reuse_prompts(long) == {}
