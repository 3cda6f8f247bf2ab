"""The catalogue of claims: what the suite states about a model, as data.

A claim is a statement with an id. The catalogue is ``probes/data/claims.toml``; the tests that
decide a claim carry ``@pytest.mark.claim(id)``. Authors add claims of their own in the marker
itself, with the same fields.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from probes._util.files import DATA
from probes._util.tomlfile import load_toml
from probes.errors import UserError, did_you_mean


class Kind(str, Enum):
    """Whom a claim binds."""

    CONTRACT = "contract"
    """What the stack owes to every model: it fails anywhere."""
    OBSERVATION = "observation"
    """What is seen of particular weights: it fails only on a target that expects it."""


class Status(str, Enum):
    """The relation of a claim to the published experiment it comes from."""

    AS_PUBLISHED = "as published"
    REFINED = "refined"
    OURS = "ours"


CAPABILITIES = {
    "model": "any causal language model: it continues texts",
    "encoding": "the token ids of a text",
    "tokenizer": "a tokenizer: text to token ids and back",
    "config": "a configuration: the network is built without weights",
    "token-ids": "token ids as a prompt",
    "logprobs": "log-probabilities of the most likely tokens at each step of a text it makes",
    "prompt-logprobs": "log-probabilities of the tokens of a given text",
    "streams": "texts that come in parts, from a server",
    "server": "a server that computes it, asked by requests",
    "logits": "the logits of the whole vocabulary",
    "processors": "logits processors and stopping criteria of the caller's own",
    "beam-search": "beam search",
    "chat": "a chat template",
    "weights": "the network itself, with its weights",
    "variants": "the same weights with another dtype, attention or cache",
    "timing": "passes that can be timed alone",
}
"""What an engine may be able to do, and what that asks of a target, for a reader."""

FACTS = {
    "bos": "a tokenizer that is to insert a beginning-of-sequence token",
    "sentencepiece": "the SentencePiece model that the tokenizer was made from",
    "mistral-tokenizer": "the tokenizer of Mistral-7B-v0.1, recognised by its pieces",
    "mistral-7b": "the weights of Mistral-7B-v0.1; a target declares it",
    "nf4": "weights in 4-bit NF4, or a model small enough for an NF4 copy beside it",
    "quantized": "weights that bitsandbytes quantized, or a model small enough for such a copy",
    "gpt2-xl": "the weights of GPT-2 XL; a target declares it",
    "reference": "a second target, `--reference`, which says what it should compute",
}
"""What may be true of a target, for a reader."""

SERVER = "server"
"""The need of checks that ask a server in another way than a network in this process."""

REFERENCE = "reference"
"""The need of claims that compare an engine with a reference."""

NEEDS = CAPABILITIES | FACTS
"""Every need that a claim can name."""

KNOWLEDGE = "knowledge"
"""A need of the first edition. A claim that names it is an observation without it; a target that
declares it expects all observations."""


def check_need(need: str) -> str:
    """Return a need if there is one of that name.

    Raises:
        UserError: There is none; the message lists them.

    >>> check_need("boss")
    Traceback (most recent call last):
    probes.errors.UserError: no need 'boss'; did you mean 'bos'? Known needs: model, encoding, ...
    """
    if need not in NEEDS and need != KNOWLEDGE:
        hint = did_you_mean(str(need), NEEDS) or "."
        raise UserError(f"no need {need!r}{hint} Known needs: {', '.join(NEEDS)}")
    return need


class Claim(BaseModel):
    """One statement that tests decide."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    """Its name: lower-case words joined by hyphens, unique in a run."""
    section: str = "Claims of your own"
    """The heading of its section in summaries and reports."""
    title: str = Field(min_length=1)
    """The statement itself, one sentence in plain words."""
    kind: Kind = Kind.CONTRACT
    """Whether it binds every target, or only those that expect it."""
    needs: tuple[Annotated[str, AfterValidator(check_need)], ...] = ("model",)
    """What its tests use; where one is missing, the claim is not applicable."""
    status: Status = Status.OURS
    """Its relation to the published experiment."""
    differs: str = ""
    """For a refined claim: what is really so, where the published text is imprecise."""


@cache
def catalogue() -> dict[str, Claim]:
    """The built-in claims by id, in the order a learner would read them.

    >>> catalogue()["ids-english"].status.value
    'as published'
    """
    claims = [
        Claim(section=section["title"], **claim)
        for section in load_toml(DATA / "claims.toml")["section"]
        for claim in section["claim"]
    ]
    return {claim.id: claim for claim in claims}
