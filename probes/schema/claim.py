"""The catalogue of claims: what the suite states about a model, as data.

A claim is a statement with an id. The catalogue lives in ``claims.toml`` beside this module; the
tests that decide a claim carry ``@pytest.mark.claim(id)``. Authors add claims of their own in the
marker itself, with the same fields.
"""

from __future__ import annotations

from enum import Enum
from functools import cache

from pydantic import BaseModel, ConfigDict, Field

from probes._util.files import DATA
from probes._util.tomlfile import load_toml


class Status(str, Enum):
    """How a claim stands to the published experiment it comes from."""

    AS_PUBLISHED = "as published"
    REFINED = "refined"
    OURS = "ours"


class Need(str, Enum):
    """What a target must have for a claim to be decidable on it."""

    TOKENIZER = "tokenizer"
    CONFIG = "config"
    MODEL = "model"
    KNOWLEDGE = "knowledge"
    BOS = "bos"
    SENTENCEPIECE = "sentencepiece"
    MISTRAL_TOKENIZER = "mistral-tokenizer"
    MISTRAL_7B = "mistral-7b"
    NF4 = "nf4"
    GPT2_XL = "gpt2-xl"


class Claim(BaseModel):
    """One statement that tests decide."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    """Its name: lower-case words joined by hyphens, unique in a run."""
    section: str = "Claims of your own"
    """The heading it stands under in summaries and reports."""
    title: str = Field(min_length=1)
    """The statement itself, one sentence in plain words."""
    needs: tuple[Need, ...] = (Need.MODEL,)
    """What a target must have; where one is missing, the claim is not applicable."""
    status: Status = Status.OURS
    """Its relation to the published experiment."""
    differs: str = ""
    """For a refined claim: what is really so, where the published text is imprecise."""


@cache
def catalogue() -> dict[str, Claim]:
    """The built-in claims by id, in the order a learner would read them.

    >>> catalogue()["bos-inserted"].status.value
    'as published'
    """
    claims = [
        Claim(section=section["title"], **claim)
        for section in load_toml(DATA / "claims.toml")["section"]
        for claim in section["claim"]
    ]
    return {claim.id: claim for claim in claims}
