from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import UserError
from probes.targets.checkpoint import Checkpoint
from probes.targets.safetensors import Tensor, read_header
from probes.targets.target import EMBEDDED_FOLDER
from tests.support.model_folders import EMBEDDING, TENSORS, pack, pack_header

MakeFolder = Callable[..., Path]

INDEX = "model.safetensors.index.json"


def refusal(folder: Path) -> str:
    """The line with which a folder is refused, without its path."""
    with pytest.raises(UserError) as caught:
        Checkpoint.inspect(folder)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 600
    assert str(folder) in line
    return line.replace(str(folder), "FOLDER")


# --- a sound folder -----------------------------------------------------------------------------


def test_sound_folder_is_read(make_folder: MakeFolder) -> None:
    # Pickles beside safetensors are ignored.
    folder = make_folder(**{"training_args.bin": b"\x80\x04."})
    checkpoint = Checkpoint.inspect(folder)
    assert checkpoint.folder == folder
    assert checkpoint.config["vocab_size"] == 16
    assert (checkpoint.architecture, checkpoint.model_type) == ("MistralForCausalLM", "mistral")
    assert checkpoint.pieces == {"<unk>": 0, "<s>": 1, "</s>": 2, "▁a": 3, "<pad>": 15}
    assert checkpoint.tensors[EMBEDDING] == Tensor("F16", (16, 4))
    assert (checkpoint.parameters, checkpoint.weight_bytes) == (68, 16 * 4 * 2 + 4 * 4)
    assert checkpoint.embedding_rows == 16
    assert checkpoint.stored_quantization is None
    assert checkpoint.sentencepiece_file is None
    assert not checkpoint.offers_remote_code


def shards(weight_map: object, **files: Any) -> dict[str, Any]:
    return {
        "model.safetensors": None,
        INDEX: {"metadata": {}, "weight_map": weight_map},
        **{f"{name}.safetensors": pack(tensors) for name, tensors in files.items()},
    }


def test_shards_are_read_together(make_folder: MakeFolder) -> None:
    files = shards(
        {EMBEDDING: "a.safetensors", "model.norm": "b.safetensors"},
        a={EMBEDDING: ("F16", [16, 4])},
        b={"model.norm": ("F32", [4])},
    )
    assert set(Checkpoint.inspect(make_folder(**files)).tensors) == set(TENSORS)


def test_inspection_takes_a_fraction_of_a_second() -> None:
    Checkpoint.inspect(EMBEDDED_FOLDER)
    begin = time.process_time()
    checkpoint = Checkpoint.inspect(EMBEDDED_FOLDER)
    assert time.process_time() - begin < 0.5
    assert len(checkpoint.pieces) == 32000


# --- the tokenizer's pieces ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "pieces"),
    [
        (
            {"tokenizer.json": {"model": {"type": "Unigram", "vocab": [["<unk>", 0], ["▁a", -1]]}}},
            {"<unk>": 0, "▁a": 1},
        ),
        (
            {"vocab.json": {"Ġa": 0, "b": 1}, "added_tokens.json": {"<|end|>": 2}},
            {"Ġa": 0, "b": 1, "<|end|>": 2},
        ),
    ],
    ids=["unigram", "byte-level"],
)
def test_pieces_of_other_tokenizers(
    files: dict[str, Any], pieces: dict[str, int], make_folder: MakeFolder
) -> None:
    folder = make_folder(**{"tokenizer.json": None} | files)
    assert Checkpoint.inspect(folder).pieces == pieces


