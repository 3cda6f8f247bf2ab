"""The model of a target: which weights are tested, and how they are loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import LiteralString

from probes._util.files import PACKAGE
from probes.errors import did_you_mean
from probes.schema.base import NOT_QUOTED
from probes.schema.claim import KNOWLEDGE, NEEDS, Claim, Kind, catalogue

EMBEDDED_FOLDER = PACKAGE / "embedded"

HUB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)?")

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:(0|[1-9][0-9]{0,3}))?")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_REVISION = re.compile(r"[A-Za-z0-9_](?!.*\.\.)[A-Za-z0-9._/-]{0,199}")


class Quantization(str, Enum):
    """How the weights of the linear layers are stored once loaded."""

    NONE = "none"
    NF4 = "nf4"
    NF4_DOUBLE = "nf4-double"
    """NF4 whose scales are quantized too."""
    FP4 = "fp4"
    INT8 = "int8"

    @property
    def four_bit(self) -> bool:
        """Whether a weight takes half a byte."""
        return self in (Quantization.NF4, Quantization.NF4_DOUBLE, Quantization.FP4)


class Dtype(str, Enum):
    """The floating-point type of the weights; of quantized ones, of the computation."""

    AUTO = "auto"
    FLOAT32 = "float32"
    FLOAT16 = "float16"
    BFLOAT16 = "bfloat16"


class Attention(str, Enum):
    """The attention implementation, by transformers' names."""

    AUTO = "auto"
    EAGER = "eager"
    SDPA = "sdpa"
    FLASH_ATTENTION_2 = "flash_attention_2"
    FLASH_ATTENTION_3 = "flash_attention_3"
    FLEX_ATTENTION = "flex_attention"


DECLARABLE = ("bos", "mistral-tokenizer", "mistral-7b", "gpt2-xl")
"""What a target may declare in `provides`; everything else is read from the model."""

ALLOWED_VALUES: dict[str, list[str]] = {
    "quantization": [each.value for each in Quantization],
    "dtype": [each.value for each in Dtype],
    "device": ["auto", "cpu", "cuda", "cuda:N", "mps"],
    "attention": [each.value for each in Attention],
    "engine": ["llama.cpp", "transformers"],
    "provides": list(DECLARABLE),
}


def _join(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}"


def _must_match(pattern: re.Pattern[str], expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"should be {expected}")
        return value

    return AfterValidator(check)


def _check_address(address: str) -> str:
    """Return an address without a slash at its end; what is refused may hold a secret."""
    try:
        parts = urlsplit(address)
        has_host = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a bracket that is not closed, or a port that is no number
        raise _refuse_address("should begin with http:// or https:// and a host") from None
    if not has_host:
        raise _refuse_address("should begin with http:// or https:// and a host")
    if parts.username is not None or parts.password is not None:
        raise _refuse_address(
            "should have no user and no password: put a key in PROBES_API_KEY or OPENAI_API_KEY"
        )
    if parts.query or parts.fragment:
        raise _refuse_address("should have no query, and its model as served_model")
    return address.rstrip("/")


def _refuse_address(problem: LiteralString) -> PydanticCustomError:
    return PydanticCustomError(NOT_QUOTED, problem)


def _check_declarable(need: str) -> str:
    if need == KNOWLEDGE:
        return need
    if need not in NEEDS:
        raise ValueError(f"should be {_join(ALLOWED_VALUES['provides'])}")
    if need not in DECLARABLE:
        raise ValueError(
            f"is found out from the model; a target may declare {_join(ALLOWED_VALUES['provides'])}"
        )
    return need


def _check_expected(value: object) -> object:
    if value == "all":
        return value
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise ValueError('should be "all", or a list of observations')
    for claim_id in value:
        claim = catalogue().get(claim_id)
        if claim is None:
            known = [each.id for each in catalogue().values() if each.kind is Kind.OBSERVATION]
            hint = did_you_mean(claim_id, known)
            raise ValueError(f"names {claim_id!r}, and no observation has that id{hint}")
        if claim.kind is Kind.CONTRACT:
            raise ValueError(f"names {claim_id!r}, a contract, which must hold on every target")
    return value


