"""All faults, in the order of the claims that they fail."""

from tests.faults.catalogue import (  # noqa: F401, I001 - the order of the page
    loading,
    tokenizer,
    vocabulary,
    filters,
    sampling,
    greedy,
    generation,
    chat,
    architecture,
    weights,
    tasks,
)
from tests.faults.catalogue.base import CATALOGUE, Fault, choose_one_for_each_claim

__all__ = ["CATALOGUE", "Fault", "choose_one_for_each_claim"]
