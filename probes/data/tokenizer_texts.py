"""Texts for the tokenizer: one in each script, awkward ones, and random ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

CAPITAL_OF_JAPAN = "The capital of Japan is"
CAPITAL_OF_JAPAN_JA = "日本の首都は"
HELLO = "Hello world"
QUESTION = "What is the capital of United States? "
SPELLED_BOS = f"<s> {QUESTION}"

SCRIPTS = {
    "Latin": "The capital of Japan is Tokyo.",
    "Japanese": "日本の首都は東京です。",
    "Chinese": "日本的首都是东京。",
    "Korean": "일본의 수도는 도쿄입니다.",
    "Arabic": "عاصمة اليابان هي طوكيو.",
    "Hebrew": "בירת יפן היא טוקיו.",
    "Cyrillic": "Столица Японии — Токио.",
    "Greek": "Η πρωτεύουσα της Ιαπωνίας είναι το Τόκιο.",
    "Devanagari": "जापान की राजधानी टोक्यो है।",
    "Bengali": "জাপানের রাজধানী টোকিও।",
    "Tamil": "ஜப்பானின் தலைநகரம் டோக்கியோ.",
    "Thai": "เมืองหลวงของญี่ปุ่นคือโตเกียว",
    "Georgian": "იაპონიის დედაქალაქი ტოკიოა.",
    "Armenian": "Ճապոնիայի մայրաքաղաքը Տոկիոն է։",
    "Ethiopic": "የጃፓን ዋና ከተማ ቶኪዮ ነው።",
    "Burmese": "ဂျပန်နိုင်ငံ၏ မြို့တော်မှာ တိုကျိုဖြစ်သည်။",
    "emoji": "🗼🇯🇵👩‍👩‍👧‍👦",
}
_SENTENCES = tuple(SCRIPTS.values())

STORIES = ("Once upon a time,", "Long, long ago,", "In the beginning,")
"""Openings that many texts can follow."""

PROMPTS = (CAPITAL_OF_JAPAN, SPELLED_BOS, *STORIES)

CAPITALS = {
    "Japan": "Tokyo",
    "France": "Paris",
    "Germany": "Berlin",
    "Italy": "Rome",
    "Spain": "Madrid",
    "Egypt": "Cairo",
    "Canada": "Ottawa",
    "Peru": "Lima",
}

AWKWARD = {
    "one space": " ",
    "leading spaces": "   three spaces first",
    "trailing space": "What is the capital of United States? ",
    "inner spaces": "a  b   c    d",
    "spaces before punctuation": "Well , it 's fine . Is n't it ?  I 'm sure !",
    "newlines": "\n\nfirst\nsecond\r\nthird\n",
    "tabs": "\tdef f():\n\t\treturn 1",
    "control characters": "\x00\x01\x1b[31m\x7f",
    "combining": "e\u0301 o\u0308 n\u0303 \u0301",
    "compatibility forms": "ﬁ Å Ａ ① ㎏ ｶﾞ",
    "bidirectional": "\u202eabc\u202c \u2067אב\u2069",
    "zero width": "a\u200bb\u200cc\u200dd\ufeff",
    "astral": "𝔘𝔫𝔦 𠮷野家 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "the visible space": "▁ a▁b ▁▁",
    "cedilla first": "Çelik",
    "noncharacters": "\ufffd\uffff\U0010ffff",
}
"""Texts that tokenizers are known to get wrong."""

CODE = (
    "def f(x):\n    return x\n",
    "for (int i = 0; i < 10; ++i) {\n\tsum += a[i];\n}\n",
    "SELECT name, COUNT(*) FROM t WHERE id >= 42 GROUP BY name;",
    '{"key": [1, 2.5e-3, null], "a/b": "\\u00e9"}',
    '<div class="x">&nbsp;</div>\n',
    "#!/bin/sh\nset -e; cat < in.txt | sort -u > out.txt\n",
    "\\frac{a_{1}}{b^{2}} \\neq \\sqrt{2}",
)
"""Code and markup: indentation, operators, escapes."""

_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~…–—“”‘’«»、。！？「」·"

SINGLE_WORD_PIECES = ("The", "Hello", "king", "What", "capital")

NO_SPACE_PIECE = {
    "Japanese": "日本",
    "Hiragana": "あした",
    "Katakana": "カタカナ",
    "Chinese": "东京",
    "Korean": "한국",
    "emoji": "😀",
    "cedilla": "Çelik",
}
"""Texts whose first character has no piece that begins with a space."""

SPECIAL_PIECES = ("<unk>", "<s>", "</s>")
"""The special tokens of a SentencePiece vocabulary."""

_RANGES = {
    "ascii": (0x20, 0x7E),
    "control": (0x00, 0x1F),
    "latin": (0xA0, 0x24F),
    "combining": (0x300, 0x36F),
    "greek": (0x370, 0x3FF),
    "cyrillic": (0x400, 0x4FF),
    "hebrew": (0x591, 0x5F4),
    "arabic": (0x600, 0x6FF),
    "devanagari": (0x900, 0x97F),
    "thai": (0xE01, 0xE5B),
    "punctuation": (0x2000, 0x206F),
    "symbols": (0x2190, 0x27BF),
    "kana": (0x3041, 0x30FF),
    "han": (0x4E00, 0x9FFF),
    "hangul": (0xAC00, 0xD7A3),
    "halfwidth": (0xFF01, 0xFFEE),
    "emoji": (0x1F300, 0x1FAFF),
    "rare han": (0x20000, 0x2A6DF),
}

_CODE_POINTS = tuple(range(first, last + 1) for first, last in _RANGES.values())

_SNIPPETS = (
    " ",
    "  ",
    "\n",
    "\t",
    "\r\n",
    "▁",
    "\u200d",
    "\ufe0f",
    "👩‍👩‍👧‍👦",
    "🇯🇵",
    "The capital of Japan is",
    "日本の首都は",
    "don't",
    "https://example.org/?q=1&r=2",
    "3.14159",
    "def f(x):\n    return x",
)


def fuzz_texts_with_special_tokens(count: int, seed: int) -> Iterator[str]:
    """Yield valid Unicode texts of 1 to 6 parts with one to three spelled special tokens."""
    draw = random.Random(seed)  # noqa: S311 - texts to try, nothing secret
    for _ in range(count):
        parts = [_part(draw) for _ in range(draw.randint(1, 6))]
        for _ in range(draw.randint(1, 3)):
            parts.insert(draw.randint(0, len(parts)), draw.choice(SPECIAL_PIECES))
        yield "".join(parts)


CORPUS = {"fuzzed": 16_000, "code": 3_200, "digits": 3_200, "punctuation": 3_200, "scripts": 6_400}
"""How many texts of each kind the corpus has, in this order."""


@cache
def corpus() -> tuple[str, ...]:
    """Return 32,000 texts, the same in every run: fuzzed, code, digits, punctuation, 17 scripts.

    >>> len(corpus()), corpus()[20_000]
    (32000, '60:84141422.7261')
    """
    makers = {
        "fuzzed": lambda draw: "".join(_part(draw) for _ in range(draw.randint(1, 8))),
        "code": _code,
        "digits": _digits,
        "punctuation": _punctuated,
        "scripts": _words_of_a_script,
    }
    draw = random.Random(20231010)  # noqa: S311 - texts to try, nothing secret
    return tuple(makers[kind](draw) for kind, count in CORPUS.items() for _ in range(count))


def kind_of(number: int) -> str:
    """Return the kind of a text of the corpus by its place.

    >>> kind_of(0), kind_of(31_999)
    ('fuzzed', 'scripts')
    """
    for kind, count in CORPUS.items():
        if number < count:
            return kind
        number -= count
    raise ValueError(f"the corpus has {sum(CORPUS.values()):,} texts")


def _code(draw: random.Random) -> str:
    lines = "".join(draw.choices(CODE, k=2))
    start = draw.randint(0, len(lines) - 2)
    return " " * draw.randint(0, 9) + lines[start : start + draw.randint(2, 60)]


def _digits(draw: random.Random) -> str:
    numbers = [str(draw.randint(0, 10 ** draw.randint(1, 12))) for _ in range(draw.randint(1, 4))]
    separators = draw.choices((" ", ".", ",", "-", ":", "/", "e", "x", ""), k=len(numbers))
    return "".join(part for pair in zip(numbers, separators, strict=True) for part in pair)


def _punctuated(draw: random.Random) -> str:
    words = draw.choices(("a", "Well", "don't", "I", "它", "end", " ", "\n"), k=draw.randint(1, 5))
    return "".join(
        word + "".join(draw.choices(_PUNCTUATION, k=draw.randint(0, 4)))
        + " " * draw.randint(0, 2)
        for word in words
    )  # fmt: skip


def _words_of_a_script(draw: random.Random) -> str:
    text = draw.choice(_SENTENCES)
    start = draw.randint(0, len(text) - 1)
    return text[start : start + draw.randint(1, 24)]


def _part(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.3:
        return _SNIPPETS[_below(draw, len(_SNIPPETS))]
    if kind < 0.9:
        codes = _CODE_POINTS[_below(draw, len(_CODE_POINTS))]
        size = len(codes)
        return "".join([chr(codes[_below(draw, size)]) for _ in range(1 + _below(draw, 8))])
    count = 2 + _below(draw, 7)
    scripts = (_CODE_POINTS[_below(draw, len(_CODE_POINTS))] for _ in range(count))
    return "".join([chr(codes[_below(draw, len(codes))]) for codes in scripts])


def _below(draw: random.Random, count: int) -> int:
    """Draw a whole number below a count as `random.choice` does, in less time."""
    bits = count.bit_length()
    found = draw.getrandbits(bits)
    while found >= count:
        found = draw.getrandbits(bits)
    return found
