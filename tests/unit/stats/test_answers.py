"""Whether a text states an answer: every rule of matching, and what matching must never do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import UserError
from probes.stats.answer_matching import Fate, accepted_forms, first_sentence, judged, states

STATED = {
    "Washington": [
        "Washington",
        " Washington, D.C.",
        "washington",
        "WASHINGTON!",
        "The capital is\n\nWashington",
        "Washington's",
        '"Washington"',
        "(Washington)",
    ],
    "Washington, D.C.": ["Washington, D.C.", "Washington DC", "Washington D. C.", "washington D.C"],
    "Washington DC": ["Washington, D.C.", "Washington, DC"],
    "USA": ["the U.S.A.", "the USA", "U. S. A."],
    "USSR": ["the U.S.S.R.", "the USSR"],
    "the yen": ["the yen", "yen", "a Yen", "The Japanese yen"],
    "The Hague": ["The Hague", "Hague", "in the Hague"],
    "Leonardo da Vinci": ["It was Leonardo da Vinci.", "LEONARDO DA VINCI", "Leonardo-da-Vinci"],
    "São Paulo": ["Sao Paulo", "São Paulo", "Sa\u0303o Paulo"],
    "Rontgen": ["Röntgen", "Wilhelm Ro\u0308ntgen"],
    "Mt. Everest": ["Mt Everest", "mt. everest"],
    "Au": ["Au", "It is Au.", "(Au)"],
    "1945": [
        "1945",
        "in 1945.",
        "September 2, 1945",
        "1945-09-02",
        "the year \uff11\uff19\uff14\uff15",
    ],
    "2 September 1945": [
        "2 September 1945",
        "2nd September 1945",
        "the 2nd of September, 1945",
        "the 2nd of September 1945",
        "September 2, 1945",
        "September 2nd, 1945",
        "Sep 2, 1945",
        "2 Sep 1945",
        "1945-09-02",
        "1945/9/2",
    ],
    "May 8, 1945": ["8 May 1945", "the 8th of May 1945", "1945-05-08"],
    "東京": ["東京", "東京です。", "日本の首都は東京"],
    "とうきょう": ["とうきょうです"],
}

NOT_STATED = {
    "Washington": ["", " ", "Washingtonian", "Wash ington", "New York"],
    "Washington, D.C.": ["Washington", "Washington state", "D.C."],
    "Au": ["Austria", "au", "AU", "A u", "aU"],
    "yen": ["yens", "Yenisei"],
    "1945": ["19450", "1 945", "11945", "1946", "nineteen"],
    "2 September 1945": ["September 1945", "1945", "3 September 1945", "2 September 1946"],
    "ASEAN": ["A.S.E.A.N."],
    "0": ["", "00", "zero"],
    "K": ["k", "Kr"],
    "東京": ["京東", "京都"],
    "ガ": ["カ"],
}


@pytest.fixture(autouse=True)
def _forms_are_made_anew() -> None:
    """What another test left in the cache is not what this one is about."""
    accepted_forms.cache_clear()


@pytest.mark.parametrize(("answer", "text"), [(a, t) for a, texts in STATED.items() for t in texts])
def test_an_answer_is_stated(answer: str, text: str) -> None:
    assert states(text, accepted_forms((answer,)))


@pytest.mark.parametrize(
    ("answer", "text"), [(a, t) for a, texts in NOT_STATED.items() for t in texts]
)
def test_an_answer_is_not_stated(answer: str, text: str) -> None:
    assert not states(text, accepted_forms((answer,)))


def test_any_of_several_answers_counts() -> None:
    forms = accepted_forms(("Kyiv", "Kiev"))
    assert [states(text, forms) for text in ("Kyiv", "Kiev", "Lviv")] == [True, True, False]


@pytest.mark.parametrize("accepted", [(), ("",), (" ",), ("...",), ("Paris", "?!"), ("\u0301",)])
def test_an_answer_that_every_text_would_state_is_refused(accepted: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="accepted answer"):
        accepted_forms(accepted)


@given(st.text(max_size=12))
def test_no_accepted_answer_matches_an_empty_text(answer: str) -> None:
    try:
        forms = accepted_forms((answer,))
    except UserError:
        return
    assert all(forms)
    assert not states("", forms)
    assert judged("", forms, ended=True) is Fate.WRONG


@given(st.text(max_size=12))
def test_an_answer_is_stated_by_itself(answer: str) -> None:
    try:
        forms = accepted_forms((answer,))
    except UserError:
        return
    assert states(answer, forms)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Tokyo. Osaka", "Tokyo."),
        ("Tokyo! Osaka", "Tokyo!"),
        ("\n\nTokyo? Osaka", "\n\nTokyo?"),
        ("東京。大阪", "東京。"),
        ('"Tokyo"? Osaka', '"Tokyo"?'),
        ("St. Petersburg. Moscow", "St. Petersburg."),
        ("1. Tokyo. 2. Osaka", "1. Tokyo."),
        ("It is 3.14 exactly. So", "It is 3.14 exactly."),
        ("? What? No", "? What?"),
    ],
)
def test_the_first_sentence_ends(text: str, sentence: str) -> None:
    assert first_sentence(text) == (sentence, True)


@pytest.mark.parametrize("text", ["", "...", "?!", "Tokyo", "J. R. R. Tolkien", "Answer:\n\nTokyo"])
def test_a_first_sentence_that_has_not_ended(text: str) -> None:
    assert first_sentence(text) == (text, False)


@pytest.mark.parametrize(
    ("text", "fate"),
    [
        ("", Fate.OPEN),
        (" A", Fate.OPEN),
        (" Au", Fate.OPEN),
        (" Au,", Fate.RIGHT),
        (" Austria", Fate.OPEN),
        (" Austria.", Fate.WRONG),
        (" It is Au or Ag", Fate.RIGHT),
        (" Iron. Au", Fate.WRONG),
        (" Au\N{REPLACEMENT CHARACTER}", Fate.OPEN),
    ],
)
def test_what_is_known_of_a_beginning(text: str, fate: Fate) -> None:
    assert judged(text, accepted_forms(("Au",)), ended=False) is fate


@pytest.mark.parametrize(
    ("text", "fate"),
    [(" Au", Fate.RIGHT), (" It is Au", Fate.RIGHT), (" A", Fate.WRONG), (" Iron. Au", Fate.WRONG)],
)
def test_the_last_word_of_a_text_that_has_ended_grows_no_more(text: str, fate: Fate) -> None:
    assert judged(text, accepted_forms(("Au",)), ended=True) is fate


TEXTS = st.text(alphabet=" .,?!\nAuaDC1s2ndé\u0301か\u3099東", max_size=16)


@given(TEXTS, TEXTS, st.sampled_from(["Au", "D.C.", "a", "2", "A u", "東", "1 Sep 12", "か"]))
def test_what_is_decided_stays_so_whatever_follows(start: str, rest: str, answer: str) -> None:
    forms = accepted_forms((answer,))
    early = judged(start, forms, ended=False)
    if early is not Fate.OPEN:
        assert judged(start + rest, forms, ended=False) is early
        assert judged(start + rest, forms, ended=True) is early
    assert judged(start, forms, ended=True) is not Fate.OPEN


def test_a_text_is_read_up_to_its_thousandth_character() -> None:
    from probes.stats.answer_matching import READ

    forms = accepted_forms(("Tokyo",))
    text = "so " * READ
    assert judged(text[:READ], forms, ended=False) is Fate.OPEN
    assert judged(text[: READ + 1], forms, ended=False) is Fate.WRONG
    assert judged(f"{text[: READ - 10]} Tokyo ", forms, ended=False) is Fate.RIGHT
    assert judged(f"{text[:READ]} Tokyo ", forms, ended=False) is Fate.WRONG
