from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.errors import UserError
from probes.stats.answer_matching import (
    MAX_CHARACTERS,
    MatchState,
    accepted_forms,
    first_sentence,
    match_answer,
    states_answer,
)

STATED = {
    "Washington": [
        "Washington",
        " Washington, D.C.",
        "washington",
        "WASHINGTON!",
        "The capital is\n\nWashington",
        "\n\n Washington\n",
        "Answer: Washington",
        "Answer:\n**Washington**",
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


@pytest.mark.parametrize("answer", STATED)
def test_states_answer_when_it_is_there(answer: str) -> None:
    forms = accepted_forms(("nothing", answer))
    assert [text for text in STATED[answer] if not states_answer(text, forms)] == []


@pytest.mark.parametrize("answer", NOT_STATED)
def test_states_answer_not_when_it_is_absent(answer: str) -> None:
    forms = accepted_forms((answer,))
    assert [text for text in NOT_STATED[answer] if states_answer(text, forms)] == []


@pytest.mark.parametrize("accepted", [(), ("",), (" ",), ("...",), ("Paris", "?!"), ("\u0301",)])
def test_accepted_forms_refuse_an_empty_answer(accepted: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="accepted answer"):
        accepted_forms(accepted)


@given(st.text(max_size=12))
def test_answer_states_itself_and_empty_text_states_nothing(answer: str) -> None:
    try:
        forms = accepted_forms((answer,))
    except UserError:
        return
    assert all(forms)
    assert states_answer(answer, forms)
    assert not states_answer("", forms)


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
        (" Tokyo\nQuestion: Is Osaka", " Tokyo\n"),
        (" Tokyo \n\n**Q: Is Osaka", " Tokyo \n\n**"),
    ],
)
def test_first_sentence_ends(text: str, sentence: str) -> None:
    assert first_sentence(text) == (sentence, True)


@pytest.mark.parametrize(
    "text", ["", "...", "?!", "Tokyo", "J. R. R. Tolkien", "Answer:\n\nTokyo", "\nQuestion: Tokyo"]
)
def test_first_sentence_has_not_ended(text: str) -> None:
    assert first_sentence(text) == (text, False)


@pytest.mark.parametrize(
    ("text", "unfinished", "finished"),
    [
        ("", MatchState.OPEN, MatchState.WRONG),
        (" A", MatchState.OPEN, MatchState.WRONG),
        (" Au", MatchState.OPEN, MatchState.RIGHT),
        (" Au,", MatchState.RIGHT, MatchState.RIGHT),
        (" Austria", MatchState.OPEN, MatchState.WRONG),
        (" Austria.", MatchState.WRONG, MatchState.WRONG),
        (" It is Au or Ag", MatchState.RIGHT, MatchState.RIGHT),
        (" Iron. Au", MatchState.WRONG, MatchState.WRONG),
        (" Au\N{REPLACEMENT CHARACTER}", MatchState.OPEN, MatchState.RIGHT),
    ],
)
def test_match_answer_decides_what_cannot_change(
    text: str, unfinished: MatchState, finished: MatchState
) -> None:
    forms = accepted_forms(("Au",))
    assert match_answer(text, forms, ended=False) is unfinished
    assert match_answer(text, forms, ended=True) is finished


TEXTS = st.text(alphabet=" .,?!\nAuaDC1s2ndé\u0301か\u3099東", max_size=16)


@given(TEXTS, TEXTS, st.sampled_from(["Au", "D.C.", "a", "2", "A u", "東", "1 Sep 12", "か"]))
def test_match_answer_is_final(start: str, rest: str, answer: str) -> None:
    forms = accepted_forms((answer,))
    early = match_answer(start, forms, ended=False)
    if early is not MatchState.OPEN:
        assert match_answer(start + rest, forms, ended=False) is early
        assert match_answer(start + rest, forms, ended=True) is early
    assert match_answer(start, forms, ended=True) is not MatchState.OPEN


def test_match_answer_reads_the_first_thousand_characters() -> None:
    forms = accepted_forms(("Tokyo",))
    text = ("so " * MAX_CHARACTERS)[:MAX_CHARACTERS]
    states = [
        match_answer(each, forms, ended=False)
        for each in (text, f"{text} ", f"{text[:-10]} Tokyo ", f"{text} Tokyo ")
    ]
    assert states == [MatchState.OPEN, MatchState.WRONG, MatchState.RIGHT, MatchState.WRONG]
