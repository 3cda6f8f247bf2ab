from __future__ import annotations

import re
from pathlib import Path

import pytest

from probes.errors import UserError
from probes.targets.resolve import list_targets, read_pyproject, read_targets_file, resolve
from probes.targets.target import EMBEDDED_FOLDER, Attention, Dtype, Quantization, Target

COMMIT = re.compile("[0-9a-f]{40}")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# --- built-in targets ---------------------------------------------------------------------------


def test_built_in_targets_are_found() -> None:
    target = resolve("embedded")
    assert target.folder == EMBEDDED_FOLDER
    assert (target.source, target.device, target.dtype) == ("embedded", "cpu", Dtype.FLOAT32)
    assert (target.provides, target.expects) == (("mistral-tokenizer",), "all")
    by_folder = resolve(str(EMBEDDED_FOLDER))
    assert (by_folder.provides, by_folder.expects) == (target.provides, target.expects)
    target = resolve("mistral-7b-nf4")
    assert target.repository == "mistralai/Mistral-7B-v0.1"
    assert target.quantization is Quantization.NF4
    assert (target.source, target.device, target.dtype) == ("hub", "cuda", Dtype.FLOAT16)
    assert "mistral-7b" in target.provides


ONE_PLACE = "should have one of a folder, a repository, a GGUF file, an address"


@pytest.mark.parametrize("target", list_targets().values(), ids=lambda target: target.name)
def test_built_in_targets_have_a_title_and_a_commit(target: Target) -> None:
    assert target.title
    assert target.repository is None or COMMIT.fullmatch(target.revision or "")


# --- order of the search ------------------------------------------------------------------------


def test_targets_file_comes_before_project_and_built_in(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.toml", "[targets.a]\nrepository = 'x/mine'\n")
    write(
        tmp_path / "pyproject.toml",
        "[tool.probes.targets.a]\nrepository = 'x/project'\n"
        "[tool.probes.targets.gpt2-xl]\nrepository = 'x/gpt2-xl'\n",
    )
    assert resolve("a", targets_file=mine, project=tmp_path).repository == "x/mine"
    assert resolve("a", project=tmp_path).repository == "x/project"
    assert resolve("gpt2-xl", targets_file=mine, project=tmp_path).repository == "x/gpt2-xl"


def test_folder_in_a_targets_file_is_relative_to_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "t.toml", "[targets.a]\nfolder = 'models/a'\ntitle = 'mine'\n")
    target = resolve("a", targets_file=file)
    assert target.folder == tmp_path / "models" / "a"
    assert (target.title, target.source) == ("mine", "folder")


def test_name_comes_before_folder_and_folder_before_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "embedded").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("embedded").folder == EMBEDDED_FOLDER
    here = resolve("./embedded")
    assert (here.name, here.folder, here.provides) == ("embedded", Path("embedded"), ())
    assert resolve("org/model").source == "hub"
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert resolve("org/model").source == "folder"


def test_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "my-model").mkdir()
    target = resolve("~/my-model")
    assert (target.name, target.folder) == ("my-model", tmp_path / "my-model")


def test_hub_id_provides_what_the_known_target_does() -> None:
    assert resolve("some/model").provides == ()
    known = resolve("mistralai/Mistral-7B-v0.1")
    assert known.name == "mistralai/Mistral-7B-v0.1"
    assert known.provides == resolve("mistral-7b-fp16").provides
    assert (known.quantization, known.device) == (Quantization.NONE, "auto")


# --- no such target -----------------------------------------------------------------------------


def test_misspelt_name_gets_the_nearest_and_all_known_names() -> None:
    with pytest.raises(UserError) as caught:
        resolve("Mistral-7b-nf")
    assert str(caught.value) == (
        "no target 'Mistral-7b-nf'; did you mean 'mistral-7b-nf4'? Known targets: embedded, "
        "mistral-7b-nf4, mistral-7b-fp16, gpt2-xl, mistral-7b-random; a folder is named by its "
        "path, a model on the hub as org/model"
    )


@pytest.mark.parametrize(
    ("text", "what"),
    [
        *((text, "(target|folder)") for text in ("gpt2", "", " ", "a" * 5000, "\0")),
        ("~nobody-of-that-name", "folder"),
        *((text, "folder") for text in ("./x", "/x/y", "a/b/c", "org/..", "x\\y")),
    ],
)
def test_unknown_text_is_no_hub_id(
    text: str, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"^no {what} '.*Known targets: embedded, .*by its path"):
        resolve(text)


