from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import UserError
from probes.targets.resolve import list_targets, read_pyproject, read_targets_file, resolve
from probes.targets.target import EMBEDDED_FOLDER, Attention, Dtype, Quantization, Target

COMMIT = re.compile("[0-9a-f]{40}")


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# --- built-in targets ---------------------------------------------------------------------------


def test_the_embedded_model_is_a_folder_of_the_package_on_the_cpu_in_float32() -> None:
    target = resolve("embedded")
    assert target.folder == EMBEDDED_FOLDER
    assert (target.source, target.device, target.dtype) == ("embedded", "cpu", Dtype.FLOAT32)
    assert target.provides == ("knowledge", "mistral-tokenizer")


def test_mistral_in_nf4_computes_in_fp16_on_cuda_at_a_pinned_commit() -> None:
    target = resolve("mistral-7b-nf4")
    assert target.repository == "mistralai/Mistral-7B-v0.1"
    assert target.quantization is Quantization.NF4
    assert (target.source, target.device, target.dtype) == ("hub", "cuda", Dtype.FLOAT16)
    assert "mistral-7b" in target.provides


@pytest.mark.parametrize("target", list_targets().values(), ids=lambda target: target.name)
def test_built_in_targets_say_what_they_are_and_pin_what_they_fetch(target: Target) -> None:
    assert target.title
    assert target.repository is None or COMMIT.fullmatch(target.revision or "")


# --- where a name is looked up ------------------------------------------------------------------


def test_a_users_file_comes_before_the_project_and_both_before_the_built_in(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine.toml", "[targets.a]\nrepository = 'x/mine'\n")
    write(
        tmp_path / "pyproject.toml",
        "[tool.probes.targets.a]\nrepository = 'x/project'\n"
        "[tool.probes.targets.gpt2-xl]\nrepository = 'x/gpt2-xl'\n",
    )
    assert resolve("a", targets_file=mine, project=tmp_path).repository == "x/mine"
    assert resolve("a", project=tmp_path).repository == "x/project"
    assert resolve("gpt2-xl", targets_file=mine, project=tmp_path).repository == "x/gpt2-xl"


def test_a_folder_in_a_targets_file_is_relative_to_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "t.toml", "[targets.a]\nfolder = 'models/a'\ntitle = 'mine'\n")
    target = resolve("a", targets_file=file, project=None)
    assert target.folder == tmp_path / "models" / "a"
    assert (target.title, target.source) == ("mine", "folder")


def test_a_name_comes_before_a_folder_and_a_dot_names_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "embedded").mkdir()
    monkeypatch.chdir(tmp_path)
    assert resolve("embedded").folder == EMBEDDED_FOLDER
    here = resolve("./embedded")
    assert (here.name, here.folder, here.provides) == ("embedded", Path("embedded"), ())


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "my-model").mkdir()
    target = resolve("~/my-model")
    assert (target.name, target.folder) == ("my-model", tmp_path / "my-model")


def test_a_folder_comes_before_a_hub_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve("org/model").source == "hub"
    (tmp_path / "org" / "model").mkdir(parents=True)
    assert resolve("org/model").source == "folder"


def test_a_hub_id_is_its_own_name_and_provides_what_is_known_of_it() -> None:
    assert resolve("some/model").provides == ()
    known = resolve("mistralai/Mistral-7B-v0.1")
    assert known.name == "mistralai/Mistral-7B-v0.1"
    assert known.provides == resolve("mistral-7b-fp16").provides
    assert (known.quantization, known.device) == (Quantization.NONE, "auto")


def test_the_embedded_folder_by_its_path_provides_what_the_embedded_model_does() -> None:
    assert resolve(str(EMBEDDED_FOLDER)).provides == resolve("embedded").provides


# --- no such target -----------------------------------------------------------------------------


def test_a_misspelt_name_gets_the_nearest_and_all_known_names() -> None:
    with pytest.raises(UserError) as caught:
        resolve("Mistral-7b-nf")
    assert str(caught.value) == (
        "no target 'Mistral-7b-nf'; did you mean 'mistral-7b-nf4'? Known targets: embedded, "
        "mistral-7b-nf4, mistral-7b-fp16, gpt2-xl, mistral-7b-random; a folder is named by its "
        "path, a model on the hub as org/model"
    )


@pytest.mark.parametrize(
    "text", ["gpt2", "llama", "", " ", "a" * 5000, "~nobody-of-that-name", "\0"]
)
def test_a_word_that_is_no_target_is_never_taken_for_a_hub_id(text: str) -> None:
    with pytest.raises(UserError, match=r"^no (target|folder) '.*Known targets: embedded, "):
        resolve(text)


