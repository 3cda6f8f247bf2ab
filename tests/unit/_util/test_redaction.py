from __future__ import annotations

import getpass
import json
import platform
import site
import sysconfig
import tempfile
from pathlib import Path

import pytest

from probes._util.redaction import Redactor
from probes.report.files import write_report
from probes.results.journal import Journal
from probes.results.reading import read
from tests.support.samples import FINISHED, check, header, planned

TOKEN = "hf_" + "abcDEF123" * 4


@pytest.fixture
def someone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine called mars where anna works in a folder of her home."""
    home = tmp_path / "homes" / "anna"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(home / "work")
    monkeypatch.setattr(platform, "node", lambda: "mars.example.org")
    monkeypatch.setattr(getpass, "getuser", lambda: "anna")
    return home


def test_paths_are_named_by_what_they_are(someone: Path) -> None:
    redactor = Redactor.for_this_machine(someone / "models" / "tiny", environ={})
    for path, shown in {
        someone / "models" / "tiny" / "config.json": "<folder>/config.json",
        someone / "notes.txt": "<home>/notes.txt",
        someone / "work" / "a.py": "<current folder>/a.py",
        Path(sysconfig.get_paths()["purelib"]) / "torch" / "nn.py": "<site-packages>/torch/nn.py",
        Path(tempfile.gettempdir()) / "x": "<temp>/x",
    }.items():
        assert redactor.redact_text(f"in '{path}', line 3") == f"in '{shown}', line 3"


def test_another_persons_home_is_hidden_too() -> None:
    redactor = Redactor.for_this_machine(environ={})
    assert redactor.redact_text("see /home/bob/x and /Users/eve/y") == "see <home>/x and <home>/y"
    assert redactor.redact_text(r"C:\Users\bob\x") == r"<home>\x"


def test_a_path_that_only_begins_alike_is_another_path(someone: Path) -> None:
    text = Redactor.for_this_machine(environ={}).redact_text(f"{someone}bel/x")
    assert text.endswith("/homes/annabel/x")


def test_host_and_user_are_replaced_as_whole_words(someone: Path) -> None:
    redactor = Redactor.for_this_machine(environ={})
    assert redactor.redact_text("mars.example.org: anna@mars") == "<host>: <user>@<host>"
    assert redactor.redact_text("marshmallow, Anna, mars-like") == "marshmallow, Anna, mars-like"


@pytest.mark.parametrize("name", ["localhost", "runner", "root"])
def test_names_that_name_nobody_stay(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "node", lambda: name)
    monkeypatch.setattr(getpass, "getuser", lambda: name)
    assert Redactor.for_this_machine(environ={}).redact_text(f"at {name}") == f"at {name}"


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "MY_API_KEY", "CLIENT_SECRET", "PGPASSWORD", "AWS_CREDENTIALS"]
)
def test_the_value_of_a_secret_variable_is_replaced_anywhere(name: str) -> None:
    redactor = Redactor.for_this_machine(environ={name: "s3cr.t+value"})
    assert redactor.redact_text("got s3cr.t+value!") == "got <secret>!"


def test_short_values_and_other_variables_are_no_secrets() -> None:
    redactor = Redactor.for_this_machine(
        environ={"TOKENIZERS_PARALLELISM": "false", "LANGUAGE_OF_TEXT": "Japanese and more"}
    )
    assert redactor.redact_text("false: Japanese and more") == "false: Japanese and more"


def test_tokens_of_known_shapes_and_passwords_in_addresses_are_replaced() -> None:
    redactor = Redactor.for_this_machine(environ={})
    assert redactor.redact_text(f"Bearer {TOKEN}") == "Bearer <secret>"
    assert redactor.redact_text("https://me:pass@example.org/x") == "https://<secret>@example.org/x"


def test_keys_that_become_alike_lose_no_value() -> None:
    redactor = Redactor.from_rules([("a|b", "<x>")])
    assert redactor.redact_value({"a": 1, "b": 2, "c": [{"a": "b"}]}) == {
        "<x>": 1,
        "<x> (2)": 2,
        "c": [{"<x>": "<x>"}],
    }


def test_a_users_name_is_not_searched_for_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 4242")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert Redactor.for_this_machine(environ={}).redact_text("uid 4242") == "uid 4242"


def test_no_planted_name_path_or_token_reaches_the_run_folder(
    someone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = "planted-credential-0123"
    monkeypatch.setenv("SERVICE_TOKEN", planted)
    leaks = [planted, TOKEN, str(someone), "mars.example.org", "anna", site.getsitepackages()[0]]
    text = " | ".join([*leaks, str(someone / "tiny" / "config.json")])
    journal = Journal.begin(
        tmp_path / "out", header(planned("bos-inserted", title=text)), someone / "tiny"
    )
    journal.write_check(
        "bos-inserted", check(text, reason=text, values={text: [text, {text: text}]})
    )
    killed = (journal.folder / "journal.jsonl").read_text(encoding="utf-8")
    journal.finish(FINISHED, write_report)
    written = [killed, *(p.read_text(encoding="utf-8") for p in journal.folder.iterdir())]
    assert len(written) == 3
    for content in written:
        for leak in [*leaks, json.dumps(str(someone))[1:-1]]:
            assert leak not in content
    assert "<folder>/config.json" in read(journal.folder).claims[0].evidence[0].reason