def test_pieces_of_a_sentencepiece_model(make_folder: MakeFolder, tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("a b c a b c\n" * 20, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(tmp_path / "tiny"), vocab_size=8, minloglevel=3
    )
    data = (tmp_path / "tiny.model").read_bytes()
    folder = make_folder(**{"tokenizer.json": None, "tokenizer.model": data})
    checkpoint = Checkpoint.inspect(folder)
    assert len(checkpoint.pieces) == 8
    assert checkpoint.pieces["<s>"] == 1
    assert checkpoint.sentencepiece_file == folder / "tokenizer.model"
    (folder / "tokenizer.model").write_bytes(data[:40])
    assert refusal(folder) == "FOLDER/tokenizer.model is truncated or no SentencePiece model"


def test_tokenizer_model_of_another_format_is_no_sentencepiece(make_folder: MakeFolder) -> None:
    folder = make_folder(**{"tokenizer.model": b"IQ== 0\nIg== 1\n"})
    assert Checkpoint.inspect(folder).sentencepiece_file is None


TEMPLATE = {
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A"}}],
}


@pytest.mark.parametrize(
    ("processor", "config", "promised"),
    [
        (TEMPLATE, {"bos_token": "<s>"}, True),
        (TEMPLATE, {"bos_token": {"content": "<s>"}}, True),
        (
            {"type": "Sequence", "processors": [{"type": "ByteLevel"}, TEMPLATE]},
            {"bos_token": "<s>"},
            True,
        ),
        (TEMPLATE, {"bos_token": "<s>", "add_bos_token": False}, False),
        (None, {"bos_token": "<s>", "add_bos_token": True}, True),
        (TEMPLATE, {"bos_token": None}, False),
        (TEMPLATE, {"bos_token": "[BOS]"}, False),
        ({"type": "ByteLevel"}, {"bos_token": "<s>"}, False),
    ],
)
def test_files_promise_bos(
    processor: Any, config: dict[str, Any], promised: bool, make_folder: MakeFolder
) -> None:
    tokenizer = {"model": {"vocab": {"<s>": 1}}, "post_processor": processor}
    folder = make_folder(**{"tokenizer.json": tokenizer, "tokenizer_config.json": config})
    assert Checkpoint.inspect(folder).promises_bos is promised


# --- an unsound folder --------------------------------------------------------------------------


def config(**values: Any) -> dict[str, Any]:
    sizes = {"vocab_size": 16, "hidden_size": 4, "num_hidden_layers": 1}
    return {"config.json": sizes | values}


def entry(begin: int, end: int, **changes: Any) -> dict[str, Any]:
    return {"dtype": "F16", "shape": [2, 2], "data_offsets": [begin, end]} | changes


def weights(entries: object, data_bytes: int = 8) -> dict[str, Any]:
    return {"model.safetensors": pack_header(json.dumps(entries).encode()) + bytes(data_bytes)}


def index(weight_map: object) -> dict[str, Any]:
    return shards(weight_map, a=TENSORS, c={"model.norm": ("F32", [4])})


def tokenizer(vocabulary: object, **rest: object) -> dict[str, Any]:
    return {"tokenizer.json": {"model": {"type": "BPE", "vocab": vocabulary}, **rest}}


NO_CONFIG = "FOLDER has no config.json: expected a model's folder, as save_pretrained writes it"
NO_MATCH = ", but its weights are 2 tensors of 144 bytes: the two do not belong together"
TENSOR = "FOLDER/model.safetensors is corrupt: tensor "
NO_SHARD = ": a shard is a safetensors file beside its index"
NO_MAP = f"FOLDER/{INDEX} is corrupt: it has no weight_map from tensors to files"
NO_PIECES = "FOLDER/tokenizer.json is corrupt: it has no vocabulary from pieces to ids"
PIECE = "FOLDER/tokenizer.json is corrupt: the id of piece "
PICKLED = (
    "which are refused because loading a pickle can run any code: expected model.safetensors, or "
    f"{INDEX} with its shards; where you trust the file, convert it by "
    "AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW, safe_serialization=True)"
)

UNSOUND: list[tuple[dict[str, Any], str]] = [
    ({"config.json": None}, NO_CONFIG),
    (
        {"tokenizer.json": None},
        "FOLDER has no tokenizer: expected tokenizer.json, tokenizer.model, vocab.json",
    ),
    (
        {"model.safetensors": None},
        f"FOLDER has no weights: expected model.safetensors, or {INDEX} with its shards",
    ),
    *(
        (
            {"model.safetensors": None, name: b"\x80\x04."},
            f"FOLDER has only pickled weights ({name}), {PICKLED}",
        )
        for name in ("pytorch_model.bin", "pytorch_model-00001-of-2.bin", "model.pt")
    ),
    # the configuration
    *(
        ({"config.json": content}, f"FOLDER/config.json {message}")
        for content, message in (
            (b'{"vocab_size": 16,', "is truncated or not JSON: Expecting property"),
            (b"", "is truncated or not JSON: Expecting value: line 1 column 1"),
            (b"\xff\xfe", "is truncated or not JSON: 'utf-8' codec can't decode"),
            (b"[]", "should hold a JSON object, got list"),
            (b"[" * 100_000, "is nested too deeply to be read"),
            (b'{"vocab_size": ' + b"9" * 9999 + b"}", "is "),
        )
    ),
    (config(vocab_size=10**9), "of depth 1, width 4 and vocabulary 1,000,000,000" + NO_MATCH),
    (config(hidden_size=10**6), "of depth 1, width 1,000,000 and vocabulary 16" + NO_MATCH),
    (config(num_hidden_layers=3), "describes a model of depth 3, width 4 and vocabulary 16"),
    (config(num_hidden_layers=10**6), "describes a model of depth 1,000,000, width 4 and "),
    (
        config(num_experts=10**6, intermediate_size=64),
        "of depth 1, width 4 and vocabulary 16 with 1,000,000 experts" + NO_MATCH,
    ),
    # the weights
    (weights({"a": entry(0, 8)}, 7), "its header describes 8 bytes of tensors, 7 are there"),
    (weights({"a": entry(0, 8)}, 9), "its header describes 8 bytes of tensors, 9 are there"),
    (
        weights({"a": entry(0, 8), "b": entry(10, 18)}, 18),
        TENSOR + "'b' lies at bytes 10 to 18, expected to begin at 8",
    ),
    (weights({"a": entry(0, 8), "b": entry(4, 12)}, 12), TENSOR + "'b' lies at bytes 4 to 12"),
    (weights({"a": entry(0, 8), "b": entry(8, 4)}), TENSOR + "'b' lies at bytes 8 to 4"),
    (
        weights({"a": entry(0, 8, shape=[2, 3])}),
        TENSOR + "'a' takes 8 bytes, which do not make F16 of shape [2, 3]",
    ),
    (weights({"a": entry(0, 8, shape=[-2, -2])}), TENSOR + "a.shape -2 should be"),
    (weights({"a": entry(0, 8, shape=[2**70])}), TENSOR + "a.shape 1180591620717"),
    (weights({"a": entry(0, 8, shape="2, 2")}), TENSOR + "a.shape '2, 2' should be"),
    (weights({"a": entry(0, 8, dtype="F99")}), ": tensor 'a' has the unknown type 'F99'"),
    (weights({"a": entry(0, 8, dtype=None)}), TENSOR + "a.dtype None should be"),
    (weights({"a": entry(0, 8, data_offsets=[0])}), TENSOR + "a.data_offsets is missing"),
    (weights({"a": entry(0, 8, data_offsets=[0.0, 8])}), TENSOR + "a.data_offsets 0.0 should be"),
    (weights({"a": 3}), TENSOR + "a 3 should be"),
    (weights({"x" * 9999: 3}), TENSOR + "xxxxxxxxxx"),
    (weights({"a\x1b[2J": 3}), TENSOR + r"a\x1b[2J 3 should be"),
    (weights({"__metadata__": {}}, 0), "FOLDER/model.safetensors holds no tensors"),
    (weights([], 0), "the header of FOLDER/model.safetensors should hold a JSON object, got list"),
    # its shards
    (
        index({EMBEDDING: "b.safetensors"}),
        "FOLDER lacks the shard 'b.safetensors' that its index names; copy or download the model "
        "again",
    ),
    (
        index({EMBEDDING: "../model/a.safetensors"}),
        f"FOLDER/{INDEX} names the shard '../model/a.safetensors'{NO_SHARD}",
    ),
    (index({EMBEDDING: "/etc/passwd"}), NO_SHARD),
    (index({EMBEDDING: "..\\a.safetensors"}), NO_SHARD),
    (index({EMBEDDING: "c:a.safetensors"}), NO_SHARD),
    (index({EMBEDDING: "a\0.safetensors"}), NO_SHARD),
    (index({EMBEDDING: "a.bin"}), NO_SHARD),
    (index({EMBEDDING: 3}), NO_MAP),
    (index({}), NO_MAP),
    (index([]), NO_MAP),
    (index(None), NO_MAP),
    (
        index({EMBEDDING: "a.safetensors", "lm_head": "a.safetensors"}),
        "places tensor 'lm_head' in 'a.safetensors', where it is not",
    ),
    (
        index({EMBEDDING: "a.safetensors", "model.norm": "c.safetensors"}),
        "FOLDER/c.safetensors holds tensor 'model.norm', which another shard holds too",
    ),
    # the tokenizer
    (
        {"tokenizer.json": b'{"model": {"vocab": {"a"'},
        "FOLDER/tokenizer.json is truncated or not JSON: ",
    ),
    ({"tokenizer.json": {}}, NO_PIECES),
    ({"tokenizer.json": {"model": []}}, NO_PIECES),
    (tokenizer({}), "FOLDER/tokenizer.json holds no pieces"),
    (tokenizer({"a": -1}), PIECE + "a -1 should be greater"),
    (tokenizer({"a": "0"}), PIECE + "a '0' should be a valid integer"),
    (tokenizer({"a": True}), PIECE + "a True should be a valid integer"),
    (tokenizer([3]), NO_PIECES),
    (tokenizer([[3]]), PIECE + "[key] 3"),
    (tokenizer({"a": 0}, added_tokens=[1]), NO_PIECES),
    (tokenizer({"a": 0}, added_tokens=[{}]), NO_PIECES),
    (tokenizer({"a": 0}, added_tokens=[{"content": ["a"], "id": 1}]), NO_PIECES),
    (
        tokenizer({"a": 0}, added_tokens=[{"id": 16, "content": "<pad>\n"}]),
        "FOLDER: the tokenizer has ids up to 16 ('<pad>\\n'), but the embedding has 16 rows, for "
        "ids up to 15: use the tokenizer the model was trained with, or resize the embedding and "
        "save it",
    ),
    # the embedding, found by its name or else as configured
    *(
        (
            {"config.json": sizes, "model.safetensors": pack({name: ("F16", [15, 4])})},
            f"the embedding has {rows} rows",
        )
        for name, sizes, rows in (
            ("transformer.wte.weight", {"vocab_size": 99}, 15),
            ("gpt_neox.embed_in.weight", {"vocab_size": 99}, 15),
            ("odd.name", {"vocab_size": 9}, 9),
            ("odd.name", {"text_config": {"vocab_size": 9}}, 9),
        )
    ),
]


@pytest.mark.parametrize(("files", "message"), UNSOUND, ids=map(str, range(len(UNSOUND))))
def test_unsound_folder_is_refused(
    files: dict[str, Any], message: str, make_folder: MakeFolder
) -> None:
    assert message in refusal(make_folder(**files))


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == "no folder FOLDER"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_pipe_in_place_of_a_file_is_refused(make_folder: MakeFolder) -> None:
    folder = make_folder(**{"config.json": None})
    os.mkfifo(folder / "config.json")
    assert refusal(folder) == NO_CONFIG


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", 0),
        ("vocab_size", 10**30),
        ("vocab_size", "16"),
        ("hidden_size", float("inf")),
        ("num_hidden_layers", True),
        ("num_hidden_layers", [1]),
        ("n_embd", -768),
        ("head_dim", 2**50),
    ],
)
def test_impossible_size_is_refused(key: str, value: object, make_folder: MakeFolder) -> None:
    for name, config in {"top": {key: value}, "nested": {"text_config": {key: value}}}.items():
        assert refusal(make_folder(name, **{"config.json": config})) == (
            f"FOLDER/config.json: {key} is {value!r}, expected a whole number from 1 to "
            "1,099,511,627,776"
        )


