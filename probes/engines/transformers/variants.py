"""A target loaded again with other settings, beside the first."""

from __future__ import annotations

from typing import Any

from probes.errors import UndecidableError, UserError
from probes.targets import preflight
from probes.targets.preflight import UsableTarget
from probes.targets.target import Attention, Dtype, Quantization, Target


def change_settings(
    target: Target,
    quantization: str | None = None,
    dtype: str | None = None,
    attn_implementation: str | None = None,
) -> Target:
    """Return a target with other settings.

    A quantized model computes in float16 unless a dtype is named too.

    >>> from probes.targets.resolve import resolve
    >>> change_settings(resolve("embedded"), quantization="nf4").dtype.value
    'float16'
    """
    update: dict[str, Any] = {}
    if quantization is not None and quantization != target.quantization.value:
        update["quantization"] = Quantization(quantization)
        if update["quantization"] is not Quantization.NONE:
            update["dtype"] = Dtype.FLOAT16
    if dtype is not None:
        update["dtype"] = Dtype(dtype)
    if attn_implementation is not None:
        update["attention"] = Attention(attn_implementation)
    return target.model_copy(update=update)


def find_room(usable: UsableTarget, target: Target) -> UsableTarget:
    """Place a copy with other settings beside a loaded target, or raise UndecidableError."""
    try:
        return preflight.find_room(usable, target)
    except UserError as error:
        raise UndecidableError(f"there is no room for a copy beside it: {error}") from error
