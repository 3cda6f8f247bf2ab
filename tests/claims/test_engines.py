"""Claims: an engine computes what its reference says: ids, log-probabilities, texts, draws."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from probes import measure
from probes.data.tokenizer_texts import (
    CAPITAL_OF_JAPAN,
    CAPITAL_OF_JAPAN_JA,
    QUESTION,
    STORIES,
    corpus,
)
from probes.measure.asking import list_prompts
from probes.schema.evidence.engines import (
    AS_ASKED,
    UNKNOWN,
    EngineDistance,
    EnginePair,
    EnginePairs,
    EnginePower,
    EngineSteps,
    SettingEvidence,
    SettingPower,
    SettingsInForce,
)
from probes.schema.sampling import InForce, Sampling

if TYPE_CHECKING:
    from probes import Model
    from probes.engines.base import Engine
    from probes.measure.engine_logprobs import Comparison
    from probes.measure.engine_texts import TextPair

Evidence = dict[str, Any]

LENGTH = 20
TEXTS = 400
"""Texts whose ids are compared: requests take longer than a tokenizer in this process."""

SHOWN = 5

NO_IDS = "the ids of none of its texts are known: it does not tell them, or not all"

NO_STEPS = "none of its texts has log-probabilities and known ids of all its tokens"

EMOJI = "🎉🎊🎁 🎉🎊🎁 🎉🎊"
"""Most likely goes on with characters of several bytes."""

CHATS = [
    [{"role": "user", "content": QUESTION}],
    [
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": "Washington, D.C."},
        {"role": "user", "content": "And of Japan?"},
    ],
]

ASKED: dict[str, InForce | None] = {
    "temperature 1": InForce(),
    "temperature 1.4, top_p 0.9": InForce(Sampling(temperature=1.4, top_p=0.9, top_k=0)),
    "nothing": None,
}


@pytest.mark.claim("engine-ids")
@pytest.mark.parametrize("special_tokens", [True, False], ids=["with-bos", "without"])
def test_engine_has_the_ids_of_its_reference(
    model: Engine, reference: Model, evidence: Evidence, special_tokens: bool
) -> None:
    texts = corpus()
    texts = texts[:: max(1, len(texts) // TEXTS)]
    if measure.engine_records.is_record(reference):
        texts = tuple(reference.prompts if special_tokens else reference.texts_with_ids)
        if not texts:
            pytest.skip("its reference is a record, without ids")
    found = measure.engine_ids.compare_ids(model, reference, texts, special_tokens=special_tokens)
    evidence["texts_encoded"], evidence["texts_that_differ"] = len(texts), len(found)
    evidence["differences"] = [each.describe() for each in found[:SHOWN]]
    if not found:
        return
    cause = measure.engine_ids.explain_ids(reference, texts, found, special_tokens=special_tokens)
    evidence["cause"] = cause
    pytest.fail(
        f"{len(found)} of {len(texts)} texts have other ids, {cause}: {found[0].describe()}",
        pytrace=False,
    )


@pytest.mark.claim("engine-ids")
def test_engine_renders_a_chat_as_its_reference(
    model: Engine, reference: Model, evidence: Evidence
) -> None:
    if reason := reference.explain_missing("chat"):
        pytest.skip(f"its reference renders no chat: {reason}")
    if not hasattr(model, "encode_messages"):
        pytest.skip("it is no server, which has a chat template of its own")
    found = measure.engine_ids.compare_chats(model, reference, CHATS)
    evidence["chats_rendered"], evidence["chats_that_differ"] = len(CHATS), len(found)
    evidence["differences"] = [each.describe() for each in found]
    assert not found, (
        f"{len(found)} of {len(CHATS)} chats are rendered otherwise: {found[0].describe()}"
    )


@pytest.mark.claim("engine-logprobs")
def test_engine_has_the_log_probabilities_of_its_reference(
    model: Engine, reference: Model, evidence: Evidence
) -> None:
    prompts = list_prompts(reference)
    found = measure.engine_logprobs.compare_logprobs(model, reference, prompts, LENGTH)
    if not found.steps:
        pytest.skip(NO_STEPS)
    evidence.update(EngineSteps(engine_steps=found.steps, tolerance=found.tolerance).as_evidence())
    evidence["precision"], evidence["largest_change"] = found.precision, found.largest_change
    evidence["listed_step"] = found.listed_step
    if found.largest_change <= found.tolerance:
        return
    quantization = measure.engine_logprobs.quantization_of(model)
    if measure.engine_records.is_record(reference):
        complain_by_record(found, reference, quantization)
    causes = measure.engine_logprobs.explain_change(model, reference, prompts, LENGTH)
    evidence["causes"] = [{"cause": c.name, "rest": c.distance} for c in causes]
    cause = measure.engine_logprobs.name_cause(causes, found)
    if quantization and not cause.is_named:
        pytest.skip(f"it computes with weights in {quantization}: see engine-distance")
    lengths = measure.engine_answers.compare_prompt_lengths(model, reference, prompts, LENGTH)
    worst = max(found.steps, key=lambda step: step.change)
    kinds = measure.engine_replicas.describe_kinds(
        model, reference, worst.prompt, worst.position + 1, found.tolerance, found.largest_change
    )
    words = cause.words if cause.is_named or not (lengths or kinds) else ""
    pytest.fail(
        f"log-probabilities move by up to {found.largest_change:.2g} against each other, where "
        f"rounding in {found.precision} explains {found.tolerance:.2g}: "
        f"{'; '.join(filter(None, (words, lengths, kinds)))}",
        pytrace=False,
    )


def complain_by_record(found: Comparison, reference: Any, quantization: str | None) -> None:
    if quantization:
        pytest.skip(f"it computes with weights in {quantization}: see engine-distance")
    dtype = reference.facts().dtype
    moved = f"log-probabilities move by up to {found.largest_change:.2g} against each other"
    explained = f"by the record rounding in {dtype} explains {found.tolerance:.2g}"
    if found.precision != dtype:
        pytest.skip(f"{moved} in {found.precision}, and {explained}: name the weights instead")
    other = "" if found.same_top_token >= 0.5 else "another model: "
    pytest.fail(
        f"{other}{moved}, where {explained}; the most likely token is the same at "
        f"{found.same_top_token:.0%} of the steps",
        pytrace=False,
    )


@pytest.mark.claim("engine-distance")
def test_engine_is_no_farther_from_its_reference_than_4_bit_weights(
    model: Engine, reference: Model, evidence: Evidence
) -> None:
    prompts = list_prompts(reference)
    found = measure.engine_logprobs.compare_logprobs(model, reference, prompts, LENGTH)
    if not found.steps:
        pytest.skip(NO_STEPS)
    if reason := reference.explain_missing("nf4"):
        steps = EngineSteps(engine_steps=found.steps, tolerance=found.tolerance)
        evidence.update(steps.as_evidence())
        pytest.skip(f"its reference cannot be set beside a 4-bit copy: {reason}")
    nf4 = measure.engine_logprobs.load_in_4_bit(reference)
    copy = measure.engine_logprobs.follow_texts(nf4, reference, model, prompts, LENGTH)
    engine, quantized = found.mean_divergence, copy.mean_divergence
    shape = EngineDistance(
        engine_steps=found.steps,
        tolerance=found.tolerance,
        mean_divergence=engine,
        mean_divergence_of_nf4=quantized,
        same_top_token=found.same_top_token,
    )
    evidence.update(shape.as_evidence())
    assert engine <= quantized, (
        f"its distribution is {engine:.2g} nats from the reference's, that of the reference in "
        f"4-bit NF4 {quantized:.2g}"
    )


@pytest.mark.claim("engine-greedy")
def test_engine_gives_the_same_texts_alone_and_among_others(
    model: Engine, reference: Model, evidence: Evidence
) -> None:
    prompts = list_prompts(reference)
    found = measure.engine_texts.vary_requests(model, reference, prompts, LENGTH)
    # What quantized arithmetic moves, another batch of it may move as well.
    noise = measure.engine_logprobs.measure_slack(model, reference, prompts, LENGTH)
    evidence["texts_left_out"] = 2 * len(prompts) - len(found)
    verdict_of(model, reference, evidence, found, noise)


@pytest.mark.claim("engine-greedy")
def test_engine_gives_the_texts_of_its_reference(
    model: Engine, reference: Model, evidence: Evidence
) -> None:
    if quantization := measure.engine_logprobs.quantization_of(model):
        pytest.skip(f"it computes with weights in {quantization}: texts may differ")
    prompts = list_prompts(reference)
    found = measure.engine_texts.compare_with_reference(model, reference, prompts, LENGTH)
    _, tolerance = measure.engine_logprobs.measure_tolerance(model, reference, prompts, LENGTH)
    evidence["texts_left_out"] = len(prompts) - len(found)
    verdict_of(model, reference, evidence, found, tolerance)


@pytest.mark.claim("engine-greedy")
def test_chat_answers_continue_the_rendered_chat(
    model: Engine, reference: Model, evidence: Evidence
) -> None:
    if reason := reference.explain_missing("chat"):
        pytest.skip(f"its reference renders no chat: {reason}")
    if not hasattr(model, "answer_messages"):
        pytest.skip("it is no server, which has a chat template of its own")
    if measure.engine_prompts.asks_in_chat(model):
        pytest.skip("it has chat completions alone, of which the other checks are")
    prompts = list_prompts(reference)
    pairs = measure.engine_chats.compare_answers(model, reference, CHATS, LENGTH)
    tolerance = measure.engine_logprobs.measure_slack(model, reference, prompts, LENGTH)
    evidence["chats_answered"], evidence["noise_of_chats"] = pairs, tolerance
    for pair in pairs:
        if pair.is_explained(tolerance):
            continue
        template = measure.engine_chats.name_template(model, reference, prompts, LENGTH)
        pytest.fail(
            f"after {pair.prompt!r} a chat completion does not continue the chat as the reference "
            f"renders it: {template or 'another chat template, or system prompt'}\n"
            f"{pair.text!r}\n{pair.other!r}",
            pytrace=False,
        )


def verdict_of(
    model: Engine, reference: Model, evidence: Evidence, pairs: list[TextPair], tolerance: float
) -> None:
    if not pairs:
        pytest.skip(NO_IDS)
    kept = [
        EnginePair(**vars(pair) | {"margin": pair.margin if math.isfinite(pair.margin) else None})
        for pair in pairs
    ]
    evidence.update(EnginePairs(pairs=kept, noise=tolerance).as_evidence())
    for pair in pairs:
        assert pair.is_explained(tolerance), explain_pair(model, reference, pair, tolerance)


def explain_pair(model: Engine, reference: Model, pair: TextPair, tolerance: float) -> str:
    texts = f"{pair.text!r}\n{pair.other!r}"
    if pair.is_garbled:
        return (
            f"after {pair.prompt!r} a text has the replacement character U+FFFD where the other "
            f"({pair.way}) has none\n{texts}"
        )
    is_finite = math.isfinite(pair.margin)
    why = (
        f"no near-tie: the reference's logits lie {pair.margin:.2g} apart there, where "
        f"rounding moves each by {tolerance:.2g}"
        if is_finite
        else "as one of the two has ended"
    )
    lengths = measure.engine_answers.compare_prompt_lengths(
        model, reference, list_prompts(reference), LENGTH
    )
    change = pair.margin if is_finite else 0.0
    kinds = measure.engine_replicas.describe_kinds(
        model, reference, pair.prompt, (pair.step or 0) + 1, tolerance, change
    )
    template = ""
    if measure.engine_prompts.asks_in_chat(model):
        prompts = list_prompts(reference)
        template = measure.engine_chats.name_template(model, reference, prompts, LENGTH)
    causes = "; ".join(filter(None, (why, template, lengths, kinds)))
    return f"after {pair.prompt!r} token {pair.step} is another ({pair.way}), {causes}\n{texts}"


@pytest.mark.claim("engine-sampling")
@pytest.mark.parametrize("asked", ASKED.values(), ids=ASKED.keys())
def test_draws_follow_the_settings_asked_for(
    model: Engine, reference: Model, seed: int, evidence: Evidence, asked: InForce | None
) -> None:
    prompts = (*STORIES, CAPITAL_OF_JAPAN)
    if asked is None and measure.engine_sampling.defaults_of(model, reference) is None:
        pytest.skip("asked for nothing it decodes greedily")
    found = measure.engine_sampling.judge_draws(model, reference, prompts, asked, seed=seed)
    if not found.tokens:
        pytest.skip(NO_IDS)
    in_order = sorted(found.evidence.items(), key=lambda pair: -pair[1])
    best = [SettingEvidence(settings=name, nats=max(-1e9, nats)) for name, nats in in_order]
    cause = AS_ASKED
    if not found.good:
        cause = measure.engine_sampling.explain_settings(
            model, reference, prompts, asked, seed=seed
        )
    shape = SettingsInForce(
        drawn_tokens=found.tokens,
        log_e=max(-1e9, found.log_e),
        limit=math.log(len(best)) - measure.engine_sampling.LOG_ALPHA,
        alternatives=best[:SHOWN],
        in_force=cause or UNKNOWN,
    )
    evidence.update(shape.as_evidence())
    if found.good:
        return
    why = f"they follow {cause}" if cause else "none of the known explains it"
    outside = (
        f"{found.outside} of them are tokens that the settings drop; " if found.outside else ""
    )
    pytest.fail(
        f"{found.tokens} tokens do not follow the settings asked for: {outside}{why} "
        f"(log of the e-value {found.log_e:.1f}, limit {-measure.engine_sampling.LOG_ALPHA:.1f})",
        pytrace=False,
    )


@pytest.mark.claim("engine-stops")
def test_engine_stops_where_it_is_told_to(
    model: Engine, reference: Model, evidence: Evidence
) -> None:
    found = measure.engine_texts.stop_engine(model, [CAPITAL_OF_JAPAN, STORIES[0]], LENGTH)
    evidence["engine_stops"] = found
    for stop in found:
        assert not stop.is_wrong, stop.message
    if not any(stop.shows_string for stop in found):
        pytest.skip("its texts are empty, or others when they are to stop at a string")


@pytest.mark.claim("engine-streams")
def test_streamed_text_is_the_whole_one(model: Engine, evidence: Evidence) -> None:
    prompts = [CAPITAL_OF_JAPAN, CAPITAL_OF_JAPAN_JA, STORIES[0], EMOJI]
    found = measure.engine_streams.stream_texts(model, prompts, LENGTH)
    evidence["engine_streams"] = found
    for each in found:
        assert not each.problem, (
            f"streamed after {each.prompt!r}, {each.problem}\n{each.streamed!r}\n{each.whole!r}"
        )


@pytest.mark.claim("engine-power")
def test_draws_would_show_other_settings(
    model: Engine, reference: Model, seed: int, evidence: Evidence
) -> None:
    prompts = (*STORIES, CAPITAL_OF_JAPAN)
    found = measure.engine_sampling.judge_draws(model, reference, prompts, InForce(), seed=seed)
    needed, drawn = found.needed, found.tokens
    power = [
        SettingPower(settings=name, tokens=None if math.isinf(count) else int(count))
        for name, count in needed.items()
    ]
    evidence.update(EnginePower(drawn_tokens=drawn, tokens_needed=power).as_evidence())
    hot = "temperature 2 times what was asked for"
    assert needed[hot] <= drawn, (
        f"{drawn} drawn tokens do not show a doubled temperature: {needed[hot]:,.0f} are needed"
    )
