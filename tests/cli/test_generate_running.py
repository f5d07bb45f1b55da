"""Rows of a batch are taken as there is room, and leave in their order."""

from dataclasses import replace

from cloche.cli import generate_running
from cloche.cli.generate_rows import Row
from cloche.cli.generate_running import answer_rows
from cloche.cli.prompts import fitting_prompt
from cloche.generation.engine import Engine
from cloche.generation.request import GenerationRequest, TokenEvent
from cloche.run import load


class SlowFirst(Engine):
    """An engine whose first request takes `slow` steps, and all others one."""

    def __init__(self, slow: int, *, room: int = 1000) -> None:
        self.slow = slow
        self.room = room
        self.steps = 0
        self.running: list[tuple[int, int]] = []
        self.most = 0
        self.submitted = 0

    def has_room(self, request: GenerationRequest) -> bool:
        return len(self.running) + request.n <= self.room

    def submit(self, request: GenerationRequest) -> int:
        self.running += [(self.submitted, choice) for choice in range(request.n)]
        self.most = max(self.most, len(self.running))
        self.submitted += 1
        return self.submitted - 1

    def step(self) -> list[TokenEvent]:
        self.steps += 1
        ended = [pair for pair in self.running if pair[0] or self.steps >= self.slow]
        self.running = [pair for pair in self.running if pair not in ended]
        return [
            TokenEvent(number, choice, token_id=1, text="a", finish_reason="stop")
            for number, choice in ended
        ]


def requests(count: int, *, n: int = 1):
    return iter([Row(line, request=GenerationRequest((1,), n=n)) for line in range(1, count + 1)])


def test_rows_are_taken_only_as_there_is_room():
    engine = SlowFirst(slow=1)
    answered = list(answer_rows(engine, requests(50), at_once=4))
    assert [one.row.line for one in answered] == list(range(1, 51))
    assert engine.most == 4
    engine = SlowFirst(slow=1)
    assert len(list(answer_rows(engine, requests(50, n=3), at_once=4))) == 50
    assert engine.most == 6  # no row is left empty where a request has several answers
    engine = SlowFirst(slow=1, room=2)
    assert len(list(answer_rows(engine, requests(50), at_once=4))) == 50
    assert engine.most == 2


def test_a_slow_row_does_not_heap_up_the_answers_of_those_behind_it(monkeypatch):
    monkeypatch.setattr(generate_running, "MOST_AHEAD", 5)
    engine = SlowFirst(slow=30)
    answered = answer_rows(engine, requests(20), at_once=2)
    assert next(answered).row.line == 1
    assert engine.submitted == 5  # the slow one, and four that wait behind it
    assert [one.row.line for one in answered] == list(range(2, 21))


def test_fewer_answers_are_written_at_once_where_memory_is_short(random_run, monkeypatch):
    config = load(random_run).config
    each = 4 * 2 * config.layers * config.kv_heads * config.head_dim * 16
    for free, rows in ((10**9, 8), (2 * 3 * each, 3), (0, 1)):
        monkeypatch.setattr(generate_running, "available_memory", lambda free=free: free)
        assert generate_running.usual_rows(config, tokens=99) == rows


def test_a_window_keeps_room_for_the_answer_and_the_token_that_begins(random_run):
    lm = load(random_run)
    text = "abcdefghijklmnop" * 2
    ids = lm.prompt_ids(text)
    assert fitting_prompt(lm, text, max_tokens=3, window=True) == (ids[-13:], 19)
    assert fitting_prompt(lm, text, max_tokens=100, window=True) == (ids[-12:], 20)
    assert fitting_prompt(lm, text[:16], max_tokens=100, window=True) == (ids[:16], 0)
    beginning = replace(lm, bos=0, begins_with_bos=True)
    kept, cut = fitting_prompt(beginning, text, max_tokens=3, window=True)
    assert kept == (0, *ids[-12:])
    assert (len(kept), cut) == (13, 20)
