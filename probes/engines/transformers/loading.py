"""Load the parts of a target with transformers: its tokenizer, configuration and weights.

Every failure becomes one line that names the target.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import PretrainedConfig, PreTrainedTokenizerBase

from probes._util import progress
from probes._util.garbage import pause_cycle_search
from probes._util.text import quote
from probes.errors import UnusableTargetError
from probes.targets import gguf
from probes.targets.placement import format_gb
from probes.targets.preflight import UsableTarget
from probes.targets.safetensors import Tensor
from probes.targets.target import Dtype, Quantization, Target


def load_tokenizer(usable: UsableTarget) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a target's folder."""
    load: Any = transformers.AutoTokenizer.from_pretrained
    with pause_cycle_search():
        tokenizer: PreTrainedTokenizerBase = _load_part(
            usable, "tokenizer", load, **_folder_arguments(usable)
        )
    return tokenizer


def load_config(usable: UsableTarget) -> PretrainedConfig:
    """Load the architecture's configuration."""
    load: Any = transformers.AutoConfig.from_pretrained
    arguments = _folder_arguments(usable)
    if usable.target.random is not None:
        load, arguments = transformers.AutoConfig.for_model, dict(usable.checkpoint.config)
    config: PretrainedConfig = _load_part(usable, "configuration", load, **arguments)
    return config


def load_network(usable: UsableTarget, config: Any = None) -> tuple[Any, list[str]]:
    """Load the network with its weights onto its device: a PreTrainedModel, in evaluation mode.

    The names are those of stored tensors that the library says it does not use. A `config` that was
    read before is not read again.
    """
    target, device = usable.target, resolve_device(usable.target)
    arguments = _folder_arguments(usable) | {
        "use_safetensors": True,
        "output_loading_info": True,
        dtype_argument(): _torch_dtype(target.dtype.value),
    }
    if target.attention.value != "auto":
        arguments["attn_implementation"] = target.attention.value
    if target.quantization is not Quantization.NONE:
        arguments["quantization_config"] = _quantization_config(target)
    arguments |= _placement(usable, device)
    load: Any = transformers.AutoModelForCausalLM
    if config is not None:
        arguments["config"] = config
    if target.gguf is not None:
        arguments |= _gguf_arguments(usable)
    if target.random is not None:
        config = load_config(usable)
        load = transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]

    def load_weights() -> Any:
        created = {} if target.random is None else _random_weights(usable, config, device)
        # A bar of the dequantization cannot be switched off.
        silent = nullcontext() if target.gguf is None else redirect_stderr(StringIO())
        with silent:
            return load.from_pretrained(**(arguments | created))

    size = format_gb(usable.needed_bytes)
    with progress.step(f"loading {target.name}: {size}", usable.needed_bytes):
        network, loading = _load_part(usable, "weights", load_weights)
    _refuse_incomplete(target, loading["missing_keys"])
    _refuse_offloaded(usable, network)
    if "device_map" not in arguments:
        network = network.to(device)
    return network.eval(), sorted(loading["unexpected_keys"])


def resolve_device(target: Target) -> torch.device:
    """Return the device that a target asks for; `auto` is a CUDA device if there is one."""
    if target.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(target.device)


def _gguf_arguments(usable: UsableTarget) -> dict[str, Any]:
    """Return what has a GGUF file dequantized: since 5.23 it could be computed in its blocks."""
    dtype = usable.target.dtype.value
    found = {dtype_argument(): torch.float32 if dtype == "auto" else _torch_dtype(dtype)}
    if hasattr(transformers, "GgufConfig"):
        found["quantization_config"] = transformers.GgufConfig(dequantize=True)
    return found


def _folder_arguments(usable: UsableTarget) -> dict[str, Any]:
    if (file := usable.target.gguf) is not None:
        weights = gguf.unpack(file).weights
        return _arguments_of(weights) | {"gguf_file": file.name}
    return _arguments_of(usable.checkpoint.folder)


def _arguments_of(folder: Path) -> dict[str, Any]:
    return {
        "pretrained_model_name_or_path": str(folder),
        "local_files_only": True,
        "trust_remote_code": False,
    }