class Target(BaseModel):
    """One model and how to load it.

    >>> target = Target(name="tiny", folder="models/tiny", dtype="bfloat16")
    >>> target.dtype.value, target.device, target.source
    ('bfloat16', 'auto', 'folder')
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, _must_match(_NAME, "a printable name")]
    """A key of a targets file, the last part of a folder, or a hub id."""
    title: str = ""
    """A short description for readers of a report."""
    folder: Path | None = None
    """A local folder with config, tokenizer and safetensors weights."""
    repository: Annotated[str, _must_match(HUB_ID, "a hub id, such as org/model")] | None = None
    """A model on the hub, as `org/model`."""
    revision: Annotated[str, _must_match(_REVISION, "a commit, branch or tag")] | None = None
    """The commit, branch or tag of the repository; None for its main branch."""
    gguf: Path | None = None
    """A GGUF file."""
    engine: Literal["llama.cpp", "transformers"] | None = None
    """What computes a GGUF file; None is llama.cpp, or transformers where it is a reference."""
    address: Annotated[str, AfterValidator(_check_address)] | None = None
    """An OpenAI-compatible endpoint, such as `http://127.0.0.1:8000/v1`."""
    served_model: str | None = None
    """The model of the endpoint; None where it serves one only."""
    reference: str | None = None
    """What an engine is compared with: a target's name, a folder, a hub id or a GGUF file."""
    token_budget: Annotated[int, Field(gt=0)] | None = None
    """The most tokens that a run may ask of its server; None without a limit."""
    quantization: Quantization = Quantization.NONE
    dtype: Dtype = Dtype.AUTO
    device: Annotated[str, _must_match(_DEVICE, _join(ALLOWED_VALUES["device"]))] = "auto"
    """`auto`: a CUDA device if there is one, else the CPU."""
    attention: Attention = Attention.AUTO
    words: Path | None = None
    """A file of word lists for the claims about meaning; None for the built-in lists."""
    questions: Path | None = None
    """A file of questions for the claims about knowledge; None for the built-in ones."""
    corpus: Path | None = None
    """A text file over which quantized models are compared; None for the built-in texts."""
    stored_as: Annotated[str, _must_match(_NAME, "a short name, such as Q4_1")] | None = None
    """How the weights were stored before they came into this form, such as `Q4_1`: a folder that
    was made from a GGUF file has those values. None for weights that were never quantized."""
    random: Path | None = None
    """A file like `config.json` of a network that gets random weights; the folder then holds its
    tokenizer only."""
    provides: tuple[Annotated[str, AfterValidator(_check_declarable)], ...] = ()
    """Known facts about the model that cannot be read from its files."""
    expects: Annotated[Literal["all"] | tuple[str, ...], BeforeValidator(_check_expected)] = ()
    """The observations that must hold on it: `all`, or ids of the catalogue."""

    @model_validator(mode="after")
    def _refuse_contradictions(self) -> Target:
        places = (self.folder, self.repository, self.gguf, self.address)
        if sum(place is not None for place in places) != 1:
            raise ValueError("should have one of a folder, a repository, a GGUF file, an address")
        if self.engine is not None and self.gguf is None:
            raise ValueError("with an engine should have a GGUF file: others have no choice")
        if self.gguf is not None and self.quantization is not Quantization.NONE:
            raise ValueError(
                f"cannot have the quantization {self.quantization.value}: a GGUF file has its own"
            )
        if self.served_model is not None and self.address is None:
            raise ValueError("with a served model should have an address")
        if self.token_budget is not None and not self.is_served:
            raise ValueError("cannot have a token budget: no server computes it")
        if self.random is not None and self.folder is None:
            raise ValueError("with random weights should have a folder, which has its tokenizer")
        if self.folder is not None and self.revision is not None:
            raise ValueError(
                f"cannot have a revision ({self.revision}), as it is a folder: "
                "leave the revision out, or name a model on the hub, as org/model"
            )
        if self.attention.value.startswith("flash"):
            self._refuse_impossible_flash_attention()
        return self

    def _refuse_impossible_flash_attention(self) -> None:
        if self.device in ("cpu", "mps"):
            raise ValueError(
                f"cannot use {self.attention.value} on device {self.device}: "
                "choose device cuda, or attention sdpa or eager"
            )
        if self.dtype is Dtype.FLOAT32:
            raise ValueError(
                f"cannot use {self.attention.value} in float32: "
                "choose dtype float16 or bfloat16, or attention sdpa or eager"
            )

    def is_expected(self, claim: Claim) -> bool:
        """Return whether a claim must hold: a contract, or an observation that is expected.

        >>> tiny = Target(name="tiny", folder="tiny", expects=["collapse"])
        >>> [tiny.is_expected(catalogue()[i]) for i in ("top-k", "collapse", "heat-varies")]
        [True, True, False]
        """
        if claim.kind is Kind.CONTRACT or self.expects == "all" or KNOWLEDGE in self.provides:
            return True
        return claim.id in self.expects

    @property
    def is_served(self) -> bool:
        """Whether a server computes it, and not transformers in this process."""
        return self.address is not None or (self.gguf is not None and self.engine != "transformers")

    @property
    def source(self) -> str:
        """Where the model comes from: `embedded`, `folder`, `hub`, `gguf` or `endpoint`."""
        if self.address is not None:
            return "endpoint"
        if self.gguf is not None:
            return "gguf"
        if self.folder is None:
            return "hub"
        return "embedded" if self.folder.resolve() == EMBEDDED_FOLDER.resolve() else "folder"