# --- large and truncated files ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "begin", "size", "message"),
    [
        (
            "config.json",
            b"",
            2**40,
            "has 1,099,511,627,776 bytes, more than the 16,777,216 that such a file may have",
        ),
        (
            "model.safetensors",
            struct.pack("<Q", 2**63),
            10,
            "is truncated or no safetensors file: it has 10 bytes and announces a header of "
            "9,223,372,036,854,775,808; copy or download it again",
        ),
        (
            "model.safetensors",
            struct.pack("<Q", 2**30),
            2**31,
            "announces a header of 1,073,741,824 bytes; safetensors files have at most 100,000,000",
        ),
    ],
)
def test_huge_file_is_refused_before_it_is_read(
    file: str, begin: bytes, size: int, message: str, make_folder: MakeFolder
) -> None:
    folder = make_folder()
    with (folder / file).open("wb") as stream:
        stream.write(begin)
        stream.truncate(size)
    assert refusal(folder) == f"FOLDER/{file} {message}"


def test_every_truncation_is_noticed(make_folder: MakeFolder) -> None:
    whole = pack(TENSORS)
    file = make_folder() / "model.safetensors"
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"model\.safetensors"):
            read_header(file)


SIZES = st.integers(-1, 20) | st.sampled_from([2**31, 2**63, 2**70, None, 1.5, "4"])
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F16", "U8", "F4", "F99", None]),
        "shape": st.lists(SIZES, max_size=3) | st.none(),
        "data_offsets": st.lists(SIZES, max_size=3) | st.none(),
    },
)
HEADERS = st.dictionaries(st.text(max_size=3), ENTRIES | st.integers(), max_size=3).map(
    lambda entries: json.dumps(entries).encode()
)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=40),
    HEADERS | st.binary(max_size=40),
    st.integers(-9, 9) | st.sampled_from([2**62, 2**31]),
    st.integers(0, 40),
)
def test_any_weight_file_gives_tensors_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, header: bytes, skew: int, size: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    length = max(0, len(header) + skew)
    for data in (junk, struct.pack("<Q", length) + header + bytes(size)):
        file.write_bytes(data)
        try:
            tensors = read_header(file)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
        else:
            assert sum(tensor.bytes for tensor in tensors.values()) == len(data) - 8 - length


