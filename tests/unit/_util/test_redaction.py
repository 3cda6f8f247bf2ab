from __future__ import annotations

import json
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
    """A machine where anna works in a folder of her home."""
    home = tmp_path / "homes" / "anna"
    (home / "work").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(home / "work")
    return home


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("in '{folder}/config.json', line 3", "in '<folder>/config.json', line 3"),
        ("{home}/notes.txt", "<home>/notes.txt"),
        ("{home}/work/a.py", "<current folder>/a.py"),
        ("{packages}/torch/nn.py", "<site-packages>/torch/nn.py"),
        ("{temp}/x", "<temp>/x"),
        ("{home}bel/x", "{temp_of_test}/homes/annabel/x"),
        ("see /home/bob/x and /Users/eve/y", "see <home>/x and <home>/y"),
        (r"C:\Users\bob\x", r"<home>\x"),
        (f"Bearer {TOKEN}", "Bearer <secret>"),
        ("https://me:pass@example.org/x", "https://<secret>@example.org/x"),
    ],
)
def test_paths_and_secrets_are_redacted(text: str, redacted: str, someone: Path) -> None:
    folder = someone / "models" / "tiny"
    redactor = Redactor.for_this_machine(folder, environ={})
    places = {
        "folder": folder,
        "home": someone,
        "packages": sysconfig.get_paths()["purelib"],
        "temp": tempfile.gettempdir(),
        "temp_of_test": redactor.redact_text(str(someone.parents[1])),
    }
    assert redactor.redact_text(text.format(**places)) == redacted.format(**places)


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "MY_API_KEY", "CLIENT_SECRET", "PGPASSWORD", "AWS_CREDENTIALS"]
)
@pytest.mark.parametrize("written", ["s3cr.t+val ue", "s3cr.t%2Bval%20ue", "s3cr.t%2Bval+ue"])
def test_value_of_a_secret_variable_is_redacted(name: str, written: str) -> None:
    redactor = Redactor.for_this_machine(environ={name: "s3cr.t+val ue"})
    assert redactor.redact_text(f"got {written}!") == "got <secret>!"


def test_short_values_and_other_variables_are_kept() -> None:
    redactor = Redactor.for_this_machine(
        environ={"TOKENIZERS_PARALLELISM": "false", "LANGUAGE_OF_TEXT": "Japanese and more"}
    )
    assert redactor.redact_text("false: Japanese and more") == "false: Japanese and more"


def test_keys_that_become_equal_lose_no_value() -> None:
    redactor = Redactor.from_rules([("a|b", "<x>")])
    assert redactor.redact_value({"a": 1, "b": 2, "c": [{"a": "b"}]}) == {
        "<x>": 1,
        "<x> (2)": 2,
        "c": [{"<x>": "<x>"}],
    }


def test_nothing_planted_reaches_the_run_folder(
    someone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = "planted-credential-0123"
    monkeypatch.setenv("SERVICE_TOKEN", planted)
    leaks = [planted, TOKEN, str(someone), site.getsitepackages()[0]]
    text = " | ".join([*leaks, str(someone / "tiny" / "config.json")])
    journal = Journal.begin(
        tmp_path / "out", header(planned("bos-inserted", title=text)), someone / "tiny"
    )
    journal.write_check(
        "bos-inserted", check(text, reason=text, values={text: [text, {text: text}]})
    )
    stopped = (journal.folder / "journal.jsonl").read_text(encoding="utf-8")
    journal.finish(FINISHED, write_report)
    written = [stopped, *(p.read_text(encoding="utf-8") for p in journal.folder.iterdir())]
    assert len(written) == 3
    for content in written:
        for leak in [*leaks, json.dumps(str(someone))[1:-1]]:
            assert leak not in content
    assert "<folder>/config.json" in read(journal.folder).claims[0].evidence[0].reason
