"""Where a target's weights go: on one CUDA device, split over several, or nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probes._util.progress import LARGE
from probes.errors import UserError
from probes.targets.target import Quantization

if TYPE_CHECKING:
    from probes.targets.target import Target

WEIGHTS_SHARE = 0.9
"""Of a device's free memory, what split weights may take: caches and logits need the rest."""


def format_gb(size: float) -> str:
    """A size for a reader.

    >>> format_gb(14_483_464_192)
    '14.5 GB'
    """
    return f"{size / 1e9:.1f} GB"


def place(target: Target, needed: int, copies: int = 0) -> dict[int, int] | None:
    """Find room for a target's weights on the CUDA devices that torch sees.

    Args:
        target: says on which device, or leaves it open.
        needed: bytes of its weights once loaded; computing takes some more.
        copies: how many a device must hold, each of a worker's; 0 if this process alone loads one,
            which may be split.

    Returns:
        Where one device is too small, the bytes that transformers may give to each, which keeps a
        tenth of them back under NF4; None where nothing is split.

    Raises:
        UserError: there is no room.

    >>> from probes.targets.resolve import resolve
    >>> place(resolve("embedded"), 18_747_904) is None
    True
    """
    if not _takes_cuda(target, needed):
        return None
    import torch

    named = ":" in target.device
    index, count = int(target.device.partition(":")[2] or 0), torch.cuda.device_count()
    free, total = _free_bytes(index), torch.cuda.mem_get_info(index)[1]
    if max(1, copies) * needed <= free:
        return None
    # A worker sees one device alone, and who names a device wants that one.
    every = [] if named else [_free_bytes(each) for each in range(count)]
    together = WEIGHTS_SHARE * sum(every)
    splits = needed <= together
    nf4 = target.quantization is Quantization.NF4
    if splits and not copies:
        return {each: int((1 if nf4 else WEIGHTS_SHARE) * size) for each, size in enumerate(every)}

    weights = f"{format_gb(needed)}{' in nf4' if nf4 else ''}"
    if copies > 1:
        weights = f"{copies} × {weights}, a copy for each worker"
    there = f"cuda:{index} has {format_gb(free)} free of {format_gb(total)}"
    if count > 1 and not named and not copies:
        there = f"the {count} CUDA devices have {format_gb(sum(every))} free together, "
        there += f"of which weights may take {format_gb(together)}"
    quantized = "choose " if nf4 else "choose --quantization nf4, or "
    advice = f"end what else runs there, or {quantized}a device with more memory"
    if copies > 1 and needed <= free:
        advice = "take fewer workers with -n"
    elif copies and splits:
        advice = f"leave out -n, so that the weights are split over the {count} devices"
    raise UserError(f"its weights take {weights}, and {there}: {advice}")


def _free_bytes(index: int) -> int:
    """What a CUDA device has free for this process: what torch keeps for itself unused, too."""
    import torch

    free: int = torch.cuda.mem_get_info(index)[0]
    return free + torch.cuda.memory_reserved(index) - torch.cuda.memory_allocated(index)


def _takes_cuda(target: Target, needed: int) -> bool:
    if target.device != "auto":
        return target.device.startswith("cuda")
    if needed < LARGE:  # not worth importing torch so early
        return False
    import torch

    return torch.cuda.is_available()
