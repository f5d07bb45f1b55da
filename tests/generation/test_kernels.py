"""The kernels compute what the model's modules do, and the same in any company, bit by bit."""

import ctypes
import platform
import random
import stat
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cloche.generation.forward import Forward, ModelForward, Place
from cloche.generation.kernels import building
from cloche.generation.kernels.building import KernelError, default_folder, load_library
from cloche.generation.kernels.choosing import Forwards
from cloche.generation.kernels.native import NativeForward, PackedModel, unsupported
from cloche.model.build import build_model
from cloche.model.config import ModelConfig, ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.model.quantized import quantize
from cloche.model.rope import RopeScaling

ROWS, CAPACITY = 5, 80
EACH: dict[str, Any] = {"vocab_size": 90, "context": CAPACITY, "width": 48, "layers": 3}


def options(**given) -> ModelConfig:
    chosen = ModelOptions(**{name: given.pop(name) for name in list(given) if name in OPTIONS})
    return replace(complete(chosen, **EACH), **given)


OPTIONS = ("family", "heads", "kv_heads", "activation", "positions", "norm", "tied", "window")
CONFIGS = {
    "qwen3": options(family="qwen3", heads=4, kv_heads=2),
    "llama, stretched": options(
        family="llama",
        heads=3,
        kv_heads=1,
        rope_scaling=RopeScaling("yarn", factor=4.0, original_context=20),
    ),
    "gpt2": options(family="gpt2", heads=4),
    "gpt": options(family="gpt", heads=2, head_bias=True),
    "sinusoidal": options(family="gpt", heads=2, positions="sinusoidal", activation="gelu"),
    "relu squared": options(family="gpt", heads=2, activation="relu_squared", mlp_width=50),
    "windowed": options(family="qwen3", heads=2, window=7, full_layers=1),
    "untied": options(family="qwen3", heads=4, tied=False, qkv_bias=True),
    "wide heads": options(family="qwen3", heads=2, head_dim=72),
}


@pytest.fixture(scope="session")
def library() -> ctypes.CDLL:
    return load_library(default_folder(), tell=print)


@pytest.fixture(scope="session", params=CONFIGS)
def decoder(request) -> Decoder:
    torch.manual_seed(3)
    model = build_model(CONFIGS[request.param])
    assert isinstance(model, Decoder)
    with torch.no_grad():
        for parameter in model.parameters():  # no norm and no bias stays at its neutral value
            parameter += 0.1 * torch.randn_like(parameter)
    return model.eval()


def native(library, model, *, threads=1) -> NativeForward:
    return NativeForward(library, PackedModel(model), rows=ROWS, capacity=CAPACITY, threads=threads)


@torch.inference_mode()
def read_and_go_on(forward: Forward) -> torch.Tensor:
    """Logits after prompts of several lengths, and after tokens that follow them."""
    draw = random.Random(1)
    found = []
    lengths = [40, 1, 17, 33]
    for row, length in enumerate(lengths):
        prompt = [draw.randrange(90) for _ in range(length)]
        found.append(forward.head(forward.read(row, prompt, start=0)))
    for step in range(4):
        places = [Place(row, lengths[row] + step, draw.randrange(90)) for row in (0, 1, 2, 3)]
        found.append(forward.head(forward.hidden(places)))
    behind = [Place(2, lengths[2] + 4 + step, draw.randrange(90)) for step in range(3)]
    found.append(forward.head(forward.hidden([Place(0, lengths[0] + 4, 5), *behind])))
    forward.copy(2, 4, length=10)
    found.append(forward.head(forward.hidden([Place(4, 10, 8)])))
    return torch.cat(found)


def test_float32_equals_the_models_modules(library, decoder):
    expected = read_and_go_on(ModelForward(decoder, rows=ROWS, capacity=CAPACITY))
    found = read_and_go_on(native(library, decoder))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("bits", ["int8", "int4"])
