"""Quantized tensors read: as llama.cpp dequantizes them, whatever it is that wrote them."""

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter
from gguf_samples import TEXT, build, byte_pairs, log_probabilities, write

from cloche.errors import CheckpointError
from cloche.model.config import ModelOptions
from cloche.model.presets import complete
from cloche.weights.gguf_header import GGUFFile, open_gguf
from cloche.weights.gguf_llama_cpp import Questions, ask_llama_cpp
from cloche.weights.gguf_reading import import_gguf
from cloche.weights.gguf_tensors import read_tensor, stored_type, to_stored

# How far the weights may be from those quantized, as a share of their root mean square.
ROUNDED = {
    "Q8_0": 0.01,
    "Q6_K": 0.03,
    "Q5_K": 0.06,
    "Q5_0": 0.06,
    "Q5_1": 0.06,
    "Q4_K": 0.1,
    "Q4_0": 0.12,
    "Q4_1": 0.12,
    "Q3_K": 0.25,
    "Q2_K": 0.5,
}
NUMBERS = np.random.default_rng(0).standard_normal((6, 512)).astype(np.float32)


@pytest.fixture(scope="module")
def engine() -> Any:
    """llama.cpp's own library, which quantizes to all of its types."""
    package = pytest.importorskip("xllamacpp")
    return ctypes.CDLL(package.xllamacpp.__file__)


def _quantize(engine: Any, numbers: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    """The numbers as llama.cpp stores them, a row of bytes for each row."""
    block, block_bytes = GGML_QUANT_SIZES[kind]
    rows, length = numbers.reshape(-1, numbers.shape[-1]).shape
    stored = np.zeros((*numbers.shape[:-1], length // block * block_bytes), np.uint8)
    quantize = engine.ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    source = np.ascontiguousarray(numbers, np.float32)
    written = quantize(
        ctypes.c_int(kind),
        source.ctypes.data_as(ctypes.c_void_p),
        stored.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(0),
        ctypes.c_int64(rows),
        ctypes.c_int64(length),
        None,
    )
    assert written == stored.size
    return stored


def _file_of(path: Path, name: str, stored: np.ndarray, kind: GGMLQuantizationType) -> GGUFFile:
    writer = GGUFWriter(path, "llama")
    writer.add_tensor(name, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return open_gguf(path)


@pytest.mark.parametrize("name", ROUNDED)
def test_what_llama_cpp_quantized_is_near_what_it_was(name, engine, tmp_path):
    kind = GGMLQuantizationType[name]
    stored = _quantize(engine, NUMBERS, kind)
    read = read_tensor(_file_of(tmp_path / "one.gguf", "x", stored, kind), "x").numpy()
    error = np.sqrt(np.mean((read - NUMBERS) ** 2)) / np.sqrt(np.mean(NUMBERS**2))
    assert 0 < error < ROUNDED[name]


@pytest.mark.parametrize("name", ["Q4_0", "Q4_1", "Q4_K", "Q6_K"])
def test_llama_cpp_computes_the_same_from_a_quantized_file(name, engine, tmp_path):
    tokenizer = byte_pairs()
    options = ModelOptions(family="llama", heads=4, mlp_width=256)  # blocks of 256 divide all rows
    config = complete(options, vocab_size=323, layers=1, width=256, context=64)
    source = open_gguf(write(tmp_path / "source.gguf", build(config), tokenizer))
    path = _requantized(source, tmp_path / "small.gguf", engine, GGMLQuantizationType[name])
    model, ids = import_gguf(path).model, tokenizer.encode(TEXT)[:50]
    questions = Questions(sequences=[ids], whole=tokenizer.encode("a")[0])
    ours, answers = log_probabilities(model, ids), ask_llama_cpp(path, questions)
    # It rounds what goes into each product to 8 bits, too.
    assert all(abs(float(ours[token]) - theirs) < 0.1 for token, theirs in answers.likeliest[0])
    matrices = [place for place in open_gguf(path).tensors.values() if len(place.shape) > 1]
    assert {place.type.name for place in matrices} == {name}


def _requantized(source: GGUFFile, path: Path, engine: Any, kind: GGMLQuantizationType) -> Path:
    """A copy of a file with every matrix quantized."""
    writer = GGUFWriter(path, "llama")
    for key, value in source.values.items():
        if key == "general.architecture":
            continue
        given = value.tolist() if isinstance(value, np.ndarray) else value
        if isinstance(given, list):
            writer.add_array(key, given)
        elif isinstance(given, bool):
            writer.add_bool(key, given)
        elif isinstance(given, int):
            writer.add_uint32(key, given)
        elif isinstance(given, float):
            writer.add_float32(key, given)
        else:
            writer.add_string(key, given)
    for name, place in source.tensors.items():
        numbers = read_tensor(source, name).numpy()
        if len(place.shape) == 1:
            writer.add_tensor(name, numbers)
        else:
            writer.add_tensor(name, _quantize(engine, numbers, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q8_0"])
def test_what_we_store_is_what_llama_cpp_would_store(name, engine):
    kind = GGMLQuantizationType[name]
    ours = to_stored(torch.from_numpy(NUMBERS), kind, name="x")
    assert ours.tobytes() == _quantize(engine, NUMBERS, kind).tobytes()


def test_rows_that_blocks_do_not_divide_are_kept_in_f16():
    assert stored_type((10, 40), "Q8_0") == GGMLQuantizationType.F16
    assert stored_type((10, 64), "Q8_0") == GGMLQuantizationType.Q8_0
    assert stored_type((64,), "Q8_0") == GGMLQuantizationType.F32


def test_numbers_too_large_for_f16_are_refused_by_name():
    with pytest.raises(CheckpointError, match=r"blk\.0\.x holds 70000.*BF16 or F32"):
        to_stored(torch.full((2, 2), 7e4), GGMLQuantizationType.F16, name="blk.0.x")


def test_nan_is_not_written():
    with pytest.raises(CheckpointError, match="y holds NaN"):
        to_stored(torch.tensor([1.0, float("nan")]), GGMLQuantizationType.F32, name="y")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_nan_and_infinity_in_a_file_are_found_and_counted(kind, bad, tmp_path):
    numbers = NUMBERS.copy()
    numbers[1, 2:4] = bad
    stored = {
        "F32": numbers,
        "F16": numbers.astype(np.float16),
        "BF16": (numbers.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8),
    }[kind]
    file = _file_of(tmp_path / "bad.gguf", "blk.0.x", stored, GGMLQuantizationType[kind])
    with pytest.raises(CheckpointError, match=r"2 of the numbers in its tensor blk\.0\.x are NaN"):
        read_tensor(file, "blk.0.x")


def test_a_type_that_is_not_read_is_named_with_its_tensor(tmp_path):
    stored = np.zeros((2, 66), np.uint8)
    file = _file_of(tmp_path / "odd.gguf", "blk.0.x", stored, GGMLQuantizationType.IQ2_XXS)
    with pytest.raises(CheckpointError, match=r"blk\.0\.x is quantized as IQ2_XXS"):
        read_tensor(file, "blk.0.x")


def test_a_tensor_is_a_copy_and_not_the_file(tmp_path):
    path = tmp_path / "one.gguf"
    before = _file_of(path, "x", NUMBERS, GGMLQuantizationType.F32)
    contents = path.read_bytes()
    read_tensor(before, "x").zero_()
    assert path.read_bytes() == contents
