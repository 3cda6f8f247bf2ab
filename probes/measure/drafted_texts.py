"""Make greedy texts by drafted decoding: a cheap draft proposes tokens, the model checks them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from probes.errors import BrokenModelError, UndecidableError
from probes.measure.determinism import generate_texts, vary
from probes.measure.drafts import Draft, follow_drafts, watch_drafts
from probes.measure.greedy_differences import Variation
from probes.measure.reproduction import VariedCall
from probes.measure.token_trace import text_of_last
from probes.schema.evidence.texts import DraftedText

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from probes.engines.base import Generation, Prompt
    from probes.engines.transformers.engine import TransformersEngine

LOOKED_UP = 3
"""Tokens that prompt lookup proposes at once."""

LONGEST_PROMPT = 80
"""Characters of a prompt's end that are kept with the drafts after it."""


def vary_drafting(
    model: TransformersEngine, prompts: Sequence[Prompt], length: int
) -> Iterator[tuple[Variation, DraftedText]]:
    """Make greedy texts with drafts from the prompt, and with the model as its own assistant.

    Each comes with the steps of the text that kept most drafts. The library drafts for one text at
    a time. Raises UndecidableError where it cannot draft for this kind of model, and
    BrokenModelError where it begins to and fails.

    >>> prompt = "Tokyo is the capital of Japan. The capital of Japan is"
    >>> [found.explained for found, _ in vary_drafting(load("embedded"), [prompt], 8)]
    [True, True]
    """
    for name, arguments, words in (
        ("prompt lookup", {"prompt_lookup_num_tokens": LOOKED_UP}, None),
        ("the model as its own assistant", {"assistant_model": model.network}, "model"),
    ):
        drafted: list[DraftedText] = []
        one_by_one = partial(_draft, model, name, prompts, length, arguments, drafted)
        settings = ", ".join(f"{key}={words or value}" for key, value in arguments.items())
        call = VariedCall(f"ids[:1, -len(rows[0]) :], mask[:1, -len(rows[0]) :], {settings}")
        # Passes over drafts are others than the plain ones: no layers to compare.
        found = vary(model, f"drafted by {name}", prompts, length, one_by_one, call, lambda *_: "")
        yield found, max(drafted, key=lambda text: sum(step.accepted for step in text.steps))


def _draft(
    model: TransformersEngine,
    name: str,
    prompts: Sequence[Prompt],
    length: int,
    arguments: dict[str, Any],
    drafted: list[DraftedText],
) -> list[Generation]:
    """Make one text after the other, and append to `drafted` how each was drafted."""
    made = []
    try:
        for prompt in prompts:
            with watch_drafts() as drafts:
                made += generate_texts(model, [prompt], length, **arguments)
            drafted.append(_describe_drafts(model, name, made[-1], drafts))
    except ValueError as error:
        raise UndecidableError(f"transformers does not draft for it by {name}: {error}") from error
    except (RuntimeError, IndexError, AttributeError) as error:
        if "requires a cache" in str(error):
            raise UndecidableError(f"transformers does not draft for it: {error}") from error
        raise BrokenModelError(
            f"drafted decoding by {name} fails: {type(error).__name__}: {error}"
        ) from error
    for each in made:
        steps, tokens = 0 if each.logits is None else each.logits.shape[1], len(each.ids[0])
        if steps < tokens:
            raise BrokenModelError(
                f"drafted decoding by {name} returns logits of {steps} steps for {tokens} tokens"
            )
    return made


def _describe_drafts(
    model: TransformersEngine, name: str, text: Generation, drafts: Sequence[Draft]
) -> DraftedText:
    prompt = model.decode(text.prompt_ids)
    cut = prompt if len(prompt) <= LONGEST_PROMPT else f"…{prompt[-LONGEST_PROMPT:]}"
    ids = [*text.prompt_ids, *text.ids[0]]
    steps = follow_drafts(drafts, ids, partial(text_of_last, model))
    return DraftedText(way=name, prompt=cut, steps=steps)
