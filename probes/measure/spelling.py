"""What a tokenizer's own files say of how a text is spelled, and of what comes back of it.

Nothing here asks the tokenizer under test: tokenizer.json is read by the package `tokenizers`,
tokenizer.model by `sentencepiece`, and pieces are those of the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from probes.engines.session_cache import once_per_session
from probes.targets.vocabulary import SENTENCEPIECE_FILE, TOKENIZER_FILE

if TYPE_CHECKING:
    from collections.abc import Callable, Set

    from probes.engines.transformers.engine import TransformersEngine
    from probes.targets.checkpoint import Checkpoint
    from probes.targets.tokenizer_files import TokenizerFiles

SPACE = "▁"  # how SentencePiece writes a space

_WHITE_SPACE_LEFT_OUT = ("Whitespace", "WhitespaceSplit", "BertPreTokenizer", "CharDelimiterSplit")
_CLEANED_UP = (
    *((f" {mark}", mark) for mark in (".", "?", "!", ",")),
    (" ' ", "'"),
    *((f" {ending}", ending) for ending in ("n't", "'m", "'s", "'ve", "'re")),
)
"""What transformers replaces where clean_up_tokenization_spaces is set, in its order."""


def byte_letters() -> dict[int, str]:
    """Return the character by which byte-level vocabularies write each byte.

    >>> byte_letters()[32], byte_letters()[65]
    ('Ġ', 'A')
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + place) for place, byte in enumerate(others)
    }


def byte_piece(byte: int) -> str:
    """Return the piece by which SentencePiece spells a byte of what has no piece.

    >>> byte_piece(0x16)
    '<0x16>'
    """
    return f"<0x{byte:02X}>"


class _KeptCharacters(dict[int, str | None]):
    """A table for `str.translate` that removes characters without a piece, filled as needed."""

    def __init__(self, has_piece: Callable[[str], bool]) -> None:
        self._has_piece = has_piece

    def __missing__(self, code: int) -> str | None:
        self[code] = character = chr(code) if self._has_piece(chr(code)) else None
        return character


@dataclass(frozen=True)
class Spelling:
    """How a text is spelled, by the tokenizer's own files.

    `normalize` and `read_back` are what the files' own tokenizer makes of a text.
    """

    by_bytes: bool
    """Whether a piece is a row of bytes, as in GPT-2; else it is text, with ▁ for a space."""
    adds_space: bool
    """Whether a text is encoded as if it began with a space."""
    removes_space: bool
    """Whether decoding removes a space where a text begins."""
    unspelled_bytes: Set[int]
    """Bytes that no piece spells: a text loses them."""
    pieces: Set[str]
    normalize: Callable[[str], str]
    read_back: Callable[[str], str] | None = None
    cleans_up: bool = False
    """Whether the configuration asks decoding to remove spaces before punctuation."""
    why_lossy: str = ""
    """Why a text is not promised to come back; empty where it is."""

    @property
    def space(self) -> str:
        """How a piece that begins with a space begins."""
        return byte_letters()[0x20] if self.by_bytes else SPACE

    def find_lost(self, text: str) -> list[str]:
        """Return what of a text no piece spells: bytes such as `0x16`, or characters."""
        normal = self.normalize(text)
        if self.by_bytes:
            return [f"0x{byte:02X}" for byte in sorted({*normal.encode()} & self.unspelled_bytes)]
        if len(normal.translate(self._kept)) == len(normal):
            return []
        return [c for c in dict.fromkeys(normal) if not self._has_piece(c)]

    def expected(self, text: str) -> str:
        """Return what comes back of a text: as normalized, without what no piece spells."""
        kept = self._keep_spelled(text)
        if self.by_bytes or not self.adds_space:
            return kept
        if self.read_back is None:
            return kept.removeprefix(" ")
        # Whether the space that is added goes beside one that is there is the files' own rule.
        back = self.read_back(text)
        return back[: len(back) - len(back.lstrip(" "))] + kept.lstrip(" ")

    def comes_back(self, text: str, back: str) -> bool:
        """Return whether a text came back as its tokenizer's files promise."""
        if back == text and back.lstrip(" ") == self._keep_spelled(text).lstrip(" "):
            return True  # without the cost of reading it back
        expected = self.expected(text)
        return back == expected or (self.cleans_up and back == clean_up(expected))

    def _keep_spelled(self, text: str) -> str:
        """Return a text as normalized, without what no piece spells."""
        normal = self.normalize(text)
        if not self.by_bytes:
            return normal.translate(self._kept).replace(SPACE, " ")
        if self.adds_space and normal and not normal.startswith(" "):
            normal = f" {normal}"
        if not self.unspelled_bytes:
            return normal
        kept = bytes(byte for byte in normal.encode() if byte not in self.unspelled_bytes)
        return kept.decode(errors="replace")

    @cached_property
    def _kept(self) -> _KeptCharacters:
        return _KeptCharacters(self._has_piece)

    def _has_piece(self, character: str) -> bool:
        piece = SPACE if character == " " else character
        if piece in self.pieces:
            return True
        spelled = {*character.encode()}
        return not spelled & self.unspelled_bytes


def clean_up(text: str) -> str:
    """Remove spaces before punctuation, as clean_up_tokenization_spaces asks.

    >>> clean_up("Well , it 's fine .")
    "Well, it's fine."
    """
    for found, put in _CLEANED_UP:
        text = text.replace(found, put)
    return text


