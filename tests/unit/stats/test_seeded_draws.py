"""How often one random number picks other tokens from two laws, beside simulated draws."""

from __future__ import annotations

import math

import numpy as np
import pytest

from probes.stats.seeded_draws import Way, chance_of_other_token, weigh_draw

DRAWS = 200_000
ONE = {7: 0.4, 2: 0.3, 5: 0.2, 9: 0.1}
OTHER = {2: 0.36, 7: 0.34, 5: 0.25, 4: 0.05}
IDS = [2, 4, 5, 7, 9]


def draw(law: dict[int, float], way: Way, generator: np.random.Generator) -> np.ndarray:
    if way is Way.RACE:
        noise = generator.exponential(size=(DRAWS, len(IDS)))
        masses = np.array([law.get(token, 0.0) for token in IDS])
        won: np.ndarray = np.array(IDS)[(masses / noise).argmax(axis=1)]
        return won
    order = [token for token in (IDS if way is Way.BY_ID else law) if token in law]
    ends = np.cumsum([law[token] for token in order])[:-1]
    drawn: np.ndarray = np.array(order)[np.searchsorted(ends, generator.random(DRAWS))]
    return drawn


@pytest.mark.parametrize("way", Way)
def test_chance_is_that_of_simulated_draws(way: Way) -> None:
    one, other = (draw(law, way, np.random.default_rng(0)) for law in (ONE, OTHER))
    expected = chance_of_other_token(ONE, OTHER, way, IDS)
    assert (one != other).mean() == pytest.approx(expected, abs=5 / math.sqrt(DRAWS))


def test_unknown_order_has_a_bound() -> None:
    bound = chance_of_other_token(ONE, OTHER, Way.BY_ID)
    assert chance_of_other_token(ONE, OTHER, Way.BY_ID, IDS) <= bound < 1


@pytest.mark.parametrize("chance", [0.0, 0.05, 0.1])
def test_weights_are_an_e_value_up_to_the_chance(chance: float) -> None:
    both = [math.exp(weigh_draw(differs, 0.1, 0.7)) for differs in (True, False)]
    assert chance * both[0] + (1 - chance) * both[1] <= 1 + 1e-9
