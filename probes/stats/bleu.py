"""BLEU of a sentence, computed as sacrebleu 2 does by default: its words, smoothing, references.

It is a function here, because sacrebleu brings 20 MB of which nothing else is needed.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

ORDER = 4  # words of the longest n-grams

_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))

_BREAKS = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
"""Where a space parts words, in this order, by the rules of mteval-v13a."""


def split_words(text: str) -> list[str]:
    """Split a text into words and marks, as sacrebleu's tokenizer 13a does.

    >>> split_words("The king's tower, of 1,000 steps.")
    ['The', "king's", 'tower', ',', 'of', '1,000', 'steps', '.']
    """
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    text = f" {text} "
    for pattern, spaced in _BREAKS:
        text = pattern.sub(spaced, text)
    return text.split()


def sentence_bleu(text: str, references: Sequence[str]) -> float:
    """Return the BLEU-4 of a text against references, between 0 and 1.

    The n-grams are those that the text is long enough for. If none of one length is in a
    reference, half a match is counted, of the next such length a quarter, and so on ("exp").

    >>> round(sentence_bleu("the king saw the old tower", ["the king saw the tall tower"]), 4)
    0.5373
    """
    words = split_words(text)
    others = [split_words(reference) for reference in references]
    precisions = _precisions(words, others)
    if not any(matches for matches, _ in precisions):
        return 0.0
    logs, share = [], 1.0
    for matches, count in precisions:
        if not matches:
            share /= 2
        logs.append(math.log((matches or share) / count))
    closest = min((abs(len(other) - len(words)), len(other)) for other in others)[1]
    brevity = min(0.0, 1 - closest / len(words))
    return math.exp(brevity + sum(logs) / len(logs))


def _precisions(words: list[str], others: list[list[str]]) -> list[tuple[int, int]]:
    """Return how many n-grams are in a reference, and how many there are, for n from 1."""
    found = []
    for n in range(1, min(ORDER, len(words)) + 1):
        known: Counter[tuple[str, ...]] = Counter()
        for other in others:
            known |= _count_ngrams(other, n)
        own = _count_ngrams(words, n)
        found.append(((own & known).total(), own.total()))
    return found


def _count_ngrams(words: list[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
