"""Ids without a row in the embedding are refused before the network gets them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import probes
from probes.errors import UnknownIdError

if TYPE_CHECKING:
    from collections.abc import Callable

    from probes import Model

NO_ROW = "the id 32,000 has no row in the embedding, which has 32,000"
KNOWN, UNKNOWN = [1, 415], [1, 32000]

CALLS: dict[str, Callable[[Model], object]] = {
    "embedding": lambda model: model.embedding(UNKNOWN),
    "logits": lambda model: model.logits(UNKNOWN),
    "logits_batch": lambda model: model.logits_batch([KNOWN, UNKNOWN]),
    "logits_after": lambda model: model.logits_after(KNOWN, [KNOWN, UNKNOWN]),
    "generate": lambda model: model.generate(UNKNOWN, max_new_tokens=1),
}


@pytest.mark.parametrize("call", CALLS)
def test_id_without_a_row_is_refused_before_the_network(call: str) -> None:
    model = probes.load("embedded")
    model.logits(KNOWN)
    before = model.cost.forward_passes
    with pytest.raises(UnknownIdError) as caught:
        CALLS[call](model)
    assert str(caught.value) == NO_ROW
    assert model.cost.forward_passes == before


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"pad_token_id": 32000}, "the padding id 32,000"),
        ({"pad_token_id": -1}, "the padding id -1"),
        ({"eos_token_id": 32000}, "the padding id 32,000"),
    ],
)
def test_padding_id_without_a_row_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], kind: str
) -> None:
    model = probes.load("embedded")
    for name, value in settings.items():
        monkeypatch.setattr(model.network.generation_config, name, value)
    for many in ({"prompts": [KNOWN, KNOWN]}, {"prompts": [KNOWN], "num_return_sequences": 2}):
        with pytest.raises(UnknownIdError, match=f"{kind} has no row in the embedding"):
            model.generate_batch(max_new_tokens=2, **many)
    assert len(model.generate(KNOWN, max_new_tokens=2).ids[0]) == 2


def test_logits_need_no_end_id(monkeypatch: pytest.MonkeyPatch) -> None:
    model = probes.load("embedded")
    expected = model.logits_batch([KNOWN, KNOWN[:1]])
    monkeypatch.setattr(model.network.generation_config, "eos_token_id", 32000)
    for found, each in zip(model.logits_batch([KNOWN, KNOWN[:1]]), expected, strict=True):
        assert (found == each).all()
