"""Layers with a window keep little more than that, and rows go back as far as that allows."""

import pytest
import torch

from cloche.generation.engine import Engine
from cloche.generation.forward import ModelForward, Place
from cloche.generation.kernels.building import default_folder, load_library
from cloche.generation.kernels.native import NativeForward, PackedModel
from cloche.generation.kernels.store import slots_of
from cloche.generation.request import GenerationRequest
from cloche.generation.speculation import DraftModel
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete

CONTEXT, WINDOW = 400, 20
SLOTS = 320  # window and the largest part of a prompt, in whole parts of 64


@pytest.fixture(scope="module", params=[0, 1])
def windowed(request) -> Decoder:
    """Two layers, of which the first so many heed no window."""
    torch.manual_seed(2)
    options = ModelOptions(heads=2, window=WINDOW)
    config = complete(options, vocab_size=257, layers=2, width=32, context=CONTEXT)
    object.__setattr__(config, "full_layers", request.param)
    model = build_model(config)
    assert isinstance(model, Decoder)
    with torch.no_grad():
        model.lm_head.weight *= 6
    return model.eval()


def native(model: Decoder, *, rows: int = 2) -> NativeForward:
    library = load_library(default_folder(), tell=print)
    return NativeForward(library, PackedModel(model), rows=rows, capacity=CONTEXT, threads=1)


def test_a_layer_with_a_window_keeps_less(windowed):
    full = windowed.config.full_layers
    kept = [slots_of(windowed.config, layer, capacity=CONTEXT) for layer in range(2)]
    assert kept == [CONTEXT] * full + [SLOTS] * (2 - full)
    each = 2 * 2 * windowed.config.kv_heads * 16 * 4  # keys, values; rows; floats of a head
    assert native(windowed)._store.bytes == each * sum(kept)


@torch.inference_mode()
def test_what_is_read_past_the_end_of_the_slots_is_what_the_modules_read(windowed):
    prompt = [n * n % 251 for n in range(390)]
    ours, usual = native(windowed), ModelForward(windowed, rows=2, capacity=CONTEXT)
    for begin, end in ((0, 300), (300, 301), (301, 390)):
        found, expected = (f.read(0, prompt[begin:end], start=begin) for f in (ours, usual))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    for place in range(390, 400):
        found, expected = (f.hidden([Place(0, place, place % 7)]) for f in (ours, usual))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@torch.inference_mode()
def test_bfloat16_reads_the_same_in_parts(windowed):
    half = build_model(windowed.config)
    half.load_state_dict(windowed.state_dict())
    assert isinstance(half, Decoder)
    forward = native(half.bfloat16().eval())
    prompt = [n * n % 251 for n in range(390)]
    whole = forward.read(0, prompt, start=0)
    parts = [
        forward.read(1, prompt[begin : begin + 70], start=begin) for begin in range(0, 390, 70)
    ]
    assert torch.equal(torch.cat(parts), whole)


@torch.inference_mode()
def test_a_row_goes_back_where_it_says_that_it_can(windowed):
    prompt = [n * n % 251 for n in range(390)]
    forward, fresh = native(windowed), native(windowed)
    forward.read(0, prompt, start=0)
    assert not forward.can_go_back(reached=390, to=89)
    assert forward.can_go_back(reached=390, to=90)
    assert forward.can_go_back(reached=SLOTS, to=1)
    fresh.read(0, prompt[:90], start=0)
    places = [Place(0, 90, 5)]
    assert torch.equal(forward.hidden(places), fresh.hidden(places))


def test_what_cannot_be_reused_is_read_anew(windowed, tokenizer):
    forward = native(windowed)
    engine = Engine(windowed, tokenizer, context=CONTEXT, rows=2, forward=forward)
    long = tuple(n * n % 251 for n in range(380))
    for length in (380, 60, 370, 61):
        request = GenerationRequest(long[:length], max_tokens=15, temperature=0.0, stop_ids=())
        [[found]] = engine.generate([request])
        [[expected]] = Engine(
            windowed, tokenizer, context=CONTEXT, rows=2, forward=native(windowed)
        ).generate([request])
        assert found == expected, length


def test_a_model_that_guesses_may_have_windows_too(windowed, tokenizer):
    guesser = DraftModel(native(windowed, rows=1))
    engine = Engine(
        windowed,
        tokenizer,
        context=CONTEXT,
        rows=1,
        forward=native(windowed, rows=1),
        guesser=guesser,
    )
    for length in (380, 60, 370, 61):
        prompt = tuple(n * n % 251 for n in range(length))
        request = GenerationRequest(prompt, max_tokens=12, temperature=0.0, stop_ids=())
        engine.submit(request)
        steps = 0
        while engine.busy:
            steps += bool(engine.step())
        assert steps == 3  # a token and four guesses each time, all of them right
