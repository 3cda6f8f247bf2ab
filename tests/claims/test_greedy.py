"""Claims: greedy decoding, BOS and beams."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from probes import measure, stats
from probes.data import published
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, CAPITALS, PROMPTS, STORIES
from probes.measure.asking import list_prompts
from probes.schema.evidence.distributions import KeptPrompts
from probes.schema.evidence.texts import BeamComparison, Trace, TracedText

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from probes import Model
    from probes.engines.base import Generation
    from probes.measure.greedy_differences import Variation

    Greedy = Callable[[int], list[Generation]]
    Capitals = Callable[[int], dict[str, tuple[Generation, Generation]]]

Evidence = dict[str, Any]

SEARCHED = (0, 2)
LENGTHS = (20, 60)


@pytest.mark.claim("greedy-argmax")
@pytest.mark.needs("tokenizer", "logits")
@pytest.mark.parametrize("length", LENGTHS)
def test_greedy_takes_the_most_likely_token_at_every_step(
    model: Model, greedy: Greedy, evidence: Evidence, length: int
) -> None:
    texts = greedy(length)
    evidence["texts"] = [text.text for text in texts]
    for text in texts:
        steps = measure.greedy.step_logits(text)
        likeliest = steps.argmax(dim=-1).tolist()
        wrong = [n for n, token in enumerate(text.ids[0]) if likeliest[n : n + 1] != [token]]
        assert not wrong, (
            f"{text.text!r}: step {wrong[0]} takes {model.decode([text.ids[0][wrong[0]]])!r}, "
            f"most likely is {model.decode(likeliest[wrong[0] : wrong[0] + 1])!r}"
        )


@pytest.mark.claim("greedy-argmax")
@pytest.mark.needs("tokenizer", "logits")
def test_what_greedy_chose_is_the_argmax_of_a_forward_pass_of_its_own(
    model: Model, greedy: Greedy, evidence: Evidence
) -> None:
    text = greedy(20)[0]
    again = measure.greedy.recompute_text(model, text)
    evidence["text"] = text.text
    evidence.update(asdict(again))
    logits = measure.greedy.step_logits(text)
    traced = measure.token_trace.trace_text(
        model, text.ids[0], logits, after=text.prompt_ids, noise=again.largest_change
    )
    trace = Trace(prompt=PROMPTS[0], steps=traced)
    evidence.update(TracedText(trace=trace).as_evidence())
    prompts, layer = list_prompts(model), ""
    tolerance = measure.determinism.noise_tolerance(model, prompts, 20)
    if max(again.largest_change, again.widest_flip) > tolerance and "weights" in model.capabilities:
        layer = measure.determinism.find_layer_of_own_pass(model, prompts, 20)
    evidence["layer"] = layer
    assert again.largest_change <= tolerance, (
        f"in a pass of its own a distance of logits changes by {again.largest_change:.2g}, where "
        f"rounding explains {tolerance:.2g}{conditions(model, layer)}"
    )
    assert again.widest_flip <= tolerance, (
        f"a choice is not the most likely token of a pass of its own: the other one was "
        f"{again.widest_flip:.2g} behind, where rounding explains {tolerance:.2g}"
        f"{conditions(model, layer)}"
    )


def conditions(model: Model, layer: str = "") -> str:
    """What logits were computed with, where the engine shows it, and the layer that differs."""
    if "weights" not in model.capabilities:
        return ""
    known = measure.reproduction.describe_conditions(model)
    return f" ({known}, {layer})" if layer else f" ({known})"


def differences(evidence: Evidence, variations: Iterable[Variation]) -> list[Variation]:
    """What the variations changed, put into the evidence."""
    found = list(variations)
    evidence["variations"] = found
    return found


@pytest.mark.claim("greedy-deterministic")
@pytest.mark.needs("tokenizer", "logits")
def test_five_runs_of_five_are_the_same(model: Model, evidence: Evidence) -> None:
    runs = differences(
        evidence, measure.determinism.repeat_batch(model, list_prompts(model), 20, runs=5)
    )
    evidence["text"] = measure.greedy.generate_greedy(model, list_prompts(model), 20)[0].text
    assert len(runs) == 4, f"{len(runs)} runs were compared with the first, not 4"
    other = [(found, run.conditions) for run in runs for found in run.differences]
    assert not other, f"a run gives another text: {other[0][0].describe()}" + (
        f" ({other[0][1]})" if other[0][1] else ""
    )


needs = pytest.mark.needs

NOTHING_TO_VARY = {
    "compiled": "transformers does not compile its forward pass here",
    "attention": "this transformers cannot switch a loaded network's attention, and the model is "
    "too large for a copy to be loaded beside it",
    "past_the_window": "it attends to all that came before, or to more than 4,096 tokens",
    "threads": "it does not run on a CPU",
    "half_precision": "its weights are quantized, or too large for float32 beside them",
}


@pytest.mark.claim("greedy-deterministic")
@pytest.mark.needs("tokenizer", "logits")
@pytest.mark.parametrize(
    ("variation", "length"),
    [
        ("alone", 20),
        pytest.param("doubled", 20, marks=needs("token-ids")),
        pytest.param("caches", 20, marks=needs("variants")),
        pytest.param("compiled", 20, marks=needs("variants", "weights")),
        pytest.param("attention", 20, marks=needs("variants", "weights")),
        pytest.param(
            "past_the_window", 4, marks=needs("token-ids", "config", "variants", "weights")
        ),
        pytest.param("threads", 20, marks=needs("weights")),
        pytest.param("half_precision", 20, marks=needs("variants", "weights")),
    ],
)
def test_greedy_text_is_the_same_however_it_is_made(
    model: Model, evidence: Evidence, variation: str, length: int, pytestconfig: pytest.Config
) -> None:
    if variation == "compiled" and not pytestconfig.option.thorough_claims:
        pytest.skip("it takes minutes to compile: decided under --thorough-claims")
    made = measure.determinism.VARIATIONS[variation](model, list_prompts(model), length)
    found = differences(evidence, made)
    if not found:
        pytest.skip(NOTHING_TO_VARY[variation])
    for each in found:
        complaint = each.complain()
        assert not complaint, complaint


@pytest.mark.claim("greedy-deterministic")
@pytest.mark.needs("tokenizer", "logits")
def test_logits_are_the_same_in_any_number_of_rows(model: Model, evidence: Evidence) -> None:
    token = model.encode(CAPITAL_OF_JAPAN, add_special_tokens=False)[0]
    found = measure.row_counts.compare_row_counts(model, token)
    evidence["rows"] = found
    for each in found:
        assert each.explained, (
            f"in {each.rows} rows a distance of logits changes by {each.noise:.2g}, where "
            f"rounding explains {each.tolerance:.2g}"
            + f"; {each.flips} choices change, {each.margin:.2g} apart" * bool(each.flips)
            + conditions(model, each.layer)
        )


@pytest.mark.claim("greedy-deterministic")
@pytest.mark.needs("tokenizer", "logits")
def test_logits_are_the_same_in_any_batch(model: Model, evidence: Evidence) -> None:
    groups = measure.reference_prompts.load_reference_prompts().values()
    prompts = [prompt for group in groups for prompt in group]
    kept = measure.reference_prompts.measure_logprobs(model, prompts)
    evidence["prompts"], evidence["positions"] = len(prompts), sum(len(p.ids) for p in kept.prompts)
    evidence.update(
        KeptPrompts(
            kept_prompts=kept.prompts, noise=kept.noise, tolerance=kept.tolerance
        ).as_evidence()
    )
    tolerance, layer = kept.tolerance, ""
    if "weights" in model.capabilities:
        noise = measure.reference_prompts.simulate_noise(model, prompts[::4])
        evidence["simulated_noise"], tolerance = noise, noise.tolerance
        if kept.noise > tolerance:
            layer = measure.reference_prompts.find_layer(model, prompts)
    evidence["layer"] = layer
    assert kept.noise <= tolerance, (
        f"logits change by {kept.noise:.2g} with the batch, where rounding explains {tolerance:.2g}"
        f"{conditions(model, layer)}"
    )


def only_the_text_differs(
    texts: tuple[Generation, Generation], answer: str, evidence: Evidence
) -> None:
    with_bos, without = (text.text for text in texts)
    evidence["with_bos"], evidence["without_bos"] = with_bos, without
    assert with_bos != without, f"BOS makes no difference: {without!r} with it and without"
    for how, text in (("with", with_bos), ("without", without)):
        right = text.strip().startswith(answer)
        assert right, f"{how} BOS the answer is not {answer}: {text!r}"


@pytest.mark.claim("bos-changes-text")
@pytest.mark.parametrize("length", LENGTHS)
def test_bos_changes_the_text_and_not_the_answer(
    model: Model, greedy_capitals: Capitals, evidence: Evidence, length: int
) -> None:
    only_the_text_differs(greedy_capitals(length)["Japan"], "Tokyo", evidence)


@pytest.mark.claim("bos-recorded")
def test_text_without_bos_is_the_published_one(model: Model, evidence: Evidence) -> None:
    expected = published.find_text("bos-recorded")
    ids = model.encode(expected.prompt, add_special_tokens=expected.special_tokens)
    (text,) = measure.greedy.generate_greedy(model, [ids], expected.tokens)
    finding = measure.recorded_outputs.judge_published_text(model, expected, text)
    evidence.update(asdict(finding), source=published.load_outputs().source)
    assert finding.holds, finding.reason


@pytest.mark.claim("other-countries")
@pytest.mark.parametrize("country", [country for country in CAPITALS if country != "Japan"])
def test_bos_changes_other_countries_texts_and_not_their_answers(
    model: Model, greedy_capitals: Capitals, evidence: Evidence, country: str
) -> None:
    only_the_text_differs(greedy_capitals(60)[country], CAPITALS[country], evidence)


@pytest.mark.claim("greedy-repeats")
def test_long_greedy_text_repeats_itself_more_than_sampled_text(
    model: Model, seed: int, greedy: Greedy, evidence: Evidence
) -> None:
    stories = greedy(measure.repetition.LENGTH)[-len(STORIES) :]
    longest = max(len(text.ids[0]) for text in stories)
    if longest < min(LENGTHS):
        pytest.skip(
            f"none of its greedy texts is longer than {longest}: too short to repeat itself"
        )
    found = measure.repetition.compare_repetition(model, stories, samples=8, seed=seed)
    evidence.update(found.as_evidence())
    assert found.greedy_distinct < found.sampled_distinct, (
        f"greedy text repeats itself no more: {found.greedy_distinct:.1%} of its 4-grams are "
        f"distinct, of sampled text {found.sampled_distinct:.1%}"
    )
    assert found.p_value < stats.goodness_of_fit.DIFFERENCE_ALPHA, (
        f"greedy text repeats itself hardly more: p = {found.p_value:.2g}"
    )


@pytest.mark.claim("beam-one")
@pytest.mark.parametrize("number", SEARCHED)
def test_one_beam_is_greedy(model: Model, greedy: Greedy, evidence: Evidence, number: int) -> None:
    one = measure.greedy.search_beams(model, PROMPTS[number], beams=1, length=20)
    text = greedy(20)[number]
    evidence["one_beam"], evidence["greedy"] = one.text, text.text
    assert one.text.startswith(text.text), (
        f"one beam gives {one.text!r}, greedy decoding {text.text!r}"
    )


@pytest.mark.claim("beam-likelihood")
@pytest.mark.parametrize("prompt", [PROMPTS[number] for number in SEARCHED])
def test_best_of_four_beams_is_no_less_likely_than_greedy(
    model: Model, greedy: Greedy, evidence: Evidence, prompt: str
) -> None:
    one = measure.greedy.search_beams(model, prompt, beams=1, length=20)
    text = greedy(20)[PROMPTS.index(prompt)]
    rounding = 20 * stats.rounding.logit_tolerance(
        [measure.greedy.step_logits(text)], model.facts().dtype
    )
    beams = measure.greedy.search_beams(model, prompt, beams=4, length=20)
    evidence.update(BeamComparison(greedy=one, four_beams=beams).as_evidence())
    assert beams.log_probability >= one.log_probability - rounding, (
        f"the best of four beams has a log-probability of {beams.log_probability:.2f}: "
        f"{one.log_probability - beams.log_probability:.2g} below greedy decoding"
    )


@pytest.mark.claim("beam-rows")
def test_four_beams_compute_more_rows_than_one(model: Model, evidence: Evidence) -> None:
    one, beams = (
        measure.greedy.search_beams(model, PROMPTS[SEARCHED[0]], beams=number, length=20)
        for number in (1, 4)
    )
    evidence["rows_of_one_beam"], evidence["rows_of_four_beams"] = one.rows, beams.rows
    assert beams.rows > 2 * one.rows, (
        f"four beams take {beams.rows} rows through the model, one beam {one.rows}: too few"
    )
