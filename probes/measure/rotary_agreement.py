"""How rotary positions of a network differ from those that a configuration describes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from probes.measure.rotary_frequencies import UNIT, compute_frequencies, relative_bound
from probes.measure.rotary_settings import Rotation


@dataclass(frozen=True)
class RotaryAgreement:
    """How rotary positions of a network differ from those that its configuration describes."""

    place: str  # dotted path of a module, or of the layer that is given them
    what: str  # `frequencies`, `cos and sin`, or `cos and sin of a pass`
    layers: str  # type of layer; empty for all
    kind: str  # `default`, `linear`, ...
    source: str  # the key of config.json that names the base
    base: float  # the base that it names
    found_base: float | None  # the base that the frequencies have; None where no base gives them
    width: int  # values of a head that turn
    found_width: int | None  # of the frequencies; None in a pass
    tokens: int  # length of the text
    share: float  # largest error, as a share of what rounding explains

    def describe(self) -> str:
        """Say in one line what is different."""
        wrong = f"{self.place}: {self.what} are not what config.json says"
        if self.found_width not in (None, self.width):
            return f"{wrong}: {self.found_width} values of a head turn, not {self.width}"
        if self.found_base and self.kind == "default":
            found, base = f"{self.found_base:,.6g}", f"{self.base:,.6g}"
            if found != base:
                return f"{wrong}: of base {found}, and {self.source} is {base}"
        return (
            f"{wrong} ({self.kind}, base {self.base:,.6g} by {self.source}): "
            f"{self.share:.3g} times as far off as rounding explains"
            + (f", in a text of {self.tokens:,} tokens" if self.tokens else "")
        )


def describe_agreement(
    place: str,
    what: str,
    layers: str,
    rotation: Rotation,
    frequencies: torch.Tensor | None,
    tokens: int,
    share: float,
) -> RotaryAgreement:
    """Put together what is known of a comparison; `frequencies` are None in a pass."""
    base = None if frequencies is None else _find_base(frequencies)
    return RotaryAgreement(
        place=place,
        what=what,
        layers=layers,
        kind=rotation.kind,
        source=rotation.source,
        base=rotation.base,
        found_base=base,
        width=rotation.width or 0,
        found_width=None if frequencies is None else 2 * len(frequencies),
        tokens=tokens,
        share=share,
    )


def _find_base(frequencies: torch.Tensor) -> float | None:
    """Return the base whose powers are the frequencies; None if there is none.

    >>> _find_base(torch.tensor([1.0, 0.1, 0.01, 0.001]))
    10000.0
    """
    logs = frequencies.double().cpu().log()
    if len(logs) < 2 or not logs.isfinite().all():
        return None
    steps = torch.arange(len(logs), dtype=torch.float64) / len(logs)
    slope = float(-logs[-1] / steps[-1])
    is_power = torch.allclose(-logs, steps * slope, rtol=1e-4, atol=1e-4)
    return float(f"{math.exp(slope):.6g}") if is_power and slope < 50 else None


def share_of_bound(found: torch.Tensor, expected: torch.Tensor, bound: torch.Tensor) -> float:
    """Return the largest error as a share of its bound; infinite for another shape or NaN."""
    if found.shape != expected.shape:
        return math.inf
    return float(((found - expected).abs() / bound).nan_to_num(nan=torch.inf).max())


def share_of_turns(turned: Any, positions: Sequence[int], rotation: Rotation, tokens: int) -> float:
    """Compare cos and sin, (1, positions, width) each, or complex numbers of half the width."""
    frequencies, scaling = compute_frequencies(rotation, tokens)
    places = torch.tensor(positions, dtype=torch.float64)[:, None]
    angles = places * frequencies
    bound = angles * (relative_bound(rotation) + 2 * UNIT) + 4 * UNIT
    parts = (turned.real, turned.imag) if torch.is_tensor(turned) else turned
    # By halves, in pairs, or once for both values of a pair: as the layers expect it.
    shares = []
    for part, expected in zip(parts, (angles.cos(), angles.sin()), strict=True):
        rounding = torch.finfo(part.dtype).eps / 2 * expected.abs()
        allowed = scaling * (bound + rounding)
        found = part[0].double().cpu()
        if found.shape[-1] == len(frequencies):
            shares.append(share_of_bound(found, scaling * expected, allowed))
            continue
        halves = share_of_bound(
            found, scaling * torch.cat([expected] * 2, -1), torch.cat([allowed] * 2, -1)
        )
        pairs = share_of_bound(
            found,
            scaling * expected.repeat_interleave(2, -1),
            allowed.repeat_interleave(2, -1),
        )
        shares.append(min(halves, pairs))
    return max(shares)
