"""The cost of a quantized key-value cache: with one that rounds, and with those installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import transformers
from transformers.utils import import_utils

import probes
from probes.errors import UserError
from probes.measure import quantized_cache
from probes.measure.quantized_cache import BACKENDS, WithQuantizedCache
from probes.targets.preflight import preflight
from probes.targets.resolve import resolve
from tests.support import model_folders as folders

if TYPE_CHECKING:
    import torch

HALF = 192
"""Of a text: more tokens than transformers leaves unquantized, and whole groups for hqq."""

INSTALLED = {"hqq": "is_hqq_available", "quanto": "is_optimum_quanto_available"}


class Rounding(transformers.DynamicCache):
    """A cache that keeps keys and values as multiples of a step, if there is one."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def update(self, key_states: Any, value_states: Any, *args: Any, **kwargs: Any) -> Any:
        whole = super().update(key_states, value_states, *args, **kwargs)
        if not self.step:
            return whole
        length = key_states.shape[-2]
        for each in whole:  # what was just computed is seen as it is
            each[..., :-length, :] = (each[..., :-length, :] / self.step).round() * self.step
        return whole


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> probes.Model:
    folder = folders.llama(tmp_path_factory.mktemp("targets") / "llama")
    return probes.Model(preflight(resolve(str(folder))))


@pytest.fixture(scope="module")
def ids(model: probes.Model) -> list[int]:
    return [(7 * number) % model.vocab_size for number in range(2 * HALF)]


def largest_changes(
    model: probes.Model, ids: list[int], backend: str, bits: int
) -> tuple[float, float]:
    """Return how far logits move in each half of a text."""
    [plain] = model.logits_batch([ids])
    [cached] = WithQuantizedCache(model, backend, bits).logits_batch([ids])
    assert cached.shape == plain.shape
    moved: torch.Tensor = (cached - plain).abs()
    return float(moved[:HALF].max()), float(moved[HALF:].max())


def test_second_half_reads_what_the_cache_keeps(
    model: probes.Model, ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in (0.0, 0.1):
        cache = Rounding(step)
        monkeypatch.setattr(quantized_cache, "make_cache", lambda *_, cache=cache: cache)
        before, after = largest_changes(model, ids, "hqq", 4)
        assert before < 1e-4
        assert (after > 1e-4) is bool(step)
    cached = WithQuantizedCache(model, "hqq", 4)
    assert cached.facts().name == model.facts().name


@pytest.mark.parametrize("backend", BACKENDS)
def test_fewer_bits_of_an_installed_backend_move_more(
    model: probes.Model, ids: list[int], backend: str
) -> None:
    if not getattr(import_utils, INSTALLED[backend], bool)():
        pytest.skip(f"{backend} is not installed")
    (before, four), (_, two) = (largest_changes(model, ids, backend, bits) for bits in (4, 2))
    assert before < 1e-4 < four < two


def test_cache_that_cannot_be_made_is_refused_in_one_line() -> None:
    cached = WithQuantizedCache(probes.load("embedded"), "hqq", 4)
    with pytest.raises(UserError, match=r"^no cache of 4 bits by hqq: .+") as refused:
        cached.logits_batch([[1, 2, 3]])
    assert "\n" not in str(refused.value)
