"""Repetition, by Holtzman's definition and by distinct n-grams."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from probes.engines.transformers.engine import TransformersEngine as Model


def test_sampled_texts_are_compared_with_their_own_prompts_greedy_text() -> None:
    from probes.engines.base import Generation
    from probes.measure.repetition import greedy_against_sampled
    from probes.schema.sampling import Sampling

    loop, late, free = [*range(6)] * 2, [5, 6, 7, 8] + [1, 2, 3, 4] * 2, [*range(12)]
    greedy = [Generation([1], [loop], ["loop"]), Generation([2], [free], ["free"])]
    calls = list[Any]()

    def generate_batch(prompts: Any, **arguments: Any) -> list[Generation]:
        calls.append((prompts, arguments))
        return [
            Generation([1], [late, free, loop], ["", "", ""]),
            Generation([2], [free, free, late], ["", "", ""]),
        ]

    model = cast("Model", SimpleNamespace(generate_batch=generate_batch))
    found = greedy_against_sampled(model, greedy, samples=3, seed=4)
    settings = {
        "sampling": Sampling(top_k=0),
        "num_return_sequences": 3,
        "seed": 4,
        "max_new_tokens": 12,
    }
    assert calls == [([[1], [2]], settings)]
    # Of nine 4-grams the loop has 6 that are different, the late one 8, the free text 9.
    assert found.greedy_distinct == pytest.approx((6 + 9) / 18)
    assert found.sampled_distinct == pytest.approx((8 + 9 + 6 + 9 + 9 + 8) / 54)
    assert found.greedy_repeating == 1 / 2
    assert found.sampled_repeating == 3 / 6
    assert found.more_distinct == 2
    assert found.p_value == pytest.approx(1 - (1 + 6) / 64)  # two or more of six fair coins
    assert found.greedy_text == "loop"