@pytest.mark.parametrize("text", ["./x", "~/x", "/x/y", "a/b/c", "../x", "org/..", "x\\y"])
def test_a_path_that_leads_nowhere_is_called_a_folder(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^no folder '.*named by its path"):
        resolve(text)


def test_a_file_is_no_target_but_its_folder_may_be(tmp_path: Path) -> None:
    file = write(tmp_path / "config.json", "{}")
    with pytest.raises(UserError, match=r"is a file: name the folder that holds it$"):
        resolve(str(file))


# --- options of the command line ----------------------------------------------------------------


def test_options_override_the_target_and_those_not_given_do_not() -> None:
    target = resolve(
        "mistral-7b-nf4",
        overrides={
            "quantization": "none",
            "dtype": "bfloat16",
            "device": "cuda:1",
            "revision": "main",
            "attention": None,
        },
    )
    assert target.quantization is Quantization.NONE
    assert (target.dtype, target.attention) == (Dtype.BFLOAT16, Attention.AUTO)
    assert (target.device, target.revision) == ("cuda:1", "main")
    assert target.provides == resolve("mistral-7b-nf4").provides


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "quantization",
            "nf5",
            "--quantization 'nf5' should be 'none' or 'nf4'; did you mean 'nf4'?",
        ),
        (
            "dtype",
            "flot16",
            "--dtype 'flot16' should be 'auto', 'float32', 'float16' or 'bfloat16'; "
            "did you mean 'float16'?",
        ),
        (
            "device",
            "gpu",
            "--device 'gpu' should be auto, cpu, cuda, cuda:N or mps; did you mean 'cpu'?",
        ),
        ("device", "cuda:-1", "--device 'cuda:-1' should be auto, cpu, cuda, cuda:N or mps"),
        ("device", "cuda:01", "--device 'cuda:01' should be auto, cpu, cuda, cuda:N or mps"),
        (
            "attention",
            "spda",
            "--attention 'spda' should be 'auto', 'eager', 'sdpa', 'flash_attention_2', "
            "'flash_attention_3' or 'flex_attention'; did you mean 'sdpa'?",
        ),
        ("revision", "", "--revision '' should be a commit, branch or tag"),
        ("revision", "../x", "--revision '../x' should be a commit, branch or tag"),
    ],
)
def test_an_unknown_value_gets_the_allowed_ones(option: str, value: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        resolve("gpt2-xl", overrides={option: value})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"revision": "main"},
            "target 'embedded' cannot have a revision (main), as it is a folder: leave the "
            "revision out, or name a model on the hub, as org/model",
        ),
        (
            {"attention": "flash_attention_2"},
            "target 'embedded' cannot use flash_attention_2 on device cpu: choose device cuda, or "
            "attention sdpa or eager",
        ),
        (
            {"attention": "flash_attention_2", "device": "cuda"},
            "target 'embedded' cannot use flash_attention_2 in float32: choose dtype float16 or "
            "bfloat16, or attention sdpa or eager",
        ),
    ],
)
def test_an_impossible_combination_names_the_way_out(
    overrides: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        resolve("embedded", overrides=overrides)
    assert str(caught.value) == message


# --- targets files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[targets.a]\nfolder = 'x'\ndtyp = 'auto'",
            "[targets.a]: unknown key 'dtyp'; did you mean 'dtype'? known keys: title, "
            "folder, repository,",
        ),
        (
            "[target.a]\nfolder = 'x'",
            ": unknown key 'target'; did you mean 'targets'? known keys: targets",
        ),
        ("[targets.a]\nname = 'b'\nfolder = 'x'", "[targets.a]: unknown key 'name'"),
        (
            "[targets.a]\nfolder = 'x'\ndtype = 'flot16'",
            "[targets.a]: dtype 'flot16' should be 'auto', 'float32', 'float16' or "
            "'bfloat16'; did you mean 'float16'?",
        ),
        ("[targets.a]\nfolder = 'x'\ndtype = 16", "[targets.a]: dtype 16 should be 'auto', "),
        ("[targets.a]\nfolder = 3", "[targets.a]: folder 3 "),
        (
            "[targets.a]\nfolder = 'x'\nprovides = 'knowledge'",
            "[targets.a]: provides 'knowledge' should be a valid tuple",
        ),
        (
            "[targets.a]\nfolder = 'x'\nprovides = ['knowlege']",
            "[targets.a]: provides 'knowlege' should be knowledge, bos, ",
        ),
        (
            "[targets.a]\nfolder = 'x'\nprovides = ['nf4']",
            "[targets.a]: provides 'nf4' is found out from the model; a target may "
            "declare knowledge, bos, mistral-tokenizer, mistral-7b or gpt2-xl",
        ),
        ("[targets.a]\ntitle = 'x'", "[targets.a]: should have either a folder or a repository"),
        (
            "[targets.a]\nfolder = 'x'\nrepository = 'x/y'",
            "[targets.a]: should have either a folder or a repository",
        ),
        (
            "[targets.a]\nfolder = 'x'\nrevision = 'main'",
            "[targets.a]: cannot have a revision (main), as it is a folder",
        ),
        (
            "[targets.a]\nrepository = 'x/y/z'",
            "[targets.a]: repository 'x/y/z' should be a hub id, such as org/model",
        ),
        (
            "[targets.'a b']\nfolder = 'x'",
            ": a target cannot be called 'a b': its name starts with a letter or digit",
        ),
        ("[targets.'../x']\nfolder = 'x'", ": a target cannot be called '../x'"),
        ("[targets]\na = 1", "[targets.a] should be a table, got 1"),
        ("[targets.a]\nfolder = 'x'\ntitle = 0x" + "F" * 9999, "title a value of type int "),
        ("[targets.a]\nfolder = 'x'\ntitle = ['\\u001B']", r"title ['\\u001B'] "),
        ("targets = 1", ": [targets] should hold one table a target, [targets.NAME]"),
        ("[targets.a\n", " is not valid TOML: "),
        ("a = " + "[" * 5000, " is "),
    ],
)
def test_a_malformed_file_gets_one_line_that_names_it(
    text: str, message: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "mine.toml", text)
    with pytest.raises(UserError) as caught:
        read_targets_file(file)
    line = str(caught.value)
    assert line.startswith(str(file))
    assert message in line
    assert "\n" not in line


