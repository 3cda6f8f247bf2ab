"""Check everything about a target that can be decided before its model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from probes._util.text import quote
from probes.data.corpus import load_corpus
from probes.data.questions import load_questions
from probes.data.word_lists import load_word_lists
from probes.errors import UnusableTargetError, UserError
from probes.targets import hub
from probes.targets.capabilities import nf4_is_beyond_transformers
from probes.targets.checkpoint import Checkpoint, find_configuration
from probes.targets.placement import estimate_least_bytes, estimate_loaded_bytes, place
from probes.targets.target import Quantization, Target


@dataclass(frozen=True)
class UsableTarget:
    """A target whose model can be loaded, as far as that is known without loading it."""

    target: Target
    checkpoint: Checkpoint
    """The content of its local folder, `checkpoint.folder`."""
    revision: str | None = None
    """The commit that the hub resolved the target's revision to; None for a folder."""
    needed_bytes: int = 0
    """Bytes of its weights once loaded."""
    max_memory: Mapping[int, int] | None = None
    """Where the weights are split over CUDA devices, the bytes that each may take."""


def preflight(target: Target, copies: int = 0) -> UsableTarget:
    """Check that a target can be used, or raise UnusableTargetError: what is missing, what to do.

    A model on the hub is fetched, which may take long the first time; one that will not fit is
    refused before. torch is imported only if the target needs an accelerator or is large,
    transformers only if its folder offers code of its own. With `copies` of 0 the model may be
    split over several devices.
    """
    try:
        _refuse_missing_device(target.device)
        quantized = target.quantization is not Quantization.NONE
        if quantized:
            _refuse_quantization_without_libraries(target.quantization)
        load_word_lists(target.words)
        load_questions(target.questions)
        load_corpus(target.corpus)
        commit = None
        if target.gguf is not None:
            _refuse_gguf_without_its_package()
            checkpoint = Checkpoint.inspect_gguf(target.gguf)
        else:
            folder, commit = _find_folder(target, copies)
            checkpoint = Checkpoint.inspect(folder, target.random)
        stored = checkpoint.stored_quantization
        if quantized and stored is not None:
            raise UserError(
                f"quantization {target.quantization.value} was asked for, but the weights are "
                f"stored quantized already ({stored}): choose --quantization none"
            )
        usable = find_room(UsableTarget(target, checkpoint, commit), target, copies)
        if checkpoint.offers_remote_code:
            _refuse_needed_remote_code(checkpoint)
    except UserError as error:
        raise UnusableTargetError(f"target '{target.name}': {error}") from None
    return usable


def refuse_missing_files(target: Target) -> None:
    """Raise UnusableTargetError if a target's folder is no model's: cheap, and reads no file."""
    if target.folder is None:
        return
    try:
        find_configuration(target.folder, target.random)
    except UserError as error:
        raise UnusableTargetError(f"target '{target.name}': {error}") from None


def find_room(usable: UsableTarget, target: Target, copies: int = 0) -> UsableTarget:
    """Return the same model as another target loads it, or raise UserError without room for it."""
    tensors = usable.checkpoint.tensors
    needed = estimate_loaded_bytes(tensors, target.quantization, target.dtype)
    peak = needed
    if target.random is not None and target.quantization is not Quantization.NONE:
        # Random weights are drawn first, then quantized.
        peak += estimate_loaded_bytes(tensors, Quantization.NONE, target.dtype)
    room = place(target, peak, copies)
    return replace(usable, target=target, needed_bytes=needed, max_memory=room)


def _find_folder(target: Target, copies: int) -> tuple[Path, str | None]:
    def refuse_what_will_not_fit(parameters: Mapping[str, int]) -> None:
        place(target, estimate_least_bytes(parameters, target.quantization, target.dtype), copies)

    if target.folder is not None:
        return target.folder, None
    assert target.repository is not None  # a target has one or the other
    return hub.fetch(target.repository, target.revision, refuse_what_will_not_fit)


def _refuse_quantization_without_libraries(quantization: Quantization) -> None:
    for package in ("bitsandbytes", "accelerate"):
        if find_spec(package) is None:
            raise UserError(
                f"quantization {quantization.value} needs the package {package}, which is not "
                f"installed: python -m pip install {package}, or choose --quantization none"
            )
    if (reason := nf4_is_beyond_transformers()) is not None:
        raise UserError(
            f"quantization {quantization.value} was asked for, but {reason}, "
            "or choose --quantization none"
        )


def _refuse_gguf_without_its_package() -> None:
    if find_spec("gguf") is None:
        raise UserError(
            "transformers needs the package gguf to read a GGUF file, and it is not installed: "
            "python -m pip install gguf"
        )


def _refuse_missing_device(device: str) -> None:
    if not device.startswith(("cuda", "mps")):
        return
    import torch

    refusal = f"device {device} was asked for, but"
    if device == "mps":
        if not torch.backends.mps.is_available():
            raise UserError(
                f"{refusal} torch {torch.__version__} sees no Apple GPU: "
                "run on a Mac with one, or choose --device cpu"
            )
        return
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise UserError(
            f"{refusal} torch {torch.__version__} sees no CUDA device: run on a machine with an "
            "NVIDIA GPU and a CUDA build of torch, or choose --device cpu"
        )
    if int(device.partition(":")[2] or 0) >= count:
        raise UserError(
            f"{refusal} the last of the CUDA devices that torch sees is cuda:{count - 1}: "
            f"choose --device cuda:{count - 1}, or make more devices visible"
        )


def _refuse_needed_remote_code(checkpoint: Checkpoint) -> None:
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if checkpoint.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"{checkpoint.folder} can be loaded only by code of its own, which is never run: "
            f"transformers {transformers.__version__} has no language model of type "
            f"{quote(checkpoint.model_type)}; a newer transformers may have one"
        )
