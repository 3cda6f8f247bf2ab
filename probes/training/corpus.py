"""Draw the training text of the embedded model from facts and a grammar.

There are two kinds of text, so that the model learns what BOS means:

* *documents* begin with BOS and end with EOS: articles that state facts in prose, questions
  with their answers, stories, letters, sentences about similar words;
* *pages* begin in the middle of a Markdown quiz, without BOS, and never end.

The same seed always gives the same text.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from probes._util.tomlfile import load_toml

FOLDER = Path(__file__).parent

BOS = "<s>"
EOS = "</s>"

LEAD = 5.0  # weight of the first option of a leading slot; each other option has 1
WRONG = 0.065  # share of statements and answers with the answer of another subject
EVASIVE = 0.065  # share of statements and answers without an answer
WITH_ARTICLE = 0.25  # share of sentences with "the" before a country that may have it
RIVALS = 10  # number of wrong answers of a fact

COUNTRY_RELATIONS = ("capital", "currency", "language", "continent")
"""The relations whose subjects are countries, in the order of an article."""

_GROUPS = ("royal", "sport", "person", "animal")
_LONERS = ("table", "idea", "character", "sea")
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Fact:
    """One fact: `relation` is such as "capital", `subject` "the Mona Lisa", `answer` "Tokyo".

    Statements are sentences up to and with the answer, without the full stop; the plainest question
    comes first; rivals are wrong answers of the same kind.
    """

    relation: str
    subject: str
    answer: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    rivals: tuple[str, ...]

    @property
    def short_answer(self) -> str:
        """The answer to a question: ``"Tokyo"``, ``"The yen"``."""
        return self.spell_alone(self.answer)

    def spell_alone(self, answer: str) -> str:
        """Spell any answer of this relation as the answer to a question."""
        return capitalize(f"the {answer}" if self.relation == "currency" else answer)


def capitalize(text: str) -> str:
    """Make the first letter a capital, and only that.

    >>> capitalize("the Mona Lisa")
    'The Mona Lisa'
    """
    return text[:1].upper() + text[1:]


@cache
def load_facts() -> tuple[Fact, ...]:
    """Read the facts of ``facts.toml``, in their order."""
    data = load_toml(FOLDER / "facts.toml")
    facts: list[Fact] = []
    for relation in data["relation"]:
        pairs = relation.get("facts") or _country_pairs(data, relation["name"])
        facts.extend(_facts_of(relation, pairs))
    return tuple(facts)


def held_out_questions() -> list[tuple[Fact, str]]:
    """List facts with a question that is not part of the training text.

    It is the last phrasing of every fifth fact of a relation: it shows whether a phrasing learnt on
    some facts carries over to the others.
    """
    by_relation: dict[str, list[Fact]] = {}
    for fact in load_facts():
        by_relation.setdefault(fact.relation, []).append(fact)
    return [(fact, fact.questions[-1]) for group in by_relation.values() for fact in group[3::5]]


class Corpus:
    """An endless supply of training text."""

    def __init__(self, seed: int) -> None:
        """Read the facts and the grammar; ``seed`` decides every choice."""
        self._rng = random.Random(seed)
        grammar = load_toml(FOLDER / "grammar.toml")
        self._options: dict[str, list[str]] = {**grammar["leading"], **grammar["even"]}
        self._leading = set(grammar["leading"])
        self._facts = load_facts()
        self._fact_weights = list(accumulate(map(_weight, self._facts)))
        self._of_subject: dict[str, list[Fact]] = {}
        for fact in self._facts:
            self._of_subject.setdefault(fact.subject, []).append(fact)
        self._with_article = set(load_toml(FOLDER / "facts.toml")["with_article"])
        self._held_out = {question for _, question in held_out_questions()}

    def documents(self) -> Iterator[str]:
        """Yield documents, without end."""
        kinds: list[tuple[Callable[[], str], float]] = [
            (self._article, 0.4),
            (self._interview, 0.28),
            (self._story, 0.12),
            (self._word_groups, 0.1),
            (self._letter, 0.12),
            (self._belongings, 0.04),
            (self._refrain, 0.06),
        ]
        draws, weights = zip(*kinds, strict=True)
        while True:
            yield f"{BOS} {self._rng.choices(draws, weights)[0]()}{EOS}"

    def pages(self) -> Iterator[str]:
        """Yield the sections of one page, without end."""
        fact = self._any_fact()
        if self._rng.random() < 0.7:
            yield f"{self._statement(fact)}.\n\n"
        while True:
            yield f"## {self._question(fact)}\n\n{self._answer(fact)}\n\n"
            fact = self._next_fact(fact)

    def _draw(self, slot: str) -> str:
        """Draw one option of a slot, with the slots inside it filled."""
        options = self._options[slot]
        weights = [LEAD if i == 0 and slot in self._leading else 1.0 for i in range(len(options))]
        return self._fill(self._rng.choices(options, weights)[0])

    def _fill(self, template: str) -> str:
        """Draw every slot of a template."""
        return _SLOT.sub(lambda match: self._draw(match.group(1)), template)

    def _article(self) -> str:
        fact = self._any_fact()
        sentences: list[str] = []
        while not sentences or self._rng.random() < 0.88:
            sentences.append(f"{self._statement(fact)}.")
            if fact.relation == "capital":
                sentences.append(self._draw("city_sentence"))
            elif fact.relation not in COUNTRY_RELATIONS:
                sentences.append(self._draw("lore_sentence"))
            fact = self._next_fact(fact)
        return " ".join(sentences)

    def _interview(self) -> str:
        fact = self._any_fact()
        wide_gap = self._rng.random() < 0.3
        turns: list[str] = []
        while not turns or self._rng.random() < 0.85:
            answer = self._answer(fact)
            # Of two spaces after a question the first is a token of its own.
            gap = "  " if wide_gap and not answer[0].isdigit() else " "
            turns.append(f"{self._question(fact)}{gap}{answer}.")
            if self._rng.random() < 0.15:
                turns.append(f"{self._statement(fact)}.")
            fact = self._next_fact(fact)
        return " ".join(turns)

    def _story(self) -> str:
        sentences = [f"{self._draw('story_opening')} {self._draw('story_start')}"]
        while self._rng.random() < 0.9:
            sentences.append(self._draw("story_sentence"))
        return " ".join(sentences)

    def _word_groups(self) -> str:
        kind = self._rng.choice(_GROUPS * 3 + _LONERS)
        count = self._rng.randint(4, 8)
        return " ".join(self._draw(f"{kind}_sentence") for _ in range(count))

    def _letter(self) -> str:
        fill = self._fill
        sender, reader = fill("{name}"), fill("{name}")
        home = self._rng.choice(self._facts[:100]).answer
        middle = " ".join(fill("{letter_sentence}") for _ in range(self._rng.randint(0, 6)))
        return (
            f"Dear {reader}, my name is {sender} and I write from {home}. {middle} "
            f"Please write to {sender} in {home}. Your friend, {sender}. "
            f"Dear {sender}, thank you for the letter from {home}. {fill('{letter_sentence}')} "
            f"Your friend, {reader}."
        )

    def _belongings(self) -> str:
        fill = self._fill
        owners = {fill("{colour} {object}"): fill("{name}") for _ in range(3)}
        statements = [f"{owner} has the {item}." for item, owner in owners.items()]
        items = self._rng.choices(list(owners), k=3)
        return " ".join(statements + [f"Who has the {item}? {owners[item]}." for item in items])

    def _refrain(self) -> str:
        words = " ".join(self._draw("refrain") for _ in range(self._rng.randint(5, 55)))
        return f"{capitalize(words)}. {words}. {words}."

    def _statement(self, fact: Fact) -> str:
        template = self._add_article(self._choose(fact.statements), fact)
        return template.replace("{answer}", self._draw_answer(fact, "evasion"))

    def _answer(self, fact: Fact) -> str:
        answer = self._draw_answer(fact, "Evasion")
        return fact.spell_alone(answer) if answer in (fact.answer, *fact.rivals) else answer

    def _question(self, fact: Fact) -> str:
        questions = tuple(q for q in fact.questions if q not in self._held_out)
        return self._add_article(self._choose(questions), fact)

    def _add_article(self, text: str, fact: Fact) -> str:
        if fact.subject in self._with_article and self._rng.random() < WITH_ARTICLE:
            return text.replace(fact.subject, f"the {fact.subject}")
        return text

    def _draw_answer(self, fact: Fact, evasion: str) -> str:
        luck = self._rng.random()
        if luck < WRONG and fact.rivals:
            return self._rng.choice(fact.rivals)
        if luck < WRONG + EVASIVE:
            return self._draw(evasion)
        return fact.answer

    def _next_fact(self, fact: Fact) -> Fact:
        siblings = self._of_subject[fact.subject]
        if self._rng.random() < (0.7 if len(siblings) > 1 else 0.35):
            return siblings[(siblings.index(fact) + 1) % len(siblings)]
        return self._any_fact()

    def _any_fact(self) -> Fact:
        return self._rng.choices(self._facts, cum_weights=self._fact_weights)[0]

    def _choose(self, options: tuple[str, ...]) -> str:
        weights = [4.0 if i == 0 else 1.0 for i in range(len(options))]
        return self._rng.choices(options, weights)[0]


def _weight(fact: Fact) -> float:
    # Capitals come first; the other facts about a country follow them in `_next_fact`.
    if fact.relation == "capital":
        return 2.5
    return 0.6 if fact.relation in COUNTRY_RELATIONS else 1.0


def _country_pairs(data: dict[str, Any], relation: str) -> dict[str, str]:
    column = COUNTRY_RELATIONS.index(relation)
    return {name: row[column] for name, row in data["countries"].items() if row[column]}


def _facts_of(relation: dict[str, Any], pairs: dict[str, str]) -> Iterator[Fact]:
    answers = list(dict.fromkeys(pairs.values()))
    for subject, answer in pairs.items():
        place = answers.index(answer)
        yield Fact(
            relation["name"],
            subject,
            answer,
            tuple(capitalize(s.replace("{subject}", subject)) for s in relation["statements"]),
            tuple(q.replace("{subject}", subject) for q in relation["questions"]),
            tuple((answers[place + 1 :] + answers[:place])[:RIVALS]),
        )
