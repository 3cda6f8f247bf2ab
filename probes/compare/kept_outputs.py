"""Differences between outputs that two records keep: ids, conversations, beams, whole texts."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import JsonValue

from probes.compare.logprobs import judge_first_token
from probes.data.tokenizer_texts import corpus
from probes.schema.comparison import ChangedBeam, ChangedChats, ChangedIds, Difference, Outcome
from probes.schema.evidence.shape import Shape
from probes.schema.evidence.texts import KeptBeams, KeptChats, KeptEnds, KeptTexts
from probes.schema.evidence.words import KeptIds
from probes.schema.record import Check
from probes.schema.recorded_ids import RecordedIds, hash_texts


def find_changed_ids(old: Check, new: Check) -> Difference | None:
    """Return the change of the corpus's ids from one run of a check to another; None without one.

    Only ids of the same texts are compared. The first text whose ids are kept is shown.
    """
    before, after = KeptIds.read(old.values), KeptIds.read(new.values)
    if before is None or after is None or before.corpus_ids.texts != after.corpus_ids.texts:
        return None
    changed = before.corpus_ids.find_changed(after.corpus_ids)
    if not changed:
        return None
    place, count = changed[0], after.corpus_ids.count
    return Difference(
        check=new.name,
        name="ids",
        outcome=Outcome.CHANGED,
        old=_show(before.corpus_ids, place),
        new=_show(after.corpus_ids, place),
        ids=ChangedIds(
            changed=len(changed), texts=count, text=_find_text(after.corpus_ids, place, count)
        ),
    )


def _show(ids: RecordedIds, place: int) -> JsonValue:
    kept = ids.ids_of(place)
    return None if kept is None else " ".join(map(str, kept))


def _find_text(ids: RecordedIds, place: int, count: int) -> str | None:
    """Return a text of the corpus; None where this suite's corpus is another one."""
    step = max(1, len(corpus()) // max(1, count))
    texts = corpus()[::step]
    return texts[place] if hash_texts(texts) == ids.texts else None


def find_changed_chats(old: Check, new: Check) -> Difference | None:
    """Return how conversations changed from one run of a check to another; None without a change.

    Conversations of one run alone are not compared.
    """
    before, after = KeptChats.read(old.values), KeptChats.read(new.values)
    if before is None or after is None:
        return None
    names = [name for name in after.rendered_chats if name in before.rendered_chats]
    changes = {
        name: change
        for name in names
        if (change := before.rendered_chats[name].find_change(after.rendered_chats[name]))
    }
    if not changes:
        return None
    first, change = next(iter(changes.items()))
    return Difference(
        check=new.name,
        name="rendered_chats",
        outcome=Outcome.CHANGED,
        old=change.old,
        new=change.new,
        chats=ChangedChats(
            changed=len(changes), chats=len(names), conversation=first, place=change.place
        ),
    )


def find_changed_beams(old: Check, new: Check, noise: float) -> Iterator[Difference]:
    """Yield each text of the same prompt and rank that is another, or whose score moved.

    Rounding moves a logit by `noise`, so the distance of two scores by four times that. Another
    text is a near-tie where the scores lie as close, or where a candidate was kept or dropped by as
    little a token; but only if the texts that both searches found have their old scores, and there
    is one.
    """
    before, after = KeptBeams.read(old.values), KeptBeams.read(new.values)
    if before is None or after is None:
        return
    places = {(each.prompt, each.rank): each for each in before.kept_beams}
    known = {(each.prompt, *each.ids): each.score for each in before.kept_beams}
    moves: dict[str, list[float]] = {}
    for now in after.kept_beams:
        if (score := known.get((now.prompt, *now.ids))) is not None:
            moves.setdefault(now.prompt, []).append(abs(now.score - score))
    for now in after.kept_beams:
        then = places.get((now.prompt, now.rank))
        if then is None:
            continue
        moved, explained = abs(now.score - then.score), 4 * noise
        same = then.ids == now.ids
        if same and moved <= explained:
            continue
        nearest = min(then.closest, now.closest)
        common = moves.get(now.prompt, [])
        is_sound = all(move <= explained for move in common)
        is_close = moved <= explained or (bool(common) and nearest <= explained * len(now.ids))
        tie = is_sound and is_close
        yield Difference(
            check=new.name,
            name=f"beam {now.rank} after {now.prompt!r}",
            outcome=Outcome.DRIFTED if same or tie else Outcome.CHANGED,
            old=then.text,
            new=now.text,
            beam=ChangedBeam(
                old_score=then.score,
                new_score=now.score,
                explained=explained,
                near_tie=tie and not same,
            ),
        )


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
