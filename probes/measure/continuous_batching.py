"""Generate with transformers' continuous batching, and compare with plain greedy texts."""

from __future__ import annotations

import copy
import gc
import inspect
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import GenerationConfig

from probes.engines.base import Generation
from probes.engines.transformers import batching
from probes.engines.transformers.attention import list_attention, use_attention
from probes.engines.transformers.branches import find_plain_cache
from probes.engines.transformers.engine import TransformersEngine
from probes.errors import BrokenModelError, UndecidableError
from probes.measure.determinism import generate_alone, noise_tolerance
from probes.measure.greedy import step_logits
from probes.measure.greedy_differences import count_common_start, measure_margin
from probes.measure.stored_values import ROWS
from probes.targets.capabilities import TWIN_LIMIT

LIMITS: dict[str, Any] = {"num_blocks": 16, "max_batch_tokens": 16}
"""Of the cache, and of one pass: as much as the memory holds would take a minute to make."""

SHOWN: dict[str, Any] = {"return_logprobs": True, "auto_switch_to_flash": False}
"""What newer versions can be asked for: log-probabilities, and the attention as it is set."""

UNSUPPORTED = {
    # It asks for the free memory of a GPU where there is none.
    "unsupported operand type(s) for -: 'NoneType' and 'int'": Version("5.1"),
}
"""By the words of an error in the first pass, the version from which it is no longer expected."""

LOGGER = "ContinuousBatchingLogger"
"""Where the library says why a text is missing; it raises no error."""


@dataclass(frozen=True)
class BatchedText:
    """A text by continuous batching beside the greedy one."""

    attention: str
    texts: tuple[str, str]  # the greedy text, and the other
    step: int | None  # number of the first token that differs, from 0; None if all are the same
    margin: float  # distance there of the greedy text's two largest logits; 0 if all are the same
    # The largest change of a distance that rounding explains. That of a log-probability is a mean
    # of these, and so no larger.
    tolerance: float
    # Largest change of the log-probability of a token; None where the library shows none.
    change: float | None

    @property
    def explained(self) -> bool:
        """Whether rounding explains all."""
        same = self.change is None or self.change <= self.tolerance
        return same and (self.step is None or self.margin <= self.tolerance)


@torch.inference_mode()
def batch_continuously(
    model: TransformersEngine, prompts: Sequence[str], length: int
) -> tuple[list[BatchedText], list[str]]:
    """Compare texts by `generate_batch` with greedy ones; also return what it left changed.

    It is called once for each attention implementation, with passes so small that prompts come in
    parts, and the first prompt twice. Of the model's own settings only the ids that end a text
    apply, on both sides. Changed are parts of the network's state; of weights above `TWIN_LIMIT`
    the rows at both ends are compared. Raises UndecidableError where this version of the library
    says that it cannot begin, and BrokenModelError where it fails in any other way.

    >>> texts, changed = batch_continuously(load("embedded"), ["The capital of Japan is"], 4)
    >>> [text.explained for text in texts], changed
    ([True, True, True, True], [])
    """
    _check_available(model)
    tolerance = noise_tolerance(model, prompts, 20)  # of the texts that other claims compare, too
    ids = [model.encode_prompt(prompt) for prompt in (*prompts, prompts[0])]
    # Each alone: what padding may break is another claim's.
    plain = generate_alone(model, ids, length)
    found: list[BatchedText] = []
    changed: list[str] = []
    # All bits are read twice, not for each attention: 7B parameters take tens of seconds a time.
    whole = model.checkpoint.weight_bytes <= TWIN_LIMIT
    tensors = read_tensors(model.network, whole=whole)
    for name in list_attention(model):
        with use_attention(model, name):
            before = read_state(model.network)
            with _restore_settings(model.network):
                made = _generate(model, ids, length)
                after = read_state(model.network)
            changed += [f"{part} (attention {name})" for part in _compare_states(before, after)]
        for text, (new, logprobs) in zip(plain, made, strict=True):
            found.append(_compare(model, name, text, new, logprobs, tolerance))
    return found, changed + _compare_states(tensors, read_tensors(model.network, whole=whole))


def read_state(network: Any) -> dict[str, Any]:
    """Return what generation must leave as it is, by name, other than weights and buffers.

    >>> network = load("embedded").network
    >>> list(read_state(network))[:2], read_state(network) == read_state(network)
    (['attention implementation', 'configuration'], True)
    """
    return {
        "attention implementation": network.config._attn_implementation,
        "configuration": network.config.to_dict(),
        "generation configuration": network.generation_config.to_dict(),
        "training mode": [module.training for module in network.modules()],
    }


def read_tensors(network: Any, *, whole: bool) -> dict[str, Any]:
    """Return the sums of the bits of weights and buffers: of all rows, or of those at both ends.

    >>> list(read_tensors(load("embedded").network, whole=False))[:1]
    ['weight model.embed_tokens.weight']
    """
    return {
        f"{kind} {name}": (tuple(each.shape), each.dtype, each.device, _sum_bits(each, whole=whole))
        for kind, named in (
            ("weight", network.named_parameters()),
            ("buffer", network.named_buffers()),
        )
        for name, each in named
    }


