"""Wrong input ends with exit 4, and one line that says what is wrong and what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from probes.schema import claim
from probes.targets.target import EMBEDDED_FOLDER
from tests.support.project import Project

ONE = """
@pytest.mark.claim("mine", title="It holds.")
def test_mine(model):
    assert model.encode("") == [1]
"""

TARGETS = "embedded, mistral-7b-nf4, mistral-7b-fp16, gpt2-xl, mistral-7b-random"

each_way = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["plain", "two workers"])


def refusal(result: pytest.RunResult) -> str:
    """The one line that pytest ended with."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    (line,) = [line for line in result.errlines if line]
    assert line.startswith("ERROR: ")
    return line.removeprefix("ERROR: ")


# --- the command line ----------------------------------------------------------------------------

OPTIONS = {
    "--target embeded": "no target 'embeded'; did you mean 'embedded'? Known targets: "
    f"{TARGETS}; a folder is named by its path, a model on the hub as org/model",
    "--target embedded --target embedded": "2 targets are called 'embedded': name each once, or "
    "give them names of their own in a targets file",
    "--targets-file none.toml": "none.toml is missing or not a regular file",
    "--claim=": "--claim needs the id of a claim, not an empty text",
    "--claim mien": "no claim 'mien' among the collected tests; did you mean 'mine'?",
    "--report-dir test_mine.py/reports": "reports cannot be written to "
    "'FOLDER/test_mine.py/reports': Not a directory; name another folder with --report-dir, or "
    "write none with --no-report",
    "--report-dir /proc/reports": "reports cannot be written to '/proc/reports': No such file or "
    "directory; name another folder with --report-dir, or write none with --no-report",
}


@pytest.mark.parametrize("arguments", OPTIONS)
def test_invalid_option_is_refused(project: Project, arguments: str) -> None:
    project.test_file(ONE)
    expected = OPTIONS[arguments].replace("FOLDER", str(project.folder))
    assert refusal(project.run(*arguments.split())) == expected


@pytest.mark.parametrize("option", ["--target", "--reference"])
def test_folder_of_no_model_is_refused_before_tests_are_collected(
    project: Project, option: str
) -> None:
    project.test_file("raise RuntimeError('collected')")
    (project.folder / "empty").mkdir()
    assert refusal(project.run(option, "empty")) == (
        "target 'empty': empty has no config.json: expected a model's folder, as save_pretrained "
        "writes it"
    )


def test_invalid_option_is_refused_under_workers(project: Project) -> None:
    project.test_file(ONE)
    for arguments in ("--target embeded", "--report-dir test_mine.py"):
        assert refusal(project.run("-n", "2", *arguments.split()))
    result = project.run("-n", "2", "--claim", "mien")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(
        ["ERROR: no claim 'mien' among the collected tests; did you mean 'mine'?"]
    )


# --- markers -------------------------------------------------------------------------------------

NEEDS = ", ".join(claim.NEEDS)

MARKERS = {
    '@pytest.mark.claim("round-tripp")': "no claim 'round-tripp' in the catalogue; did you mean "
    "'round-trip'? A claim of your own needs a title: claim('round-tripp', title='...')",
    "@pytest.mark.claim": "the marker claim takes one id, as in claim('my-claim', title='...')",
    '@pytest.mark.claim("mine", titel="x")': "claim 'mine' is misstated: it has no title: add "
    "title='...'",
    '@pytest.mark.claim("mine", title="x", need="bos")': "claim 'mine' is misstated: unknown field "
    "'need'; did you mean 'needs'? Known fields: id, section, title, kind, needs, status, differs",
    '@pytest.mark.claim("mine", title="")': "claim 'mine' is misstated: title '' should have at "
    "least 1 character",
    '@pytest.mark.claim("mine", title=3)': "claim 'mine' is misstated: title 3 should be a valid "
    "string",
    '@pytest.mark.claim("mine", title="x", kind="wish")': "claim 'mine' is misstated: kind 'wish' "
    "should be 'contract' or 'observation'",
    '@pytest.mark.claim("My claim", title="x")': "claim 'My claim' is misstated: an id is made of "
    "lower-case words and digits, joined by hyphens",
    '@pytest.mark.claim("mine", title="x", needs="bos")': "claim 'mine' is misstated: needs 'bos' "
    "should be a valid tuple: write needs=('bos',)",
    '@pytest.mark.claim("round-trip", title="x")': "claim 'round-trip' is in the catalogue "
    "already: leave out what follows the id, or give your claim another id",
    '@pytest.mark.claim("mine", title="x", needs=("modle",))': "claim 'mine' is misstated: no need "
    f"'modle'; did you mean 'model'? Known needs: {NEEDS}",
    '@pytest.mark.needs("boss")\n@pytest.mark.claim("round-trip")': "no need 'boss'; did you mean "
    f"'bos'? Known needs: {NEEDS}",
    '@pytest.mark.needs()\n@pytest.mark.claim("round-trip")': "the marker needs takes one name or "
    "more, as in needs('bos')",
}


@pytest.mark.parametrize("marker", MARKERS)
def test_invalid_marker_is_refused(project: Project, marker: str) -> None:
    project.test_file(f"{marker}\ndef test_it(model):\n    pass\n")
    assert refusal(project.run()) == f"test_mine.py::test_it: {MARKERS[marker]}"


