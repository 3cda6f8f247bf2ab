"""The date that chat templates are given."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers.utils import chat_template_utils

DATE = datetime.datetime(2024, 7, 26, 12, 0)
"""What a template gets that asks for the date: else each day's prompts were other ones."""


class _FixedDate(datetime.datetime):
    @classmethod
    def now(cls, tz: Any = None) -> Any:  # noqa: ARG003
        return DATE


@contextmanager
def fix_date() -> Iterator[None]:
    """Let chat templates find `DATE` for as long as the block runs.

    The function cannot be given as an argument of the template: newer versions of transformers
    pass on no functions.
    """
    module: Any = chat_template_utils
    before = getattr(module, "datetime", None)
    if before is not datetime.datetime:  # a version that asks for the date in another way
        yield
        return
    module.datetime = _FixedDate
    try:
        yield
    finally:
        module.datetime = before
