"""A step in fixed shapes gives what the usual step gives, for all rows that have a token."""

import pytest
import torch

from cloche.generation.engine import Engine
from cloche.generation.forward import ModelForward, Place
from cloche.generation.request import GenerationRequest
from cloche.generation.speculation import PromptLookup
from cloche.generation.static import StaticForward, serves_static


def uncompiled(step):
    return step


@torch.inference_mode()
def test_rows_that_read_and_rows_that_do_not_stay_as_they_should(model):
    forwards = [
        StaticForward(model, rows=3, capacity=16, compile_step=uncompiled),
        ModelForward(model, rows=3, capacity=16),
    ]
    found = []
    for forward in forwards:
        given = [forward.read(row, range(row, row + 5 + row), start=0) for row in range(3)]
        given.append(forward.hidden([Place(2, 7, 9)]))
        given.append(forward.hidden([Place(1, 6, 8), Place(0, 5, 7)]))
        given.append(forward.hidden([Place(0, 3, 7), Place(2, 8, 1)]))  # row 0 goes back
        given.append(forward.hidden([Place(0, 4, 7), Place(0, 5, 1), Place(1, 7, 3)]))
        given.append(forward.hidden([Place(1, 8, 2)]))
        found.append(torch.cat(given))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("guesser", [None, PromptLookup()])
def test_texts_are_those_of_the_usual_forward(model, tokenizer, guesser):
    requests = [
        GenerationRequest(tuple(range(n, n + 4)), max_tokens=30, temperature=0.0, stop_ids=())
        for n in range(5)
    ]
    texts = []
    for forward in (
        StaticForward(model, rows=3, capacity=16, compile_step=uncompiled),
        ModelForward(model, rows=3, capacity=16),
    ):
        engine = Engine(model, tokenizer, context=16, rows=3, forward=forward, guesser=guesser)
        texts.append([answer.token_ids for [answer] in engine.generate(requests)])
    assert texts[0] == texts[1]


def test_a_full_row_that_reads_nothing_keeps_its_last_token(model):
    forward = StaticForward(model, rows=2, capacity=8, compile_step=uncompiled)
    with torch.inference_mode():
        forward.read(0, range(8), start=0)
        before = forward._cache.keys[:, 0, :, :8].clone()
        forward.read(1, [1, 2], start=0)
        forward.hidden([Place(1, 2, 3)])
        assert torch.equal(forward._cache.keys[:, 0, :, :8], before)


def test_on_a_processor_nothing_is_compiled_so(model):
    assert not serves_static(model)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_compiled_step_gives_the_same(model):
    moved = model.to("cuda")
    assert serves_static(moved)
    with torch.inference_mode():
        ours = StaticForward(moved, rows=2, capacity=16)
        usual = ModelForward(moved, rows=2, capacity=16)
        for place in range(6):
            found = [f.hidden([Place(0, place, 3), Place(1, place, 4)]) for f in (ours, usual)]
            torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)
    model.to("cpu")
