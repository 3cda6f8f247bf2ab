from __future__ import annotations

import json
import os
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import UserError
from probes.targets.checkpoint import Checkpoint
from probes.targets.safetensors import Tensor, read_header
from probes.targets.target import EMBEDDED_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    MakeFolder = Callable[..., Path]
    Pack = Callable[[Mapping[str, tuple[str, list[int]]]], bytes]
    PackHeader = Callable[[bytes], bytes]

EMBEDDING = "model.embed_tokens.weight"
TENSORS: dict[str, tuple[str, list[int]]] = {
    EMBEDDING: ("F16", [16, 4]),
    "model.norm": ("F32", [4]),
}


def refusal(folder: Path) -> str:
    """The one line a folder is refused with, its own path left out."""
    with pytest.raises(UserError) as caught:
        Checkpoint.inspect(folder)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 600
    assert str(folder) in line
    return line.replace(str(folder), "FOLDER")


# --- a sound folder -----------------------------------------------------------------------------


def test_a_sound_folder_is_read(make_folder: MakeFolder) -> None:
    folder = make_folder()
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


def test_shards_are_read_together(make_folder: MakeFolder, pack: Pack) -> None:
    folder = make_folder(
        **{
            "model.safetensors": None,
            "model-1.safetensors": pack({EMBEDDING: ("F16", [16, 4])}),
            "model-2.safetensors": pack({"model.norm": ("F32", [4])}),
            "model.safetensors.index.json": index(
                {EMBEDDING: "model-1.safetensors", "model.norm": "model-2.safetensors"}
            ),
        }
    )
    assert set(Checkpoint.inspect(folder).tensors) == set(TENSORS)


def test_already_quantized_weights_are_allowed_and_named(
    make_folder: MakeFolder, pack: Pack
) -> None:
    config = {"vocab_size": 16, "quantization_config": {"quant_method": "bitsandbytes"}}
    packed: dict[str, tuple[str, list[int]]] = {
        "layers.0.q_proj.weight": ("U8", [8, 1]),
        "layers.0.q_proj.weight.quant_state.bitsandbytes__nf4": ("U8", [80]),
    }
    folder = make_folder(**{"config.json": config, "model.safetensors": pack(TENSORS | packed)})
    assert Checkpoint.inspect(folder).stored_quantization == "bitsandbytes"


def test_a_folder_of_megabytes_is_read_in_a_fraction_of_a_second() -> None:
    if not (EMBEDDED_FOLDER / "model.safetensors").is_file():
        pytest.skip("the embedded model has no weights yet")
    Checkpoint.inspect(EMBEDDED_FOLDER)
    begin = time.process_time()
    checkpoint = Checkpoint.inspect(EMBEDDED_FOLDER)
    assert time.process_time() - begin < 0.5
    assert len(checkpoint.pieces) == 32000
    assert checkpoint.promises_bos


# --- the tokenizer's pieces ---------------------------------------------------------------------


def test_pieces_of_a_unigram_tokenizer_are_numbered_by_their_place(make_folder: MakeFolder) -> None:
    tokenizer = {"model": {"type": "Unigram", "vocab": [["<unk>", 0.0], ["▁a", -1.5]]}}
    folder = make_folder(**{"tokenizer.json": tokenizer})
    assert Checkpoint.inspect(folder).pieces == {"<unk>": 0, "▁a": 1}


def test_pieces_of_a_byte_level_tokenizer_come_from_vocab_json(make_folder: MakeFolder) -> None:
    folder = make_folder(
        **{
            "tokenizer.json": None,
            "vocab.json": {"Ġa": 0, "b": 1},
            "added_tokens.json": {"<|end|>": 2},
        }
    )
    assert Checkpoint.inspect(folder).pieces == {"Ġa": 0, "b": 1, "<|end|>": 2}


def test_pieces_of_a_sentencepiece_model_are_read_by_the_reference(
    make_folder: MakeFolder, tmp_path: Path
) -> None:
    sentencepiece = pytest.importorskip("sentencepiece")
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("a b c a b c\n" * 20, encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus),
        model_prefix=str(tmp_path / "tiny"),
        vocab_size=8,
        minloglevel=3,
    )
    data = (tmp_path / "tiny.model").read_bytes()
    folder = make_folder(**{"tokenizer.json": None, "tokenizer.model": data})
    checkpoint = Checkpoint.inspect(folder)
    assert len(checkpoint.pieces) == 8
    assert checkpoint.pieces["<s>"] == 1
    assert checkpoint.sentencepiece_file == folder / "tokenizer.model"
    (folder / "tokenizer.model").write_bytes(data[:40])
    assert refusal(folder) == "FOLDER/tokenizer.model is truncated or no SentencePiece model"


