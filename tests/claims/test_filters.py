"""Claims: from logits to a distribution: temperature, top-k, top-p, their order."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from probes import measure, stats
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, SPELLED_BOS, STORIES
from probes.engines import transformers as library
from probes.schema.evidence.distributions import Distributions, HiddenTopK, MostLikely
from probes.schema.evidence.texts import SampledText, Trace
from probes.schema.sampling import NARROW_HOT, NEAR_GREEDY, WIDE_HOT, Sampling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probes import Model
    from probes.engines.base import Generation
    from probes.measure.sampling_filters import FilterStep

    Greedy = Callable[[int], list[Generation]]

Evidence = dict[str, Any]

PUBLISHED_TEMPERATURES = (0.4, 1.0, 1.6)
PROMPTS = (CAPITAL_OF_JAPAN, STORIES[0])
EXPLORED = (
    (CAPITAL_OF_JAPAN, "Tokyo"),
    ("The capital of France is", "Paris"),
    (SPELLED_BOS, "Washington"),
    (STORIES[0], None),
    (STORIES[1], None),
)
SETTINGS = {
    "unfiltered": Sampling(top_k=0),
    "near-greedy": NEAR_GREEDY,
    "narrow-hot": NARROW_HOT,
    "wide-hot": WIDE_HOT,
}
EVERYTHING = Sampling(temperature=1.4, top_k=40, top_p=0.9, min_p=0.02)

any_logits = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


def described(draw: Any) -> dict[str, Any]:
    return {
        "size": draw(st.one_of(st.integers(2, 40), st.sampled_from([1000, 32000, 50000]))),
        "kind": draw(st.sampled_from(stats.testing_logits.KINDS)),
        "seed": draw(st.integers(0, 2**16)),
        "dtype": draw(st.sampled_from(["float32", "float16", "bfloat16"])),
    }


hard_logits = st.composite(described)()


def as_the_settings_say(steps: Sequence[FilterStep], wanted: str = "asked for") -> None:
    """Fail where the library filtered otherwise than its settings say."""
    assert steps, "no step was made"
    wrong = [number for number, step in enumerate(steps) if not step.as_expected]
    assert not wrong, (
        f"filtered otherwise than {wanted} at {len(wrong)} of {len(steps)} steps; "
        f"at step {wrong[0]}: {steps[wrong[0]].describe_errors()}"
    )


@pytest.mark.claim("next-token")
@pytest.mark.needs("tokenizer", "logits")
def test_tokyo_leads_a_distribution(model: Model, evidence: Evidence) -> None:
    top = measure.distribution.most_likely(model, CAPITAL_OF_JAPAN)
    logits = model.logits(CAPITAL_OF_JAPAN)[-1]
    total = float(stats.sampling_reference.log_probabilities(logits).exp().sum())
    evidence.update(MostLikely(top_ten=top).as_evidence())
    evidence["sum_of_probabilities"] = total
    assert total == pytest.approx(1, abs=1e-9), f"the probabilities sum to {total}"
    assert top[0].text.strip() == "Tokyo", f"{top[0].text!r} leads, not 'Tokyo'"


@pytest.mark.claim("next-token")
@pytest.mark.needs("tokenizer", "logits")
def test_what_is_kept_of_a_distribution_is_the_whole_of_it(
    model: Model, evidence: Evidence
) -> None:
    kept = [
        measure.distribution.measure_distribution(
            model, measure.asking.spell_prompt(model, prompt), answer
        )
        for prompt, answer in EXPLORED
    ]
    evidence.update(Distributions(distributions=kept).as_evidence())
    errors = {
        (each.prompt, setting): measure.distribution.largest_error(model, each, sampling)
        for each in kept
        for setting, sampling in SETTINGS.items()
    }
    evidence["largest_error_of_a_probability"] = worst = max(errors.values())
    assert worst < 1e-3, f"{max(errors, key=errors.__getitem__)} comes out otherwise"


@pytest.mark.claim("temperature-formula")
@pytest.mark.needs("logits")
@pytest.mark.parametrize("temperature", PUBLISHED_TEMPERATURES)
def test_generate_divides_the_logits_by_the_temperature(
    model: Model, seed: int, evidence: Evidence, temperature: float
) -> None:
    text = measure.sampling_filters.sample_with_scores(
        model, CAPITAL_OF_JAPAN, 1, seed, temperature=temperature, top_k=0, top_p=1.0
    )
    steps = measure.sampling_filters.compare_filters(
        text.logits, text.scores, Sampling(temperature=temperature, top_k=0)
    )
    evidence["temperature"] = temperature
    evidence["largest_error"] = steps[0].largest_error
    as_the_settings_say(steps)


@pytest.mark.claim("temperature-formula")
@pytest.mark.needs("logits")
@any_logits
@given(logits=hard_logits, temperature=st.floats(1e-4, 1e4))
@example(logits={"size": 2, "kind": "one-hot", "seed": 0, "dtype": "float32"}, temperature=1e-4)
def test_library_temperature_is_the_formula_on_any_logits(
    logits: dict[str, Any], temperature: float
) -> None:
    made = stats.testing_logits.adversarial_logits(**logits)
    theirs = library.warpers.temperature(made, temperature)
    ours = stats.sampling_reference.temperature(made, temperature)
    wrong = (~theirs.isclose(ours, rtol=1e-6)).flatten().nonzero().flatten().tolist()
    assert not wrong, "at temperature {:.6g} a logit of {:.9g} becomes {:.9g}, not {:.9g}".format(
        temperature, *(float(scores.flatten()[wrong[0]]) for scores in (made, theirs, ours))
    )


@pytest.mark.claim("temperature-shape")
@pytest.mark.parametrize("prompt", PROMPTS)
def test_entropy_rises_and_the_ranking_stays(model: Model, evidence: Evidence, prompt: str) -> None:
    logits = model.logits(prompt)[-1]
    if stats.sampling_reference.is_uniform(logits):
        pytest.skip("to it all tokens are equally likely, at any temperature")
    shape = measure.sampling_filters.measure_temperature_effect(logits)
    evidence.update(shape.as_evidence())
    if not shape.distinct_rises:
        pytest.skip(
            "at these temperatures its entropy rises by less than rounding in float64: one token "
            "has nearly all the probability, or all have nearly the same"
        )
    assert shape.rises, (
        "entropy does not rise with the temperature: "
        f"{', '.join(f'{entropy:.3g}' for entropy in shape.entropies)} nats"
    )
    changes = shape.ranking_changes
    assert changes == 0, f"tokens change their rank with the temperature, {changes} times in all"
    cold, hot = shape.greedy_share_when_cold, shape.distance_from_uniform_when_hot
    assert cold == pytest.approx(1, abs=1e-6), f"when cold the likeliest token has only {cold:.6g}"
    assert hot == pytest.approx(0, abs=1e-3), f"when hot a probability is {hot:.1%} off uniform"


@pytest.mark.claim("top-k")
@pytest.mark.needs("logits")
@any_logits
@given(logits=hard_logits, k=st.integers(1, 60))
@example(logits={"size": 40, "kind": "equal", "seed": 0, "dtype": "float32"}, k=3)
def test_library_keeps_the_k_likeliest_and_their_ties_on_any_logits(
    logits: dict[str, Any], k: int
) -> None:
    made = stats.testing_logits.adversarial_logits(**logits)
    theirs, ours = (library.warpers.top_k(made, k), stats.sampling_reference.top_k(made, k))
    found, expected = (
        int(stats.sampling_reference.count_kept(scores)) for scores in (theirs, ours)
    )
    assert found == expected, (
        f"top-k of {k} keeps {found} of {made.shape[-1]} tokens; with its ties it is {expected}"
    )
    assert theirs.equal(ours), f"top-k of {k} keeps other tokens, or changes their logits"


@pytest.mark.claim("top-k")
@pytest.mark.needs("logits")
@pytest.mark.parametrize("k", [1, 5, 50])
def test_generate_keeps_the_k_likeliest(
    model: Model, seed: int, evidence: Evidence, k: int
) -> None:
    text = measure.sampling_filters.sample_with_scores(
        model, CAPITAL_OF_JAPAN, 1, seed, temperature=1.4, top_k=k, top_p=1.0
    )
    steps = measure.sampling_filters.compare_filters(
        text.logits, text.scores, Sampling(temperature=1.4, top_k=k)
    )
    evidence["k"], evidence["kept"] = k, steps[0].kept
    evidence["probability_kept"] = measure.sampling_filters.probability_kept(text, 1.4)
    as_the_settings_say(steps)
    kept, least = steps[0].kept, min(k, text.logits.shape[-1])
    assert kept >= least, f"top-k of {k} keeps {kept} tokens"


@pytest.mark.claim("top-k")
@pytest.mark.needs("logits")
def test_k_of_one_is_greedy(model: Model, seed: int, evidence: Evidence) -> None:
    greedy = measure.greedy.generate_greedy(model, [CAPITAL_OF_JAPAN], 20)[0]
    sampled = measure.sampling_filters.sample_with_scores(
        model, CAPITAL_OF_JAPAN, 20, seed, top_k=1
    )
    evidence["greedy"], evidence["top_k_1"] = greedy.text, sampled.text
    alone = measure.greedy.count_steps_without_tie(greedy)
    if alone == 0:
        pytest.skip("its two likeliest tokens are equally likely: top-k of 1 keeps both")
    assert sampled.ids[:alone] == greedy.ids[0][:alone], (
        f"with top_k=1 the text is {sampled.text!r}, greedy {greedy.text!r}"
    )


@pytest.mark.claim("top-k")
@pytest.mark.needs("logits")
def test_k_of_the_whole_vocabulary_changes_nothing(model: Model, evidence: Evidence) -> None:
    logits = model.logits(CAPITAL_OF_JAPAN)[-1:]
    evidence["k"] = k = logits.shape[-1]
    theirs = library.warpers.top_k(logits, k)
    assert theirs.equal(logits), f"top-k of all {k} tokens changes the logits"


@pytest.mark.claim("top-p-reference")
@pytest.mark.needs("logits")
@any_logits
@given(logits=hard_logits, p=st.one_of(st.floats(1e-6, 1.0), st.sampled_from([0.5, 0.75, 0.875])))
@example(logits={"size": 20, "kind": "powers of two", "seed": 0, "dtype": "float32"}, p=0.5)
@example(logits={"size": 40, "kind": "equal", "seed": 0, "dtype": "float32"}, p=0.5)
@example(logits={"size": 2, "kind": "one-hot", "seed": 0, "dtype": "float32"}, p=1e-6)
def test_library_nucleus_is_the_definition_on_any_logits(logits: dict[str, Any], p: float) -> None:
    made = stats.testing_logits.adversarial_logits(**logits)
    sampling = Sampling(top_k=0, top_p=p)
    theirs = library.warpers.apply(made, sampling)
    as_the_settings_say(measure.sampling_filters.compare_filters(made, theirs, sampling))


@pytest.mark.claim("top-p-reference")
@pytest.mark.needs("logits")
@pytest.mark.parametrize("size", [4, 64, 4096])
def test_where_the_sum_meets_p_exactly_the_nucleus_ends(evidence: Evidence, size: int) -> None:
    # Equal probabilities of 1/size: every running sum is exact, from either end.
    logits = stats.testing_logits.adversarial_logits(size, "equal", seed=0)
    sums = (1, size // 4, size // 2, size - 1)
    kept = {
        number: (
            int(
                stats.sampling_reference.count_kept(
                    stats.sampling_reference.top_p(logits, number / size)
                )
            ),
            int(stats.sampling_reference.count_kept(library.warpers.top_p(logits, number / size))),
        )
        for number in sums
    }
    evidence["kept_by_definition_and_by_library"] = kept
    wrong = [
        f"p = {number}/{size} keeps {theirs} by the library, {ours} by our definition"
        for number, (ours, theirs) in kept.items()
        if not ours == theirs == number
    ]
    assert not wrong, f"equally likely tokens: {'; '.join(wrong)}"


@pytest.mark.claim("top-p-reference")
@pytest.mark.needs("logits")
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("p", [0.2, 0.5, 0.9, 0.99])
def test_nucleus_of_the_models_own_logits(
    model: Model, evidence: Evidence, prompt: str, p: float
) -> None:
    logits = model.logits(prompt)
    sampling = Sampling(top_k=0, top_p=p)
    theirs = library.warpers.apply(logits, sampling)
    steps = measure.sampling_filters.compare_filters(logits, theirs, sampling)
    evidence["p"], evidence["sizes"] = p, [step.kept for step in steps]
    as_the_settings_say(steps)


@pytest.mark.claim("nucleus-adapts")
def test_nucleus_grows_with_the_flatness(model: Model, greedy: Greedy, evidence: Evidence) -> None:
    texts = dict(zip(measure.asking.list_prompts(model), greedy(20), strict=True))
    nuclei = measure.sampling_filters.measure_nuclei([texts[each] for each in PROMPTS], p=0.9)
    evidence.update(nuclei.as_evidence())
    if nuclei.entropy_range < 0.5:
        pytest.skip("its distributions are all about equally flat")
    sharpest, flattest = nuclei.sizes[0], nuclei.sizes[-1]
    assert sharpest < flattest, (
        f"the nucleus has {sharpest} tokens where the distribution is sharpest, and {flattest} "
        "where it is flattest"
    )
    correlation = nuclei.rank_correlation
    assert correlation > 0.5, f"size and entropy rise together too seldom: rho = {correlation:.2f}"


@pytest.mark.claim("filter-order")
@pytest.mark.needs("tokenizer", "logits")
@pytest.mark.parametrize(
    "sampling",
    [NEAR_GREEDY, NARROW_HOT, WIDE_HOT, EVERYTHING],
    ids=["near-greedy", "narrow-hot", "wide-hot", "all four"],
)
def test_generate_chooses_from_the_logits_filtered_in_order(
    model: Model, seed: int, evidence: Evidence, sampling: Sampling
) -> None:
    settings = {k: v for k, v in sampling.arguments().items() if k != "do_sample"}
    text = measure.sampling_filters.sample_with_scores(model, STORIES[0], 12, seed, **settings)
    steps = measure.sampling_filters.compare_filters(text.logits, text.scores, sampling)
    evidence["settings"], evidence["text"], evidence["steps"] = settings, text.text, steps
    traced = measure.token_trace.trace_text(
        model, text.ids, text.logits, text.scores, after=model.encode_prompt(STORIES[0])
    )
    trace = Trace(prompt=STORIES[0], steps=traced)
    evidence.update(SampledText(settings=settings, trace=trace).as_evidence())
    as_the_settings_say(steps)


@pytest.mark.claim("filter-order")
@pytest.mark.needs("tokenizer", "logits")
@any_logits
@given(logits=hard_logits, share=st.floats(1e-6, 1.0))
@example(logits={"size": 40, "kind": "equal", "seed": 0, "dtype": "float32"}, share=1.0)
def test_library_min_p_is_the_definition_on_any_logits(
    logits: dict[str, Any], share: float
) -> None:
    made = stats.testing_logits.adversarial_logits(**logits)
    theirs = library.warpers.min_p(made, share)
    as_the_settings_say(
        measure.sampling_filters.compare_filters(made, theirs, Sampling(top_k=0, min_p=share))
    )


@pytest.mark.claim("filter-order")
@pytest.mark.needs("tokenizer", "logits")
@any_logits
@given(
    logits=hard_logits, temperature=st.floats(0.1, 10), k=st.integers(2, 60), p=st.floats(0.05, 1)
)
def test_composition_is_the_librarys_on_any_logits(
    logits: dict[str, Any], temperature: float, k: int, p: float
) -> None:
    made = stats.testing_logits.adversarial_logits(**logits)
    sampling = Sampling(temperature=temperature, top_k=k, top_p=p)
    theirs = library.warpers.apply(made, sampling)
    as_the_settings_say(measure.sampling_filters.compare_filters(made, theirs, sampling))


@pytest.mark.claim("filter-order")
@pytest.mark.needs("tokenizer", "logits")
def test_another_order_would_be_seen(model: Model, evidence: Evidence) -> None:
    logits = model.logits(STORIES[0])[-1:]
    last = Sampling(temperature=3.0, top_k=0)
    in_order = replace(last, top_p=0.9)
    nucleus_first = library.warpers.apply(stats.sampling_reference.top_p(logits, 0.9), last)
    if nucleus_first.equal(stats.sampling_reference.apply_filters(logits, in_order)):
        pytest.skip("its distribution is so flat or so sharp that no order makes a difference")
    step = measure.sampling_filters.compare_filters(logits, nucleus_first, in_order)[0]
    evidence.update(asdict(step))
    assert not step.as_expected, "the nucleus taken first passes for the nucleus taken last"


@pytest.mark.claim("hidden-top-k")
@pytest.mark.parametrize("prompt", PROMPTS)
def test_top_k_50_applies_unasked(model: Model, seed: int, evidence: Evidence, prompt: str) -> None:
    text = measure.sampling_filters.sample_with_scores(
        model, prompt, 4, seed, temperature=1.4, top_p=0.9
    )
    unfiltered = measure.sampling_filters.sample_with_scores(
        model, prompt, 4, seed, temperature=1.4, top_p=0.9, top_k=0
    )
    sizes = [stats.sampling_reference.count_kept(t.scores).tolist() for t in (text, unfiltered)]
    evidence.update(HiddenTopK(kept_by_default=sizes[0], kept_with_top_k_0=sizes[1]).as_evidence())
    evidence["text_by_default"], evidence["text_with_top_k_0"] = text.text, unfiltered.text
    with_50 = measure.sampling_filters.compare_filters(
        text.logits, text.scores, Sampling(temperature=1.4, top_p=0.9, top_k=50)
    )
    without = measure.sampling_filters.compare_filters(
        unfiltered.logits, unfiltered.scores, Sampling(temperature=1.4, top_p=0.9, top_k=0)
    )
    as_the_settings_say(with_50, "by top-k 50 and top-p 0.9 together")
    as_the_settings_say(without, "by top-p 0.9 alone")
