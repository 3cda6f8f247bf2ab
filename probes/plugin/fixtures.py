"""The fixtures that a test of a claim takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from probes.plugin.collection import state_of
from probes.plugin.evidence import find_problems
from probes.plugin.session import session_of
from probes.schema.claim import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes.engines.transformers.engine import TransformersEngine as Model
    from probes.schema.record import Rate


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    """The model under test: its tokenizer and weights are loaded when first used."""
    session = session_of(request.config)
    loaded: Any = session.model(getattr(request, "param", next(iter(session.targets))))
    yield loaded
    if len(session.targets) > 1:  # the next one needs the room
        loaded.unload()


@pytest.fixture(scope="session")
def reference(model: Model, request: pytest.FixtureRequest) -> Iterator[Model]:
    """What the model under test is compared with; `--reference` names it."""
    session = session_of(request.config)
    loaded: Any = session.reference(model.target.name)
    yield loaded
    if len(set(session.references.values())) > 1:  # the next one needs the room
        loaded.unload()


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """The seed of a claim's random numbers, from the command line."""
    return int(request.config.option.seed)


@pytest.fixture
def evidence(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """The numbers and texts behind a verdict, by name; the report shows them."""
    state = state_of(request.node)
    yield state.evidence
    built_in = state.claim is not None and state.claim.id in catalogue()
    if problems := find_problems(state.evidence, built_in=built_in):
        pytest.fail("; ".join(problems), pytrace=False)


@pytest.fixture
def rates(request: pytest.FixtureRequest) -> list[Rate]:
    """What a test of throughput measured: for the record, the report and comparisons."""
    return state_of(request.node).rates