def test_another_tokenizer_of_the_same_file_name_is_no_sentencepiece_model(
    make_folder: MakeFolder,
) -> None:
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
        (None, {"bos_token": "<s>"}, False),
        (TEMPLATE, {"bos_token": None}, False),
        (TEMPLATE, {"bos_token": "[BOS]"}, False),
        ({"type": "ByteLevel"}, {"bos_token": "<s>"}, False),
    ],
)
def test_the_files_say_whether_encoding_begins_with_bos(
    processor: Any, config: dict[str, Any], promised: bool, make_folder: MakeFolder
) -> None:
    tokenizer = {"model": {"vocab": {"<s>": 1}}, "post_processor": processor}
    folder = make_folder(**{"tokenizer.json": tokenizer, "tokenizer_config.json": config})
    assert Checkpoint.inspect(folder).promises_bos is promised


# --- missing files ------------------------------------------------------------------------------


def test_no_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == "no folder FOLDER"


def test_no_config(make_folder: MakeFolder) -> None:
    assert refusal(make_folder(**{"config.json": None})) == (
        "FOLDER has no config.json: expected a model's folder, as save_pretrained writes it"
    )


def test_no_tokenizer(make_folder: MakeFolder) -> None:
    assert refusal(make_folder(**{"tokenizer.json": None})) == (
        "FOLDER has no tokenizer: expected tokenizer.json, tokenizer.model, vocab.json"
    )


def test_no_weights(make_folder: MakeFolder) -> None:
    assert refusal(make_folder(**{"model.safetensors": None})) == (
        "FOLDER has no weights: expected model.safetensors, or model.safetensors.index.json with "
        "its shards"
    )


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-2.bin", "model.pt"])
def test_pickled_weights_are_refused_with_the_reason_and_the_way_out(
    name: str, make_folder: MakeFolder
) -> None:
    assert refusal(make_folder(**{"model.safetensors": None, name: b"\x80\x04."})) == (
        f"FOLDER has only pickled weights ({name}), which are refused because loading a pickle "
        "can run any code: expected model.safetensors, or model.safetensors.index.json with its "
        "shards; where you trust the file, convert it by "
        "AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW, safe_serialization=True)"
    )


def test_pickles_beside_safetensors_are_not_minded(make_folder: MakeFolder) -> None:
    assert Checkpoint.inspect(make_folder(**{"training_args.bin": b"\x80\x04."})).parameters == 68


# --- config.json --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"vocab_size": 16,', "FOLDER/config.json is truncated or not JSON: Expecting property"),
        (b"", "FOLDER/config.json is truncated or not JSON: Expecting value: line 1 column 1"),
        (b"\xff\xfe", "FOLDER/config.json is truncated or not JSON: 'utf-8' codec can't decode"),
        (b"[]", "FOLDER/config.json should hold a JSON object, got list"),
        (b"null", "FOLDER/config.json should hold a JSON object, got NoneType"),
        (b"[" * 100_000, "FOLDER/config.json is nested too deeply to be read"),
        (b'{"vocab_size": ' + b"9" * 9999 + b"}", "FOLDER/config.json"),
    ],
)
def test_a_config_that_is_no_json_object(
    content: bytes, message: str, make_folder: MakeFolder
) -> None:
    assert refusal(make_folder(**{"config.json": content})).startswith(message)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", -1),
        ("vocab_size", 0),
        ("vocab_size", 10**30),
        ("vocab_size", "16"),
        ("hidden_size", 4.5),
        ("hidden_size", float("inf")),
        ("num_hidden_layers", True),
        ("num_hidden_layers", [1]),
        ("n_embd", -768),
        ("head_dim", 2**50),
    ],
)
def test_a_size_that_cannot_be(key: str, value: object, make_folder: MakeFolder) -> None:
    for config in ({key: value}, {"text_config": {key: value}}):
        name = f"model-{len(config)}-{next(iter(config))}"
        assert refusal(make_folder(name, **{"config.json": config})) == (
            f"FOLDER/config.json: {key} is {value!r}, expected a whole number from 1 to "
            "1,099,511,627,776"
        )