def test_rounded_weights_equal_the_modules_that_unpack_them(library, decoder, bits):
    rounded = copy_of(decoder)
    quantize(rounded, bits)
    expected = read_and_go_on(ModelForward(rounded, rows=ROWS, capacity=CAPACITY))
    found = read_and_go_on(native(library, rounded))
    # prompts are multiplied in bfloat16, and keys and values are kept in it
    assert relative_error(found, expected) < 0.02


def test_bfloat16_differs_from_float32_by_rounding_alone(library, decoder):
    expected = read_and_go_on(ModelForward(decoder, rows=ROWS, capacity=CAPACITY))
    found = read_and_go_on(native(library, copy_of(decoder).bfloat16()))
    assert relative_error(found, expected) < 0.03


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_token_gives_the_same_numbers_in_any_company(library, decoder, precision, threads):
    forward = native(library, in_precision(decoder, precision), threads=threads)
    alone = native(library, in_precision(decoder, precision))
    draw = random.Random(2)
    prompts = [[draw.randrange(90) for _ in range(9 + row)] for row in range(ROWS)]
    for row, prompt in enumerate(prompts):
        torch.testing.assert_close(
            forward.read(row, prompt, start=0), alone.read(row, prompt, start=0), rtol=0, atol=0
        )
    # twenty tokens, of which sixteen are multiplied together
    places = [Place(row, len(prompts[row]) + n, 11 * n + row) for row in range(5) for n in range(4)]
    together = forward.head(forward.hidden(places))
    for place, found in zip(places, together, strict=True):
        assert torch.equal(alone.head(alone.hidden([place]))[0], found), place


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "int8"])
def test_a_prompt_gives_the_same_numbers_in_parts(library, decoder, precision):
    forward = native(library, in_precision(decoder, precision))
    prompt = [number * 7 % 90 for number in range(70)]
    whole = forward.read(0, prompt, start=0)
    parts = [(0, 1), (1, 18), (18, 34), (34, 70)]
    found = [forward.read(1, prompt[begin:end], start=begin) for begin, end in parts]
    assert torch.equal(torch.cat(found), whole)


def test_in_float32_a_prompt_is_as_its_tokens_one_by_one(library, decoder):
    forward = native(library, decoder)
    assert forward.exact
    prompt = [number * 7 % 90 for number in range(40)]
    whole = forward.read(0, prompt, start=0)
    for position, token_id in enumerate(prompt):
        assert torch.equal(forward.hidden([Place(1, position, token_id)])[0], whole[position])


def test_what_was_no_number_does_not_stay_in_a_row(library, decoder):
    forward = native(library, decoder)
    sound = forward.read(0, [1, 2, 3], start=0)
    for values in forward._store._values.values():
        values[:, 0] = float("nan")
    assert forward.hidden([Place(0, 3, 4)]).isnan().any()
    forward.clear(0)
    assert torch.equal(forward.read(0, [1, 2, 3], start=0), sound)


@pytest.mark.parametrize("place", [(5, 0, 1), (-1, 0, 1), (0, CAPACITY, 1), (0, 0, 90), (0, -1, 1)])
def test_what_lies_outside_of_the_memory_is_refused(library, place):
    model = build_model(CONFIGS["gpt"])
    assert isinstance(model, Decoder)
    forward = native(library, model.eval())
    with pytest.raises(ValueError, match="does not exist"):
        forward.hidden([Place(*place)])
    row, position, token_id = place
    with pytest.raises(ValueError, match="does not exist"):
        forward.read(row, [token_id], start=position)


def test_a_prompt_beyond_the_capacity_is_refused(library):
    model = build_model(CONFIGS["gpt"])
    assert isinstance(model, Decoder)
    with pytest.raises(ValueError, match="does not exist"):
        native(library, model.eval()).read(0, [1] * 5, start=CAPACITY - 4)


