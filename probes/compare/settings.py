"""Differences between the settings that `generate()` uses in two runs."""

from __future__ import annotations

from collections.abc import Iterator

from probes.schema.comparison import ChangedSetting, Difference, Outcome
from probes.schema.evidence.settings import LIBRARY, UsedSettings
from probes.schema.record import Check


def find_changed_settings(old: Check, new: Check) -> Iterator[Difference]:
    """Yield each setting with another value; with the same value from another source, as a drift.

    A setting that is off by the library's default is not changed where another version of the
    library has no value for it.
    """
    then, now = UsedSettings.read(old.values), UsedSettings.read(new.values)
    if then is None or now is None:
        return
    before, after = then.by_name, now.by_name
    for name in dict.fromkeys([*before, *after]):
        pair = before.get(name), after.get(name)
        if pair[0] == pair[1]:
            continue
        values = [None if each is None else each.value for each in pair]
        sources = ["" if each is None else each.source for each in pair]
        if values[0] == values[1] and sources[0] == sources[1]:
            continue  # only what the library would put in place of a file's value
        if set(sources) <= {LIBRARY, ""} and all(each is None or each is False for each in values):
            continue
        yield Difference(
            check=new.name,
            name=name,
            outcome=Outcome.DRIFTED if values[0] == values[1] else Outcome.CHANGED,
            old=values[0],
            new=values[1],
            setting=ChangedSetting(old_source=sources[0], new_source=sources[1]),
        )