@pytest.mark.parametrize(
    "sizes",
    [
        {"vocab_size": 10**9, "hidden_size": 10**4},
        {"num_hidden_layers": 10**6},
        {"hidden_size": 10**6},
    ],
)
def test_sizes_far_beyond_the_stored_weights_are_refused_before_memory_is_taken(
    sizes: dict[str, int], make_folder: MakeFolder
) -> None:
    config = {"vocab_size": 16, "hidden_size": 4, "num_hidden_layers": 1} | sizes
    line = refusal(make_folder(**{"config.json": config}))
    assert line.startswith("FOLDER/config.json describes a model that takes more than ")
    assert line.endswith("but its weights have 144: the two do not belong together")


# --- safetensors --------------------------------------------------------------------------------


def entry(begin: int, end: int, **changes: Any) -> dict[str, Any]:
    return {"dtype": "F16", "shape": [2, 2], "data_offsets": [begin, end]} | changes


@pytest.mark.parametrize(
    ("entries", "data_bytes", "message"),
    [
        (
            {"a": entry(0, 8)},
            7,
            "is truncated or corrupt: its header describes 8 bytes of tensors, 7 are there",
        ),
        (
            {"a": entry(0, 8)},
            9,
            "is truncated or corrupt: its header describes 8 bytes of tensors, 9 are there",
        ),
        (
            {"a": entry(0, 8), "b": entry(10, 18)},
            18,
            "is corrupt: tensor 'b' lies at bytes 10 to 18, expected to begin at 8",
        ),
        (
            {"a": entry(0, 8), "b": entry(4, 12)},
            12,
            "is corrupt: tensor 'b' lies at bytes 4 to 12, expected to begin at 8",
        ),
        ({"a": entry(0, 8), "b": entry(8, 4)}, 8, "is corrupt: tensor 'b' lies at bytes 8 to 4"),
        (
            {"a": entry(0, 8, shape=[2, 3])},
            8,
            "is corrupt: tensor 'a' takes 8 bytes, which do not make F16 of shape [2, 3]",
        ),
        ({"a": entry(0, 8, shape=[-2, -2])}, 8, "is corrupt: tensor 'a' has no valid shape"),
        ({"a": entry(0, 8, shape=[2**70])}, 8, "is corrupt: tensor 'a' has no valid shape"),
        ({"a": entry(0, 8, shape="2, 2")}, 8, "is corrupt: tensor 'a' has no valid shape"),
        ({"a": entry(0, 8, dtype="F99")}, 8, ": tensor 'a' has the unknown type 'F99'"),
        ({"a": entry(0, 8, dtype=None)}, 8, ": tensor 'a' has the unknown type None"),
        (
            {"a": entry(0, 8, data_offsets=[0])},
            8,
            "is corrupt: tensor 'a' has no valid data_offsets",
        ),
        (
            {"a": entry(0, 8, data_offsets=[0.0, 8.0])},
            8,
            "is corrupt: tensor 'a' has no valid data_offsets",
        ),
        ({"a": 3}, 8, "is corrupt: tensor 'a' has no valid data_offsets"),
        ({"x" * 9999: 3}, 8, "is corrupt: tensor 'xxxxxxxxxx"),
        ({"a\x1b[2J": 3}, 8, r"is corrupt: tensor 'a\x1b[2J' has no valid data_offsets"),
        ({}, 0, "holds no tensors"),
        ({"__metadata__": {}}, 0, "holds no tensors"),
        ([], 0, "should hold a JSON object, got list"),
    ],
)
def test_a_header_that_disagrees_with_its_file(
    entries: object,
    data_bytes: int,
    message: str,
    make_folder: MakeFolder,
    pack_header: PackHeader,
) -> None:
    data = pack_header(json.dumps(entries).encode()) + bytes(data_bytes)
    line = refusal(make_folder(**{"model.safetensors": data}))
    assert "FOLDER/model.safetensors" in line
    assert message in line


def test_every_truncation_of_a_sound_file_is_noticed(make_folder: MakeFolder, pack: Pack) -> None:
    whole = pack(TENSORS)
    file = make_folder() / "model.safetensors"
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"model\.safetensors"):
            read_header(file)


def test_a_header_length_beyond_the_file_is_refused(make_folder: MakeFolder) -> None:
    folder = make_folder(**{"model.safetensors": struct.pack("<Q", 2**63) + b"{}"})
    assert refusal(folder) == (
        "FOLDER/model.safetensors is truncated or no safetensors file: it has 10 bytes and "
        "announces a header of 9,223,372,036,854,775,808; copy or download it again"
    )


