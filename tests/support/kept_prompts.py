"""Records that keep next-token distributions for comparisons."""

from __future__ import annotations

from typing import Any

from probes.schema.record import Record
from tests.support.samples import check, header, planned, record


def prompt(
    name: str, top: float = 2.0, ids: tuple[int, ...] = (1, 5), **more: Any
) -> dict[str, Any]:
    """A prompt of two tokens, after each of which two of three tokens are kept."""
    kept = {
        "prompt": name,
        "ids": list(ids),
        "top_ids": [[3, 4]] * 2,
        "top_logits": [[top, 1.0]] * 2,
        "log_rest": [0.0, 0.0],
        "likeliest": ["x", "x"],
    }
    return kept | more


def flipped(name: str, **more: Any) -> dict[str, Any]:
    """The same with the two kept tokens exchanged."""
    return prompt(name, **{"top_ids": [[4, 3]] * 2, "likeliest": ["y", "y"], **more})


def keeping(
    *prompts: dict[str, Any], noise: float = 1e-5, tolerance: float = 0.01, **more: Any
) -> Record:
    """A record of one claim, `d`, that keeps these prompts."""
    values = {"kept_prompts": list(prompts), "noise": noise, "tolerance": tolerance}
    return record([("d", check(values=values))], header(planned("d")), **more)
