"""What is tested, for the record: as a target asks for it, and as it is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probes.schema.record import TargetFacts

if TYPE_CHECKING:
    from probes.targets.preflight import UsableTarget


def describe_target(usable: UsableTarget, fingerprint: str) -> TargetFacts:
    """State what is known of a target before it is loaded."""
    target, checkpoint = usable.target, usable.checkpoint
    return TargetFacts(
        name=target.name,
        source=target.source,
        repository=target.repository,
        revision=usable.revision,
        quantization=target.quantization.value,
        dtype=target.dtype.value,
        device=target.device,
        attention=target.attention.value,
        architecture=checkpoint.architecture,
        vocabulary=len(checkpoint.pieces),
        parameters=checkpoint.parameters,
        weight_bytes=checkpoint.weight_bytes,
        fingerprint=fingerprint,
    )


def describe_network(network: Any) -> dict[str, Any]:
    """Return the facts that a loaded network replaces, by their names in the record."""
    return {
        "dtype": str(network.dtype).removeprefix("torch."),
        "device": ", ".join(dict.fromkeys(str(p.device) for p in network.parameters())),
        "attention": network.config._attn_implementation,
        "architecture": type(network).__name__,
        "weight_bytes": network.get_memory_footprint(return_buffers=False),
    }
