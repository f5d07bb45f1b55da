"""The same request and seed give the same text, whatever comes and goes beside it."""

import random
from collections.abc import Sequence

import psutil
import pytest
import torch

from cloche.errors import RequestError
from cloche.generation.engine import Engine
from cloche.generation.forward import Forward, ModelForward
from cloche.generation.kernels.building import default_folder, load_library
from cloche.generation.kernels.native import NativeForward, PackedModel
from cloche.generation.request import GenerationRequest, TokenEvent
from cloche.generation.speculation import DraftModel, Guesser, PromptLookup, Writing
from cloche.generation.waiting import QueueFullError
from cloche.model.build import build_model
from cloche.model.config import ModelOptions
from cloche.model.decoder import Decoder
from cloche.model.presets import complete
from cloche.model.quantized import quantize

CONTEXT, ROWS = 40, 4


def tiny_model(*, seed: int = 7, window: int | None = None) -> Decoder:
    torch.manual_seed(seed)
    options = ModelOptions(heads=4, kv_heads=2, window=window)
    model = build_model(complete(options, vocab_size=257, layers=2, width=32, context=CONTEXT))
    assert isinstance(model, Decoder)
    with torch.no_grad():
        model.lm_head.weight *= 6  # opinions strong enough that texts repeat and differ
    return model.eval()


class Kernels:
    """Forwards of one model in one precision."""

    def __init__(self, precision: str, *, window: int | None = None) -> None:
        self.model = tiny_model(window=window)
        if precision == "bfloat16":
            self.model.bfloat16()
        elif precision != "float32":
            quantize(self.model, "int8" if precision == "int8" else "int4")
        self._packed = PackedModel(self.model)
        self._library = load_library(default_folder(), tell=print)

    def forward(self, *, rows: int = ROWS, context: int = CONTEXT) -> Forward:
        return NativeForward(self._library, self._packed, rows=rows, capacity=context, threads=1)

    def engine(self, tokenizer, *, rows: int = ROWS, guesser: Guesser | None = None) -> Engine:
        return Engine(
            self.model,
            tokenizer,
            context=CONTEXT,
            rows=rows,
            forward=self.forward(rows=rows),
            guesser=guesser,
        )


@pytest.fixture(scope="module", params=["float32", "bfloat16", "int8", "int4"])
def kernels(request) -> Kernels:
    return Kernels(request.param)


def random_request(draw: random.Random) -> GenerationRequest:
    """Prompts that often begin alike, settings of all kinds."""
    prompt = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]
    prompt = prompt[: draw.randrange(1, 21)] + [
        draw.randrange(256) for _ in range(draw.choice([0, 1, 9]))
    ]
    return GenerationRequest(
        tuple(prompt),
        max_tokens=draw.randrange(1, 45),
        temperature=draw.choice([0.0, 0.7, 1.3]),
        top_k=draw.choice([None, 20]),
        top_p=draw.choice([1.0, 0.9]),
        repetition_penalty=draw.choice([1.0, 1.3]),
        seed=draw.randrange(1000),
        n=draw.choice([1, 1, 3]),
    )


def ids_of(events: Sequence[TokenEvent]) -> dict[int, list[int | None]]:
    """The ids of each choice."""
    found: dict[int, list[int | None]] = {}
    for event in events:
        assert event.error is None
        found.setdefault(event.choice, []).append(event.token_id)
    return found


def run_schedule(engine: Engine, requests: Sequence[GenerationRequest], draw: random.Random):
    """Submits at random moments, cancels a few; what came of the others."""
    waiting, events, places = list(enumerate(requests)), {}, {}
    while waiting or engine.busy:
        if waiting and draw.random() < 0.3:
            number, request = waiting.pop(0)
            request_id = engine.submit(request)
            events[request_id], places[request_id] = [], number
        if events and draw.random() < 0.03:
            cancelled = draw.choice(list(events))
            engine.cancel(cancelled)
            del events[cancelled]
        for event in engine.step():
            events[event.request_id].append(event)
    return {places[request_id]: ids_of(found) for request_id, found in events.items()}


def check_schedules(kernels: Kernels, tokenizer, *, count: int, guesser=None) -> None:
    shared = kernels.engine(tokenizer, guesser=guesser)
    for seed in range(count):
        draw = random.Random(seed)
        requests = [random_request(draw) for _ in range(6)]
        found = run_schedule(shared, requests, draw)
        assert shared.free_rows == ROWS
        for number, ids in found.items():
            alone = kernels.engine(tokenizer, rows=1)
            request_id = alone.submit(requests[number])
            events = []
            while alone.busy:
                events += alone.step()
            assert {event.request_id for event in events} == {request_id}
            assert ids == ids_of(events), (seed, number)


def test_alone_and_in_company_are_the_same_in_every_precision(kernels, tokenizer):
    check_schedules(kernels, tokenizer, count=6)


@pytest.mark.bars
def test_two_hundred_schedules_are_the_same_as_each_answer_alone(kernels, tokenizer):
    check_schedules(kernels, tokenizer, count=200)


def test_windows_and_company(tokenizer):
    check_schedules(Kernels("int8", window=9), tokenizer, count=4)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_guesses_from_the_text_change_no_text(precision, tokenizer):
    check_schedules(Kernels(precision), tokenizer, count=4, guesser=PromptLookup())