def test_a_header_of_a_gigabyte_is_refused_before_it_is_read(make_folder: MakeFolder) -> None:
    folder = make_folder()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", 2**30))
        stream.truncate(2**31)
    assert refusal(folder) == (
        "FOLDER/model.safetensors announces a header of 1,073,741,824 bytes; "
        "safetensors files have at most 100,000,000"
    )


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
def test_whatever_a_weight_file_holds_the_outcome_is_its_tensors_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, header: bytes, skew: int, size: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    length = max(0, len(header) + skew)
    for data in (junk, struct.pack("<Q", length) + header + bytes(size)):
        file.write_bytes(data)
        outcome = tensors_or_line(file)
        if isinstance(outcome, str):
            assert "\n" not in outcome
        else:
            assert sum(tensor.bytes for tensor in outcome.values()) == len(data) - 8 - length


def tensors_or_line(file: Path) -> dict[str, Tensor] | str:
    try:
        return read_header(file)
    except UserError as error:
        return str(error)


# --- shards -------------------------------------------------------------------------------------


def index(weight_map: object) -> dict[str, object]:
    return {"metadata": {}, "weight_map": weight_map}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            index({EMBEDDING: "b.safetensors"}),
            "FOLDER lacks the shard 'b.safetensors' that its index names; copy or "
            "download the model again",
        ),
        (
            index({EMBEDDING: "../model/a.safetensors"}),
            "FOLDER/model.safetensors.index.json names the shard "
            "'../model/a.safetensors', which would lie outside the folder: a shard is a "
            "file beside its index",
        ),
        (
            index({EMBEDDING: "/etc/passwd"}),
            "FOLDER/model.safetensors.index.json names the shard '/etc/passwd', which "
            "would lie outside",
        ),
        (index({EMBEDDING: "..\\a.safetensors"}), "which would lie outside the folder"),
        (index({EMBEDDING: "c:a.safetensors"}), "which would lie outside the folder"),
        (index({EMBEDDING: "a\0.safetensors"}), "which would lie outside the folder"),
        (
            index({EMBEDDING: "a.bin"}),
            "names the shard 'a.bin', which is no safetensors file: only safetensors "
            "weights are loaded",
        ),
        (index({EMBEDDING: 3}), "is corrupt: its weight_map names no file for some tensors"),
        (index({}), "is corrupt: it has no weight_map from tensors to files"),
        (index([]), "is corrupt: it has no weight_map from tensors to files"),
        ({}, "is corrupt: it has no weight_map from tensors to files"),
        (b"{", "FOLDER/model.safetensors.index.json is truncated or not JSON"),
        (
            index({EMBEDDING: "a.safetensors", "lm_head": "a.safetensors"}),
            "places tensor 'lm_head' in 'a.safetensors', where it is not",
        ),
    ],
)
def test_an_index_whose_shards_are_not_there_or_elsewhere(
    content: object, message: str, make_folder: MakeFolder, pack: Pack
) -> None:
    files = {"model.safetensors": None, "model.safetensors.index.json": content}
    assert message in refusal(make_folder(**files, **{"a.safetensors": pack(TENSORS)}))


def test_a_tensor_in_two_shards_is_refused(make_folder: MakeFolder, pack: Pack) -> None:
    folder = make_folder(
        **{
            "model.safetensors": None,
            "a.safetensors": pack(TENSORS),
            "b.safetensors": pack({"model.norm": ("F32", [4])}),
            "model.safetensors.index.json": index(
                {EMBEDDING: "a.safetensors", "model.norm": "b.safetensors"}
            ),
        }
    )
    assert refusal(folder) == (
        "FOLDER/b.safetensors holds tensor 'model.norm', which another shard holds too"
    )


# --- tokenizer ----------------------------------------------------------------------------------


def tokenizer(vocabulary: object, **rest: object) -> dict[str, object]:
    return {"model": {"type": "BPE", "vocab": vocabulary}, **rest}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"model": {"vocab": {"a"', "FOLDER/tokenizer.json is truncated or not JSON: "),
        ({}, "FOLDER/tokenizer.json is corrupt: it has no vocabulary from pieces to ids"),
        ({"model": []}, "FOLDER/tokenizer.json is corrupt: it has no vocabulary"),
        (tokenizer({}), "FOLDER/tokenizer.json holds no pieces"),
        (tokenizer({"a": -1}), "FOLDER/tokenizer.json is corrupt: piece 'a' has the id -1"),
        (tokenizer({"a": "0"}), "FOLDER/tokenizer.json is corrupt: piece 'a' has the id '0'"),
        (tokenizer({"a": True}), "FOLDER/tokenizer.json is corrupt: piece 'a' has the id True"),
        (
            tokenizer(["a"]),
            "FOLDER/tokenizer.json is corrupt: its vocabulary holds an entry that is no piece",
        ),
        (tokenizer({"a": 0}, added_tokens={}), None),
        (
            tokenizer({"a": 0}, added_tokens=[1]),
            "FOLDER/tokenizer.json is corrupt: its added_tokens are no list of tokens",
        ),
        (
            tokenizer({"a": 0}, added_tokens=[{}]),
            "FOLDER/tokenizer.json is corrupt: piece None has the id None",
        ),
        (
            tokenizer({"a": 0}, added_tokens=[{"content": ["a"], "id": 1}]),
            "FOLDER/tokenizer.json is corrupt: piece ['a'] has the id 1",
        ),
    ],
)
def test_a_corrupt_tokenizer(content: object, message: str | None, make_folder: MakeFolder) -> None:
    folder = make_folder(**{"tokenizer.json": content})
    if message is None:
        assert Checkpoint.inspect(folder).pieces == {"a": 0}
    else:
        assert refusal(folder).startswith(message)


