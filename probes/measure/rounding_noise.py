"""Measure how far rounding moves a network's logits, on computations that are known to be right.

A greedy text's logits are computed twice by the same network, on the same path: once as it is, and
once with the result of every operation moved by a random share of the largest error that rounding
can make there (Monte Carlo arithmetic). The two differ in rounding alone. What is judged, another
batch, cache or dtype, takes no part in it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from probes.engines.base import Generation, Prompt
from probes.engines.session_cache import once_per_session
from probes.engines.transformers.batching import keep_last_logits
from probes.errors import NotFiniteError
from probes.measure.greedy import generate_greedy
from probes.stats.goodness_of_fit import ERROR_BUDGET
from probes.stats.rounding import exceedance_factor, largest_distance_change

RUNS = 4
"""How often each text is computed with moved results."""

COMPARISONS = 20
"""Comparisons judged by the noise that share the error budget of a run."""

DRAWN = 2**21
"""Random numbers of each kind that are drawn, and used again."""

_EXACT = frozenset(
    """
    _to_copy _unsafe_view abs alias amax amin arange argmax cat chunk clone constant_pad_nd
    contiguous copy_ cumsum detach dropout embedding empty expand fill_ full gather histc index
    index_select lift_fresh masked_fill masked_fill_ max maximum min minimum neg new_empty
    new_full new_ones new_zeros ones ones_like permute relu repeat repeat_interleave reshape
    scalar_tensor scatter select slice sort split split_with_sizes squeeze stack t to topk
    transpose tril triu unbind unsqueeze view where zero_ zeros zeros_like
    """.split()  # noqa: SIM905 - a list would take forty lines
)
"""Operations that round nothing, by their names in ATen."""

_COUNTING = frozenset(("add", "mul", "sub", "rsub"))
"""Operations by which networks count positions, which OPT does in floating point."""

_SUMS = {"mm": -2, "addmm": -2, "bmm": -2, "baddbmm": -2, "matmul": -2, "linear": -1}
"""Operations that sum products, with the dimension of the second factor that is summed over."""


@dataclass(frozen=True)
class RoundingNoise:
    """How far rounding moves the logits along some texts."""

    largest: float  # largest change of the distance of a likely logit to the largest of its step
    steps: int  # positions of the texts
    draws: int  # changed positions that it is the largest of

    @property
    def tolerance(self) -> float:
        """The largest change of such a distance that rounding explains between right computations.

        Each of the two has its own rounding errors. The simulated ones are as large or larger: a
        moved result is off by up to a unit roundoff u, evenly, where rounding to nearest is off by
        u at most. So a change is √2 times as wide as a simulated one at most. The largest of the
        simulated ones is multiplied by the factor by which the largest of the judged ones exceeds
        it with the error rate of one comparison, errors being normal and those of different steps
        independent: about 3 for five texts of 20 tokens.

        The smallest fault seen: on random weights, one layer's MLP scaled by 1/1,000 in float32,
        and one lost in bfloat16 (tests/faults/test_rounding_noise.py). In bfloat16 SmolLM2-135M's
        tolerance is 12 % of its logits' spread, of which it uses a quarter.
        """
        return self.largest * exceedance_factor(self.draws, self.steps, ERROR_BUDGET / COMPARISONS)


@once_per_session
def measure_noise(model: Any, prompts: Sequence[Prompt], length: int) -> RoundingNoise:
    """Measure the noise along greedy texts, in the network's own dtype, once a session.

    >>> from probes import load
    >>> noise = measure_noise(load("embedded"), ["The capital of Japan is"], 4)
    >>> 0 < noise.largest < noise.tolerance < 0.01
    True
    """
    return simulate_noise(model, generate_greedy(model, prompts, length))


def simulate_noise(
    model: Any,
    texts: Sequence[Generation],
    *,
    dtype: torch.dtype | None = None,
    runs: int = RUNS,
    change: Callable[[torch.Tensor, torch.Tensor], float] = largest_distance_change,
    base: Sequence[torch.Tensor] | None = None,
) -> RoundingNoise:
    """Measure the noise along texts, in the network's own dtype or as in a narrower one.

    `change` is what is measured of the logits of a text and the moved ones. In its own dtype the
    network uses eager attention where it can: that rounds more often than the others. `base` are
    the texts' logits where they are known: as `logits_along` computes them, with this attention.
    """
    with eager_attention(model.network, wanted=dtype is None):
        base = logits_along(model, texts) if base is None else base
        largest = 0.0
        moving = move_results(model.network, dtype)
        for _ in range(runs):
            with moving():
                moved = logits_along(model, texts)
            pairs = zip(base, moved, strict=True)
            largest = max(largest, *(change(one, other) for one, other in pairs))
    if not math.isfinite(largest):
        raise NotFiniteError("logits along a text that it generated are not finite")
    steps = sum(map(len, base))
    return RoundingNoise(largest, steps, runs * steps)


def as_texts(prompts: Sequence[Sequence[int]]) -> list[Generation]:
    """Return prompts as texts of which every token but the first is new, and one follows."""
    return [Generation([*ids[:1]], [[*ids[1:], 0]], [""]) for ids in prompts]


@torch.inference_mode()
def logits_along(model: Any, texts: Sequence[Generation]) -> list[torch.Tensor]:
    """Return the logits that each token of some texts was chosen from, float32, on the CPU.

    They are computed in the plainest way: in one pass without a cache or a mask. Shorter texts are
    filled up at their ends, which no position before sees.
    """
    rows = [[*text.prompt_ids, *text.ids[0][:-1]] for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([row + row[-1:] * (width - len(row)) for row in rows], device=model.device)
    first = min(len(text.prompt_ids) for text in texts) - 1
    keep = keep_last_logits(model.network, width - first)
    logits = model.network(input_ids=ids, use_cache=False, **keep).logits
    missing = width - logits.shape[1]
    return [
        each[len(row) - len(text.ids[0]) - missing : len(row) - missing].float().cpu()
        for text, row, each in zip(texts, rows, logits, strict=True)
    ]


@contextmanager
def eager_attention(network: Any, *, wanted: bool = True) -> Iterator[None]:
    """Use eager attention for a while, if it is wanted and the library can switch to it."""
    if not wanted or not hasattr(network, "set_attn_implementation"):
        yield
        return
    before = network.config._attn_implementation
    network.set_attn_implementation("eager")
    try:
        yield
    finally:
        network.set_attn_implementation(before)


def move_results(network: Any, dtype: torch.dtype | None) -> Callable[[], Any]:
    """Return what makes contexts in which a network's operations return what rounding may make.

    Each context moves the results otherwise. With a dtype they are moved as in that narrower one.
    """
    return partial(_MovedResults(network, dtype).around, network)


@cache
def _draw_numbers(draw: Callable[..., torch.Tensor], device: torch.device) -> torch.Tensor:
    return draw(DRAWN, generator=torch.Generator(device).manual_seed(0), device=device)


class _Draws:
    """Random numbers, drawn once and used again and again, each time from another place.

    What a pass needs of them would otherwise take longer than the pass.
    """

    def __init__(self, draw: Callable[..., torch.Tensor], device: torch.device) -> None:
        self._drawn = _draw_numbers(draw, device)
        self._places = random.Random(0)  # noqa: S311 - no secret

    def like(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return as many as a tensor has elements, in its shape and dtype; not to be changed.

        Each row has its own beginning: where there are too few numbers, rows overlap.
        """
        columns = tensor.shape[-1] if tensor.dim() else 1
        rows = tensor.numel() // max(1, columns)
        if columns > len(self._drawn) // 2:
            self._drawn = self._drawn.repeat(2 * columns // len(self._drawn) + 1)
        step = min(columns, (len(self._drawn) - columns) // max(1, rows))
        place = self._places.randrange(len(self._drawn) - columns - step * max(0, rows - 1))
        found = self._drawn.as_strided((rows, columns), (step, 1), place)
        return found.view(tensor.shape).to(tensor.dtype)


def _is_whole(result: Any) -> bool:
    """Return whether a result is (rows, positions) of whole numbers, which no rounding moves."""
    is_small = isinstance(result, torch.Tensor) and 0 < result.dim() <= 2
    return is_small and result.is_floating_point() and torch.equal(result, result.round())


def _draw_evenly(*size: int, **more: Any) -> torch.Tensor:
    """Draw numbers between -1 and 1."""
    return torch.rand(*size, **more).mul_(2).sub_(1)


class _MovedResults(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Moves the result of every operation that rounds."""

    def __init__(self, network: Any, dtype: torch.dtype | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.unit = 0.0 if dtype is None else torch.finfo(dtype).eps / 2
        self.paused = False
        self._draws = cache(_Draws)
        # The norms of weights by their addresses, kept for the next pass.
        self._norms: dict[int, torch.Tensor | None] = dict.fromkeys(
            each.data_ptr() for each in network.parameters()
        )

    @contextmanager
    def around(self, network: Any) -> Iterator[None]:
        """Move every result of a network's operations by what rounding may."""
        with ExitStack() as stack:
            for module in network.modules():
                # What networks compute in float32, whatever their dtype.
                kind = type(module).__name__
                if self.unit and ("RotaryEmbedding" in kind or "Norm" in kind):
                    stack.enter_context(module.register_forward_pre_hook(self.pause))
                    stack.enter_context(module.register_forward_hook(self.resume))
            stack.enter_context(self)
            yield

    def pause(self, *_: Any) -> None:
        self.paused = True

    def resume(self, _: Any, __: Any, results: Any) -> Any:
        self.paused = False
        if isinstance(results, torch.Tensor):
            return self.move(results)
        return tuple(self.move(each) for each in results)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if self.paused or name in _EXACT or getattr(func, "is_view", False):
            return results
        if name in _COUNTING and _is_whole(results):
            return results
        if isinstance(results, torch.Tensor):
            if func._schema.is_mutable:
                return results.copy_(self.move(results))
            return self.move(results, name, func.namespace, args)
        if isinstance(results, (tuple, list)):
            return type(results)(
                self.move(each) if isinstance(each, torch.Tensor) else each for each in results
            )
        return results

    def move(
        self, result: torch.Tensor, name: str = "", namespace: str = "", args: Any = ()
    ) -> torch.Tensor:
        """Move a result evenly by up to a unit roundoff: by two where it is rounded again.

        In float32 a sum of n products is moved as one rounded at each of its steps, too: rounding
        errors of partial sums, of which the k-th has √k times a product's size, add up to u n/√6
        times that size. Half-precision kernels sum in float32. A quantized kernel's weights are
        rounded to the dtype as well, which moves an output by u times a typical one of its row.
        """
        if result.dtype not in (torch.float32, torch.float16, torch.bfloat16):
            return result
        limits = torch.finfo(result.dtype)
        if result.dtype is torch.float16:  # a score that a mask is added to may be infinite
            result = result.clamp(limits.min, limits.max)
        own = limits.eps / 2
        unit = max(self.unit, 2 * own)
        moved = torch.addcmul(
            result, result, self._draws(_draw_evenly, result.device).like(result), value=unit
        )
        # A mask may hold the least number there is, which must not become infinite.
        moved.clamp_(limits.min, limits.max)
        if namespace == "bitsandbytes" or name == "_grouped_mm":
            # Of packed or grouped factors only the outputs' typical size is known.
            typical = result.float().square().mean(dim=-1, keepdim=True).sqrt().to(result)
            sums = math.sqrt(args[0].shape[-1] / 6) * own if namespace == "aten" else unit
            moved.addcmul_(
                self._draws(torch.randn, result.device).like(result), typical, value=sums
            )
        if name in _SUMS and result.dtype is torch.float32:
            first, second = args[1:3] if name in ("addmm", "baddbmm") else args[:2]
            if second.dim() > 1:
                sizes = self._column_norms(second, _SUMS[name])
                spread = first.norm(dim=-1, keepdim=True) * sizes
                moved.addcmul_(
                    self._draws(torch.randn, result.device).like(result),
                    spread,
                    value=own / math.sqrt(6),
                )
        return moved

    def _column_norms(self, factor: torch.Tensor, dim: int) -> torch.Tensor:
        """Return the norms of the columns of a sum's second factor: (..., 1, columns)."""
        found = self._norms.get(factor.data_ptr())
        if found is None:
            found = factor.norm(dim=dim).unsqueeze(-2 if factor.dim() > 2 else 0)
            if factor.data_ptr() in self._norms:
                self._norms[factor.data_ptr()] = found
        return found