@pytest.mark.parametrize("precision", ["float32", pytest.param("int8", marks=pytest.mark.bars)])
def test_guesses_of_a_smaller_model_change_no_text(precision, tokenizer):
    draft = DraftModel(ModelForward(tiny_model(seed=8), rows=ROWS, capacity=CONTEXT))
    check_schedules(Kernels(precision), tokenizer, count=4, guesser=draft)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_guesses_for_itself_is_always_right(temperature, tokenizer):
    kernels = Kernels("float32")
    draft = DraftModel(kernels.forward(), most=3)
    engine = kernels.engine(tokenizer, guesser=draft)
    engine.submit(
        GenerationRequest((5, 6), max_tokens=20, temperature=temperature, seed=3, stop_ids=())
    )
    steps = 0
    while engine.busy:
        engine.step()
        steps += 1
    assert steps == 5  # each reads one token and three guesses


def test_text_that_repeats_is_written_in_fewer_steps(tokenizer):
    kernels = Kernels("float32")
    request = GenerationRequest((5, 6), max_tokens=38, temperature=0.0, stop_ids=())
    taken = {}
    for guesser in (None, PromptLookup()):
        engine = kernels.engine(tokenizer, guesser=guesser)
        engine.submit(request)
        made = []
        steps = 0
        while engine.busy:
            made += engine.step()
            steps += 1
        taken[guesser is None] = (steps, [event.token_id for event in made])
    assert taken[False][1] == taken[True][1]
    assert taken[False][0] < taken[True][0]


class WrongGuesses:
    """Guesses what is hardly ever drawn."""

    def guess(self, writing: dict[int, Writing]) -> dict[int, list[int]]:
        return {row: [0] * min(most, 5) for row, (_, most) in writing.items()}


def test_wrong_guesses_change_no_text(kernels, tokenizer):
    check_schedules(kernels, tokenizer, count=2, guesser=WrongGuesses())


def test_nothing_is_lost_to_a_thousand_requests(tokenizer):
    kernels = Kernels("float32")
    engine = kernels.engine(tokenizer)
    draw, process = random.Random(4), psutil.Process()
    before = 0
    for round_number in range(100):
        for _ in range(10):
            request = random_request(draw)
            request_id = engine.submit(request)
            if draw.random() < 0.3:
                engine.step()
                engine.cancel(request_id)
        for _ in range(3):
            engine.step()
        for request_id in range(round_number * 10, round_number * 10 + 10):
            engine.cancel(request_id)
        assert not engine.busy
        assert engine.free_rows == ROWS
        if round_number == 20:
            before = process.memory_info().rss
    assert process.memory_info().rss - before < 20_000_000


def test_a_long_prompt_is_read_between_the_steps_of_others(tokenizer, monkeypatch):
    monkeypatch.setattr("cloche.generation.engine.PROMPT_PART", 8)
    kernels = Kernels("float32")
    engine = kernels.engine(tokenizer)
    short = engine.submit(GenerationRequest((1, 2), max_tokens=30, seed=1, stop_ids=()))
    engine.step()
    long = engine.submit(GenerationRequest(tuple(range(39)), max_tokens=1, seed=2, stop_ids=()))
    order = [event.request_id for _ in range(6) for event in engine.step()]
    assert order == [short] * 4 + [short, long, short]


def test_requests_of_many_answers_do_not_hold_up_others(tokenizer):
    engine = Kernels("float32").engine(tokenizer, rows=2)
    many = engine.submit(GenerationRequest((1,), max_tokens=2, n=20, seed=1, stop_ids=()))
    one = engine.submit(GenerationRequest((2,), max_tokens=2, seed=1, stop_ids=()))
    first_steps = [event.request_id for _ in range(2) for event in engine.step()]
    assert set(first_steps) == {many, one}


def test_a_prompt_that_a_row_held_before_is_not_read_again(tokenizer, monkeypatch):
    kernels = Kernels("int8")
    engine = kernels.engine(tokenizer)
    read = []
    forward = engine._forward
    original = forward.read

    def counting(row, ids, *, start):
        read.append((start, len(ids)))
        return original(row, ids, start=start)

    monkeypatch.setattr(forward, "read", counting)
    shared = tuple(range(30))
    for ending in (1, 2):
        engine.generate([GenerationRequest((*shared, ending, 9), max_tokens=3, seed=1)])
    assert read == [(0, 31), (30, 1)]


def test_the_queue_is_bounded_in_tokens(tokenizer):
    model = tiny_model()
    engine = Engine(model, tokenizer, context=CONTEXT, rows=1, queue_tokens=100)
    request = GenerationRequest((1, 2), max_tokens=38, seed=1)
    engine.submit(request)
    engine.submit(request)
    assert not engine.has_room(request)
    with pytest.raises(QueueFullError, match=r"80 tokens wait.*40 more: at most 100"):
        engine.submit(request)
    while engine.busy:
        engine.step()
    answers = engine.generate([request] * 5)  # given as there is room
    assert len(answers) == 5
    assert all(found == answers[0] for found in answers)


def test_more_answers_than_can_wait_are_refused_before_any_is_made(tokenizer):
    engine = Engine(tiny_model(), tokenizer, context=CONTEXT, rows=1)
    with pytest.raises(RequestError, match=r"20,000,000 answers .* give a smaller n"):
        engine.submit(GenerationRequest((1, 2), n=20_000_000))
    with pytest.raises(RequestError, match="smaller n"):
        engine.generate([GenerationRequest((1, 2), n=20_000_000)])
    assert not engine.busy