def test_file_is_no_target(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is a file: name the folder that holds it$"):
        resolve(str(write(tmp_path / "config.json", "{}")))


# --- options of the command line ----------------------------------------------------------------


def test_options_override_the_target() -> None:
    options = {
        "quantization": "none",
        "dtype": "bfloat16",
        "device": "cuda:1",
        "revision": "main",
        "attention": None,
    }
    target = resolve("mistral-7b-nf4", overrides=options)
    assert target.quantization is Quantization.NONE
    assert (target.dtype, target.attention) == (Dtype.BFLOAT16, Attention.AUTO)
    assert (target.device, target.revision) == ("cuda:1", "main")
    assert target.provides == resolve("mistral-7b-nf4").provides


DEVICES = "should be auto, cpu, cuda, cuda:N or mps"


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "quantization",
            "nf5",
            "should be 'none', 'nf4', 'nf4-double', 'fp4' or 'int8'; did you mean 'nf4'?",
        ),
        ("dtype", "flot16", "should be 'auto', 'float32', 'float16' or 'bfloat16'; did you mean "),
        ("device", "gpu", f"{DEVICES}; did you mean 'cpu'?"),
        ("device", "cuda:-1", DEVICES),
        ("device", "cuda:01", DEVICES),
        ("attention", "spda", "should be 'auto', 'eager', 'sdpa', 'flash_attention_2', "),
        ("revision", "", "should be a commit, branch or tag"),
        ("revision", "../x", "should be a commit, branch or tag"),
    ],
)
def test_unknown_value_gets_the_allowed_ones(option: str, value: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve("gpt2-xl", overrides={option: value})
    assert str(caught.value).startswith(f"--{option} '{value}' {message}")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"revision": "main"},
            "have a revision (main), as it is a folder: leave the revision out, or name a model on "
            "the hub, as org/model",
        ),
        (
            {"attention": "flash_attention_2"},
            "use flash_attention_2 on device cpu: choose device cuda, or attention sdpa or eager",
        ),
        (
            {"attention": "flash_attention_2", "device": "cuda"},
            "use flash_attention_2 in float32: choose dtype float16 or bfloat16, or attention sdpa "
            "or eager",
        ),
    ],
)
def test_impossible_combination_names_the_way_out(overrides: dict[str, str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve("embedded", overrides=overrides)
    assert str(caught.value) == f"target 'embedded' cannot {message}"


# --- targets files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "folder = 'x'\ndtyp = 'auto'",
            "unknown key 'dtyp'; did you mean 'dtype'? known keys: title, folder, repository,",
        ),
        ("name = 'b'\nfolder = 'x'", "unknown key 'name'"),
        ("folder = 'x'\ndtype = 'flot16'", "dtype 'flot16' should be 'auto', 'float32', "),
        ("folder = 'x'\ndtype = 16", "dtype 16 should be 'auto', "),
        ("folder = 3", "folder 3 "),
        ("folder = 'x'\nprovides = 'knowledge'", "provides 'knowledge' should be a valid tuple"),
        ("folder = 'x'\nprovides = ['knowlege']", "provides 'knowlege' should be bos, "),
        (
            "folder = 'x'\nprovides = ['nf4']",
            "provides 'nf4' is found out from the model; a target may declare bos, "
            "mistral-tokenizer, mistral-7b or gpt2-xl",
        ),
        ("folder = 'x'\nexpects = 'al'", "expects 'al' should be \"all\", or a list of observ"),
        ("folder = 'x'\nexpects = [3]", 'expects [3] should be "all", or a list of observations'),
        (
            "folder = 'x'\nexpects = ['next-token', 'colapse']",
            "expects ['next-token', 'colapse'] names 'colapse', and no observation has that id; "
            "did you mean 'collapse'?",
        ),
        (
            "folder = 'x'\nexpects = ['top-k']",
            "expects ['top-k'] names 'top-k', a contract, which must hold on every target",
        ),
        ("title = 'x'", ONE_PLACE),
        ("folder = 'x'\nengine = 'transformers'", "with an engine should have a GGUF file"),
        ("gguf = 'x'\nengine = 'transformer'", "engine 'transformer' should be 'llama.cpp' or "),
        ("folder = 'x'\nrepository = 'x/y'", ONE_PLACE),
        ("folder = 'x'\nrevision = 'main'", "cannot have a revision (main), as it is a folder"),
        (
            "repository = 'org/m'\nrandom = 'c.json'",
            "with random weights should have a folder, which has its tokenizer",
        ),
        ("repository = 'x/y/z'", "repository 'x/y/z' should be a hub id, such as org/model"),
        ("folder = 'x'\ntitle = 0x" + "F" * 9999, "title a value of type int "),
        ("folder = 'x'\ntitle = ['\\u001B']", r"title ['\\u001B'] "),
    ],
)
@pytest.mark.parametrize("section", ["targets", "tool.probes.targets"])
def test_wrong_table_is_refused(section: str, table: str, message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "mine.toml", f"[{section}.a]\n{table}")
    with pytest.raises(UserError) as caught:
        (read_targets_file if section == "targets" else read_pyproject)(file)
    assert str(caught.value).startswith(f"{file}: [{section}.a]: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[target.a]\nfolder = 'x'",
            ": unknown key 'target'; did you mean 'targets'? known keys: targets",
        ),
        (
            "[targets.'a b']\nfolder = 'x'",
            ": a target cannot be called 'a b': its name starts with a letter or digit",
        ),
        ("[targets.'../x']\nfolder = 'x'", ": a target cannot be called '../x'"),
        ("[targets]\na = 1", ": [targets.a] should be a table, got 1"),
        ("targets = 1", ": [targets] should hold one table a target, [targets.NAME]"),
        ("[targets.a\n", " is not valid TOML: "),
        ("a = " + "[" * 5000, " is "),
        (b"a = '\xe9'", " is not valid TOML: 'utf-8' codec"),
        (b"\0" * 2**21, " has 2,097,152 bytes, more than the 1,048,576 that such a "),
    ],
)
def test_malformed_file_is_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        read_targets_file(file)
    assert str(caught.value).startswith(f"{file}{message}")
    assert "\n" not in str(caught.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    for file in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(UserError, match=rf"^{file} is missing or not a regular file$"):
            resolve("embedded", targets_file=file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[tool.probes]\ntarget = 1", ": [tool.probes]: unknown key 'target'; did you mean 'targe"),
        ("[tool]\nprobes = 1", ": [tool.probes] should be a table, got 1"),
        ("[tool", " is not valid TOML"),
    ],
)
def test_malformed_project_is_refused(text: str, message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "pyproject.toml", text)
    with pytest.raises(UserError, match=f"^{re.escape(f'{file}{message}')}"):
        resolve("embedded", project=tmp_path)


