"""Measure what quantization changes, for every type that can be made of a model here.

    python -m tests.benchmarks.quantization TARGET [--corpus FILE] [--windows N] [--kinds nf4,int8]
    python -m tests.benchmarks.quantization TARGET --gguf FILE.gguf

Printed is a table in Markdown, quality against bytes, in the terms of llama.cpp's perplexity tool
(docs/quantization.md). With `--gguf`, types are made of that file's values by the package gguf,
computed by llama.cpp and compared with TARGET, which holds the same values in float32. `--kinds
cache-Q8_0,cache-Q4_0` are its key-value caches, of weights in F32. In transformers they are
`cache-hqq-4,cache-quanto-4`, of so many bits, where the backend is installed and every layer of the
model attends to all tokens.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import probes
from probes.data import questions
from probes.data.corpus import load_corpus
from probes.engines.endpoint.connection import connect
from probes.errors import UserError
from probes.measure import asking, quantization_cost, quantized_cache, scored_windows
from probes.report.text.quantization import format_origin, format_table
from probes.targets.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from probes.schema.evidence.quantization import QuantizationCost

KINDS = ("float16", "bfloat16", "int8", "nf4", "nf4-double", "fp4")
DTYPES = ("float16", "bfloat16")

GGUF_KINDS = ("F32", "F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0")

SMALL = ("Q4_0", "Q4_1", "Q5_0", "Q5_1")
"""Types in which the embedding, which is often the output head as well, stays in Q8_0."""

SEED = 20231010


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--targets-file", type=Path)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--windows", type=int, help="of each text, at most [all]")
    parser.add_argument("--every", type=int, default=scored_windows.LISTED_EVERY)
    parser.add_argument("--kinds", help="with commas [all]")
    parser.add_argument("--gguf", type=Path, help="make types of this file for llama.cpp")
    parser.add_argument("--json", type=Path, help="add the numbers to this file")
    parser.add_argument("--no-tasks", action="store_true", help="leave out answers and stories")
    options = parser.parse_args(arguments)
    target = resolve(options.target, targets_file=options.targets_file)
    model: Any = probes.load(target)
    corpus = load_corpus(options.corpus)
    texts = scored_windows.cut_windows(
        model, corpus, context_length=model.context_length, most=options.windows
    )
    asked = asking.ask(model, questions.load_questions(target.questions))
    _ = model.network
    facts = model.facts()
    quantized = serve_gguf(options) if options.gguf else change_storage(model, options)
    rows: list[QuantizationCost] = []
    for kind, other in quantized:
        reads_only = isinstance(other, quantized_cache.WithQuantizedCache)
        row = quantization_cost.measure_cost(
            model,
            other,
            kind,
            texts=texts,
            questions=() if options.no_tasks or reads_only else asked,
            seed=None if options.no_tasks or reads_only or options.gguf else SEED,
            every=options.every,
        )
        rows.append(row)
        print(format_table([row]), file=sys.stderr, flush=True)
        if options.json:
            with options.json.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"target": target.name} | row.as_evidence()) + "\n")
    stored_as = target.stored_as or ""
    print(f"{target.name}, over the corpus {corpus.name}.", end=" ")
    print(format_origin(facts.dtype, facts.weight_bytes or 0, stored_as), end="\n\n")
    print(format_table(rows))


def change_storage(model: Any, options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Yield what transformers quantizes here, one at a time."""
    for kind in options.kinds.split(",") if options.kinds else KINDS:
        if kind.startswith("cache-"):
            _, backend, bits = kind.split("-")
            yield kind, quantized_cache.WithQuantizedCache(model, backend, int(bits))
            continue
        if kind in DTYPES:
            other = model.variant(dtype=kind)
        else:
            other = model.variant(quantization=kind, dtype=model.facts().dtype)
        yield kind, other
        model.discard_variant(other)


def serve_gguf(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Yield llama.cpp with each type that the package gguf makes, and with each type of cache."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds.split(",") if options.kinds else GGUF_KINDS:
            _, is_cache, cache_type = kind.partition("cache-")
            file = Path(folder) / f"{kind}.gguf"
            write_gguf(options.gguf, file, "F32" if is_cache else kind)
            engine = connect(resolve(str(file)), cache_type or None)
            yield kind, engine
            engine.close()
            file.unlink()


def write_gguf(source: Path, file: Path, kind: str) -> None:
    """Write the values of a GGUF file in another type; vectors stay in float32."""
    import gguf

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(file, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if field.name == "general.architecture" or field.name.startswith("GGUF."):
            continue
        item = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        value = 0 if field.name == "general.file_type" else field.contents()
        writer.add_key_value(field.name, value, field.types[0], sub_type=item)
    wanted, whole = gguf.GGMLQuantizationType[kind], gguf.GGMLQuantizationType.F32
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32")
        is_matrix = values.ndim == 2 and values.shape[1] % 32 == 0
        chosen = wanted if is_matrix else whole
        if is_matrix and kind in SMALL and tensor.name in ("token_embd.weight", "output.weight"):
            chosen = gguf.GGMLQuantizationType.Q8_0
        data = values if chosen is whole else gguf.quants.quantize(values, chosen)
        writer.add_tensor(tensor.name, data, raw_dtype=None if chosen is whole else chosen)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
