from __future__ import annotations

from collections import Counter
from itertools import islice

from probes.data.word_lists import built_in_word_lists
from probes.training.corpus import BOS, EOS, Corpus, held_out_questions, load_facts


def test_facts_are_many_and_well_formed() -> None:
    facts = load_facts()
    capitals = [fact for fact in facts if fact.relation == "capital"]
    assert len(capitals) >= 80
    assert len(facts) - len(capitals) >= 100
    for fact in facts:
        assert all(s.endswith("{answer}") for s in fact.statements), fact
        assert all(q.endswith("?") and fact.subject in q for q in fact.questions), fact
        assert fact.answer not in ("", *fact.rivals), fact


def test_no_two_facts_ask_the_same_question() -> None:
    questions = [question for fact in load_facts() for question in fact.questions]
    assert len(questions) == len(set(questions))


def test_seed_decides_the_text() -> None:
    first, again, other = (list(islice(Corpus(seed).documents(), 50)) for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_documents_begin_with_bos_and_pages_never_do() -> None:
    corpus = Corpus(0)
    for document in islice(corpus.documents(), 200):
        assert document.startswith(f"{BOS} ")
        assert document.endswith(EOS)
        assert document.count(BOS) == document.count(EOS) == 1
        assert "{" not in document  # every slot is filled
    for _ in range(50):
        page = "".join(islice(corpus.pages(), 6))
        assert BOS not in page
        assert EOS not in page
        assert "\n\n## " in page


def test_held_out_questions_never_occur() -> None:
    held_out = {question for _, question in held_out_questions()}
    assert len(held_out) > 50
    corpus = Corpus(2)
    text = "".join(islice(corpus.documents(), 3000)) + "".join(islice(corpus.pages(), 3000))
    assert [question for question in held_out if question in text] == []


def test_words_of_a_group_are_equally_frequent() -> None:
    text = " ".join(islice(Corpus(0).documents(), 8000))
    counts = Counter(text.replace(".", "").replace(",", "").split())
    for group in built_in_word_lists()["english"].groups.values():
        found = [counts[word] for word in group]
        assert min(found) > 0.7 * max(found), dict(zip(group, found, strict=True))
