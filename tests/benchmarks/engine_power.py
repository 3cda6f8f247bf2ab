"""Measure how many tokens show that a server computes something else than its reference.

    python -m tests.benchmarks.engine_power [--target TARGET] [--texts N] [--only NAME]

The target is its own reference. Changed versions of it draw texts and make greedy ones: other
settings, other types, quantized weights, a quantized key-value cache, one step of fine-tuning,
another system prompt. Printed is the share of samples in which the texts alone (the e-value of
`engine-sampling`), and the log-probabilities (the tolerance of `engine-logprobs`), show the change,
by the number of tokens. The cache needs the package hqq.
"""

from __future__ import annotations

import argparse
import copy
import math
import random
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch

import probes
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN, STORIES
from probes.errors import UndecidableError
from probes.measure.asking import list_prompts
from probes.measure.engine_logprobs import compare_logprobs, follow_texts
from probes.measure.engine_sampling import LENGTH
from probes.schema.sampling import PLAIN, InForce, Sampling
from probes.stats.drawn_text import DrawnText
from probes.stats.settings_evidence import judge_settings, list_alternatives

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ALPHA = 1e-3
"""Share of false alarms."""

COUNTS = (16, 64, 256, 1024)
"""Tokens of a sample."""

SAMPLES = 400
"""Samples of each size, drawn from the texts with replacement."""

STEP = "Tuesday was rainy, so the committee met indoors and finished the annual budget early."
"""The text of one step of fine-tuning."""


@dataclass
class Changed:
    """A version of the reference: another model, other settings, or other prompts."""

    name: str
    model: Any
    sampling: Sampling = PLAIN
    penalty: float = 1.0
    system: str = ""


def list_changes(reference: probes.Model, only: str) -> Iterator[Changed]:
    """Yield the versions with `only` in their name, the unchanged one first."""
    plain = [
        Changed("nothing", reference),
        *(
            Changed(f"temperature {factor:g} times", reference, Sampling(factor, top_k=0))
            for factor in (1.01, 1.05, 1.1)
        ),
        Changed("top_k 50", reference, Sampling(top_k=50)),
        Changed("top_p 0.95", reference, Sampling(top_k=0, top_p=0.95)),
        Changed("repetition_penalty 1.1", reference, penalty=1.1),
        Changed("another system prompt", reference, system="Answer like a pirate. "),
    ]
    if find_spec("hqq") is None:
        print("note: key-value cache in 4 bits: the package hqq is not installed")
    else:
        plain.append(Changed("key-value cache in 4 bits", WithQuantizedCache(reference)))
    yield from (each for each in plain if only in each.name)
    others = {f"weights in {dtype}": {"dtype": dtype} for dtype in ("bfloat16", "float16")}
    others |= {f"weights in {kind}": {"quantization": kind} for kind in ("int8", "nf4")}
    for name, settings in others.items():
        if only not in name:
            continue
        try:
            yield Changed(name, reference.variant(**settings))
        except (UndecidableError, probes.UserError) as error:
            print(f"note: {name}: {error}")
    if only in (name := "one step of fine-tuning (AdamW, 1e-5)"):
        with one_step(reference) as tuned:
            yield Changed(name, tuned)


CACHE: dict[str, Any] = {"backend": "hqq", "nbits": 4, "residual_length": 1}
"""A cache in 4 bits, in groups of 64, the last token's part of it too."""

AXES = {"axis_key": 1, "axis_value": 1}
"""What hqq can quantize along."""


