"""Differences between the rendered conversations that two records keep."""

from __future__ import annotations

from probes.schema.comparison import ChangedChats, Difference, Outcome
from probes.schema.evidence.texts import KeptChats
from probes.schema.record import Check


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
