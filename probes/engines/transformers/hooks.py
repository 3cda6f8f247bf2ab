"""Forward passes as hooks see them: what went in, and whether anything can be claimed of it."""

from __future__ import annotations

from typing import Any

import torch

from probes._util.text import quote
from probes.errors import UndecidableError

SHOWN = 40
"""Characters of a prompt's end that a message shows."""


def given(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What a forward pass was given: token ids, or else embeddings, a row a text.

    >>> given((), {"input_ids": torch.tensor([[1, 2]])}).shape
    torch.Size([1, 2])
    """
    ids = kwargs.get("input_ids", args[0] if args else None)
    return kwargs.get("inputs_embeds") if ids is None else ids


def refuse_beyond_context(network: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse a forward pass beyond the positions that its network was made for; a hook.

    Raises:
        UndecidableError: There are more tokens than the network has positions.
    """
    if not torch.compiler.is_compiling():
        positions = given(args, kwargs).shape[1]
        within_context(network.config, _before(kwargs.get("past_key_values")) + positions)


def within_context(config: Any, positions: int) -> None:
    """Refuse more positions than a network was made for.

    Where positions are learnt there is nothing to look up beyond the last: an error on a CPU, and
    on a GPU the end of all computing in this process.

    Args:
        config: the architecture's configuration.
        positions: tokens of a text as the network sees it.

    Raises:
        UndecidableError: They are too many.

    >>> from transformers import GPT2Config
    >>> within_context(GPT2Config(n_positions=4), 4)
    >>> within_context(GPT2Config(n_positions=4), 5)
    Traceback (most recent call last):
    probes.errors.UndecidableError: its context of 4 tokens is too short to decide this
    """
    limit = context(config)
    if limit is not None and positions > limit:
        raise UndecidableError(f"its context of {limit:,} tokens is too short to decide this")


def context(config: Any) -> int | None:
    """How many positions a network was made for; None where its configuration does not say.

    >>> from transformers import GPT2Config
    >>> context(GPT2Config(n_positions=4))
    4
    """
    limit: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    return limit


def _before(cache: Any) -> int:
    """How many positions a cache holds: an object, or mere tuples up to transformers 4.47."""
    if hasattr(cache, "get_seq_length"):
        return int(cache.get_seq_length())
    return int(cache[0][0].shape[-2]) if cache else 0


def without_distribution(output: Any) -> int | None:
    """The first row whose last logits are no distribution; None where all are one.

    They are one if the largest of them is a finite number. What comes before the last position
    may be padding, after which anything goes.

    >>> from types import SimpleNamespace
    >>> output = SimpleNamespace(logits=torch.tensor([[[0.0, -torch.inf]], [[0.0, torch.nan]]]))
    >>> without_distribution(output)
    1
    """
    logits = getattr(output, "logits", None)
    if logits is None or torch.compiler.is_compiling():
        return None
    broken = ~logits[:, -1].amax(dim=-1).isfinite()
    return int(broken.nonzero()[0]) if bool(broken.any()) else None


def in_words(after: str, logits: torch.Tensor) -> str:
    """Why logits are no distribution, in one line.

    Args:
        after: the text they come after.
        logits: (vocabulary,).

    >>> in_words("The capital", torch.tensor([0.0, torch.nan, torch.nan]))
    "the logits after 'The capital' are no distribution: 2 of 3 are NaN"
    """
    counts = {
        "NaN": int(logits.isnan().sum()),
        "Infinity": int(logits.isposinf().sum()),
        "-Infinity": int(logits.isneginf().sum()),
    }
    found = [
        f"{count:,} of {len(logits):,} {'is' if count == 1 else 'are'} {kind}"
        for kind, count in counts.items()
        if count
    ]
    end = f"...{after[-SHOWN:]}" if len(after) > SHOWN else after
    return f"the logits after {quote(end)} are no distribution: {', '.join(found)}"
