"""Read what the text of a config.json says of rotary positions, under its old and its new keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probes.errors import UndecidableError
from probes.targets.checkpoint import text_config

KINDS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")
"""Types of rotary positions that can be computed here."""

ALL_LAYERS = ""
"""The layer type of a network whose layers all have the same rotary positions."""

FULL, SLIDING = "full_attention", "sliding_attention"

SETTINGS = ("rope_parameters", "rope_scaling")
"""Where a configuration describes rotary positions: since transformers 5, and before."""

BASES = ("rope_theta", "rotary_emb_base")
SHARES = ("partial_rotary_factor", "rotary_pct")
WIDTHS = ("qk_rope_head_dim", "rotary_dim")
"""Keys outside of `SETTINGS`, which an older configuration has."""

DEFAULT_BASES = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "falcon"), 1e4),
    **dict.fromkeys(("phi", "phi3", "gpt_neox", "stablelm", "starcoder2", "granite"), 1e4),
    "mixtral": 1e6,
}
"""The base of an architecture whose configuration names none."""


@dataclass(frozen=True)
class Rotation:
    """How a configuration describes the rotary positions of its layers, or of one type of them."""

    kind: str  # `default`, `linear`, ...
    base: float
    source: str  # the key that names the base
    width: int | None  # values of a head that turn, two for each frequency; None: the network's own
    window: int | None  # positions of the network
    settings: Mapping[str, Any]

    @property
    def by_length(self) -> bool:
        """Whether the frequencies depend on the length of a text."""
        return self.kind in ("dynamic", "longrope")

    @property
    def trained(self) -> int | None:
        """Positions of the network before its context was extended."""
        return self.settings.get("original_max_position_embeddings") or self.window


def read_rotations(config: Mapping[str, Any]) -> dict[str, Rotation]:
    """Return the rotary positions that a config.json describes, by type of layer.

    What cannot be computed here raises UndecidableError.

    >>> config = {"hidden_size": 64, "num_attention_heads": 4, "rope_theta": 5e5}
    >>> found = read_rotations(config)[ALL_LAYERS]
    >>> found.kind, found.base, found.source, found.width
    ('default', 500000.0, 'rope_theta', None)
    """
    text = text_config(config)
    given = {name: text[name] for name in SETTINGS if isinstance(text.get(name), dict)}
    nested = given.get("rope_parameters", {})
    if any(isinstance(each, dict) for each in nested.values()):
        return {
            layers: _read_rotation(text, {f"rope_parameters.{layers}": each})
            for layers, each in nested.items()
            if isinstance(each, dict)
        }
    every = _read_rotation(text, given)
    local = text.get("rope_local_base_freq")
    if local is None:
        return {ALL_LAYERS: every}
    plain = {**text, "rope_theta": local}
    return {FULL: every, SLIDING: _read_rotation(plain, {}, source="rope_local_base_freq")}


def describes_rotation(config: Mapping[str, Any]) -> bool:
    """Return whether a config.json names anything about rotary positions."""
    text = text_config(config)
    return any(text.get(key) is not None for key in (*SETTINGS, *BASES, *SHARES, *WIDTHS))


def _read_rotation(
    text: Mapping[str, Any], given: Mapping[str, Mapping[str, Any]], source: str = ""
) -> Rotation:
    """Read one description; of several, the first takes precedence."""
    settings: dict[str, Any] = {}
    for each in reversed([*given.values()]):
        settings |= {key: value for key, value in each.items() if value is not None}
    kind = str(settings.get("rope_type") or settings.get("type") or "default")
    kind = "longrope" if kind == "su" else kind
    if kind not in KINDS or "mrope_section" in settings:
        name = "mrope" if "mrope_section" in settings else kind
        raise UndecidableError(f"its rotary positions are of the type {name!r}: no reference here")
    places = {f"{place}.rope_theta": each.get("rope_theta") for place, each in given.items()}
    places |= {key: text.get(key) for key in BASES}
    places["the default of its architecture"] = DEFAULT_BASES.get(str(text.get("model_type")))
    found = next(((key, base) for key, base in places.items() if base is not None), None)
    if found is None:
        raise UndecidableError("its config.json does not say the base of its rotary positions")
    original = text.get("original_max_position_embeddings")
    if original is not None:
        settings["original_max_position_embeddings"] = original
    window = text.get("max_position_embeddings")
    width = _find_width(text, settings)
    return Rotation(kind, float(found[1]), source or found[0], width, window, settings)


def _find_width(text: Mapping[str, Any], settings: Mapping[str, Any]) -> int | None:
    """Return how many values of a head turn, where the configuration says a part of them does."""
    own = next((text[key] for key in WIDTHS if text.get(key)), None)
    shares = (settings.get("partial_rotary_factor"), *(text.get(key) for key in SHARES))
    share = next((each for each in shares if each is not None), None)
    head = text.get("head_dim")
    if head is None and "hidden_size" in text and "num_attention_heads" in text:
        head = text["hidden_size"] // text["num_attention_heads"]
    if own is not None or share is None or head is None:
        return own
    return int(head * share)