class WithQuantizedCache:
    """A model that keeps keys and values of all earlier tokens in 4 bits."""

    def __init__(self, model: probes.Model) -> None:
        self._model = model
        self.facts = model.facts

    def generate(self, prompt: Any, **settings: Any) -> Any:
        return self._model.generate(
            prompt, cache_implementation="quantized", cache_config=CACHE | AXES, **settings
        )

    @torch.inference_mode()
    def logits_batch(self, prompts: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        """Return the logits after every position of each prompt, read token by token."""
        from transformers import QuantizedCache

        network, found = self._model.network, []
        for ids in prompts:
            own = {name: value for name, value in CACHE.items() if name != "backend"}
            cache = QuantizedCache(CACHE["backend"], network.config, **own, **AXES)
            rows = [
                network(torch.tensor([[token]] * 2), past_key_values=cache, use_cache=True).logits[
                    0
                ]
                for token in ids  # hqq packs two rows into a byte: it needs an even number
            ]
            found.append(torch.cat(rows).float())
        return found


@contextmanager
def one_step(reference: probes.Model) -> Iterator[Any]:
    """Take one step of fine-tuning, and take it back."""
    tuned = copy.copy(reference)
    network = copy.deepcopy(reference.network)
    vars(tuned).update(network=network)
    vars(tuned).pop("_measured_this_session", None)
    tuned._prefill_of_ids = tuned._compute_prefill  # type: ignore[assignment]
    ids = torch.tensor([reference.encode(STEP)])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)
    network(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    yield tuned


def draw(reference: probes.Model, changed: Changed, texts: int) -> list[dict[str, float]]:
    """Return the evidence of each text that a version draws, by alternative."""
    prompts = (*STORIES, CAPITAL_OF_JAPAN)
    asked = InForce()
    alternatives = list_alternatives(asked, {})
    found = []
    for number, prompt in enumerate(prompts):
        ids = reference.encode_prompt(changed.system + prompt)
        made = changed.model.generate(
            ids,
            sampling=changed.sampling,
            seed=number,
            num_return_sequences=texts // len(prompts),
            max_new_tokens=LENGTH,
            repetition_penalty=changed.penalty,
        )
        start = reference.encode_prompt(prompt)
        for row in made.ids:
            logits = reference.logits_batch([[*start, *row[:-1]]])[0][len(start) - 1 :]
            text = DrawnText(start, row, logits)
            judged = judge_settings([text], asked, alternatives, alpha=ALPHA)
            found.append(judged.evidence)
    return found


def detect(evidence: Sequence[dict[str, float]], tokens: int) -> float:
    """Return the share of samples of texts whose e-value exceeds the limit."""
    draws, seen = random.Random(0), 0
    rows = torch.tensor([[*each.values()] for each in evidence], dtype=torch.float64)
    for _ in range(SAMPLES):
        sample = draws.choices(range(len(rows)), k=max(1, tokens // LENGTH))
        total = rows[sample].sum(dim=0).logsumexp(dim=0) - math.log(rows.shape[1])
        seen += float(total) >= -math.log(ALPHA)
    return seen / SAMPLES


def share_beyond(reference: probes.Model, changed: Changed) -> float | None:
    """Return the share of tokens whose log-probabilities leave the tolerance, if they can."""
    if changed.sampling != PLAIN or changed.penalty != 1 or changed.system:
        return None  # raw log-probabilities are the same
    prompts = list_prompts(reference)
    plain = compare_logprobs(reference, reference, prompts, 20)
    found = follow_texts(changed.model, reference, reference, prompts, 20)
    return sum(step.change > plain.tolerance for step in found.steps) / len(found.steps)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.engine_power")
    parser.add_argument("--target", default="embedded", help="a name, a folder or a hub id")
    parser.add_argument("--only", default="", help="part of the names of versions to measure")
    parser.add_argument("--texts", type=int, default=128, help="texts drawn from each version")
    options = parser.parse_args(arguments)
    try:
        reference = probes.load(options.target)
        heads = " | ".join(f"{count} tokens" for count in COUNTS)
        print(f"| changed | {heads} | tokens beyond the tolerance of log-probabilities |")
        print("|---" * (len(COUNTS) + 2) + "|")
        for changed in list_changes(reference, options.only):
            evidence = draw(reference, changed, options.texts)
            rates = " | ".join(f"{detect(evidence, count):.0%}" for count in COUNTS)
            beyond = share_beyond(reference, changed)
            print(
                f"| {changed.name} | {rates} | {'–' if beyond is None else f'{beyond:.0%}'} |",
                flush=True,
            )
    except probes.UserError as error:
        print(f"engine_power: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
