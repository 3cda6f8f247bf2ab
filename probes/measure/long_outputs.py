"""Make outputs that short prompts do not reach: far into a text, past the window, to its end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from probes.data.questions import built_in_questions
from probes.engines.base import Generation, Prompt
from probes.engines.session_cache import once_per_session
from probes.engines.transformers.attention import list_attention, use_attention
from probes.engines.transformers.engine import TransformersEngine
from probes.errors import UserError
from probes.measure.asking import ask
from probes.measure.determinism import WIDEST_WINDOW, generate_texts
from probes.measure.recorded_outputs import DECIMALS, TOP
from probes.measure.reference_prompts import load_reference_prompts
from probes.measure.rounding_noise import COMPARISONS, RoundingNoise, move_results
from probes.schema.recorded_output import RecordedLogits
from probes.stats.goodness_of_fit import ERROR_BUDGET
from probes.stats.near_tie import Finding, OutputStatus
from probes.stats.rounding import bound_changes, largest_change

LONG = 320
"""Tokens of the long text, unless the attention window is wider or the context shorter."""

BEYOND = 64
"""Tokens past the attention window."""

CONTINUED = 8
"""New tokens after the long text."""

EVENLY = 8
"""Positions whose logits are recorded, besides those at the window's edge."""

ENDING = "She opened the door and saw"
"""A prompt after which short texts end, where a model was trained on texts that end."""

GREEDY = 120
"""New tokens of the longest greedy texts, which other claims make, too."""

UNTIL = 24
"""New tokens within which a text may end."""

WIDEST_ON_CPU = 1024
"""The widest attention window, in tokens, that is passed on a CPU by default: a wider one takes
minutes there."""

LEAST = 2 * 10.0**-DECIMALS
"""How far a logit may seem to have moved where it is recorded with its last decimals rounded."""

RUNS = 4
"""How often the logits of the long text are computed with moved results."""

NAME = "a long text"


def build_long_text(model: TransformersEngine) -> list[int]:
    """Return the ids of a text in many languages, longer than the attention window.

    A short context shortens it, and a window of more than 4,096 tokens is not passed.

    >>> len(build_long_text(load("embedded")))
    320
    """
    prompts = (prompt for each in load_reference_prompts().values() for prompt in each)
    ids = model.encode_prompt("\n".join(prompts))
    window = find_window(model)
    length = max(LONG, window + BEYOND) if window <= WIDEST_WINDOW else LONG
    if model.context_length is not None:
        length = min(length, model.context_length - CONTINUED)
    return (ids * math.ceil(length / len(ids)))[:length]


def find_longest(model: TransformersEngine, prompts: Sequence[Prompt]) -> int:
    """Return how long the longest greedy texts after prompts are: 120 tokens, or what has room.

    >>> find_longest(load("embedded"), ["The capital of Japan is"])
    120
    """
    longest = max(len(model.encode_prompt(prompt)) for prompt in prompts)
    return min(GREEDY, (model.context_length or longest + GREEDY) - longest)


def find_window(model: TransformersEngine) -> int:
    """Return the width of the attention window in tokens; 0 where there is none.

    >>> find_window(load("embedded"))
    64
    """
    config = model.config.get_text_config()
    used = getattr(config, "use_sliding_window", True)
    return int((used and getattr(config, "sliding_window", None)) or 0)


def explain_dear(model: TransformersEngine) -> str:
    """Explain why the long text takes minutes here; empty where it does not.

    >>> explain_dear(load("embedded"))
    ''
    """
    window = find_window(model)
    if model.device.type != "cpu" or not WIDEST_ON_CPU < window <= WIDEST_WINDOW:
        return ""
    return f"to pass an attention window of {window:,} tokens takes minutes on a CPU"


