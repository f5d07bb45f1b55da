"""Many callers share one engine, each with a stream of its own; who leaves frees his rows."""

import asyncio
import threading

import pytest

from cloche.errors import RequestError
from cloche.generation.background import EngineThread
from cloche.generation.engine import Engine
from cloche.generation.request import GenerationRequest


@pytest.fixture
def engine(model, tokenizer) -> Engine:
    return Engine(model, tokenizer, context=16, rows=2)


def request_of(number: int, **asked) -> GenerationRequest:
    return GenerationRequest((number, 2, 3), seed=number, stop_ids=(), **asked)


async def ids_of(thread: EngineThread, request: GenerationRequest) -> list[int | None]:
    return [event.token_id async for event in thread.stream(request)]


def test_streams_at_once_are_those_of_each_request_alone(engine, model, tokenizer):
    requests = [request_of(number, max_tokens=12) for number in range(5)]

    async def all_at_once(thread: EngineThread):
        return await asyncio.gather(*(ids_of(thread, request) for request in requests))

    with EngineThread(engine) as thread:
        found = asyncio.run(all_at_once(thread))
    for ids, request in zip(found, requests, strict=True):
        [[alone]] = Engine(model, tokenizer, context=16, rows=1).generate([request])
        assert tuple(ids) == alone.token_ids


def test_several_answers_come_in_one_stream(engine):
    async def finished(thread: EngineThread):
        events = [event async for event in thread.stream(request_of(1, max_tokens=3, n=3))]
        return sorted(event.choice for event in events if event.finish_reason)

    with EngineThread(engine) as thread:
        assert asyncio.run(finished(thread)) == [0, 1, 2]


def test_who_leaves_frees_his_rows_and_the_others_go_on(engine):
    async def leave_early(thread: EngineThread):
        stream = thread.stream(request_of(1, max_tokens=100_000, n=2))
        await anext(stream)
        waiting = asyncio.create_task(ids_of(thread, request_of(2, max_tokens=4)))
        await asyncio.sleep(0.05)
        assert not waiting.done()  # both rows are taken
        await stream.aclose()
        return await asyncio.wait_for(waiting, 20)

    with EngineThread(engine) as thread:
        assert len(asyncio.run(leave_early(thread))) == 4
    assert engine.free_rows == 2


def test_a_cancelled_task_cancels_its_request(engine):
    async def cancel(thread: EngineThread):
        task = asyncio.create_task(ids_of(thread, request_of(1, max_tokens=100_000)))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await asyncio.wait_for(ids_of(thread, request_of(2, max_tokens=2)), 20)

    with EngineThread(engine) as thread:
        assert len(asyncio.run(cancel(thread))) == 2
        assert engine.free_rows == 2


def test_a_caller_whose_event_loop_is_gone_does_not_hold_up_the_others(engine):
    with EngineThread(engine) as thread:
        loop = asyncio.new_event_loop()
        stream = thread.stream(request_of(1, max_tokens=100_000, n=2))
        loop.run_until_complete(anext(stream))
        loop.close()
        assert len(asyncio.run(ids_of(thread, request_of(2, max_tokens=3)))) == 3
        assert engine.free_rows == 2


def test_what_cannot_be_served_is_refused_and_the_engine_goes_on(engine):
    async def refused_then_served(thread: EngineThread):
        with pytest.raises(RequestError, match="17 tokens"):
            await ids_of(thread, GenerationRequest(tuple(range(17))))
        return await ids_of(thread, request_of(1, max_tokens=2))

    with EngineThread(engine) as thread:
        assert len(asyncio.run(refused_then_served(thread))) == 2


def test_closing_ends_whoever_still_waits(engine):
    async def closed_meanwhile(thread: EngineThread):
        stream = thread.stream(request_of(1, max_tokens=100_000))
        await anext(stream)
        await asyncio.to_thread(thread.close)
        with pytest.raises(RuntimeError, match="the engine has ended"):
            async for _ in stream:
                pass
        with pytest.raises(RuntimeError, match="the engine has ended"):
            await ids_of(thread, request_of(2))

    asyncio.run(closed_meanwhile(EngineThread(engine)))
    assert not [thread for thread in threading.enumerate() if thread.name == "engine"]


def test_an_engine_that_breaks_tells_all_who_wait(engine, monkeypatch):
    def broken():
        raise MemoryError("no more")

    async def told(thread: EngineThread):
        with pytest.raises(MemoryError, match="no more"):
            await ids_of(thread, request_of(1))

    monkeypatch.setattr(engine, "step", broken)
    with EngineThread(engine) as thread:
        asyncio.run(told(thread))
