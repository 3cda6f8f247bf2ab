"""The filters of sampling against their definitions, written out token by token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import torch

SPREAD = [2.0, -1.0, 0.5, 3.0, 1.0]
EQUAL = [0.0, 0.0, 0.0, 0.0, -math.inf]
TIED = [1.0, 2.0, 1.0, 2.0, 0.0]


def rows() -> torch.Tensor:
    import torch

    return torch.tensor([[SPREAD, EQUAL], [TIED, [-each for each in SPREAD]]])


def chances(row: list[float]) -> list[float]:
    weights = [math.exp(each) for each in row]
    return [each / sum(weights) for each in weights]


def the_k_likeliest(row: list[float], k: float) -> set[int]:
    least = sorted(row, reverse=True)[int(k) - 1]
    return {token for token, logit in enumerate(row) if logit >= least > -math.inf}


def the_nucleus(row: list[float], p: float) -> set[int]:
    mass, taken = 0.0, set[int]()
    for token in sorted(range(len(row)), key=lambda token: (-row[token], token)):
        if mass >= p:
            break
        taken.add(token)
        mass += chances(row)[token]
    return taken


def the_share_of_the_likeliest(row: list[float], share: float) -> set[int]:
    found = chances(row)
    return {token for token, chance in enumerate(found) if chance >= share * max(found)}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("top_k", k) for k in (1, 2, 3, 4)),
        *(("top_p", p) for p in (1e-9, 0.2, 0.25, 0.5, 0.6, 0.75, 0.9, 0.98)),
        *(("min_p", share) for share in (1e-9, 0.1, 0.3, 0.4, 0.9, 1.0)),
    ],
)
def test_a_filter_keeps_what_its_definition_says_of_every_row(name: str, value: float) -> None:
    from probes.stats import sampling_reference as filters

    defined = {
        "top_k": the_k_likeliest,
        "top_p": the_nucleus,
        "min_p": the_share_of_the_likeliest,
    }[name]
    logits = rows()
    found = getattr(filters, name)(logits, value)
    for row, left in zip(logits.reshape(-1, 5), found.reshape(-1, 5), strict=True):
        kept = defined(row.tolist(), value)
        assert left.tolist() == [row[i].item() if i in kept else -math.inf for i in range(5)]
    assert filters.kept(found).shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "value"), [("top_k", 0), ("top_k", 5), ("top_k", 6), ("top_p", 1.0), ("min_p", 0.0)]
)
def test_a_filter_that_is_to_keep_all_keeps_all(name: str, value: float) -> None:
    from probes.stats import sampling_reference as filters

    assert getattr(filters, name)(rows(), value).equal(rows())


def test_a_nucleus_of_all_mass_keeps_tokens_of_any_likelihood() -> None:
    """Their mass is lost in the sum: before them it is 1 already."""
    import torch

    from probes.engines.transformers import warpers as library_filters
    from probes.schema.sampling import Sampling
    from probes.stats import sampling_reference as filters

    logits = torch.tensor([[0.0, -200.0]])
    assert filters.top_p(logits, 1.0).equal(logits)
    assert library_filters.apply(logits, Sampling(top_k=0, top_p=1.0)).equal(logits)


@pytest.mark.parametrize(
    ("name", "value"), [("temperature", 0.5), ("top_k", 2), ("top_p", 0.5), ("min_p", 0.5)]
)
def test_a_filter_computes_in_float32_or_better(name: str, value: float) -> None:
    import torch

    from probes.stats import sampling_reference as filters

    for given, found in (
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ):
        assert getattr(filters, name)(rows().to(given), value).dtype == found


def test_the_nucleus_sees_differences_that_float32_would_not() -> None:
    """A mass of 1 - 1e-9 leaves out the second token, one of 1 - 1e-10 does not."""
    import torch

    from probes.stats import sampling_reference as filters

    logits = torch.tensor([0.0, math.log(5e-10)])
    assert filters.kept(filters.top_p(logits, 1 - 1e-9)) == 1
    assert filters.kept(filters.top_p(logits, 1 - 1e-10)) == 2


def test_filters_are_composed_in_the_order_of_the_library() -> None:
    """Each step here would keep another number of tokens if it came earlier or later."""
    import torch

    from probes.schema.sampling import Sampling
    from probes.stats import sampling_reference as filters

    logits = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05]).log()
    tempered = filters.temperature(logits, 2.0)
    cases = {
        Sampling(temperature=2.0, top_k=0): tempered,
        Sampling(temperature=2.0, top_k=4): filters.top_k(tempered, 4),
        Sampling(temperature=2.0, top_k=4, top_p=0.75): filters.top_p(
            filters.top_k(tempered, 4), 0.75
        ),
        Sampling(temperature=2.0, top_k=4, min_p=0.6): filters.min_p(tempered, 0.6),
        Sampling(temperature=2.0, top_k=0, top_p=0.95, min_p=0.4): filters.min_p(tempered, 0.4),
    }
    sizes = [5, 4, 3, 3, 4]
    for (sampling, wanted), size in zip(cases.items(), sizes, strict=True):
        found = filters.filtered(logits, sampling)
        assert found.equal(wanted)
        assert filters.kept(found) == size


def test_top_k_that_was_left_to_the_library_is_fifty() -> None:
    import torch

    from probes.schema.sampling import Sampling
    from probes.stats import sampling_reference as filters

    falling = -torch.arange(60.0)
    assert filters.kept(filters.filtered(falling, Sampling())) == 50
    assert filters.kept(filters.filtered(falling, Sampling(top_k=0))) == 60


def test_log_probabilities_are_of_each_row_in_float64() -> None:
    import torch

    from probes.schema.sampling import Sampling
    from probes.stats import sampling_reference as filters

    found = filters.log_probabilities(rows())
    assert found.dtype == torch.float64
    for row, got in zip(rows().reshape(-1, 5), found.reshape(-1, 5), strict=True):
        assert got.exp().tolist() == pytest.approx(chances(row.tolist()), rel=1e-12)
    two = filters.log_probabilities(rows(), Sampling(top_k=2))
    assert two[0, 0].exp().tolist() == pytest.approx(
        [1 / (1 + math.e), 0, 0, math.e / (1 + math.e), 0], rel=1e-12
    )


def test_entropy_is_that_of_each_row() -> None:
    from probes.stats import sampling_reference as filters

    found = filters.entropy(filters.log_probabilities(rows()))
    wanted = [
        -sum(p * math.log(p) for p in chances(row) if p > 0)
        for row in rows().reshape(-1, 5).tolist()
    ]
    assert found.flatten().tolist() == pytest.approx(wanted, rel=1e-12)
    assert found.shape == (2, 2)


def test_the_librarys_own_filters_are_applied_in_its_order_and_leave_their_input_alone() -> None:
    import torch

    from probes.engines.transformers import warpers as library_filters
    from probes.schema.sampling import Sampling
    from probes.stats import sampling_reference as filters

    logits = torch.tensor([[0.4, 0.3, 0.15, 0.1, 0.05], [0.05, 0.1, 0.15, 0.3, 0.4]]).log()
    before = logits.clone()
    for sampling in (
        Sampling(top_k=0),
        Sampling(temperature=2.0, top_k=4),
        Sampling(temperature=2.0, top_k=4, top_p=0.75),
        Sampling(temperature=2.0, top_k=4, min_p=0.6),
        Sampling(temperature=2.0, top_k=0, top_p=1.0),
        Sampling(temperature=2.0, top_k=0, top_p=0.95, min_p=0.4),
    ):
        found = library_filters.apply(logits, sampling)
        assert found.allclose(filters.filtered(logits, sampling))
    assert logits.equal(before)
