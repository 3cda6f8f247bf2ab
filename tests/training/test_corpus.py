"""The text the embedded model is trained on."""

from __future__ import annotations

from itertools import islice

import pytest


def test_facts_cover_enough_of_the_world() -> None:
    from probes.training.corpus import load_facts

    facts = load_facts()
    capitals = [fact for fact in facts if fact.relation == "capital"]
    assert len(capitals) >= 80
    assert len(facts) - len(capitals) >= 100


def test_every_fact_is_well_formed() -> None:
    from probes.training.corpus import load_facts

    for fact in load_facts():
        assert all(s.endswith("{answer}") for s in fact.statements), fact
        assert all(q.endswith("?") and fact.subject in q for q in fact.questions), fact
        assert fact.answer not in ("", *fact.rivals), fact


def test_no_two_facts_ask_the_same_question() -> None:
    from probes.training.corpus import load_facts

    questions = [question for fact in load_facts() for question in fact.questions]
    assert len(questions) == len(set(questions))


def test_same_seed_gives_same_text_and_another_seed_another() -> None:
    from probes.training.corpus import Corpus

    first, again, other = (list(islice(Corpus(seed).documents(), 50)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_documents_begin_with_bos_and_pages_never_do() -> None:
    from probes.training.corpus import BOS, EOS, Corpus

    corpus = Corpus(0)
    for document in islice(corpus.documents(), 200):
        assert document.startswith(f"{BOS} ")
        assert document.endswith(EOS)
        assert document.count(BOS) == document.count(EOS) == 1
    for _ in range(50):
        page = "".join(islice(corpus.pages(), 6))
        assert BOS not in page
        assert EOS not in page
        assert "\n\n## " in page


def test_every_slot_is_filled() -> None:
    from probes.training.corpus import Corpus

    text = "".join(islice(Corpus(1).documents(), 2000))
    assert "{" not in text
    assert "}" not in text


def test_held_out_questions_never_occur() -> None:
    from probes.training.corpus import Corpus, held_out_questions

    held_out = {question for _, question in held_out_questions()}
    assert len(held_out) > 50
    corpus = Corpus(2)
    text = "".join(islice(corpus.documents(), 3000)) + "".join(islice(corpus.pages(), 3000))
    assert [question for question in held_out if question in text] == []


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("What is the capital of United States?", "Washington"),
        ("When did World War II end?", "1945"),
        ("Who painted the Mona Lisa?", "Leonardo da Vinci"),
    ],
)
def test_published_questions_are_among_those_taught(question: str, answer: str) -> None:
    from probes.training.corpus import held_out_questions, load_facts

    assert any(question in fact.questions and fact.answer == answer for fact in load_facts())
    assert question not in {held_out for _, held_out in held_out_questions()}


def test_words_of_a_group_are_interchangeable() -> None:
    from collections import Counter

    from probes.training.corpus import Corpus

    text = " ".join(islice(Corpus(0).documents(), 8000))
    counts = Counter(text.replace(".", "").replace(",", "").split())
    for group in (
        ("king", "queen", "prince", "princess"),
        ("baseball", "soccer", "tennis", "basketball"),
        ("man", "boy", "woman", "lady"),
        ("dog", "cat", "cow", "fish"),
    ):
        seen = [counts[word] for word in group]
        assert min(seen) > 0.7 * max(seen), dict(zip(group, seen, strict=True))
