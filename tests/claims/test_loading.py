"""Claims: loading and the default generation."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from probes import measure
from probes.data import published, questions
from probes.data.corpus import load_corpus
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN
from probes.schema.evidence.quantization import QuantizationCosts
from probes.schema.evidence.shape import Measured

if TYPE_CHECKING:
    from probes import Model

Evidence = dict[str, Any]

PROMPTS = (CAPITAL_OF_JAPAN, "Once upon a time,", "What is the capital of United States? ")


@pytest.mark.claim("default-length")
@pytest.mark.parametrize("prompt", PROMPTS)
def test_generate_with_no_arguments_is_greedy_and_adds_20_tokens(
    model: Model, evidence: Evidence, prompt: str
) -> None:
    own = measure.generation_defaults.read_own_settings(model)
    found = measure.generation_defaults.generate_by_default(model, prompt)
    prompt_tokens = len(found.generation.prompt_ids)
    evidence["prompt"] = prompt
    evidence["text"] = found.generation.text
    evidence["prompt_tokens"] = prompt_tokens
    evidence["new_tokens"] = found.new_tokens
    evidence["own_settings"] = own
    # What a model's own files ask for instead of greedy text is not decided here.
    assert own.not_greedy or found.generation.ids[0] == found.greedy_ids, (
        f"the default is not greedy: {found.generation.text!r}, by argmax "
        f"{model.decode(found.greedy_ids)!r}"
    )
    expected = own.expected_new_tokens(prompt_tokens)
    assert found.new_tokens == expected or (found.ended and found.new_tokens < expected), (
        f"generate() added {found.new_tokens} tokens to a prompt of {prompt_tokens}, not {expected}"
    )


@pytest.mark.claim("default-text")
def test_default_continuation_is_the_published_one(model: Model, evidence: Evidence) -> None:
    expected = published.find_text("default-text")
    text = model.generate(expected.prompt, output_logits=True)
    finding = measure.recorded_outputs.judge_published_text(model, expected, text)
    evidence.update(asdict(finding), source=published.load_outputs().source)
    assert finding.holds, finding.reason


@pytest.mark.claim("pad-token")
@pytest.mark.needs("mistral-tokenizer")
def test_tokenizer_has_no_pad_token(model: Model, evidence: Evidence) -> None:
    evidence["pad_token"] = pad = model.tokenizer.pad_token
    assert pad is None, f"the tokenizer pads with {pad!r}"


@pytest.mark.claim("pad-token")
def test_tokenizer_pads_as_its_files_say(model: Model, evidence: Evidence) -> None:
    found = measure.tokenizer.read_padding(model, ["a", CAPITAL_OF_JAPAN])
    evidence.update(asdict(found))
    assert not found.problem, found.problem


@pytest.mark.claim("pad-token")
@pytest.mark.needs("model", "weights")
def test_open_ended_generation_pads_as_its_settings_say(model: Model, evidence: Evidence) -> None:
    pad, end = measure.generation_defaults.padding_ids(model)
    if end is None:
        pytest.skip("it has no end-of-sequence token: none of its rows ends before another")
    evidence["pad_id"], evidence["end_id"] = pad, end
    evidence["padding"] = filled = measure.generation_defaults.pad_after_end(
        model, CAPITAL_OF_JAPAN
    )
    expected = end if pad is None else pad
    assert filled == [expected] * 3, (
        f"a row that ended is filled with {filled}, not with id {expected}"
    )


@pytest.mark.claim("load-nf4")
def test_decoder_linear_layers_are_4_bit_and_no_others(
    model: Model, in_nf4: Model, evidence: Evidence
) -> None:
    layers = measure.quantization.list_linear_layers(in_nf4)
    evidence["layers"] = layers
    wrong = [x.name for x in layers if x.four_bit is not (x.role == "decoder")]
    assert any(layer.four_bit for layer in layers), "no layer is 4-bit"
    assert not wrong, f"stored otherwise than claimed: {wrong}"


@pytest.mark.claim("load-nf4")
def test_embedding_rows_are_not_quantized(model: Model, in_nf4: Model, evidence: Evidence) -> None:
    rows = in_nf4.embedding()
    evidence["embedding_dtype"] = str(rows.dtype)
    assert rows.is_floating_point(), f"the embedding rows are kept as {rows.dtype}"
    assert rows.element_size() >= 2, f"the embedding rows are kept as {rows.dtype}, below 16 bits"


@pytest.mark.claim("load-nf4")
def test_4_bit_weights_take_the_memory_arithmetic_says(
    model: Model, in_nf4: Model, evidence: Evidence
) -> None:
    memory = measure.quantization.measure_memory(in_nf4)
    evidence.update(memory.as_evidence())
    assert memory.linear_bytes == memory.expected_linear_bytes, (
        f"the 4-bit layers take {memory.linear_bytes:,} bytes, not {memory.expected_linear_bytes:,}"
    )


@pytest.mark.claim("load-nf4")
def test_mistral_7b_takes_4_45_gb_by_the_same_arithmetic(evidence: Evidence) -> None:
    memory = measure.quantization.compute_mistral_7b_memory()
    evidence.update(memory.as_evidence())
    for name, found, known, rel in (
        ("parameters in linear layers", memory.linear_parameters, 6.979e9, 1e-3),
        ("bytes in NF4", memory.total_bytes, 4.45e9, 2e-3),
        ("bytes in fp16", memory.fp16_bytes, 14.48e9, 2e-3),
    ):
        assert found == pytest.approx(known, rel=rel), f"{found:,} {name}, not {known:,.0f}"


@pytest.mark.claim("load-nf4")
def test_4_bit_weights_are_the_nearest_levels(
    model: Model, in_nf4: Model, unquantized: Model, evidence: Evidence
) -> None:
    errors = list(measure.quantization.measure_layer_errors(in_nf4, unquantized))
    evidence["layers"] = errors
    worst = max(errors, key=lambda error: error.share)
    assert worst.share <= 1, worst.describe()


SMALL = 2**27
"""Bytes of weights up to which answers are compared on a CPU; above it takes a minute."""

KINDS = ("nf4", "nf4-double", "fp4", "int8")

QUANTIZES = ("tokenizer", "logits", "weights", "variants", "quantized")
"""What a model needs to be compared with its own quantizations."""

LISTED_EVERY = 32
"""One of so many positions is asked of an engine that lists tokens at one position a request."""


@pytest.mark.claim("quantization-cost")
@pytest.mark.needs(*QUANTIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_model_predicts_as_the_unquantized_one_does(
    model: Model,
    unquantized: Model,
    evidence: Evidence,
    seed: int,
    pytestconfig: pytest.Config,
    kind: str,
) -> None:
    thorough = bool(pytestconfig.option.thorough_claims)
    own = measure.quantized_weights.own_quantization(model)
    if own not in (None, kind):
        pytest.skip(f"its weights are in {own}")
    if kind != "nf4" and own is None and not thorough:
        pytest.skip("decided under --thorough-claims")
    if unquantized is model and own is not None:
        pytest.skip(f"its weights are stored in {own}: name the original with --reference")
    _ = unquantized.network  # loaded, it knows its dtype
    quantized = model if own else model.variant(quantization=kind, dtype=unquantized.facts().dtype)
    is_fast = thorough or model.device.type != "cpu"
    compare_predictions(
        unquantized, quantized, kind, evidence, thorough=thorough, seed=seed if is_fast else None
    )
    if quantized is not model:
        model.discard_variant(quantized)


@pytest.mark.claim("quantization-cost")
@pytest.mark.needs("token-ids", "logprobs", "reference")
def test_a_model_predicts_as_its_reference_does(
    model: Model, reference: Model, evidence: Evidence, pytestconfig: pytest.Config
) -> None:
    if reason := reference.explain_missing("logits"):
        pytest.skip(f"its reference gives no logits: {reason}")
    if "weights" in model.capabilities and measure.quantized_weights.own_quantization(model):
        pytest.skip("compared with its reference above, as its weights are quantized")
    thorough = bool(pytestconfig.option.thorough_claims)
    kind = measure.quantization_cost.name_storage(model)
    compare_predictions(reference, model, kind, evidence, thorough=thorough)


def compare_predictions(
    reference: Model,
    quantized: Model,
    kind: str,
    evidence: Evidence,
    *,
    thorough: bool,
    seed: int | None = None,
) -> None:
    """Compare both over a text, in answers, and in stories where there is a seed."""
    texts = measure.scored_windows.cut_windows(
        reference,
        load_corpus(quantized.target.corpus),
        context_length=measure.scored_windows.find_context(reference, quantized),
        most=None if thorough else 2,
    )
    is_fast = thorough or reference.device.type != "cpu"
    is_quick = is_fast or reference.checkpoint.weight_bytes < SMALL
    asked = measure.asking.ask(reference, questions.load_questions(quantized.target.questions))
    found = measure.quantization_cost.measure_cost(
        reference,
        quantized,
        kind,
        texts=texts,
        questions=asked if is_quick else (),
        seed=seed,
        every=measure.scored_windows.LISTED_EVERY if thorough else LISTED_EVERY,
    )
    before = reference.facts()
    evidence.update(
        QuantizationCosts(
            quantization_costs=[found],
            reference=before.dtype,
            reference_bytes=before.weight_bytes or 0,
            stored_as=reference.target.stored_as or reference.checkpoint.stored_as or "",
            corpus=load_corpus(quantized.target.corpus).name,
        ).as_evidence()
    )
    mean, same = found.mean_divergence, found.same_top
    assert mean is not None and same is not None, "each text has two windows or more"  # noqa: PT018
    evidence.update(Measured(measured={"mean_divergence": mean, "same_top": same}).as_evidence())
    at_least = "" if found.whole else "at least "
    assert same.value > 0.5, (
        f"in {kind} another token is most likely at {1 - same.value:.0%} of "
        f"{found.positions:,} positions; the mean KL divergence is "
        f"{at_least}{mean.value:.3g} nats"
    )


@pytest.mark.claim("quantized-same-weights")
@pytest.mark.parametrize("kind", KINDS)
def test_a_quantized_layer_computes_with_the_weights_it_stores(
    model: Model, evidence: Evidence, pytestconfig: pytest.Config, kind: str
) -> None:
    own = measure.quantized_weights.own_quantization(model)
    if own not in (None, kind):
        pytest.skip(f"its weights are in {own}")
    quantized = model if own else model.variant(quantization=kind)
    # The NF4 copy is used by other claims; of others a sample of the layers is enough.
    thorough = bool(pytestconfig.option.thorough_claims)
    is_own_copy = quantized is not model and kind != "nf4"
    layers = measure.quantized_layers.compare_layers(
        quantized,
        CAPITAL_OF_JAPAN,
        sampled=is_own_copy and not thorough,
        thorough=thorough,
        original=None if own else model,
    )
    evidence["layers"] = layers
    if is_own_copy:
        model.discard_variant(quantized)
    assert layers, f"no layer is quantized to {kind}"
    worst = max(layers, key=lambda layer: layer.share)
    assert worst.share <= 1, (
        f"{worst.name}, {worst.kind}: an output is {worst.share:.3g} times as far from the input "
        f"times the stored weights as rounding explains (input: {worst.worst_input})"
    )


@pytest.mark.claim("load-to-device")
def test_moving_to_its_own_device_changes_nothing(
    model: Model, in_nf4: Model, evidence: Evidence
) -> None:
    if in_nf4.is_split:
        pytest.skip("its weights are split over several devices: none of them is its own")
    moved = measure.quantization.move_to_own_device(in_nf4, CAPITAL_OF_JAPAN)
    evidence.update(asdict(moved))
    assert not moved.changed_weights, f"weights changed: {moved.changed_weights}"
    change = moved.largest_logit_change
    assert change == 0.0, f"a logit changes by {change:.2g} with the move"
