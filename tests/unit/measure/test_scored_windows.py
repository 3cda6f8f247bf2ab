"""Windows of text, compared by whole distributions and by what an engine lists of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from probes.engines.toy import ToyEngine, make_up_logits
from probes.errors import UndecidableError
from probes.measure import scored_windows
from probes.measure.quantization_cost import summarize_distances
from probes.measure.scored_windows import ScoredText, compare_listed, compare_windows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.stats.distribution_distance import Distances

TEXTS = [ScoredText("letters", tuple((0, *(2 + (n * k) % 4 for n in range(15))) for k in (1, 3)))]
"""Two windows of 16 tokens, of which seven positions are scored."""

REFERENCE = ToyEngine()


def move(ids: Sequence[int]) -> torch.Tensor:
    """Make up logits that are a little other than the reference's."""
    return make_up_logits(ids) + 0.5 * make_up_logits([*ids, 5])


@pytest.fixture(params=[(), ("prompt-logprobs",)], ids=["along prompts", "after texts"])
def engine(request: pytest.FixtureRequest) -> ToyEngine:
    return ToyEngine(without=request.param, next_logits=move)


def join(found: list[list[Distances]], name: str) -> Any:
    return np.concatenate([getattr(window, name) for text in found for window in text])


@pytest.mark.parametrize("listed", [1, 3, 6])
def test_listed_tokens_give_the_least_distances(
    engine: ToyEngine, listed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scored_windows, "LISTED", listed)
    found = compare_listed(REFERENCE, engine, TEXTS, every=1)
    whole = compare_windows(REFERENCE, engine, TEXTS)
    assert join(found, "same_top").tolist() == join(whole, "same_top").tolist()
    for name in ("divergence", "probability_change"):
        least, true = (np.abs(join(each, name)) for each in (found, whole))
        assert (least <= true + 1e-6).all()
        assert listed < 6 or least == pytest.approx(true, abs=2e-5)
    ratios, true_ratios = join(found, "log_ratio"), join(whole, "log_ratio")
    known = ~np.isnan(ratios)
    assert ratios[known] == pytest.approx(true_ratios[known], abs=1e-6)
    assert known.all() == (listed == 6 or "prompt-logprobs" in engine.capabilities)


def test_ratio_of_perplexities_is_left_out_where_a_following_token_is_not_listed(
    engine: ToyEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scored_windows, "LISTED", 1)
    found = summarize_distances(
        TEXTS, compare_listed(REFERENCE, engine, TEXTS, every=1), whole=False
    )
    are_known = "prompt-logprobs" in engine.capabilities
    assert (found["perplexity_ratio"] is not None) is are_known
    assert ("log_perplexity_ratio" in found["errors_over_positions"]) is are_known
    assert found["rms_change"] is not None
    assert (found["whole"], found["positions"]) == (False, 14)


def test_positions_are_left_out_where_an_engine_that_is_asked_for_each_lists_none() -> None:
    class Silent(ToyEngine):
        def generate_batch(self, prompts: Any, **settings: Any) -> Any:
            made = super().generate_batch(prompts, **settings)
            for prompt, text in zip(prompts, made, strict=True):
                if len(prompt) in self.silent:
                    text.top_logprobs[0].clear()  # type: ignore[index]
            return made

        silent: Any = (10, 12)

    engine = Silent(without=["prompt-logprobs"])
    [[one, _]] = compare_listed(REFERENCE, engine, TEXTS, every=1)
    assert len(one.divergence) == 5
    engine.silent = range(100)
    with pytest.raises(UndecidableError, match="lists no tokens along a text"):
        compare_listed(REFERENCE, engine, TEXTS)


def test_engine_of_another_vocabulary_is_not_decided() -> None:
    small = ToyEngine(next_logits=lambda ids: make_up_logits(ids)[:5])
    with pytest.raises(UndecidableError, match="it lists the id 5, and its reference knows 5 ids"):
        compare_listed(small, REFERENCE, TEXTS)


def test_networks_of_other_vocabularies_are_not_compared() -> None:
    wider = ToyEngine(next_logits=lambda ids: torch.nn.functional.pad(make_up_logits(ids), (0, 2)))
    with pytest.raises(UndecidableError, match="logits and its reference"):
        compare_windows(REFERENCE, wider, TEXTS)
