"""What the built-in claims share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes import measure
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, CAPITALS, PROMPTS
from probes.errors import UserError
from probes.measure.asking import list_prompts
from probes.plugin import recordings
from probes.results.environment import describe_environment
from probes.schema.recorded_output import describe_provenance, describe_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes import Model
    from probes.engines.base import Generation


@pytest.fixture
def recorded_table() -> str:
    """The recorded vocabulary table of Mistral-7B-v0.1."""
    file = Path(__file__).parent / recordings.SHIPPED / "mistral-7b-v0.1-vocabulary.txt"
    return file.read_text(encoding="utf-8")


@pytest.fixture
def in_nf4(model: Model) -> Model:
    """The target in NF4: itself, or a copy beside it where there is room."""
    return model.variant(quantization="nf4")


@pytest.fixture
def unquantized(model: Model) -> Model:
    """The target without quantization: itself, or a copy beside it where there is room."""
    if model.target.quantization.value != "none" and model.checkpoint.weight_bytes > 2**30:
        pytest.skip("too large for an unquantized copy to be loaded beside it")
    return model.variant(quantization="none")


@pytest.fixture
def greedy(model: Model) -> Callable[[int], list[Generation]]:
    """Greedy texts of the standard prompts: one batch, made once, cut to the length asked for."""

    def texts(length: int) -> list[Generation]:
        prompts = list_prompts(model)
        prompt = max(len(model.encode_prompt(prompt)) for prompt in prompts)
        shared = measure.greedy.SHARED_LENGTH
        room = (model.context_length or prompt + shared) - prompt
        longest = measure.greedy.generate_greedy(model, prompts, max(length, min(shared, room)))
        return [measure.greedy.truncate(text, length, model) for text in longest]

    return texts


@pytest.fixture
def greedy_capitals(model: Model) -> Callable[[int], dict[str, tuple[Generation, Generation]]]:
    """For each country the greedy texts after its capital prompt, with BOS and without."""
    prompts = [CAPITAL_OF_JAPAN.replace("Japan", country) for country in CAPITALS]
    ids, without = (
        [model.encode(prompt, add_special_tokens=bos) for prompt in prompts]
        for bos in (True, False)
    )
    shared = 0
    if ids != without:  # then claims about BOS compare longer texts
        ids, shared = ids + without, min(60, measure.greedy.SHARED_LENGTH)

    def texts(length: int) -> dict[str, tuple[Generation, Generation]]:
        longest = measure.greedy.generate_greedy(model, ids, max(length, shared))
        short = [measure.greedy.truncate(text, length, model) for text in longest]
        pairs = zip(short[: len(CAPITALS)], short[-len(CAPITALS) :], strict=True)
        return dict(zip(CAPITALS, pairs, strict=True))

    return texts


@pytest.fixture
def recorded(model: Model, request: pytest.FixtureRequest) -> recordings.Recorded:
    """What is recorded of the target in this environment for the test that asks."""
    _ = model.network  # loaded, it knows its device, dtype and attention
    facts = model.facts()
    made = describe_provenance(facts, describe_environment(facts.device), batch=len(PROMPTS))
    try:
        return recordings.open_recorded(request, made)
    except UserError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture
def recorded_of_tokenizer(model: Model, request: pytest.FixtureRequest) -> recordings.Recorded:
    """What is recorded of the target's tokenizer, in any environment."""
    made = describe_tokenizer(model.facts(), describe_environment("cpu"))
    try:
        return recordings.open_recorded(request, made)
    except UserError as error:
        pytest.fail(str(error), pytrace=False)
