"""Malicious model folders: no code of one is run, and no memory is allocated before a check."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import probes
from probes.errors import TokenizerFailedError
from tests.support.warm_process import call_apart


def loaded(folder: Path) -> str:
    """The one line that loading a folder ends with, in a process of its own."""
    line: str = call_apart(load, folder)
    assert "\n" not in line
    return line


def load(folder: Path) -> str:
    import resource

    from probes.engines.transformers.engine import TransformersEngine
    from probes.errors import UserError
    from probes.targets.preflight import preflight
    from probes.targets.resolve import resolve

    warnings.simplefilter("ignore")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        model = TransformersEngine(preflight(resolve(str(folder))))
        said = f"encoded {len(model.encode('a' * 40 + '!'))} tokens"
        line = said if model.network else "no network"
    except (UserError, AssertionError) as error:
        line = str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # kB
    return line


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from tests.support import odd_model_folders as odd_folders

    return odd_folders.all_equal(tmp_path / "model")


def change(folder: Path, name: str, **values: Any) -> None:
    file = folder / name
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(content | values), encoding="utf-8")


class Taken:
    """What a pickle runs when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.marker,)


def test_code_of_a_folder_is_never_run(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "taken"
    own = f"open({str(marker)!r}, 'w').close()\nclass Own: pass\n"
    for name in ("own.py", "setup.py", "conftest.py", "modeling_llama.py", "tokenization_llama.py"):
        (folder / name).write_text(own, encoding="utf-8")
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(pickle.dumps(Taken(marker)))
    change(
        folder, "config.json", auto_map={"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
    )
    change(
        folder,
        "tokenizer_config.json",
        chat_template="{% for i in range(10**12) %}{{ ''.__class__.__mro__ }}{% endfor %}",
    )
    assert loaded(folder).startswith("encoded ")
    change(
        folder,
        "tokenizer_config.json",
        tokenizer_class="Own",
        auto_map={"AutoTokenizer": ["own.Own", "own.Own"]},
    )
    line = loaded(folder)
    assert line.startswith(("encoded ", "target 'model': transformers "))
    assert not marker.exists()
    pickle.loads(pickle.dumps(Taken(marker)))  # noqa: S301 - it would have shown
    assert marker.exists()


def test_chat_template_reaches_no_python(folder: Path) -> None:
    change(folder, "tokenizer_config.json", chat_template="{{ ''.__class__.__mro__ }}")
    model = probes.load(str(folder))
    with pytest.raises(TokenizerFailedError, match="unsafe"):
        model.encode_chat([{"role": "user", "content": "Hello"}])


def test_configuration_in_a_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "taken"
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n", encoding="utf-8")
    (folder / "torch.py").write_text(f"open({str(marker)!r}, 'w').close()\n", encoding="utf-8")
    project = tmp_path / "project"
    project.mkdir()
    command = [sys.executable, "-m", "pytest", "--target", str(folder), "--claim", "pad-token"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "nothing in a model's folder may: remove it, or write --target=" in done.stderr
    assert not marker.exists()


ABSURD: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"num_hidden_layers": 100}, "describes a model of depth 100, width 64 and "),
    "layers of no width": (
        {"num_hidden_layers": 10**6, "hidden_size": 1},
        "config.json describes a model ",
    ),
    "experts": (
        {"model_type": "mixtral", "num_local_experts": 10**7},
        " with 10,000,000 experts, but its weights are 12 ",
    ),
    "experts of a part": (
        {"text_config": {"hidden_size": 64, "intermediate_size": 128, "num_experts": 10**7}},
        " with 10,000,000 experts, but its weights are ",
    ),
    "vocabulary": ({"vocab_size": 10**9}, "and vocabulary 1,000,000,000, but its weights are "),
    "inner width": ({"intermediate_size": 10**9}, "cannot load its weights: RuntimeError: "),
    "heads": ({"num_attention_heads": 10**6}, "cannot load its "),
    "width of a head": ({"head_dim": 10**8}, "cannot load its weights: RuntimeError: "),
    "positions": ({"max_position_embeddings": 10**12}, "encoded "),
    "a part that is none": (
        {"text_config": {"vocab_size": 377, "hidden_size": 64}},
        "transformers ",
    ),
}


@pytest.mark.parametrize("what", ABSURD)
def test_absurd_size_is_refused_before_allocation(folder: Path, what: str) -> None:
    values, words = ABSURD[what]
    change(folder, "config.json", **values)
    assert words in loaded(folder)


def regex(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def nested(depth: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"type": "Sequence", "normalizers": []}
    for _ in range(depth):
        inner = {"type": "Sequence", "normalizers": [inner]}
    return inner


TOKENIZERS: dict[str, tuple[dict[str, Any], str]] = {
    "a regex that explodes": (
        {"pre_tokenizer": regex("(a+)+$")},
        "the tokenizer cannot encode 'aaaaaaaaaa",
    ),
    "a regex that is none": ({"pre_tokenizer": regex("(((")}, "cannot load its tokenizer: "),
    "deep nesting": ({"normalizer": nested(150)}, "cannot load its tokenizer: "),
    "a kind there is not": ({"normalizer": {"type": "Evil"}}, "cannot load its tokenizer: "),
}


@pytest.mark.parametrize("what", TOKENIZERS)
def test_hostile_tokenizer_is_refused(folder: Path, what: str) -> None:
    values, words = TOKENIZERS[what]
    change(folder, "tokenizer.json", **values)
    line = loaded(folder)
    assert words in line
    assert not line.startswith("encoded ")


def test_invalid_tokenizer_class_is_refused(folder: Path) -> None:
    change(folder, "tokenizer_config.json", tokenizer_class=7)
    assert "cannot load its tokenizer: AttributeError: " in loaded(folder)


def test_links_are_followed_to_files_only(folder: Path, tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(Path("..") / "blobs" / str(number))
    assert loaded(folder).startswith("encoded ")
    weights = folder / "model.safetensors"
    for place in ("/dev/zero", str(tmp_path / "nowhere"), str(tmp_path)):
        weights.unlink()
        weights.symlink_to(place)
        assert f"{folder} has no weights: expected model.safetensors" in loaded(folder)
    config = folder / "config.json"
    config.unlink()
    config.symlink_to("/etc/passwd")
    assert loaded(folder).endswith(
        "config.json is truncated or not JSON: Expecting value: line 1 column 1 (char 0)"
    )
