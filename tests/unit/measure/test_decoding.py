"""Decoding against plain enumeration, on a toy model whose every distribution is written down."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from probes.engines.base import Generation
    from probes.engines.transformers.engine import TransformersEngine as Model

VOCABULARY, END = 6, 5
PROMPT = (2, 3, 1)


def next_logits(ids: Sequence[int]) -> torch.Tensor:
    """What the toy says after some tokens: it depends on all of them and on their order."""
    import torch

    seed = sum((place + 1) * (token + 1) for place, token in enumerate(ids))
    return 2 * torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed))


def toy(**more: Any) -> Model:
    """As much of a model as decoding asks of one; nothing is remembered."""
    import torch

    def logits(prompt: Sequence[int]) -> torch.Tensor:
        return torch.stack([next_logits(prompt[: n + 1]) for n in range(len(prompt))])

    def logits_after(prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> torch.Tensor:
        assert all(continuations)  # nothing is no continuation
        rows = [logits([*prompt, *each])[len(prompt) :] for each in continuations]
        return torch.stack(rows)

    parts = {
        "logits": logits,
        "logits_after": logits_after,
        "encode_prompt": list,
        "eos_token_ids": [END],
        "decode": lambda ids, **_: " ".join(map(str, ids)),
    }
    return cast("Model", SimpleNamespace(**{**parts, **more}))


def along(ids: Sequence[int]) -> torch.Tensor:
    """Logits of each step of a text after the prompt."""
    import torch

    return torch.stack([next_logits([*PROMPT, *ids[:n]]) for n in range(len(ids))])


def text(ids: Sequence[int], /, **more: Any) -> Generation:
    """A generation of one sample with its logits, and a step more than the sample is long."""
    import torch

    from probes.engines.base import Generation

    logits = torch.cat([along(ids), torch.full((1, VOCABULARY), torch.nan)])
    made = {"prompt_ids": [*PROMPT], "ids": [[*ids]], "texts": ["?"], "logits": logits[None]}
    return Generation(**{**made, **more})


def chance(ids: Sequence[int]) -> float:
    steps = along(ids).double().softmax(-1)
    return math.prod(float(step[token]) for step, token in zip(steps, ids, strict=True))


def test_the_most_likely_tokens_come_likeliest_first() -> None:
    import torch

    from probes.measure.decoding import most_likely

    found = most_likely(toy(), PROMPT, 3)
    chances = {token: chance([token]) for token in range(VOCABULARY)}
    wanted = sorted(chances, key=lambda token: -chances[token])[:3]
    assert [each.id for each in found] == wanted
    assert [each.text for each in found] == [*map(str, wanted)]
    assert [each.probability for each in found] == pytest.approx([chances[i] for i in wanted])
    twenty = toy(logits=lambda _: torch.arange(20.0)[None])
    assert [each.id for each in most_likely(twenty, PROMPT)] == [*range(19, 9, -1)]


# --- what the library's filters left -------------------------------------------------------------

FILTERED = [0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("rows", "steps"),
    [
        ([[1.0, 2.0, 0.0], [3.0, 0.0, 3.0], [5.0, 5.0, 0.0]], 1),
        ([[1.0, 1.0, 0.0]], 0),
        ([[1.0, 1.0, 2.0], [0.0, 1.0, 2.0]], 2),
    ],
)
def test_steps_are_counted_up_to_the_first_tie_of_the_most_likely(
    rows: list[list[float]], steps: int
) -> None:
    import torch

    from probes.engines.base import Generation
    from probes.measure.decoding import steps_without_tie

    logits = torch.tensor([rows])
    assert steps_without_tie(Generation([7], [[0] * len(rows)], [""], logits=logits)) == steps


def test_a_cut_text_is_the_beginning_of_each_sample() -> None:
    import torch

    from probes.measure.decoding import cut

    whole = text((1, 4, 0), ids=[[1, 4, 0], [2]], logits=torch.zeros(2, 3, VOCABULARY))
    model = toy(decode=lambda ids, *, skip_special_tokens: f"{ids}" * skip_special_tokens)
    found = cut(whole, 2, model)
    assert (found.ids, found.texts) == ([[1, 4], [2]], ["[1, 4]", "[2]"])
    assert found.logits is not None
    assert found.logits.shape == (2, 2, VOCABULARY)
    assert found.prompt_ids == [*PROMPT]
    assert cut(text((1, 4), logits=None), 1, toy()).logits is None


def test_logits_that_were_not_asked_for_are_missed() -> None:
    from probes.measure.decoding import step_logits

    assert step_logits(text((1, 4))).equal(along((1, 4)))
    with pytest.raises(ValueError, match=r"^this generation was made without output_logits$"):
        step_logits(text((1, 4), logits=None))


def test_the_probability_of_a_text_is_the_product_over_its_steps() -> None:
    from probes.measure.decoding import log_likelihood, probability_of_greedy
    from probes.schema.sampling import Sampling

    for ids in ((4,), (4, 1), (0, 3, 3, 1)):
        assert math.exp(log_likelihood(toy(), PROMPT, ids)) == pytest.approx(chance(ids))
        assert probability_of_greedy(text(ids), Sampling(top_k=0)) == pytest.approx(chance(ids))
    cold = along((4, 1)).double().mul(2).softmax(-1)
    assert probability_of_greedy(text((4, 1)), Sampling(temperature=0.5, top_k=0)) == (
        pytest.approx(float(cold[0, 4] * cold[1, 1]))
    )


def test_every_possible_text_is_found_with_its_probability() -> None:
    from probes.measure.decoding import possible_texts
    from probes.schema.sampling import Sampling

    texts = {
        ids[: ids.index(END) + 1] if END in ids else ids
        for ids in itertools.product(range(VOCABULARY), repeat=3)
    }
    found = possible_texts(toy(), PROMPT, Sampling(top_k=0), 3, width=1000)
    got = dict(zip(found.ids, found.probabilities.tolist(), strict=True))
    assert got == pytest.approx({ids: chance(ids) for ids in texts}, rel=1e-6)
    greedy = possible_texts(toy(), PROMPT, Sampling(top_k=1), 3)
    assert len(greedy.ids) == 1
    assert possible_texts(toy(), PROMPT, Sampling(top_k=0), 3, width=2).rest > 0
    unsaid = possible_texts(toy(), PROMPT, Sampling(top_k=0), 3)
    assert unsaid.ids == possible_texts(toy(), PROMPT, Sampling(top_k=0), 3, width=64).ids


def compared(kept: Sequence[int], scale: float = 1.0, **settings: Any) -> Any:
    """The comparison where a library that divides by the temperature left these tokens."""
    import torch

    from probes.measure.decoding import compare_filters
    from probes.schema.sampling import Sampling

    logits = torch.tensor([FILTERED]).log()
    sampling = Sampling(**{"top_k": 0, **settings})
    scores = torch.full_like(logits, -torch.inf)
    scores[:, [*kept]] = scale * logits[:, [*kept]] / sampling.temperature
    (step,) = compare_filters(logits, scores, sampling)
    return step


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, 4),
        ({"temperature": 2.0}, 4),
        ({"top_k": 2}, 2),
        ({"top_p": 0.8}, 3),
        ({"min_p": 0.4}, 3),
        ({"temperature": 0.5, "top_k": 3, "top_p": 0.9, "min_p": 0.3}, 2),
    ],
)
def test_a_library_that_keeps_the_right_tokens_and_no_others_is_as_expected(
    settings: dict[str, Any], kept: int
) -> None:
    for number in range(1, 5):
        step = compared(range(number), **settings)
        assert step.kept == number
        assert step.fewest == step.most == kept
        assert step.likeliest
        assert step.largest_error == 0
        assert step.as_expected == (number == kept)


def test_a_likelier_token_that_was_dropped_is_seen() -> None:
    step = compared([0, 2], top_k=2)
    assert not step.likeliest
    assert not step.as_expected


def test_an_error_of_a_score_is_relative_to_the_largest_of_those_kept() -> None:
    step = compared([0, 1, 2], top_k=3, scale=1.01)
    largest = abs(math.log(0.2))
    assert step.largest_error == pytest.approx(0.01 * largest / max(1, largest), rel=1e-4)
    assert not step.as_expected
    small = compared([0], top_k=1, scale=1.01)  # relative to 1 at least
    assert small.largest_error == pytest.approx(0.01 * abs(math.log(0.4)), rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "fewest", "most"),
    [
        ({"top_p": 0.7}, 2, 3),
        ({"top_p": 0.7 - 9e-6}, 2, 3),
        ({"top_p": 0.7 + 9e-6}, 2, 3),
        ({"top_p": 0.7 - 2e-5}, 2, 2),
        ({"top_p": 0.7 + 2e-5}, 3, 3),
        ({"min_p": 0.5}, 2, 3),
        ({"min_p": 0.5 - 9e-6}, 2, 3),
        ({"min_p": 0.5 + 9e-6}, 2, 3),
        ({"min_p": 0.5 - 2e-5}, 3, 3),
        ({"min_p": 0.5 + 2e-5}, 2, 2),
        ({"top_p": 1e-13}, 1, 1),
        ({"top_p": 1.0}, 4, 4),
        ({"min_p": 0.0}, 4, 4),
        ({"min_p": 1.0}, 1, 1),
    ],
)
def test_at_the_edge_of_a_filter_rounding_decides_and_nowhere_else(
    settings: dict[str, Any], fewest: int, most: int
) -> None:
    step = compared([0], **settings)
    assert (step.fewest, step.most) == (fewest, most)


def test_of_equally_likely_tokens_the_library_may_drop_which_it_likes() -> None:
    import torch

    from probes.measure.decoding import compare_filters
    from probes.schema.sampling import Sampling

    logits = torch.tensor([[0.4, 0.2, 0.2, 0.2]]).log()
    for kept in ([0, 1], [0, 3]):
        scores = torch.full_like(logits, -torch.inf)
        scores[:, kept] = logits[:, kept]
        (step,) = compare_filters(logits, scores, Sampling(top_k=0, top_p=0.5))
        assert step.likeliest
        assert step.as_expected


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, ""),
        ({"kept": 3}, ""),
        ({"kept": 5}, ""),
        ({"kept": 2}, "tokens kept: 2, not 3 to 5"),
        ({"kept": 6}, "tokens kept: 6, not 3 to 5"),
        ({"kept": 4, "most": 3}, "tokens kept: 4, not 3"),
        ({"likeliest": False}, "a dropped token is likelier than a kept one"),
        ({"largest_error": 0.99e-5}, ""),
        ({"largest_error": 1e-5}, "a score is off by 1e-05 of the largest"),
        ({"largest_error": math.nan}, "a score is off by nan of the largest"),
        (
            {"kept": 1, "likeliest": False, "largest_error": 0.5},
            "tokens kept: 1, not 3 to 5; a dropped token is likelier than a kept one; "
            "a score is off by 0.5 of the largest",
        ),
    ],
)
def test_a_step_says_what_is_otherwise_than_asked_for(changed: dict[str, Any], words: str) -> None:
    from probes.measure.decoding import FilterStep

    sound = FilterStep(kept=4, fewest=3, most=5, likeliest=True, largest_error=0.0)
    step = replace(sound, **changed)
    assert step.in_words() == words
    assert step.as_expected is (not words)


def test_steps_are_compared_one_by_one() -> None:
    """A hundred added to every logit of the second changes its scale and nothing else."""
    import torch

    from probes.measure.decoding import compare_filters
    from probes.schema.sampling import Sampling

    logits = torch.tensor([FILTERED, FILTERED[::-1]]).log() + torch.tensor([[0.0], [100.0]])
    scores = logits.clone()
    scores[0, 3] = scores[1, 0] = -torch.inf
    scores[0, 2] += 0.1
    one, other = compare_filters(logits, scores, Sampling(top_k=3))
    assert (one.kept, one.likeliest) == (other.kept, other.likeliest) == (3, True)
    assert one.largest_error == pytest.approx(0.1 / -math.log(0.2), rel=1e-4)
    assert (other.largest_error, other.as_expected) == (0, True)
    scores[1, 1] = -torch.inf
    _, fewer = compare_filters(logits, scores, Sampling(top_k=3))
    assert (fewer.kept, fewer.as_expected) == (2, False)


def test_the_mass_kept_is_that_of_the_first_step() -> None:
    import torch

    from probes.measure.decoding import Sampled, mass_kept

    logits = torch.tensor([FILTERED, [0.25] * 4]).log()
    scores = logits.clone()
    scores[0, 2:] = -torch.inf
    assert mass_kept(Sampled([0, 0], "", logits, scores), 1.0) == pytest.approx(0.7)
    squares = [p * p for p in FILTERED]
    assert mass_kept(Sampled([0, 0], "", logits, scores), 0.5) == (
        pytest.approx(sum(squares[:2]) / sum(squares))
    )


# --- texts that `generate` makes ------------------------------------------------------------------


def generating(made: Generation, asked: list[dict[str, Any]], **more: Any) -> Model:
    """The toy with a `generate` that makes one text, and keeps what it was asked."""

    def generate(prompt: Sequence[int], **arguments: Any) -> Generation:
        asked.append({"prompt": prompt, **arguments})
        return made

    def generate_batch(prompts: Sequence[Sequence[int]], **arguments: Any) -> list[Generation]:
        return [generate(prompt, **arguments) for prompt in prompts]

    return toy(generate=generate, generate_batch=generate_batch, **more)


PLAIN = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}


def test_a_greedy_text_is_asked_for_without_penalties_and_with_its_logits() -> None:
    from probes.measure.decoding import greedy

    asked = list[dict[str, Any]]()
    made = text((4, 1))
    model = generating(made, asked)
    for length in (2, 3):
        assert greedy(model, [PROMPT], length) == [made]
        greedy_settings = {"max_new_tokens": length, "do_sample": False, "output_logits": True}
        assert asked.pop() == {"prompt": PROMPT, **greedy_settings, **PLAIN}


def test_a_sampled_text_is_asked_for_as_told_and_has_a_row_for_each_of_its_tokens() -> None:
    import torch

    from probes.measure.decoding import sampled

    asked = list[dict[str, Any]]()
    scores = torch.zeros(1, 3, VOCABULARY)
    made = text((4, 1), scores=scores)
    model = generating(made, asked)
    found = sampled(model, PROMPT, 5, seed=3, top_k=2, repetition_penalty=1.2)
    assert (found.ids, found.text) == ([4, 1], "?")
    assert found.logits.equal(along((4, 1)))
    assert found.scores.equal(scores[0, :2])
    wanted = {"seed": 3, "max_new_tokens": 5, "do_sample": True, "top_k": 2}
    with_both = {"output_logits": True, "output_scores": True}
    assert asked == [{"prompt": PROMPT, **wanted, **with_both, **PLAIN, "repetition_penalty": 1.2}]


@pytest.mark.parametrize("missing", ["logits", "scores"])
def test_a_sampled_text_without_logits_or_scores_is_refused(missing: str) -> None:
    import torch

    from probes.measure.decoding import sampled

    scores = torch.zeros(1, 3, VOCABULARY)
    made = text((4, 1), **{"scores": scores, missing: None})
    with pytest.raises(ValueError, match=r"^generate returned no logits or no scores$"):
        sampled(generating(made, []), PROMPT, 5, seed=3)


def test_a_search_is_told_with_the_texts_likelihood_and_the_rows_it_took() -> None:
    from probes.measure.decoding import search

    class Counted(SimpleNamespace):
        """A model that has computed seven rows more whenever it is asked."""

        rows = 3

        @property
        def cost(self) -> SimpleNamespace:
            self.rows += 7
            return SimpleNamespace(rows=self.rows)

    asked = list[dict[str, Any]]()
    made = generating(text((4, 1)), asked)
    model = cast("Model", Counted(**vars(made)))
    found = search(model, PROMPT, 3, 2)
    assert (found.beams, found.text, found.rows) == (3, "?", 7)
    assert found.log_probability == pytest.approx(math.log(chance((4, 1))))
    assert search(model, PROMPT, 3, 2) is found
    exact = {"max_new_tokens": 2, "min_new_tokens": 2}
    wanted = {"prompt": PROMPT, "num_beams": 3, "do_sample": False, **exact, **PLAIN}
    assert asked == [wanted]


def test_nuclei_are_told_from_the_sharpest_distribution_on() -> None:
    import torch

    from probes.measure.decoding import nuclei

    rows = torch.tensor([[0.4, 0.3, 0.2, 0.1], [0.97, 0.01, 0.01, 0.01], [0.6, 0.3, 0.05, 0.05]])
    made = text((0, 0, 0), logits=rows.log()[None])
    asked = list[dict[str, Any]]()
    found = nuclei(generating(made, asked), [PROMPT, PROMPT], 3, 0.85)
    assert [each["max_new_tokens"] for each in asked] == [3, 3]
    entropies = sorted(-sum(p * math.log(p) for p in row) for row in rows.tolist() * 2)
    assert found.p == 0.85
    assert found.entropies == pytest.approx(entropies)
    assert found.sizes == [1, 1, 2, 2, 3, 3]
    assert found.rank_correlation == pytest.approx(1)


# --- a text computed again -----------------------------------------------------------------------


def test_a_text_computed_again_by_the_same_arithmetic_has_not_changed() -> None:
    from probes.measure.decoding import recomputed

    for ids in ((4,), (0, 3, 3, 1)):
        found = recomputed(toy(), text(ids))
        margins = along(ids).topk(2).values
        assert found.smallest_margin == pytest.approx(float((margins[:, 0] - margins[:, 1]).min()))
        assert (found.largest_change, found.flips, found.near_ties) == (0, 0, 0)


def test_changes_are_those_of_the_five_likeliest_and_flips_those_of_the_first() -> None:
    import torch

    from probes.measure.decoding import recomputed

    made = torch.tensor([[6.0, 5.0, 4.0, 3.0, 2.0, 1.0], [6.0, 4.5, 3.0, 2.0, 1.0, 0.0]])
    again = made.clone()
    again[:, 5] -= 3  # the sixth does not count
    again[0, 0] -= 0.5
    again[1, 4] += 0.25
    asked = ([*PROMPT], [[0]])
    model = toy(
        logits=lambda _: torch.stack([torch.zeros(6), again[0]]),
        logits_after=lambda prompt, more: again[None, 1:] if (prompt, more) == asked else None,
    )
    generation = text((0, 0), logits=made[None])
    found = recomputed(model, generation)
    assert (found.largest_change, found.smallest_margin) == (0.5, 1.0)
    assert (found.flips, found.near_ties) == (0, 1)  # a margin of twice the change is near
    again[0, 0] -= 1
    found = recomputed(model, generation)
    assert (found.largest_change, found.flips, found.near_ties) == (1.5, 1, 2)
