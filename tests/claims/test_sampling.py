"""Claims: what sampling does at low and high temperature, and that draws follow their law."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from probes import measure, stats
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, CAPITALS, STORIES
from probes.schema.evidence.texts import Collapse, HotSamples, Reproduction
from probes.schema.sampling import GRID, NARROW_HOT, NEAR_GREEDY, UNPENALIZED, WIDE_HOT, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes import Model
    from probes.engines.base import Generation
    from probes.stats.goodness_of_fit import Fit

    Capitals = Callable[[int], dict[str, tuple[Generation, Generation]]]

Evidence = dict[str, Any]

HOT_PROMPTS = (CAPITAL_OF_JAPAN, STORIES[0])
DRAWS = 20_000
RUNS = 5

DRAWN = {
    "no filter": Sampling(top_k=0),
    "the library's default": Sampling(),
    "wide-hot": WIDE_HOT,
    "wide-hot without top-k": Sampling(temperature=1.4, top_p=0.9, top_k=0),
    "min-p": Sampling(temperature=1.4, min_p=0.1),
}


@pytest.mark.claim("collapse")
@pytest.mark.needs("tokenizer", "token-ids", "logits")
@pytest.mark.parametrize("country", CAPITALS)
def test_near_greedy_sampling_reproduces_the_greedy_text(
    model: Model, greedy_capitals: Capitals, evidence: Evidence, country: str
) -> None:
    text, _ = greedy_capitals(20)[country]
    p, *others = measure.greedy.probabilities_of_greedy(text, [NEAR_GREEDY, *GRID])
    evidence["probability"], evidence["probability_that_five_agree"] = p, p**RUNS
    grid = [
        Reproduction(**asdict(sampling), probability=probability)
        for sampling, probability in zip(GRID, others, strict=True)
    ]
    evidence.update(Collapse(greedy=text.text, grid=grid).as_evidence())
    assert p > 0.99, f"sampling gives the greedy text with probability {p:.3f} only"


@pytest.mark.claim("collapse")
@pytest.mark.needs("tokenizer", "token-ids", "logits")
def test_five_near_greedy_runs_agree_with_the_probability(
    model: Model, seed: int, greedy_capitals: Capitals, evidence: Evidence
) -> None:
    texts = [text for text, _ in greedy_capitals(20).values()]
    found = measure.variety.count_reproductions(model, texts, NEAR_GREEDY, runs=RUNS, seed=seed)
    evidence.update(asdict(found))
    assert found.p_value >= stats.goodness_of_fit.ALPHA, (
        f"{found.reproduced} of {found.runs} runs give the greedy text, "
        f"{found.expected:.1f} are expected"
    )


@pytest.mark.claim("heat-varies")
@pytest.mark.needs("tokenizer", "logits")
@pytest.mark.parametrize("prompt", HOT_PROMPTS)
def test_five_hot_runs_differ_though_the_nucleus_is_narrow(
    model: Model, evidence: Evidence, prompt: str
) -> None:
    # Texts that differ within ten tokens differ within twenty.
    texts = measure.variety.possible_texts(model, prompt, NARROW_HOT, 10)
    all_agree = texts.agreement(runs=RUNS)
    evidence["probability_that_five_agree"] = all_agree
    evidence["probability_that_two_agree"] = texts.agreement()
    evidence["expected_different_texts_of_five"] = texts.expected_distinct(RUNS)
    evidence["likeliest_texts"] = [
        {"text": model.decode(ids), "probability": p}
        for ids, p in zip(texts.ids[:5], texts.probabilities[:5].tolist(), strict=True)
    ]
    assert all_agree.upper < 0.01, (
        f"five runs may all be the same with a probability of up to {all_agree.upper:.3f}"
    )


@pytest.mark.claim("heat-wide-varies-more")
@pytest.mark.needs("config", "logits")
@pytest.mark.parametrize("prompt", HOT_PROMPTS)
def test_wide_hot_texts_vary_more_and_are_less_likely(
    model: Model, seed: int, evidence: Evidence, prompt: str
) -> None:
    found = measure.variety.compare_variety(
        model, HOT_PROMPTS, NARROW_HOT, WIDE_HOT, length=20, seed=seed
    )[HOT_PROMPTS.index(prompt)]
    narrow, wide = found.first, found.second
    evidence.update(HotSamples(narrow_hot=narrow.summary(), wide_hot=wide.summary()).as_evidence())
    flatter, less_likely = found.p_value_of_entropy, found.p_value_of_log_likelihood
    evidence["samples"] = len(wide.texts)
    evidence["p_value_of_entropy"], evidence["p_value_of_log_likelihood"] = flatter, less_likely
    assert flatter < stats.goodness_of_fit.DIFFERENCE_ALPHA, (
        f"wide-hot texts are drawn from no flatter a law: p = {flatter:.2g}"
    )
    assert less_likely < stats.goodness_of_fit.DIFFERENCE_ALPHA, (
        f"wide-hot texts are as likely: p = {less_likely:.2g}"
    )
    assert wide.distinct_4_grams >= narrow.distinct_4_grams, (
        f"wide-hot texts are more alike: {wide.distinct_4_grams:.1%} of their 4-grams are "
        f"distinct, of narrow-hot texts {narrow.distinct_4_grams:.1%}"
    )


def verdict_of(evidence: Evidence, fit: Fit) -> None:
    evidence.update(asdict(fit))
    assert fit.outside == 0, f"{fit.outside} draws of tokens that were dropped"
    assert fit.good, (
        f"draws do not follow the distribution: G = {fit.statistic:.1f} in "
        f"{fit.bins} bins, p = {fit.p_value:.1e}"
    )


@pytest.mark.claim("samples-follow-distribution")
@pytest.mark.needs("tokenizer", "logits", "weights")
@pytest.mark.parametrize("prompt", HOT_PROMPTS)
@pytest.mark.parametrize("sampling", DRAWN.values(), ids=DRAWN.keys())
def test_first_tokens_follow_the_distribution(
    model: Model, seed: int, evidence: Evidence, prompt: str, sampling: Sampling
) -> None:
    fit = measure.sampling_fit.fit_first_tokens(
        model, prompt, sampling, count=DRAWS, seed=seed, most_likely=256
    )
    verdict_of(evidence, fit)


@pytest.mark.claim("samples-follow-distribution")
@pytest.mark.needs("tokenizer", "logits", "weights")
def test_two_million_draws_from_few_tokens_follow_it_closely(
    model: Model, seed: int, evidence: Evidence
) -> None:
    fit = measure.sampling_fit.fit_first_tokens(
        model, STORIES[0], Sampling(top_k=0), count=2_000_000, seed=seed, most_likely=16
    )
    verdict_of(evidence, fit)


@pytest.mark.claim("samples-follow-distribution")
@pytest.mark.needs("tokenizer", "logits", "weights")
def test_pairs_of_tokens_follow_their_joint_distribution(
    model: Model, seed: int, evidence: Evidence
) -> None:
    sampling = Sampling(temperature=1.4, top_k=5)
    fit = measure.sampling_fit.fit_token_pairs(model, STORIES[0], sampling, count=DRAWS, seed=seed)
    verdict_of(evidence, fit)


@pytest.mark.claim("samples-follow-distribution")
@pytest.mark.needs("tokenizer", "logits", "weights")
def test_draws_from_the_whole_vocabulary_follow_it_too(
    model: Model, seed: int, evidence: Evidence
) -> None:
    fit = measure.sampling_fit.fit_first_tokens(model, STORIES[0], WIDE_HOT, count=1_000, seed=seed)
    verdict_of(evidence, fit)


@pytest.mark.claim("samples-follow-distribution")
@pytest.mark.needs("tokenizer", "logits", "weights")
def test_a_million_draws_in_half_precision_follow_it_and_drop_what_is_dropped(
    model: Model, seed: int, evidence: Evidence
) -> None:
    if model.device.type != "cuda" or model.network.dtype.itemsize > 2:
        pytest.skip("it does not compute in half precision on a CUDA device")
    fit = measure.sampling_fit.fit_first_tokens(
        model, STORIES[0], WIDE_HOT, count=1_000_000, seed=seed, most_likely=4_096
    )
    verdict_of(evidence, fit)


@pytest.mark.claim("seeded")
@pytest.mark.needs("tokenizer", "logits")
def test_a_seed_decides_the_sample(model: Model, seed: int, evidence: Evidence) -> None:
    first, again = (sample_ids(model, seed, samples=4) for _ in range(2))
    evidence["first"], evidence["same_seed"] = first, again
    assert first == again, "the same seed gave another sample"


@pytest.mark.claim("seeded")
@pytest.mark.needs("tokenizer", "logits")
def test_another_seed_gives_another_sample(model: Model, seed: int, evidence: Evidence) -> None:
    # Texts that differ within three tokens differ within ten.
    chance = measure.variety.possible_texts(model, STORIES[0], WIDE_HOT, 3).agreement().upper
    samples = measure.variety.samples_to_differ(chance, stats.goodness_of_fit.ALPHA)
    evidence["probability_that_two_texts_agree"] = chance
    if samples is None:
        pytest.skip(
            f"two of its texts agree with a probability of up to {chance:.3f}: "
            "too few are possible to tell seeds apart"
        )
    evidence["probability_that_other_seed_agrees"] = chance**samples
    first, other = (sample_ids(model, each, samples) for each in (seed, seed + 1))
    evidence["first"], evidence["other_seed"] = first, other
    assert first != other, f"another seed gave the same {samples} texts"


def sample_ids(model: Model, seed: int, samples: int) -> list[list[int]]:
    """Sample several texts of ten tokens in one batch."""
    found = model.generate(
        STORIES[0],
        sampling=WIDE_HOT,
        seed=seed,
        num_return_sequences=samples,
        max_new_tokens=10,
        **UNPENALIZED,
    )
    return found.ids
