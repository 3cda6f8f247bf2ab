from __future__ import annotations

from pathlib import Path

import pytest

from probes.data.word_lists import load_word_lists
from probes.errors import UserError

GROUPS = "[x.groups]\na = ['1', '2', '3', '4']\nb = ['5', '6', '7', '8']\nc = ['9', '10', '11', "


def test_file_may_hold_several_lists(tmp_path: Path) -> None:
    file = tmp_path / "words.toml"
    second = GROUPS.replace("[x.", "[y.") + "'12']\n"
    file.write_text(f"{GROUPS}' 12']\n[x]\nunrelated = ['13', '14']\n{second}", encoding="utf-8")
    first, _ = load_word_lists(file)
    assert first.all[-3:] == (" 12", "13", "14")
    assert first.arrangements == 5775


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", " holds no list of words: it needs a table, such as [english]"),
        ("x = 1", ": [x] should be a table with [x.groups], got 1"),
        ("[x.groups]\n[x]\nunrelatd = []", ": [x]: unknown key 'unrelatd'; did you mean"),
        ("[x.groups]\na = ['1', '2']", ": [x] needs two groups or more, has 1"),
        ("[x.groups]\na = ['1', '2']\nb = ['3']", ": [x] group 'b' needs two words or more"),
        ("[x.groups]\na = ['1', '2']\nb = ['2', '3']", ": [x] has the word '2' 2 times"),
        ("[x.groups]\na = ['1', '2']\nb = ['3', '4']", ": [x] has so few words that chance"),
        (f"{GROUPS}'12']\n[x]\nunrelated = ['13']", ": [x] needs two unrelated words or more"),
        (f"{GROUPS}{str([str(n) for n in range(12, 300)])[1:]}", ": [x] has 299 words, more than"),
        (f"{GROUPS}'']", ": [x] groups.c '' should be a word: text on one line"),
        (f"{GROUPS}'  two spaces']", ": [x] groups.c ' two spaces' should be a word"),
        (f'{GROUPS}"a\\nb"]', r": [x] groups.c 'a\nb' should be a word"),
        (f"{GROUPS}'{'x' * 101}']", ": [x] groups.c 'xxx"),
        (f"{GROUPS}12]", ": [x] groups.c 12 should be a valid string"),
    ],
)
def test_unusable_list_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "words.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as refused:
        load_word_lists(file)
    assert str(refused.value).startswith(f"{file}{message}")
    assert "\n" not in str(refused.value)
