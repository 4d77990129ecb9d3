"""A TCP proxy in front of Kafka's brokers that knows requests by their API, and makes what networks do happen on purpose.

    with Proxy("broker:9092") as proxy:
        lost = proxy.add(Rule(Action.DROP_RESPONSE, Api.END_TXN, nth=2))
        ...                                 # a client with bootstrap.servers = proxy.bootstrap
        assert lost.wait(30)                # it has happened

Clients stay behind the proxy: the addresses that brokers tell are replaced by listeners of the proxy, one for each
broker, so that nothing of the cluster's settings changes. Clients speak plain text to it; ``tls`` is for its own
connections to the brokers, and SASL passes through. Made for librdkafka's clients.

It works in a thread of its own; every public method may be called from any thread.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from bridge.testing.frames import LONGEST, Request, correlation_of, framed, request_of, rewritten

LOCALHOST: Final = "127.0.0.1"
ANSWER_SECONDS: Final = 5.0  # how long a broker is waited for whose client went away
_T = TypeVar("_T")
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


class Action(Enum):
    """What happens to the frame that a rule meets."""

    DROP_RESPONSE = "the request takes effect, its answer is lost, the connection stays"
    HOLD_REQUEST = "the request waits, even if the client gives it up, and is delivered then"
    HOLD_RESPONSE = "the answer waits"
    RESET_BEFORE = "the connection is reset, the request never arrives"
    RESET_AFTER = "the request takes effect, the connection is reset instead of an answer"


_ON_REQUEST: Final = frozenset({Action.HOLD_REQUEST, Action.RESET_BEFORE})


class Rule:
    """``action`` for the ``nth`` request of an API since the rule was added, and for ``times`` in all.

    Without ``seconds`` what is held waits for ``release``.
    """

    def __init__(self, action: Action, api: int, *, nth: int = 1, times: int = 1, seconds: float | None = None) -> None:
        self.action = action
        self.api = api
        self.fired = 0
        self._first = nth
        self._last = nth + times - 1
        self._seconds = seconds
        self._met = 0
        self._fired = threading.Event()
        self._answered = threading.Event()
        self._let_go = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def wait(self, seconds: float) -> bool:
        """Wait until it happened for the first time; False if it did not."""
        return self._fired.wait(seconds)

    def delivered(self, seconds: float) -> bool:
        """Wait until the broker answered a request that was held; False if it did not."""
        return self._answered.wait(seconds)

    def answered(self) -> None:
        """For the proxy."""
        self._answered.set()

    def release(self) -> None:
        """Let go of what is held, and hold nothing more."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._let_go.set)

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """For the proxy: where its events live."""
        self._loop = loop

    def meets(self, api: int, *, request: bool) -> bool:
        """For the proxy: count a frame, and say whether this one is meant."""
        if api != self.api or request != (self.action in _ON_REQUEST):
            return False
        self._met += 1
        if not self._first <= self._met <= self._last:
            return False
        self.fired += 1
        self._fired.set()
        return True

    async def hold(self) -> None:
        """For the proxy."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._let_go.wait(), self._seconds)


class Proxy:
    """Listens on this machine for the brokers behind ``bootstrap`` ("host:port", or several with commas)."""

    def __init__(self, bootstrap: str, tls: ssl.SSLContext | None = None) -> None:
        self._first = [_address(text) for text in bootstrap.split(",")]
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._rules: list[Rule] = []
        self._ports: dict[tuple[str, int], int] = {}
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self.delay_seconds = 0.0  # of every frame, in each direction
        self.bytes_per_second = 0.0  # of each connection and direction; 0: as fast as it can

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def bootstrap(self) -> str:
        """``bootstrap.servers`` for clients that shall be behind the proxy."""
        return ",".join(f"{LOCALHOST}:{self._do(self._listener(*address))}" for address in self._first)

    def add(self, rule: Rule) -> Rule:
        """From now on, until ``clear``."""
        rule.bind(self._loop)
        self._rules = [*self._rules, rule]
        return rule

    def clear(self) -> None:
        """No rules, no delay, an open network: what is held is let go."""
        rules, self._rules = self._rules, []
        self.delay_seconds = self.bytes_per_second = 0.0
        for rule in rules:
            rule.release()
        self.heal()

    def black_hole(self) -> None:
        """Nothing goes through any more, and nobody is told: connections stay, new ones are taken."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def heal(self) -> None:
        """What the black hole has swallowed comes through."""
        self._loop.call_soon_threadsafe(self._open.set)

    def reset_all(self) -> int:
        """Reset every connection of a client; how many there were."""
        return self._do(self._reset_all())

    # -- in the proxy's thread -----------------------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listener(self, host: str, port: int) -> int:
        return self.listen(host, port)[1]

    async def _reset_all(self) -> int:
        links = list(self._links)
        for link in links:
            link.reset()
        return len(links)

    async def _end(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # for connections to see that they are closed: they say so in the loop's next rounds

    def listen(self, host: str, port: int) -> tuple[str, int]:
        """Where clients find this broker; a listener of its own is opened where there is none yet."""
        found = self._ports.get((host, port))
        if found is None:
            listening = socket.create_server((LOCALHOST, 0), backlog=128)
            found = self._ports[host, port] = int(listening.getsockname()[1])
            self._spawn(self._serve(listening, host, port))
        return LOCALHOST, found

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _serve(self, listening: socket.socket, host: str, port: int) -> None:
        def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._spawn(self._take(reader, writer, host, port))

        server = await asyncio.start_server(take, sock=listening)
        try:
            await self._loop.create_future()
        finally:
            server.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
        try:
            upstream = await asyncio.open_connection(host, port, ssl=self._tls)
            link = _Link(self, (reader, writer), upstream)
            self._links.add(link)
            try:
                await link.run()
            finally:
                self._links.discard(link)
        except OSError:
            pass  # the client sees it: its connection ends
        finally:
            writer.transport.abort()

    def meets(self, api: int, *, request: bool) -> Rule | None:
        """The rule that is meant for this frame; each rule counts every one of its API."""
        return next(iter([rule for rule in self._rules if rule.meets(api, request=request)]), None)

    async def travel(self, size: int) -> None:
        """What the network between costs a frame."""
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)
        if self.bytes_per_second:
            await asyncio.sleep(size / self.bytes_per_second)
        await self._open.wait()


