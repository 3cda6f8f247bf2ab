"""Claims: loading and the default generation."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from probes import measure
from probes.data import published
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, SCRIPTS

if TYPE_CHECKING:
    from probes import Model

Evidence = dict[str, Any]

PROMPTS = (CAPITAL_OF_JAPAN, "Once upon a time,", "What is the capital of United States? ")


@pytest.mark.claim("default-length")
@pytest.mark.parametrize("prompt", PROMPTS)
def test_generate_with_no_arguments_is_greedy_and_adds_20_tokens(
    model: Model, evidence: Evidence, prompt: str
) -> None:
    found = measure.generation_defaults.generate_by_default(model, prompt)
    evidence["prompt"] = prompt
    evidence["text"] = found.generation.text
    evidence["prompt_tokens"] = len(found.generation.prompt_ids)
    evidence["new_tokens"] = found.new_tokens
    assert found.generation.ids[0] == found.greedy_ids, (
        f"the default is not greedy: {found.generation.text!r}, by argmax "
        f"{model.decode(found.greedy_ids)!r}"
    )
    assert found.new_tokens == 20 or (found.ended and found.new_tokens < 20), (
        f"generate() added {found.new_tokens} tokens to a prompt of "
        f"{len(found.generation.prompt_ids)}, not 20"
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
@pytest.mark.needs("model", "weights")
def test_open_ended_generation_pads_with_the_end_token(model: Model, evidence: Evidence) -> None:
    pad, end = measure.generation_defaults.padding_ids(model)
    if pad is not None:
        pytest.skip(f"its generation settings name a pad token of their own, id {pad}")
    if end is None:
        pytest.skip("it has no end-of-sequence token to pad with")
    evidence["end_id"] = end
    evidence["padding"] = filled = measure.generation_defaults.pad_after_end(
        model, CAPITAL_OF_JAPAN
    )
    assert filled == [end] * 3, f"a row that ended is filled with {filled}, not with id {end}"


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
    worst = max(error.worst for error in errors)
    one_row = max(error.one_row for error in errors)
    # bfloat16 kernels round the levels once more: by up to 1/256 of a weight, 0.026 of the gap.
    assert worst <= 1.05, (
        f"a weight lies {worst:.3g} times as far from its original as the nearest level allows"
    )
    assert one_row <= 0.02, (
        f"one row's output is {one_row:.0%} off: it sees other weights than many"
    )


@pytest.mark.claim("quantization-cost")
def test_4_bit_logits_stay_close(
    model: Model, in_nf4: Model, unquantized: Model, evidence: Evidence
) -> None:
    distance = measure.quantization.measure_logit_distance(
        unquantized, in_nf4, list(SCRIPTS.values())
    )
    evidence.update(asdict(distance))
    assert distance.cosine > 0.8, f"the cosine of the logits is only {distance.cosine:.3g}"
    assert distance.kl < 1.0, f"the distributions are {distance.kl:.3g} nats apart (KL)"


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