def _placement(usable: UsableTarget, device: torch.device) -> dict[str, Any]:
    """Return where weights go that must not pass through the host's memory first."""
    target = usable.target
    if target.gguf is not None and usable.max_memory is None:
        return {}  # it is dequantized on the CPU
    if usable.max_memory is not None:
        # In the order in which room was found; "auto" would balance, and need more of the last.
        return {"device_map": "sequential", "max_memory": dict(usable.max_memory)}
    quantized = target.quantization is not Quantization.NONE
    direct = quantized or usable.checkpoint.stored_quantization or target.random is not None
    if direct or device.type == "cuda":
        return {"device_map": {"": str(device)}}
    return {}


def create_random_weights(
    tensors: Mapping[str, Tensor], scale: float, dtype: torch.dtype, device: torch.device
) -> dict[str, torch.Tensor]:
    """Create a network's weights by name: the same again on the same device.

    `scale` is the standard deviation of a matrix's elements; those of a vector, a norm's, are 1.

    >>> shapes = {"a": Tensor("F16", (2, 3)), "norm": Tensor("F16", (2,))}
    >>> weights = create_random_weights(shapes, 0.02, torch.float16, torch.device("cpu"))
    >>> weights["norm"].tolist(), weights["a"].shape
    ([1.0, 1.0], torch.Size([2, 3]))
    """
    generator = torch.Generator(device).manual_seed(0)
    return {
        name: torch.ones(tensor.shape, dtype=dtype, device=device)
        if len(tensor.shape) == 1
        else torch.empty(tensor.shape, dtype=dtype, device=device).normal_(
            0.0, scale, generator=generator
        )
        for name, tensor in tensors.items()
    }


def _random_weights(usable: UsableTarget, config: Any, device: torch.device) -> dict[str, Any]:
    """Return what replaces the folder's arguments: a configuration, and weights from a seed."""
    asked = usable.target.dtype.value
    dtype = getattr(torch, asked if asked != "auto" else "float32")
    place = torch.device("cpu") if usable.max_memory is not None else device
    tensors, scale = usable.checkpoint.tensors, config.initializer_range
    return {
        "pretrained_model_name_or_path": None,
        "config": config,
        "state_dict": create_random_weights(tensors, scale, dtype, place),
        dtype_argument(): dtype,
    }


def _quantization_config(target: Target) -> transformers.BitsAndBytesConfig:
    if target.quantization is Quantization.INT8:
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    compute = Dtype.FLOAT16 if target.dtype is Dtype.AUTO else target.dtype
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="fp4" if target.quantization is Quantization.FP4 else "nf4",
        bnb_4bit_use_double_quant=target.quantization is Quantization.NF4_DOUBLE,
        bnb_4bit_compute_dtype=_torch_dtype(compute.value),
    )


def _refuse_incomplete(target: Target, missing: Collection[str]) -> None:
    """Refuse weights that are not stored: transformers fills them with random numbers."""
    if missing:
        raise UnusableTargetError(
            f"target {target.name!r}: its weights lack {len(missing)} of the tensors that "
            f"its configuration describes, the first {quote(min(missing))}: copy or download "
            "the model again"
        )


def _refuse_offloaded(usable: UsableTarget, network: Any) -> None:
    """Refuse weights that found no room on their devices and lie on the host or the disk."""
    allowed = usable.max_memory
    places = set(getattr(network, "hf_device_map", {}).values())
    if allowed is not None and not places <= {*allowed}:
        raise UnusableTargetError(
            f"target {usable.target.name!r}: its weights take "
            f"{format_gb(usable.needed_bytes)}, and cannot be split over the devices "
            f"{', '.join(map(str, allowed))} layer by layer: end what else runs there, or "
            "choose a device with more memory"
        )


def _load_part(usable: UsableTarget, part: str, load: Any, **arguments: Any) -> Any:
    """Load a part without output; a failure becomes one line that names the target."""
    try:
        with quiet():
            return load(**arguments)
    except Exception as error:  # what damaged files make a library raise has no end
        raise UnusableTargetError(
            f"target {usable.target.name!r}: transformers {transformers.__version__} cannot load "
            f"its {part}: {type(error).__name__}: {error}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing anything for a while."""
    log = transformers.utils.logging
    verbosity, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bar:
            log.enable_progress_bar()


def dtype_argument() -> str:
    """Name the argument that transformers renamed from `torch_dtype` to `dtype` at 4.56."""
    return "dtype" if Version(transformers.__version__) >= Version("4.56") else "torch_dtype"


def _torch_dtype(name: str) -> Any:
    return name if name == "auto" else getattr(torch, name)
