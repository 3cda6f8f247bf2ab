"""Differences between the texts that beam search found in two runs."""

from __future__ import annotations

from collections.abc import Iterator

from probes.schema.comparison import ChangedBeam, Difference, Outcome
from probes.schema.evidence.texts import KeptBeams
from probes.schema.record import Check


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