def _compare_states(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Name the parts that are different, missing or new."""
    return [part for part in {**before, **after} if before.get(part) != after.get(part)]


def _sum_bits(tensor: torch.Tensor, *, whole: bool) -> int:
    if not whole and len(tensor.shape) > 1 and len(tensor) > 2 * ROWS:
        tensor = torch.cat([tensor[:ROWS], tensor[-ROWS:]])
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return int(tensor.detach().contiguous().view(bits).sum()) if tensor.numel() else 0


def _check_available(model: TransformersEngine) -> None:
    network, version = model.network, transformers.__version__
    if not hasattr(network, "generate_batch"):
        raise UndecidableError(f"transformers {version} has no continuous batching")
    out = network(input_ids=torch.tensor([[0]], device=model.device), use_cache=True)
    if find_plain_cache(getattr(out, "past_key_values", None)) is None:
        raise UndecidableError("it has recurrent states, which are not batched continuously")
    if not getattr(network, "_supports_attention_backend", True):
        raise UndecidableError(
            "its architecture computes attention by itself, and continuous batching needs another"
        )


def _generate(
    model: TransformersEngine, ids: Sequence[Sequence[int]], length: int
) -> list[tuple[list[int], list[float]]]:
    """Return the new tokens of each prompt, and their log-probabilities, where there are any.

    The given settings are used alone, without the model's own.
    """
    network = model.network
    settings = GenerationConfig(
        max_new_tokens=length, do_sample=False, eos_token_id=list(model.eos_token_ids) or -1
    )
    accepted = inspect.signature(network.generate_batch).parameters
    arguments: dict[str, Any] = {"generation_config": settings, "progress_bar": False}
    if "warmup" in accepted:
        arguments["warmup"] = False
    if "continuous_batching_config" in accepted:
        known = inspect.signature(transformers.ContinuousBatchingConfig).parameters
        wanted = {name: value for name, value in (LIMITS | SHOWN).items() if name in known}
        arguments["continuous_batching_config"] = transformers.ContinuousBatchingConfig(**wanted)
    else:
        for name, value in LIMITS.items():
            setattr(settings, name, value)
    passes: list[None] = []
    handle = network.register_forward_pre_hook(lambda *_: passes.append(None))
    try:
        with model.pause_counting(), _collect_nothing(), _keep_errors() as errors:
            made = network.generate_batch([list(row) for row in ids], **arguments)
    except Exception as error:
        errors, made = [error], {}
    finally:
        handle.remove()
    outputs = list(made.values())
    errors += [each.error for each in outputs if each.error is not None]
    if len(outputs) < len(ids) or errors:
        first = errors[0] if errors else "no reason is given"
        words = " ".join(str(first).split()) or type(first).__name__
        if len(passes) < 2 and _is_unsupported(first, words):
            raise UndecidableError(
                f"transformers {transformers.__version__} cannot begin continuous batching on "
                f"{model.device.type} here: {words}"
            )
        raise BrokenModelError(
            f"{len(ids) - len(outputs)} of {len(ids)} texts are missing from continuous batching: "
            f"{words}"
        )
    return [
        (
            batching.cut_after_end(list(each.generated_tokens), model.eos_token_ids),
            list(getattr(each, "logprobs", ())),
        )
        for each in match_prompts(ids, outputs)
    ]


def match_prompts(prompts: Sequence[Sequence[int]], outputs: Sequence[Any]) -> list[Any]:
    """Return the output of each prompt, by its ids: up to 5.0 they come in the order of finishing.

    >>> from types import SimpleNamespace
    >>> outputs = [SimpleNamespace(prompt_ids=ids) for ids in ([1, 2], [3])]
    >>> [each.prompt_ids for each in match_prompts([[3], [1, 2]], outputs)]
    [[3], [1, 2]]
    """
    left = [*outputs]
    found = []
    for prompt in prompts:
        own = next((each for each in left if list(each.prompt_ids) == list(prompt)), None)
        if own is None:
            raise BrokenModelError(
                f"continuous batching returns no text for a prompt of {len(prompt)} tokens, and "
                f"{len(left)} for prompts that it was not given"
            )
        left.remove(own)
        found.append(own)
    return found


def _is_unsupported(error: Any, words: str) -> bool:
    """Return whether the library says that it cannot do this, or is a version known not to."""
    if isinstance(error, (NotImplementedError, ImportError, torch.OutOfMemoryError)):
        return True
    version = Version(transformers.__version__)
    return any(version < end and known in words for known, end in UNSUPPORTED.items())


def _compare(
    model: TransformersEngine,
    attention: str,
    plain: Generation,
    new: Sequence[int],
    logprobs: Sequence[float],
    tolerance: float,
) -> BatchedText:
    ids = plain.ids[0]
    same = count_common_start(ids, new)
    step, margin = None, 0.0
    if same < max(len(ids), len(new)):
        step, margin = same, measure_margin(plain, same) if same < len(new) else math.inf
    change = None
    if logprobs:
        known = step_logits(plain)[:same].log_softmax(dim=-1).amax(dim=-1)
        shown = torch.tensor(logprobs[:same])
        change = float((known - shown).abs().nan_to_num(nan=torch.inf).amax()) if same else 0.0
    return BatchedText(
        attention,
        (plain.text, model.decode(new, skip_special_tokens=True)),
        step,
        margin,
        tolerance,
        change,
    )


@contextmanager
def _restore_settings(network: Any) -> Iterator[None]:
    """Give a network its generation settings back: transformers 4.57 removes its top-p."""
    kept = copy.deepcopy(network.generation_config)
    try:
        yield
    finally:
        network.generation_config = kept


@contextmanager
def _collect_nothing() -> Iterator[None]:
    """Leave what exists out of the searches for garbage, which `generate_batch` makes."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def _keep_errors() -> Iterator[list[Any]]:
    """Keep the errors that the library logs and does not raise."""
    errors: list[Any] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info and record.exc_info[1] is not None:
                errors.append(record.exc_info[1])

    keeper = Keeper(logging.ERROR)
    logger = logging.getLogger(LOGGER)
    before = logger.propagate
    logger.addHandler(keeper)
    logger.propagate = False
    try:
        yield errors
    finally:
        logger.removeHandler(keeper)
        logger.propagate = before
