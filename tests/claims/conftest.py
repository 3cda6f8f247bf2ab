"""What the built-in claims share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, CAPITALS, PROMPTS
from probes.errors import UserError
from probes.measure.greedy import generate_greedy, truncate
from probes.plugin import snapshots
from probes.results.environment import describe_environment
from probes.schema.recorded_output import describe_provenance

if TYPE_CHECKING:
    from collections.abc import Callable

    from _pytest.terminal import TerminalReporter
    from syrupy.assertion import SnapshotAssertion

    from probes import Model
    from probes.engines.base import Generation


def pytest_configure(config: pytest.Config) -> None:
    """Let every snapshot be one of ours: to syrupy's own kind, files of ours are unused."""
    option = config.option
    option.default_extension = option.default_extension or "probes.plugin.snapshots.TextFile"


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Name the recorded outputs that nothing can use any more."""
    for file in snapshots.orphans(Path(__file__).parent):
        terminalreporter.line(f"unused: {'/'.join(file.parts[-3:])}: its test is gone; delete it")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A new library's warnings must not turn a claim red: only what the model does may."""
    for item in items:
        if item.get_closest_marker("claim") is not None:
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture
def table_snapshot(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """The recorded vocabulary table of Mistral-7B-v0.1."""
    return snapshot(name="mistral-7b-v0.1-vocabulary", extension_class=snapshots.TextFile)


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


LONGEST = 120


@pytest.fixture
def greedy(model: Model) -> Callable[[int], list[Generation]]:
    """Greedy texts of the standard prompts: one batch, made once, cut to the length asked for."""

    def texts(length: int) -> list[Generation]:
        prompt = max(len(model.encode_prompt(prompt)) for prompt in PROMPTS)
        room = (model.context_length or prompt + LONGEST) - prompt
        longest = generate_greedy(model, PROMPTS, max(length, min(LONGEST, room)))
        return [truncate(text, length, model) for text in longest]

    return texts


@pytest.fixture
def greedy_capitals(model: Model) -> Callable[[int], dict[str, tuple[Generation, Generation]]]:
    """For each country the greedy texts after its capital prompt, with BOS and without."""
    prompts = {c: CAPITAL_OF_JAPAN.replace("Japan", c) for c in CAPITALS}
    ids = [
        model.encode(p, add_special_tokens=bos) for bos in (True, False) for p in prompts.values()
    ]

    def texts(length: int) -> dict[str, tuple[Generation, Generation]]:
        longest = generate_greedy(model, ids, 60)
        short = [truncate(text, length, model) for text in longest]
        count = len(CAPITALS)
        return dict(zip(CAPITALS, zip(short[:count], short[count:], strict=True), strict=True))

    return texts


@pytest.fixture
def recorded(model: Model, snapshot: SnapshotAssertion) -> snapshots.Recorded:
    """What is recorded of the target in this environment for the test that asks."""
    _ = model.network  # loaded, it knows its device, dtype and attention
    facts = model.facts()
    try:
        return snapshots.recorded(
            snapshot,
            describe_provenance(facts, describe_environment(facts.device), batch=len(PROMPTS)),
        )
    except UserError as error:
        pytest.fail(str(error), pytrace=False)
