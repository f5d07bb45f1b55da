"""The engine in a thread of its own: many callers, each with an asynchronous stream of tokens."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future
from contextlib import suppress

from cloche.generation.engine import Engine
from cloche.generation.request import GenerationRequest, TokenEvent

Listener = Callable[[TokenEvent | Exception], None]


class EngineThread:
    """Runs an engine until `close`; from any thread and any event loop requests can be given.

    Its thread owns the engine: nobody else may use it meanwhile. A context that closes it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._changed = threading.Condition()
        self._orders: list[Callable[[], None]] = []
        self._listeners: dict[int, Listener] = {}
        self._unfinished: dict[int, int] = {}
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="engine", daemon=True)
        self._thread.start()

    def __enter__(self) -> "EngineThread":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[TokenEvent]:
        """The events of a request as they come.

        Closing the iterator, or cancelling who awaits it, cancels the request and frees its rows.
        An answer that fails ends with an event that bears its error, and the others go on. Raises
        what `Engine.submit` raises, and RuntimeError where the engine has ended.
        """
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[TokenEvent | Exception] = asyncio.Queue()

        def hear(event: TokenEvent | Exception) -> None:
            loop.call_soon_threadsafe(arrived.put_nowait, event)

        request_id = await asyncio.wrap_future(self._submit(request, hear))
        left = request.n
        try:
            while left:
                event = await arrived.get()
                if isinstance(event, Exception):
                    raise event
                left -= event.finish_reason is not None
                yield event
        finally:
            if left:
                with suppress(RuntimeError):  # an engine that has ended has freed all its rows
                    self._order(lambda: self._forget(request_id))

    def close(self) -> None:
        """End the thread; whoever still waits for tokens gets a RuntimeError."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _submit(self, request: GenerationRequest, listener: Listener) -> "Future[int]":
        promised: Future[int] = Future()

        def submit() -> None:
            if not promised.set_running_or_notify_cancel():
                return
            try:
                request_id = self._engine.submit(request)
            except Exception as exc:  # whatever it is, it belongs to who asked
                promised.set_exception(exc)
                return
            self._listeners[request_id] = listener
            self._unfinished[request_id] = request.n
            promised.set_result(request_id)

        self._order(submit)
        return promised

    def _order(self, order: Callable[[], None]) -> None:
        """Have the engine's thread do something between two steps."""
        with self._changed:
            if self._closing:
                raise RuntimeError("the engine has ended")
            self._orders.append(order)
            self._changed.notify()

    def _work(self) -> None:
        ending: Exception = RuntimeError("the engine has ended")
        try:
            while self._obey():
                for event in self._engine.step():
                    self._pass_on(event)
        except Exception as exc:  # told to all who wait, below
            ending = exc
        with self._changed:
            self._closing = True
            orders, self._orders = self._orders, []
        for order in orders:
            order()  # who has just asked hears of the end like all others
        for listener in self._listeners.values():
            with suppress(RuntimeError):  # an event loop that is closed waits for nothing
                listener(ending)

    def _obey(self) -> bool:
        """Do what was ordered, and wait for orders where nothing is to do; whether to go on."""
        with self._changed:
            while not (self._orders or self._closing or self._engine.busy):
                self._changed.wait()
            orders, self._orders = self._orders, []
            going_on = not self._closing
        for order in orders:
            order()
        return going_on

    def _pass_on(self, event: TokenEvent) -> None:
        request_id = event.request_id
        listener = self._listeners.get(request_id)
        if listener is None:  # who asked was gone at an earlier event of this step
            return
        if event.finish_reason is not None:
            self._unfinished[request_id] -= 1
            if not self._unfinished[request_id]:
                self._forget(request_id)
        try:
            listener(event)
        except RuntimeError:  # its event loop is closed: nobody hears it, and the others go on
            self._forget(request_id)

    def _forget(self, request_id: int) -> None:
        self._engine.cancel(request_id)
        self._listeners.pop(request_id, None)
        self._unfinished.pop(request_id, None)