def test_the_weights_are_read_once_for_a_token(library):
    model = build_model(replace(CONFIGS["qwen3"], tied=True))
    assert isinstance(model, Decoder)
    matrices = [weight for weight in model.parameters() if weight.dim() == 2]
    exact = sum(weight.numel() for weight in matrices) * 4  # the tied embedding is one of them
    assert exact <= PackedModel(model).weight_bytes < 1.3 * exact  # padding of whole tiles


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of this kind")
@pytest.mark.parametrize("processor", ["x86-64-v2", "haswell"])
def test_older_processors_compute_the_same(tmp_path, monkeypatch, processor):
    flags = [flag for flag in building.FLAGS if not flag.startswith("-march")]
    monkeypatch.setattr(building, "FLAGS", (*flags, f"-march={processor}"))
    if "avx2" not in Path("/proc/cpuinfo").read_text() and processor == "haswell":
        pytest.skip("this processor has no AVX2")
    older = load_library(tmp_path, tell=print)
    torch.manual_seed(3)
    model = build_model(CONFIGS["windowed"])
    assert isinstance(model, Decoder)
    for precision in ("float32", "int8", "int4"):
        chosen = in_precision(model, precision)
        expected = read_and_go_on(ModelForward(chosen, rows=ROWS, capacity=CAPACITY))
        found = read_and_go_on(native(older, chosen))
        assert relative_error(found, expected) < 0.02


def test_what_the_kernels_do_not_serve_is_written_by_modules(tmp_path):
    config = options(family="moe", heads=2)
    model = build_model(config).eval()
    assert "experts" in str(unsupported(model))
    with pytest.raises(ValueError, match="experts"):
        PackedModel(model)
    assert isinstance(Forwards(model, tmp_path).make(rows=1, capacity=8), ModelForward)
    assert not list(tmp_path.iterdir())


def test_without_a_compiler_writing_is_slow_and_says_so_once(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "COMPILERS", ("no-such-compiler",))
    model, said = build_model(CONFIGS["gpt"]).eval(), []
    forwards = Forwards(model, tmp_path, warn=said.append)
    for _ in range(2):
        assert isinstance(forwards.make(rows=1, capacity=8), ModelForward)
    assert len(said) == 1
    assert "slower" in said[0]
    assert "no C++ compiler" in said[0]


def test_a_compiler_that_fails_leaves_nothing_and_is_quoted(tmp_path, monkeypatch):
    compiler = tmp_path / "bin" / "c++"
    compiler.parent.mkdir()
    compiler.write_text("#!/bin/sh\necho 'error: no such registers' >&2\nexit 1\n")
    compiler.chmod(compiler.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(compiler.parent), prepend=":")
    with pytest.raises(KernelError, match="no such registers"):
        load_library(tmp_path / "kernels", tell=print)
    assert not list((tmp_path / "kernels").iterdir())


def test_kernels_are_built_once_and_told_of(tmp_path, monkeypatch):
    built = []

    def build(_compiler: str, path: Path) -> None:
        built.append(path)
        path.parent.mkdir(parents=True)
        path.write_bytes(next(default_folder().glob("forward-*.so")).read_bytes())

    load_library(default_folder(), tell=print)
    monkeypatch.setattr(building, "_build", build)
    said = []
    for _ in range(2):
        load_library(tmp_path / "kernels", tell=said.append)
    assert len(built) == len(said) == 1
    assert "once" in said[0]


@pytest.mark.skipif(sys.platform == "win32", reason="files that are in use cannot be damaged there")
def test_a_damaged_library_is_an_error_with_its_place(tmp_path, monkeypatch):
    def build(_compiler: str, path: Path) -> None:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"no library")

    monkeypatch.setattr(building, "_build", build)
    with pytest.raises(KernelError, match=r"forward-.*\.so cannot be loaded"):
        load_library(tmp_path / "kernels", tell=print)


def copy_of(model: Decoder) -> Decoder:
    copied = build_model(model.config)
    assert isinstance(copied, Decoder)
    copied.load_state_dict(model.state_dict())
    return copied.eval()


def in_precision(model: Decoder, precision: str) -> Decoder:
    chosen = copy_of(model)
    if precision == "bfloat16":
        return chosen.bfloat16()
    if precision != "float32":
        quantize(chosen, "int8" if precision == "int8" else "int4")
    return chosen


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).square().mean().sqrt() / expected.square().mean().sqrt())
