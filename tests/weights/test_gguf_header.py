"""Broken and hostile GGUF files: always one clear error, and never much memory."""

import struct
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter
from gguf_samples import build, byte_pairs, configurations, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloche.errors import CheckpointError
from cloche.weights.gguf_header import open_gguf
from cloche.weights.gguf_reading import import_gguf

TOKENIZER = byte_pairs()
U32, U64 = "<I", "<Q"


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """A small file that can be read."""
    path = tmp_path_factory.mktemp("whole") / "model.gguf"
    config = configurations(TOKENIZER.vocab_size)["llama"]
    return write(path, build(config), TOKENIZER).read_bytes()


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack(U64, len(data)) + data


def _head(*, tensors: int = 0, keys: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys)


def _tensor(name: str, shape: tuple[int, ...], *, kind: int = 0, offset: int = 0) -> bytes:
    lengths = b"".join(struct.pack(U64, length) for length in shape)
    entry = struct.pack(U32, len(shape)) + lengths + struct.pack("<IQ", kind, offset)
    return _text(name) + entry


STRING, ARRAY, UINT32 = struct.pack(U32, 8), struct.pack(U32, 9), struct.pack(U32, 4)
ALIGN = _text("general.alignment") + UINT32
HUGE = 2**62
BROKEN = {
    "empty": (b"", "is empty"),
    "another kind of file": (b"PK\x03\x04" + bytes(60), "does not begin with GGUF"),
    "only the magic": (b"GGUF", "cut short"),
    "version 1": (_head(version=1), "version 1"),
    "version 9": (_head(version=9), "version 9"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "more tensors than bytes": (_head(tensors=HUGE), "speaks of 4,611,686,018,427,387,904 tensors"),
    "more keys than bytes": (_head(keys=HUGE), "speaks of 4,611,686,018,427,387,904 keys"),
    "a key longer than the file": (_head(keys=1) + struct.pack(U64, HUGE) + bytes(9), "cut short"),
    "a key that is no text": (
        _head(keys=1) + struct.pack(U64, 2) + b"\xff\xfe" + UINT32 + bytes(9),
        "no UTF-8",
    ),
    "a value of unknown type": (
        _head(keys=1) + _text("a") + struct.pack(U32, 77) + bytes(9),
        "the value of a has the type 77",
    ),
    "a text longer than the file": (
        _head(keys=1) + _text("a") + STRING + struct.pack(U64, HUGE),
        "cut short",
    ),
    "a list of texts longer than the file": (
        _head(keys=1) + _text("a") + ARRAY + STRING + struct.pack(U64, HUGE),
        "texts in a",
    ),
    "a list of numbers longer than the file": (
        _head(keys=1) + _text("a") + ARRAY + UINT32 + struct.pack(U64, HUGE),
        "numbers in a",
    ),
    "a list of lists": (
        _head(keys=1) + _text("a") + ARRAY + ARRAY + struct.pack(U64, 1) + bytes(20),
        "lists of lists",
    ),
    "a key twice": (
        _head(keys=2) + 2 * (_text("a") + UINT32 + bytes(4)),
        "the key a twice",
    ),
    "an odd alignment": (_head(keys=1) + ALIGN + struct.pack(U32, 24), "no power of two"),
    "no alignment": (_head(keys=1) + ALIGN + struct.pack(U32, 0), "no power of two"),
    "a tensor without dimensions": (_head(tensors=1) + _tensor("t", ()) + bytes(8), "0 dimensions"),
    "a tensor of 5 dimensions": (_head(tensors=1) + _tensor("t", (1,) * 5), "5 dimensions"),
    "a length of nothing": (_head(tensors=1) + _tensor("t", (0, 4)), r"shape \(4, 0\)"),
    "sizes that overflow": (_head(tensors=1) + _tensor("t", (2**63, 2**63, 4)), "ends at byte"),
    "a tensor beyond the file": (
        _head(tensors=1) + _tensor("t", (4,), offset=HUGE),
        "ends at byte",
    ),
    "a tensor of unknown type": (_head(tensors=1) + _tensor("t", (4,), kind=99), "in the type 99"),
    "rows that blocks do not divide": (
        _head(tensors=1) + _tensor("t", (33,), kind=GGMLQuantizationType.Q8_0),
        r"Q8_0 has the shape \(33,\)",
    ),
    "a tensor twice": (
        _head(tensors=2) + _tensor("t", (8,)) + _tensor("t", (8,), offset=32) + bytes(96),
        "the tensor t twice",
    ),
    "tensors over one another": (
        _head(tensors=2) + _tensor("t", (8,)) + _tensor("u", (8,), offset=16) + bytes(96),
        "u lies over another one",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_clear_error_in_little_memory(name, tmp_path):
    contents, message = BROKEN[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(contents)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match=message) as caught:
        open_gguf(path)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(CheckpointError, match="is missing"):
        open_gguf(tmp_path / "none.gguf")
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_gguf(tmp_path)


def test_a_file_cut_short_anywhere_is_an_error(whole, tmp_path):
    path = tmp_path / "cut.gguf"
    places = [*range(200), *range(200, len(whole), 19_997), len(whole) - 1]
    for place in places:
        path.write_bytes(whole[:place])
        with pytest.raises(CheckpointError, match=r"cut short|is empty"):
            open_gguf(path)


@settings(
    max_examples=50, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(places=st.lists(st.integers(0, 12_000), min_size=1, max_size=4), data=st.binary(min_size=4))
def test_bytes_changed_anywhere_are_read_or_an_error_and_soon(whole, tmp_path, places, data):
    changed = bytearray(whole)
    for place, byte in zip(places, data, strict=False):
        changed[place] = byte
    path = tmp_path / "changed.gguf"
    path.write_bytes(changed)
    with suppress(CheckpointError):  # any other exception fails
        import_gguf(path)


def test_a_number_of_blocks_alone_costs_no_time(whole, tmp_path, monkeypatch):
    path = _rewritten(whole, tmp_path / "model.gguf", llama__block_count=11266)
    monkeypatch.setattr("cloche.weights.gguf_reading.build_model", _never)
    monkeypatch.setattr("cloche.weights.gguf_reading.tensor_places", _never)
    with pytest.raises(CheckpointError, match="11,266 blocks"):
        import_gguf(path)


def test_experts_are_counted_before_they_are_built(tmp_path, monkeypatch):
    config = configurations(TOKENIZER.vocab_size)["qwen3moe"]
    contents = write(tmp_path / "moe.gguf", build(config), TOKENIZER).read_bytes()
    path = _rewritten(contents, tmp_path / "more.gguf", qwen3moe__expert_count=9_000)
    monkeypatch.setattr("cloche.weights.gguf_reading.build_model", _never)
    with pytest.raises(CheckpointError, match="9,000 experts in each block, and block 0 has 4"):
        import_gguf(path)


def _never(*_: Any, **__: Any) -> None:
    raise AssertionError("nothing is built from a number alone")


def _rewritten(whole: bytes, path: Path, **changed: Any) -> Path:
    """The file with values changed, or left out where they are None; its tensors as they are."""
    source = path.with_suffix(".source")
    source.write_bytes(whole)
    file = open_gguf(source)
    values = {**file.values, **{key.replace("__", "."): v for key, v in changed.items()}}
    writer = GGUFWriter(path, values.pop("general.architecture"))
    adders: dict[type, Callable[[str, Any], None]] = {
        bool: writer.add_bool,
        int: writer.add_uint32,
        float: writer.add_float32,
        str: writer.add_string,
        list: writer.add_array,
    }
    for key, value in values.items():
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        if plain is not None:
            adders[type(plain)](key, plain)
    for name, place in file.tensors.items():
        writer.add_tensor(name, file.stored(name).view(np.float32).reshape(place.shape))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


WRONG_KEYS = {
    "no context": ({"llama__context_length": None}, r"lacks llama\.context_length"),
    "no layers": ({"llama__block_count": 0}, "block_count is 0"),
    "a billion layers": ({"llama__block_count": 10**9}, "block_count is 1000000000"),
    "eleven thousand layers": ({"llama__block_count": 11266}, "speak of 11,266 blocks"),
    "more layers than there are": ({"llama__block_count": 3}, r"missing: blk\.2\.attn_norm"),
    "fewer layers than there are": ({"llama__block_count": 1}, r"unknown: blk\.1\.attn_norm"),
    "another width": (
        {"llama__embedding_length": 32},
        r"of another shape: token_embd.*and \d+ more",
    ),
    "heads that do not fit": ({"llama__attention__head_count": 3}, "cannot be built"),
    "an epsilon of nothing": ({"llama__attention__layer_norm_rms_epsilon": 0.0}, "epsilon is 0"),
    "an epsilon that is NaN": (
        {"llama__attention__layer_norm_rms_epsilon": float("nan")},
        "epsilon is nan",
    ),
    "text for a number": ({"llama__block_count": "two"}, "block_count is two"),
    "a part of each head turned": ({"llama__rope__dimension_count": 8}, "dimension_count = 8"),
    "experts in a llama": ({"llama__expert_count": 8}, "expert_count = 8"),
    "a key that is not known": ({"llama__logit_scale": 2.0}, r"logit_scale = 2\.0"),
    "attention both ways": ({"llama__attention__causal": False}, "causal = False"),
    "an unknown scaling": ({"llama__rope__scaling__type": "longrope"}, "type = longrope"),
    "heads that differ": ({"llama__attention__head_count_kv": [2, 4]}, "from block to block"),
    "another architecture": ({"general__architecture": "mamba"}, "architecture 'mamba'"),
    "no model": ({"general__type": "adapter"}, r"part of one \(adapter\)"),
    "one of several parts": ({"split__count": 3}, "one of 3 parts"),
    "no tokens": ({"tokenizer__ggml__tokens": None}, r"lacks tokenizer\.ggml\.tokens"),
    "no merges": ({"tokenizer__ggml__merges": None}, r"lacks tokenizer\.ggml\.merges"),
    "a merge of what is no token": ({"tokenizer__ggml__merges": ["zq qz"]}, "merge 'zq qz'"),
    "a merge of one": ({"tokenizer__ggml__merges": ["ab"]}, "merge 'ab'"),
    "an unknown kind of tokenizer": ({"tokenizer__ggml__model": "rwkv"}, "kind 'rwkv'"),
    "an unknown splitting rule": ({"tokenizer__ggml__pre": "klingon"}, "rule 'klingon'"),
    "no splitting rule": ({"tokenizer__ggml__pre": None}, "does not say how it splits"),
    "too few types": ({"tokenizer__ggml__token_type": [1, 1]}, "no list of 320 numbers"),
    "a token twice": ({"tokenizer__ggml__tokens": ["a"] * 320}, "the token 'a' twice"),
    "more tokens than rows": (
        {"tokenizer__ggml__tokens": [f"t{n}" for n in range(400)]},
        "400 tokens, its model 320",
    ),
    "an end beyond the tokens": ({"tokenizer__ggml__eos_token_id": 5000}, "eos_token_id is 5000"),
    "a template that is no text": ({"tokenizer__chat_template": 3}, "chat_template is 3"),
}


@pytest.mark.parametrize("name", WRONG_KEYS)
def test_keys_that_cannot_be_used_are_named(name, whole, tmp_path):
    changed, message = WRONG_KEYS[name]
    path = _rewritten(whole, tmp_path / "model.gguf", **changed)
    with pytest.raises(CheckpointError, match=message):
        import_gguf(path)


def test_keys_that_say_nothing_are_passed_over(whole, tmp_path):
    changed = {
        "llama__expert_count": 0,
        "llama__attention__causal": True,
        "llama__attention__head_count_kv": [2, 2],
        "llama__use_parallel_residual": False,
        "general__something": "new",
    }
    assert import_gguf(_rewritten(whole, tmp_path / "model.gguf", **changed)).config.kv_heads == 2