def test_claim_with_two_statements_is_refused(project: Project) -> None:
    project.test_file(
        '@pytest.mark.claim("mine", title="One.")\ndef test_one(model):\n    pass\n'
        '@pytest.mark.claim("mine", title="Two.")\ndef test_two(model):\n    pass\n'
    )
    assert refusal(project.run()) == (
        "claim 'mine' is stated in two ways: give both tests one marker, made once as "
        "mine = pytest.mark.claim('mine', title='...')"
    )


# --- the target ----------------------------------------------------------------------------------


@each_way
def test_damaged_folder_is_refused(
    project: Project, copy_of_embedded: Callable[..., Path], workers: tuple[str, ...]
) -> None:
    folder = copy_of_embedded("damaged")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    project.test_file(ONE)
    line = refusal(project.run("--target", str(folder), *workers))
    assert line.startswith(
        f"target 'damaged': {weights} is truncated or corrupt: its header describes "
    )
    assert not (project.folder / "reports").exists()


GPU_TARGETS = ("mistral-7b-nf4", "mistral-7b-fp16", "gpt2-xl", "mistral-7b-random")


@each_way
def test_marker_gpu_without_gpu_names_each_target(
    warm_project: Project, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    warm_project.test_file(ONE)
    result = warm_project.run("-m", "gpu", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    first, *lines = [e for e in result.outlines + result.errlines if e.startswith("ERROR: ")]
    assert first == "ERROR: nothing can run here:"
    for name, line in zip(GPU_TARGETS, lines, strict=True):
        assert line == (
            f"ERROR: target {name!r}: device cuda was asked for, but torch {torch.__version__} "
            "sees no CUDA device: run on a machine with an NVIDIA GPU and a CUDA build of torch, "
            "or choose --device cpu"
        )
    assert not (warm_project.folder / "reports").exists()


SMALL_GPU = """
import huggingface_hub.constants
import torch

def touched(*_):
    raise RuntimeError("this GPU must not be touched")

torch.cuda.is_available = lambda: True
torch.cuda.device_count = lambda: 1
torch.cuda.mem_get_info = lambda _: (2 * 10**9, 8 * 10**9)
torch.cuda._lazy_init = touched
huggingface_hub.constants.HF_HUB_OFFLINE = True
"""


@pytest.fixture
def small_gpu(project: Project, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """As on a machine with a GPU and no weights: what to add to a command line."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(project.folder / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(project.folder))
    project.test_file(SMALL_GPU, name="small_gpu.py")
    return ("-p", "small_gpu")


@each_way
def test_marker_gpu_without_weights_names_each_target(
    project: Project, small_gpu: tuple[str, ...], workers: tuple[str, ...]
) -> None:
    project.test_file(ONE)
    result = project.run_apart("-m", "gpu", *small_gpu, *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    first, *lines = [e for e in result.outlines + result.errlines if e.startswith("ERROR: ")]
    assert first == "ERROR: nothing can run here:"
    assert [line.split("'")[1] for line in lines] == [*GPU_TARGETS]
    *hub, drawn = lines
    for line in hub:
        assert "is not complete in the local cache, and HF_HUB_OFFLINE forbids to fetch it" in line
    copies = "2 × 14.5 GB, a copy for each worker" if workers else "14.5 GB"
    assert f"its weights take {copies}, and cuda:0 has 2.0 GB free of 8.0 GB" in drawn


SAMPLES = """
@pytest.mark.claim("mine", title="It samples.")
def test_samples(model, seed):
    assert model.generate("Once", seed=seed, max_new_tokens=2, do_sample=True).text
"""


def test_run_on_cpu_does_not_touch_the_gpu(project: Project, small_gpu: tuple[str, ...]) -> None:
    project.test_file(SAMPLES)
    assert project.run_apart("-m", "not gpu", *small_gpu).ret == 0
    assert project.record()["target"]["device"] == "cpu"


def test_hub_model_is_refused_when_offline(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(project.folder / "cache"))
    project.test_file(ONE)
    assert refusal(project.run_cold("--target", "some/model")) == (
        "target 'some/model': 'some/model' is not complete in the local cache, and HF_HUB_OFFLINE "
        "forbids to fetch it: unset HF_HUB_OFFLINE, or name a folder"
    )


# --- found while loading -------------------------------------------------------------------------

TWO = """
@pytest.mark.claim("before", title="It needs no weights.")
def test_before(model):
    assert model.encode("") == [1]

@pytest.mark.claim("loading", title="It needs the weights.")
def test_loading(model):
    assert model.network

@pytest.mark.claim("after", title="It comes too late.")
def test_after(model):
    assert model.encode("") == [1]
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["plain", "worker"])
def test_unloadable_model_ends_the_run_and_keeps_verdicts(
    warm_project: Project, copy_of_embedded: Callable[..., Path], workers: tuple[str, ...]
) -> None:
    config = json.loads((EMBEDDED_FOLDER / "config.json").read_text(encoding="utf-8"))
    folder = copy_of_embedded("novel", **{"config.json": {**config, "model_type": "novel"}})
    warm_project.test_file(TWO)
    result = warm_project.run("--target", str(folder), *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    (line,) = [line for line in result.outlines if line.startswith("ERROR: ")]
    assert line.startswith("ERROR: target 'novel': transformers ")
    assert "cannot load its " in line
    claims = warm_project.claims()
    assert claims["loading"]["verdict"] == "error"
    if not workers:
        assert claims["after"]["verdict"] is None
        assert warm_project.record()["complete"] is False
