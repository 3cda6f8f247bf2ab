"""What the built-in claims share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

import probes
from probes.texts import CAPITAL_OF_JAPAN, CAPITALS, PROMPTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from syrupy.assertion import SnapshotAssertion
    from syrupy.location import PyTestLocation
    from syrupy.types import SnapshotIndex

    from probes import Model
    from probes.model import Generation


class _NamedTextFile(SingleFileSnapshotExtension):
    """One text file a snapshot, named by it alone: it is the same for every target."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        return f"{test_location.methodname}[{index}]"


def pytest_configure(config: pytest.Config) -> None:
    """Let a run that cannot use the one snapshot, as with another tokenizer, end well."""
    config.option.warn_unused_snapshots = True
    config.option.disable_unused_snapshots = True  # newer versions of syrupy say nothing at all


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A new library's warnings must not turn a claim red: only what the model does may."""
    for item in items:
        if item.get_closest_marker("claim") is not None:
            item.add_marker(pytest.mark.filterwarnings("default"))


@pytest.fixture
def table_snapshot(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """The recorded vocabulary table of Mistral-7B-v0.1."""
    return snapshot(name="mistral-7b-v0.1-vocabulary", extension_class=_NamedTextFile)


@pytest.fixture
def in_nf4(model: Model) -> Model:
    """The target in NF4: itself, or a copy beside it."""
    return model.in_nf4()


@pytest.fixture
def unquantized(model: Model) -> Model:
    """The target without quantization: itself, or a copy beside it where there is room."""
    if model.target.quantization.value != "none" and model.checkpoint.weight_bytes > 2**30:
        pytest.skip("too large for an unquantized copy to be loaded beside it")
    return model.unquantized()


LONGEST = 120


@pytest.fixture
def greedy(model: Model) -> Callable[[int], list[Generation]]:
    """Greedy texts of the standard prompts: one batch, made once, cut to the length asked for."""

    def texts(length: int) -> list[Generation]:
        longest = probes.decoding.greedy(model, PROMPTS, LONGEST)
        return [probes.decoding.cut(text, length, model) for text in longest]

    return texts


@pytest.fixture
def greedy_capitals(model: Model) -> Callable[[int], dict[str, tuple[Generation, Generation]]]:
    """For each country the greedy texts after its capital prompt, with BOS and without."""
    prompts = {c: CAPITAL_OF_JAPAN.replace("Japan", c) for c in CAPITALS}
    ids = [model.encode(p, special_tokens=bos) for bos in (True, False) for p in prompts.values()]

    def texts(length: int) -> dict[str, tuple[Generation, Generation]]:
        longest = probes.decoding.greedy(model, ids, 60)
        short = [probes.decoding.cut(text, length, model) for text in longest]
        count = len(CAPITALS)
        return dict(zip(CAPITALS, zip(short[:count], short[count:], strict=True), strict=True))

    return texts