class _Link:
    """A client's connection and the one to its broker."""

    def __init__(self, proxy: Proxy, client: _Streams, broker: _Streams) -> None:
        self._proxy = proxy
        self._client, self._broker = client, broker
        self._asked: dict[int, Request] = {}
        self._held: dict[int, Rule] = {}
        self._silent = asyncio.Event()  # nothing is unanswered
        self._silent.set()

    async def run(self) -> None:
        """Until one of both goes away."""
        answers = asyncio.ensure_future(self._answers())
        try:
            await self._requests()
            with suppress(TimeoutError):  # a request that its client gave up takes effect all the same
                await asyncio.wait_for(self._silent.wait(), ANSWER_SECONDS)
        except (OSError, EOFError):
            pass
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            self._client[1].transport.abort()
            self._broker[1].transport.abort()

    def reset(self) -> None:
        """The client's side ends with RST."""
        place = self._client[1].get_extra_info("socket")
        if place is not None:
            with suppress(OSError):
                place.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._client[1].transport.abort()

    async def _requests(self) -> None:
        while (content := await _read(self._client[0])) is not None:
            request = request_of(content)
            rule = self._proxy.meets(request.api, request=True)
            if rule is not None and rule.action is Action.RESET_BEFORE:
                self.reset()
                return
            self._asked[request.correlation] = request
            self._silent.clear()
            if rule is not None:
                self._held[request.correlation] = rule
                await rule.hold()
            await self._proxy.travel(len(content))
            if self._broker[1].is_closing():
                return
            self._broker[1].write(framed(content))
            await self._broker[1].drain()

    async def _answers(self) -> None:
        try:
            while (content := await _read(self._broker[0])) is not None:
                await self._answer(content)
        except (OSError, EOFError):
            pass
        finally:
            self._silent.set()
            self._client[1].transport.abort()  # the broker went away

    async def _answer(self, content: bytes) -> None:
        correlation = correlation_of(content)
        request = self._asked.pop(correlation, None)
        if (held := self._held.pop(correlation, None)) is not None:
            held.answered()
        if not self._asked:
            self._silent.set()
        if request is not None:
            rule = self._proxy.meets(request.api, request=False)
            if rule is not None and rule.action is Action.DROP_RESPONSE:
                return
            if rule is not None and rule.action is Action.RESET_AFTER:
                self.reset()
                return
            if rule is not None:
                await rule.hold()
            content = rewritten(request, content, self._proxy.listen)
        await self._proxy.travel(len(content))
        if not self._client[1].is_closing():  # it may have given up; what it asked for took effect all the same
            self._client[1].write(framed(content))
            with suppress(OSError):
                await self._client[1].drain()


async def _read(reader: asyncio.StreamReader) -> bytes | None:
    """One frame's content; None at the end of the stream."""
    try:
        size = int.from_bytes(await reader.readexactly(4), "big")
        if size > LONGEST:
            return None
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError:
        return None


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.strip().rpartition(":")
    return host.strip("[]"), int(port)