def test_a_tokenizer_whose_ids_exceed_the_embedding(make_folder: MakeFolder) -> None:
    added = [{"id": 16, "content": "<pad>\n"}]
    folder = make_folder(**{"tokenizer.json": tokenizer({"a": 0}, added_tokens=added)})
    assert refusal(folder) == (
        "FOLDER: the tokenizer has ids up to 16 ('<pad>\\n'), but the embedding has 16 rows, for "
        "ids up to 15: use the tokenizer the model was trained with, or resize the embedding and "
        "save it"
    )


@pytest.mark.parametrize(
    "name", ["transformer.wte.weight", "wte.weight", "gpt_neox.embed_in.weight"]
)
def test_the_stored_embedding_counts_more_than_the_config(
    name: str, make_folder: MakeFolder, pack: Pack
) -> None:
    folder = make_folder(
        **{"config.json": {"vocab_size": 99}, "model.safetensors": pack({name: ("F16", [16, 4])})}
    )
    assert Checkpoint.inspect(folder).embedding_rows == 16


def test_where_no_stored_embedding_is_known_the_config_counts(
    make_folder: MakeFolder, pack: Pack
) -> None:
    weights = pack({"odd.name": ("F16", [16, 4])})
    for config in ({"vocab_size": 9}, {"text_config": {"vocab_size": 9}}):
        folder = make_folder(
            next(iter(config)), **{"config.json": config, "model.safetensors": weights}
        )
        assert "the embedding has 9 rows" in refusal(folder)


# --- odd files, remote code, fingerprint --------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_pipe_in_place_of_a_file_is_not_waited_for(make_folder: MakeFolder) -> None:
    folder = make_folder(**{"config.json": None})
    os.mkfifo(folder / "config.json")
    assert refusal(folder).startswith("FOLDER has no config.json")


def test_a_huge_config_is_refused_before_it_is_read(make_folder: MakeFolder) -> None:
    folder = make_folder()
    with (folder / "config.json").open("wb") as stream:
        stream.truncate(2**40)
    assert refusal(folder) == (
        "FOLDER/config.json has 1,099,511,627,776 bytes, more than the 16,777,216 that such a "
        "file may have"
    )


def test_code_of_its_own_is_noticed_but_not_refused_yet(make_folder: MakeFolder) -> None:
    config = {"auto_map": {"AutoModelForCausalLM": "modeling_own.OwnModel"}}
    assert Checkpoint.inspect(make_folder(**{"config.json": config})).offers_remote_code


def test_the_fingerprint_tells_contents_apart_and_nothing_else(
    make_folder: MakeFolder, pack: Pack
) -> None:
    one = Checkpoint.inspect(make_folder("one")).fingerprint()
    same = Checkpoint.inspect(make_folder("same", **{"README.md": b"a card"})).fingerprint()
    other = Checkpoint.inspect(make_folder("other", **{"generation_config.json": {}})).fingerprint()
    changed = make_folder("changed")
    weights = (changed / "model.safetensors").read_bytes()
    (changed / "model.safetensors").write_bytes(weights[:-1] + b"\1")
    assert len(one) == 64
    assert one == same
    assert len({one, other, Checkpoint.inspect(changed).fingerprint()}) == 3


def test_of_large_weights_the_fingerprint_reads_the_header_only(
    make_folder: MakeFolder, pack_header: PackHeader
) -> None:
    size = 2**36
    header = json.dumps({"a": entry(0, size, shape=[size // 2])}).encode()
    folder = make_folder()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(pack_header(header))
        stream.truncate(8 + len(header) + size)
    begin = time.process_time()
    assert len(Checkpoint.inspect(folder).fingerprint()) == 64
    assert time.process_time() - begin < 1