# --- remote code, fingerprint -------------------------------------------------------------------


def test_config_names_code_and_quantization(make_folder: MakeFolder) -> None:
    config = {
        "auto_map": {"AutoModelForCausalLM": "modeling_own.OwnModel"},
        "quantization_config": {"quant_method": "bitsandbytes"},
    }
    checkpoint = Checkpoint.inspect(make_folder(**{"config.json": config}))
    assert checkpoint.offers_remote_code
    assert checkpoint.stored_quantization == "bitsandbytes"


def test_fingerprint_depends_on_contents_only(make_folder: MakeFolder) -> None:
    one = Checkpoint.inspect(make_folder("one")).fingerprint()
    same = Checkpoint.inspect(make_folder("same", **{"README.md": b"a card"})).fingerprint()
    other = Checkpoint.inspect(make_folder("other", **{"generation_config.json": {}})).fingerprint()
    changed = make_folder("changed", **{"model.safetensors": pack(TENSORS)[:-1] + b"\1"})
    assert len(one) == 64
    assert one == same
    assert len({one, other, Checkpoint.inspect(changed).fingerprint()}) == 3


def test_fingerprint_reads_only_the_header_of_large_weights(make_folder: MakeFolder) -> None:
    size = 2**36
    header = json.dumps({"a": entry(0, size, shape=[size // 2])}).encode()
    folder = make_folder()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(pack_header(header))
        stream.truncate(8 + len(header) + size)
    begin = time.process_time()
    assert len(Checkpoint.inspect(folder).fingerprint()) == 64
    assert time.process_time() - begin < 1
