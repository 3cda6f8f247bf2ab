"""Differences between greedy texts that two runs generated to their ends."""

from __future__ import annotations

from collections.abc import Iterator

from probes.compare.logprobs import judge_first_token
from probes.schema.comparison import Difference, Outcome
from probes.schema.evidence.shape import Shape
from probes.schema.evidence.texts import KeptBeams, KeptEnds, KeptTexts
from probes.schema.record import Check


def find_changed_ends(old: Check, new: Check, noise: float) -> Iterator[Difference]:
    """Yield each text that differs, judged by its first different token, with both lengths.

    What follows a near-tie, the end included, is a drift. A text that stops where the other goes on
    with the same tokens is a change.
    """
    before, after = KeptEnds.read(old.values), KeptEnds.read(new.values)
    if before is None or after is None:
        return
    then = before.by_prompt
    for prompt, now in after.by_prompt.items():
        text = then.get(prompt)
        if text is None or (text.ids, text.prompt_ids) == (now.ids, now.prompt_ids):
            continue
        is_same_prompt = text.prompt_ids == now.prompt_ids
        token = judge_first_token(text, now, noise) if is_same_prompt else None
        lengths = (len(text.ids), len(now.ids))
        yield Difference(
            check=new.name,
            name=f"the text after {prompt!r}",
            outcome=Outcome.DRIFTED if token is not None and token.near_tie else Outcome.CHANGED,
            old=text.text,
            new=now.text,
            token=token,
            lengths=lengths if lengths[0] != lengths[1] else None,
        )


def list_outputs_apart(old: Check, new: Check) -> tuple[str, ...]:
    """Return the names of evidence that repeats the outputs which a comparison judges by itself.

    How each run's outputs differ from the recorded ones says nothing more; where that is a near-tie
    in one run alone, its words differ.
    """
    shapes: tuple[tuple[type[Shape], tuple[str, ...]], ...] = (
        (KeptEnds, ("ends", "findings", "near_ties")),
        (KeptBeams, ("findings", "near_ties")),
        (KeptTexts, ("near_ties", "outcome", "reason")),
    )
    for shape, names in shapes:
        if all(shape.read(each.values) is not None for each in (old, new)):
            return names
    return ()