@once_per_session
def load_own_tokenizer(model: TransformersEngine) -> Any:
    """Return what the package `tokenizers` makes of tokenizer.json; None if there is no such file.

    >>> load_own_tokenizer(load("embedded")).encode("Hello world").ids
    [1, 22557, 1526]
    """
    if model.tokenizer_files.parts is None:
        return None
    file = model.checkpoint.folder / TOKENIZER_FILE
    from tokenizers import Tokenizer

    own: Any = Tokenizer.from_file(str(file))
    own.no_padding()
    own.no_truncation()
    return own


@once_per_session
def read_spelling(model: TransformersEngine) -> Spelling:
    r"""Read how a target's tokenizer spells a text.

    >>> spelling = read_spelling(load("embedded"))
    >>> spelling.adds_space, spelling.expected("  two spaces"), spelling.find_lost("\x16𠮷")
    (True, '  two spaces', [])
    """
    files = model.tokenizer_files
    if files.parts is not None:
        return _of_tokenizer_json(files, model.checkpoint, load_own_tokenizer(model))
    if model.checkpoint.sentencepiece_file is not None:
        return _of_sentencepiece(model.checkpoint)
    by_bytes = (model.checkpoint.folder / "merges.txt").is_file()
    pieces = frozenset(model.checkpoint.pieces)
    return Spelling(
        by_bytes=by_bytes,
        adds_space=files.settings.get("add_prefix_space") is True,
        removes_space=False,
        unspelled_bytes=_unspelled(pieces, by_bytes=True) if by_bytes else frozenset(),
        pieces=pieces,
        normalize=lambda text: text,
        cleans_up=files.settings.get("clean_up_tokenization_spaces") is True,
    )


def _of_tokenizer_json(files: TokenizerFiles, checkpoint: Checkpoint, own: Any) -> Spelling:
    normalizing, cutting = files.steps("normalizer"), files.steps("pre_tokenizer")
    names = {step.get("type") for step in [*normalizing, *cutting]}
    by_bytes = "ByteLevel" in names
    pieces = frozenset(checkpoint.pieces)
    written = {letter: byte for byte, letter in byte_letters().items()}
    normalizes_to_bytes = any(step.get("type") == "ByteLevel" for step in normalizing)

    def normalize(text: str) -> str:
        normal = text if own.normalizer is None else str(own.normalizer.normalize_str(text))
        if normalizes_to_bytes:
            return bytes(written[letter] for letter in normal).decode(errors="replace")
        return normal

    def read_back(text: str) -> str:
        ids = own.encode(text, add_special_tokens=False).ids
        return str(own.decode(ids, skip_special_tokens=True))

    spells_bytes = by_bytes or (files.parts or {"model": {}})["model"].get("byte_fallback") is True
    return Spelling(
        by_bytes=by_bytes,
        adds_space=any(map(_adds_space, [*normalizing, *cutting])),
        removes_space=any(map(_removes_space, files.steps("decoder"))),
        unspelled_bytes=(
            _unspelled(pieces, by_bytes=by_bytes) if spells_bytes else frozenset(range(256))
        ),
        pieces=pieces,
        normalize=normalize,
        read_back=read_back,
        cleans_up=files.settings.get("clean_up_tokenization_spaces") is True,
        why_lossy=_explain_loss(files, by_bytes),
    )


def _of_sentencepiece(checkpoint: Checkpoint) -> Spelling:
    from sentencepiece import SentencePieceProcessor

    model: Any = SentencePieceProcessor(model_file=str(checkpoint.folder / SENTENCEPIECE_FILE))
    pieces = frozenset(checkpoint.pieces)
    adds_space = str(model.normalize("a")).startswith(SPACE)
    return Spelling(
        by_bytes=False,
        adds_space=adds_space,
        removes_space=adds_space,
        unspelled_bytes=_unspelled(pieces, by_bytes=False),
        pieces=pieces,
        normalize=model.normalize,
        cleans_up=checkpoint.tokenizer_files.settings.get("clean_up_tokenization_spaces") is True,
    )


def _unspelled(pieces: Set[str], *, by_bytes: bool) -> Set[int]:
    """Return the bytes that no piece spells."""
    letters = byte_letters()
    return frozenset(
        byte
        for byte in range(256)
        if (letters[byte] if by_bytes else byte_piece(byte)) not in pieces
    )


def _adds_space(step: dict[str, Any]) -> bool:
    match step:
        case {"type": "Prepend", "prepend": str(first)}:
            return first[:1] in (" ", SPACE)
        case {"type": "Metaspace", "prepend_scheme": scheme}:
            return bool(scheme != "never")
        case {"type": "Metaspace" | "ByteLevel", "add_prefix_space": adds}:
            return adds is True
        case _:
            return False


def _removes_space(step: dict[str, Any]) -> bool:
    match step:
        case {"type": "Strip", "content": " ", "start": int(start)}:
            return start > 0
        case {"type": "Metaspace"}:
            return _adds_space(step)
        case _:
            return False


def _explain_loss(files: TokenizerFiles, by_bytes: bool) -> str:
    kind = (files.parts or {})["model"]["type"]
    if kind not in ("BPE", "Unigram", None):
        return f"its vocabulary is one of whole words ({kind}): a text is not promised to come back"
    for step in files.steps("pre_tokenizer"):
        name = step.get("type")
        if name in _WHITE_SPACE_LEFT_OUT or step.get("behavior") == "Removed":
            return f"its pre-tokenizer ({name}) leaves out what lies between words"
    if by_bytes or any(
        step.get("type") in ("Replace", "Metaspace") for step in files.steps("decoder")
    ):
        return ""
    return "its decoder does not say how spaces come back"
