"""The embedded model as a GGUF file: in transformers, and in llama.cpp beside that."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

import probes
from probes.data.corpus import built_in_corpus
from probes.data.tokenizer_texts import CAPITAL_OF_JAPAN
from probes.engines.endpoint.connection import connect
from probes.engines.transformers.engine import load
from probes.errors import UnusableTargetError, UserError
from probes.measure.engine_ids import compare_ids, explain_ids
from probes.measure.quantization_cost import measure_cost, name_storage
from probes.measure.scored_windows import cut_windows
from probes.plugin.session import choose_targets
from probes.schema.record import Verdict
from probes.targets import preflight as checks
from probes.targets.resolve import resolve
from probes.targets.target import Target
from tests.support.gguf_files import write_gguf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(find_spec("gguf") is None, reason="the package gguf is missing")


@pytest.fixture(scope="module", autouse=True)
def _parse_once() -> Iterator[None]:
    """Parse the file once for all: transformers does so for each part of a model, in 3 s."""
    import gguf

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gguf, "GGUFReader", cache(gguf.GGUFReader))
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


@pytest.fixture(scope="module")
def model(file: Path) -> probes.Model:
    return load(Target(name="tiny", gguf=file, engine="transformers"))


def test_dequantized_model_is_the_original(model: probes.Model) -> None:
    original = load("embedded")
    assert model.logits(CAPITAL_OF_JAPAN).equal(original.logits(CAPITAL_OF_JAPAN))
    assert (model.facts().source, model.facts().dtype) == ("gguf", "float32")
    assert model.explain_missing("nf4") == (
        "transformers quantizes no weights that it reads from a GGUF file"
    )
    assert model.explain_missing("chat") == "its tokenizer has no chat template"


def test_lost_step_of_a_tokenizer_is_named(model: probes.Model) -> None:
    texts = [" Hello", "Hello", "a  b"]
    found = compare_ids(load("embedded"), model, texts, special_tokens=True)
    assert [each.text for each in found] == [" Hello"]
    assert found[0].where == "white space before a letter"
    assert "['▁', '▁Hello'], not [22557] ['▁Hello']" in found[0].describe()
    assert explain_ids(model, texts, found, special_tokens=True) == (
        "the reference's tokenizer, as transformers reads it from tiny.gguf, lacks "
        "a space before texts that begin with one: with it all ids agree"
    )


def test_reference_of_a_file_is_computed_by_transformers(file: Path) -> None:
    session = choose_targets([str(file)], reference=str(file))
    assert session.targets["tiny.gguf"].is_served
    reference = session.references["tiny.gguf"]
    assert isinstance(reference, Target)
    assert not reference.is_served
    with pytest.raises(UserError, match="a GGUF file has its own"):
        choose_targets([str(file)], overrides={"quantization": "nf4"})


def test_missing_package_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None if name == "gguf" else True)
    target = Target(name="tiny", gguf=file, engine="transformers")
    with pytest.raises(UnusableTargetError, match="python -m pip install gguf"):
        checks.preflight(target)


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="llama.cpp is not installed")
def test_llama_cpp_is_compared_with_the_same_file(file: Path, tmp_path: Path) -> None:
    claims = [f"--claim=engine-{name}" for name in ("ids", "logprobs", "greedy", "stops")]
    options = [*claims, "--reference", str(file), "--report-dir", str(tmp_path), "-q"]
    found = probes.run(str(file), options=[*options, "-p", "no:cacheprovider"])
    record = probes.read_record(found.records[0])
    verdicts = {claim.id.removeprefix("engine-"): claim.verdict for claim in record.claims}
    holds = dict.fromkeys(("logprobs", "greedy", "stops"), Verdict.HOLDS)
    assert verdicts == {"ids": Verdict.FAILS, **holds}
    assert "lacks a space before texts that begin with one" in record.claims[0].reason
    assert str(record.target.reference).startswith(f"{file.name} (")


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="llama.cpp is not installed")
def test_cost_of_a_file_and_of_a_quantized_cache_in_llama_cpp(
    file: Path, model: probes.Model
) -> None:
    texts = cut_windows(model, built_in_corpus(), context_length=64, most=2)
    means = []
    for cache_type in (None, "Q4_0"):
        engine = connect(resolve(str(file)), cache_type)
        kind = name_storage(engine)
        found = measure_cost(model, engine, kind, texts=texts, every=4)
        engine.close()
        assert (found.kind, found.whole, found.bytes) == ("F32", False, file.stat().st_size)
        assert found.mean_divergence is not None
        assert found.perplexity_ratio is None
        means.append(found.mean_divergence.value)
    assert means[0] < 1e-4 < means[1] < 0.1