@pytest.mark.parametrize("text", ["", "tool = 1", "[tool.other]\nx = 1", "[tool.probes]"])
def test_project_without_targets_defines_none(text: str, tmp_path: Path) -> None:
    assert read_pyproject(write(tmp_path / "pyproject.toml", text)) == {}


# --- addresses and files of other engines --------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("https://anna:s3cret@host/v1", "should have no user and no password: put a key in "),
        ("https://host/v1?key=s3cret", "should have no query, and its model as served_model"),
        ("http://[::1/v1", "should begin with http:// or https:// and a host"),
        ("http://s3cret@host:port/v1", "should begin with http:// or https:// and a host"),
        ("HTTPS://anna:s3cret@host", "should have no user and no password"),
        ("http://", "should begin with http:// or https:// and a host"),
    ],
)
def test_refused_address_is_not_quoted(tmp_path: Path, address: str, problem: str) -> None:
    file = write(tmp_path / "targets.toml", f"[targets.a]\naddress = '{address}'\n")
    with pytest.raises(UserError, match=f"^address {problem}") as on_line:
        resolve(address)
    with pytest.raises(UserError, match=f"address {problem}") as in_file:
        resolve("a", targets_file=file)
    assert "s3cret" not in f"{on_line.value}{in_file.value}"


@pytest.mark.parametrize("text", ["models/nope.gguf", "nope.GGUF", "./nope.gguf"])
def test_missing_gguf_file_is_no_hub_id(text: str) -> None:
    with pytest.raises(UserError, match=f"^no file '{text}'$"):
        resolve(text)