def test_a_file_that_is_not_there_or_no_file_or_no_text_gets_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read the targets in .*none\.toml: No such file"):
        resolve("embedded", targets_file=tmp_path / "none.toml")
    with pytest.raises(UserError, match=r"cannot read the targets in "):
        read_targets_file(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe9'")
    with pytest.raises(UserError, match=r"latin\.toml is not valid TOML: 'utf-8' codec"):
        read_targets_file(tmp_path / "latin.toml")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.toml"
    with file.open("wb") as stream:
        stream.truncate(2**40)
    with pytest.raises(UserError, match=r"huge\.toml is larger than 1 MiB"):
        read_targets_file(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[tool.probes]\ntarget = 1",
            r"\[tool\.probes\]: unknown key 'target'; did you mean 'targets'",
        ),
        ("[tool.probes.targets.a]\nfolder = 3", r"\[tool\.probes\.targets\.a\]: folder 3 "),
        ("[tool]\nprobes = 1", r"\[tool\.probes\] should be a table, got 1"),
        ("[tool", r"is not valid TOML"),
    ],
)
def test_a_malformed_project_gets_one_line_too(text: str, message: str, tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", text)
    with pytest.raises(UserError, match=message):
        resolve("embedded", project=tmp_path)


@pytest.mark.parametrize("text", ["", "tool = 1", "[tool.other]\nx = 1", "[tool.probes]"])
def test_a_project_without_targets_defines_none(text: str, tmp_path: Path) -> None:
    assert read_pyproject(write(tmp_path / "pyproject.toml", text)) == {}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def toml(value: object) -> str:
    """TOML's way to write a value, near enough; what is no TOML then tests that."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(each)}" for key, each in value.items()) + "}"
    return repr(value)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(list(Target.model_fields)) | st.text(max_size=9), VALUES))
def test_whatever_a_table_holds_the_outcome_is_a_target_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, object]
) -> None:
    lines = "".join(f"{toml(key)} = {toml(value)}\n" for key, value in table.items())
    outcome_is_a_target_or_one_line(
        tmp_path_factory, f"[targets.a]\n{lines}".encode(errors="replace")
    )


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text("[]targes.a='\n\"", max_size=40).map(str.encode))
def test_whatever_bytes_a_file_holds_the_outcome_is_targets_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    outcome_is_a_target_or_one_line(tmp_path_factory, data)


def outcome_is_a_target_or_one_line(factory: pytest.TempPathFactory, data: bytes) -> None:
    file = factory.getbasetemp() / "fuzzed.toml"
    file.write_bytes(data)
    outcome = targets_or_line(file)
    if isinstance(outcome, str):
        assert 0 < len(outcome) < 1000
        assert "\n" not in outcome
    else:
        assert all(isinstance(each, Target) for each in outcome.values())


def targets_or_line(file: Path) -> dict[str, Target] | str:
    try:
        return read_targets_file(file)
    except UserError as error:
        return str(error)