def choose_positions(length: int, window: int) -> list[int]:
    """Return positions, from 0: some evenly up to the last, and those where a window first cuts.

    The first position that no longer sees the first token is that of the window's width.

    >>> choose_positions(320, 64)
    [39, 62, 63, 64, 65, 79, 119, 159, 199, 239, 279, 319]
    """
    evenly = (length * part // EVENLY - 1 for part in range(1, EVENLY + 1))
    edge = range(window - 2, window + 2) if window else ()
    return sorted({place for place in (*evenly, *edge) if 0 <= place < length})


@once_per_session
def compute_logits(model: TransformersEngine, ids: tuple[int, ...]) -> torch.Tensor:
    """Return the logits at the chosen positions of a text, in one pass: (positions, vocabulary).

    The output head computes these positions alone: all logits of a long text take much memory.
    """
    return _compute_logits(model, ids)


@once_per_session
def measure_noise(model: TransformersEngine, ids: tuple[int, ...]) -> float:
    """Return the largest change of a recorded logit that rounding explains at those positions.

    The logits are computed several times with every result moved by what rounding may move it; the
    decimals of a recorded logit are added. `rounding_noise` explains the method. In half precision
    it moves logits by several times what rounding does; so what another attention implementation
    changes at the same positions is measured there, too, and the smaller bound counts.

    The smallest faults seen on the embedded model: in float32 rotary frequencies multiplied by
    1.0005, or a window wider by one token; in bfloat16 frequencies multiplied by 1.01.
    """
    base = compute_logits(model, ids)
    moving, largest = move_results(model.network, None), 0.0
    for _ in range(RUNS):
        with moving():
            moved = _compute_logits(model, ids)
        largest = max(largest, largest_change(base, moved, TOP))
    noise = RoundingNoise(largest, len(base), RUNS * len(base))
    bound = noise.tolerance
    used = model.network.config._attn_implementation
    others = [name for name in list_attention(model) if name != used]
    if model.network.dtype is not torch.float32 and others:
        with use_attention(model, others[0]) as other:
            changed = bound_changes(
                base, _compute_logits(other, ids), TOP, ERROR_BUDGET / COMPARISONS
            )
        bound = min(bound, changed or bound)
    return bound + LEAST


@torch.inference_mode()
def _compute_logits(model: TransformersEngine, ids: tuple[int, ...]) -> torch.Tensor:
    places = torch.tensor(choose_positions(len(ids), find_window(model)), device=model.device)

    def choose(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][:, places.to(args[0].device)], *args[1:])

    head = model.network.get_output_embeddings()
    hooks = [] if head is None else [head.register_forward_pre_hook(choose)]
    try:
        out = model.network(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    logits: torch.Tensor = out.logits[0].float().cpu()
    return logits if len(logits) == len(places) else logits[places.cpu()]


def continue_long_text(model: TransformersEngine, ids: Sequence[int]) -> Generation:
    """Continue a long text greedily, from a cache."""
    return generate_texts(model, [ids], CONTINUED)[0]


def generate_to_end(model: TransformersEngine) -> dict[str, Generation]:
    """Continue two prompts greedily until their texts end, or for some tokens.

    The second is a question, asked as the model is meant to be asked, or in the plain form where
    its chat template refuses that.
    """
    first = built_in_questions()[:1]
    try:
        (question,) = ask(model, first)
    except UserError:
        (question,) = ask(model, first, "plain")
    texts = generate_texts(model, [ENDING, question.prompt], UNTIL)
    return dict(zip((ENDING, question.question.text), texts, strict=True))


def record_logits(model: TransformersEngine, ids: Sequence[int]) -> RecordedLogits:
    """Return the largest logits along a text in the form that is recorded."""
    logits = compute_logits(model, tuple(ids))
    top = logits.topk(min(TOP, logits.shape[-1]), dim=-1)
    return RecordedLogits(
        prompt_ids=tuple(ids),
        positions=tuple(choose_positions(len(ids), find_window(model))),
        top_ids=tuple(map(tuple, top.indices.tolist())),
        top_logits=tuple(tuple(round(x, DECIMALS) for x in row) for row in top.values.tolist()),
    )


def judge_logits(
    recorded: RecordedLogits,
    now: RecordedLogits,
    logits: torch.Tensor,
    tolerance: float,
    noise: Callable[[], float],
) -> Finding:
    """Judge logits along a text, those of the positions of `now`, by the recorded ones.

    A logit may move by the measured noise, or by the tolerance where that is smaller. The noise is
    measured only where more than the last recorded decimals moved.

    >>> old = RecordedLogits(
    ...     prompt_ids=(1, 2), positions=(0, 1), top_ids=((0,), (1,)), top_logits=((2.0,), (2.0,))
    ... )
    >>> judge_logits(old, old, torch.tensor([[2.0, 0.0], [0.0, 2.5]]), 0.1, lambda: 0.2).reason[:59]
    'a long text: after 2 of its 2 tokens a logit moves by 0.5, '
    """
    finding = Finding(NAME, OutputStatus.SAME, 0.0, recorded.top_logits[-1][0], 0.0)
    length = len(now.prompt_ids)
    if recorded.prompt_ids != now.prompt_ids:
        reason = f"{NAME}: its {length} token ids are not those recorded"
        return replace(finding, outcome=OutputStatus.OTHER_PROMPT, reason=reason)
    then = dict(
        zip(
            recorded.positions,
            zip(recorded.top_ids, recorded.top_logits, strict=True),
            strict=True,
        )
    )
    rows = {place: row for place, row in zip(now.positions, logits, strict=True) if place in then}
    moves = {place: _largest_move(*then[place], row) for place, row in rows.items()}
    if max(moves.values(), default=0.0) > LEAST:
        tolerance = min(tolerance, noise())
    held = 0
    for place, moved in moves.items():
        share = moved / tolerance
        finding = replace(
            finding,
            share=max(share, finding.share),
            recorded=then[place][1][0],
            now=float(rows[place].max()),
        )
        if not share <= 1:
            before = f"; after {held} or fewer none moves further than that" if held else ""
            reason = (
                f"{NAME}: after {place + 1} of its {length} tokens a logit moves by {moved:.2g}, "
                f"{share:.3g} times what rounding explains ({tolerance:.2g}){before}"
            )
            return replace(finding, outcome=OutputStatus.DRIFTED, reason=reason)
        held = place + 1
    return finding


def _largest_move(ids: Sequence[int], values: Sequence[float], row: torch.Tensor) -> float:
    """Return the largest change of a recorded logit; infinite where one is missing or NaN."""
    moves = (
        abs(float(row[token]) - value) if token < len(row) else math.inf
        for token, value in zip(ids, values, strict=True)
    )
    return max((math.inf if math.isnan(move) else move for move in moves), default=0.0)
