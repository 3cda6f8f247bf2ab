"""Compare greedy texts, and judge the first difference of each.

Where a text differs from the baseline, the margin, the distance between the baseline's two largest
logits there, is judged against how far rounding moves logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from probes.measure.greedy import step_logits
from probes.measure.reproduction import VariedCall, describe_conditions, write_calls
from probes.stats.rounding import largest_distance_change

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from probes.engines.base import Generation, LogitsEngine, Prompt


@dataclass(frozen=True)
class Difference:
    """Where a greedy text first differs from the baseline."""

    prompt: str
    step: int  # number of the token, from 0
    margin: float  # distance of the baseline's two largest logits at that step
    tokens: tuple[str, str]  # the baseline's token there and the variation's, decoded
    texts: tuple[str, str]

    def describe(self) -> str:
        """Describe the first difference, and how close the choice was.

        >>> Difference("Once upon a time,", 3, 0.25, (" a", " the"), ("", "")).describe()
        "after 'Once upon a time,' token 3 is ' the', not ' a': two logits lie 0.25 apart there"
        """
        expected, found = self.tokens
        return (
            f"after {self.prompt!r} token {self.step} is {found!r}, not {expected!r}: two logits "
            f"lie {self.margin:.2g} apart there"
        )


@dataclass(frozen=True)
class Variation:
    """How the same texts, made in another way, differ."""

    name: str  # what was varied
    texts: int  # their number
    # Largest change of the distance of a likely logit to the largest, up to the first difference.
    noise: float
    tolerance: float  # the largest noise that rounding explains: see `RoundingNoise`
    differences: list[Difference]  # at most one a text
    worst: int = 0  # which text has the most noise, from 0
    conditions: str = ""  # what the first of the two was computed with
    calls: str = ""  # where rounding does not explain it: Python that shows it again
    layer: str = ""  # where it does not: `first in` the decoder layer that first differs, if any

    @property
    def explained(self) -> bool:
        """Whether rounding explains all: noise within tolerance, and only near-ties flipped."""
        near_ties = all(each.margin <= self.tolerance for each in self.differences)
        return self.noise <= self.tolerance and near_ties

    def complain(self) -> str:
        """Say what rounding does not explain, and under what; empty if it explains all."""
        if self.explained:
            return ""
        again = f" ({self.conditions})\n{self.calls}".rstrip()
        if self.noise > self.tolerance:
            return (
                f"{self.name}: distances of logits change by {self.noise:.2g}, where rounding "
                f"explains {self.tolerance:.2g}{again}"
            )
        widest = max(self.differences, key=lambda difference: difference.margin)
        return f"{self.name}: {widest.describe()}{again}"


def compare_texts(
    model: LogitsEngine,
    name: str,
    baseline: Sequence[Generation],
    varied: Sequence[Generation],
    tolerance: float,
) -> Variation:
    """Compare greedy texts and their logits with the baseline's, step by step."""
    changes, differences = [], []
    for base, other in zip(baseline, varied, strict=True):
        ids, other_ids = base.ids[0], other.ids[0]
        same = count_common_start(ids, other_ids)
        steps = min(same + 1, len(ids), len(other_ids))
        pair = (step_logits(base)[:steps], step_logits(other)[:steps])
        changes.append(largest_distance_change(*pair))
        if same < max(len(ids), len(other_ids)):
            tokens = (model.decode(each[same : same + 1]) for each in (ids, other_ids))
            differences.append(
                Difference(
                    prompt=model.decode(base.prompt_ids),
                    step=same,
                    margin=measure_margin(base, same),
                    tokens=(next(tokens), next(tokens)),
                    texts=(base.text, other.text),
                )
            )
    noise = max(changes)
    return Variation(name, len(baseline), noise, tolerance, differences, worst=changes.index(noise))


def add_reproduction(
    model: LogitsEngine,
    found: Variation,
    prompts: Sequence[Prompt],
    length: int,
    call: VariedCall,
    find_layer: Callable[[], str],
) -> Variation:
    """Add what the texts were computed with and, where rounding does not explain it, more.

    That is the layer that first differs, and the calls.
    """
    if "weights" not in model.capabilities:
        return found
    found = replace(found, conditions=describe_conditions(model))
    if found.explained:
        return found
    ids = [model.encode_prompt(prompt) for prompt in prompts]
    rows = [ids[found.worst], max(ids, key=len)]
    layer = find_layer()
    conditions = f"{found.conditions}, {layer}" if layer else found.conditions
    calls = write_calls(model, rows, length, call)
    return replace(found, conditions=conditions, calls=calls, layer=layer)


def measure_margin(text: Generation, step: int) -> float:
    """Return the distance of the two largest logits at a step; infinite after the text's end."""
    if step >= len(text.ids[0]):
        return math.inf
    two = step_logits(text)[step].topk(2).values
    return float(two[0] - two[1])


def count_common_start(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many token ids two texts share from the start.

    >>> count_common_start([1, 2, 3], [1, 2, 4])
    2
    """
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
