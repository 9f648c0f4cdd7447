"""The fan-out of a worker: what its feed hears goes on to the callers that follow it by Watch streams.

Threat: a caller that reads slowly, or not at all, and for whom ever more is kept. So nothing is kept for a stream but
its position in one ring of messages that all streams share. The ring is bounded; who has fallen off it is told to
start anew. A message is built and serialized once, and messages that are read together are joined: protobuf reads
encodings that stand one behind the other as one message.

What the worker has committed itself is sent before any look sees it. The look that sees it does not send it again.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

from watchword.server.call import Caller
from watchword.server.errors import DatabaseUnavailable, ShuttingDown, TimedOut
from watchword.server.feed import Feed
from watchword.server.identifiers import key_object, node, service_object
from watchword.server.storage.events import Change
from watchword.server.storage.snapshot import Visible
from watchword.v1 import watch_pb2 as pb

_MAX_MESSAGES: Final = 10_000
_MAX_NODES: Final = 200_000
"""In the ring. A change counts as one more than it has."""
_MESSAGE_NODES: Final = 5_000
"""In one message: what grpc holds for a stream that does not read, about 50 KB."""
_MAX_PINGS: Final = 10
"""Not answered yet. More are not read: they wait in the transport, and are no work."""
_LOOK_SECONDS: Final = 3.0
"""A look takes milliseconds. Who begins while the database is away is better off with another server."""


class Watcher:
    """An open stream: its position, and what it waits for."""

    __slots__ = (
        "_has_room",
        "_timer",
        "failure",
        "heard",
        "history",
        "is_done",
        "is_suspect",
        "nodes",
        "pings",
        "position",
        "until",
        "wakes",
    )

    def __init__(self, caller: Caller) -> None:
        self.nodes = (node(key_object(caller.key_id)), node(service_object(caller.service_account_id)))
        # Something may have happened to its key between its authentication and now.
        self.is_suspect = True
        """Whether it has to be asked anew if the key by which the stream was opened is good."""
        self.until = caller.until
        """When that has to be asked anew in any case."""
        self.position = -1
        self.history = -1
        self.pings: list[tuple[int, int]] = []
        """Those not answered: the number of a look that began after it came, and its own."""
        self._has_room = asyncio.Event()
        self.wakes = asyncio.Event()
        self.heard = asyncio.get_running_loop().time()
        """When the last ping came."""
        self._timer: asyncio.TimerHandle | None = None
        self.is_done = False
        self.failure: Exception | None = None

    def end(self, failure: Exception | None = None) -> None:
        """Let it end, for a reason or because the caller has no more to say."""
        if not self.is_done:
            self.is_done, self.failure = True, failure
            self.wakes.set()
        if self._timer is not None:
            self._timer.cancel()

    def limit_silence(self, seconds: float) -> None:
        """End it when it has not been heard of for so long. One timer, which is moved on when it fires."""
        loop = asyncio.get_running_loop()
        left = self.heard + seconds - loop.time()
        if self.is_done:
            return
        if left > 0:
            self._timer = loop.call_later(left, self.limit_silence, seconds)
        else:
            self.end(TimedOut())

    async def woken(self) -> None:
        """Wait until there is something to do.

        Raises:
            the reason for which it has been ended.

        """
        await self.wakes.wait()
        self.wakes.clear()
        self.require_open()

    def require_open(self) -> None:
        """Go on only if nothing has ended it.

        Raises:
            the reason for which it has been ended.

        """
        if self.failure is not None:
            raise self.failure

    def waits_beyond(self, look: int) -> bool:
        """Whether a ping came after a look had begun."""
        return bool(self.pings) and self.pings[-1][0] > look

    def answerable(self, look: int) -> list[int]:
        """Take the pings that came before a look began."""
        numbers = [number for after, number in self.pings if after <= look]
        if numbers:
            del self.pings[: len(numbers)]
            self._has_room.set()
        return numbers

    async def room(self) -> None:
        """Wait until it may ask more.

        Threat: pings without end, each of which is an answer to write and perhaps a look at the database.
        """
        while len(self.pings) >= _MAX_PINGS:
            self._has_room.clear()
            await self._has_room.wait()


@dataclass(frozen=True, slots=True)
class Moment:
    """How far the feed has come."""

    end: int
    """Behind the last message of the ring."""
    visible: Visible
    checkpoint: str
    look: int
    batches: int
    """How many looks saw changes."""


class FanOut:
    """Tells the worker's streams (see `Follower`)."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._ring: dict[int, tuple[bytes, int]] = {}
        self._first = self._end = 0
        self._size = 0
        self._ahead: dict[int, Change] = {}
        self._batches = 0
        self._watchers: set[Watcher] = set()
        self._by_node: dict[int, set[Watcher]] = {}
        self._waiting: set[Watcher] = set()
        self._is_over = False
        self._now: Moment | None = None
        self.epoch = ""
        self.history = 0
        """Another number, and what was heard before does not go on: it is another epoch, or that is not known."""
        feed.follow(self)

    # ----- streams ----------------------------------------------------------------------------------------------------

    @contextmanager
    def watching(self, watcher: Watcher) -> Iterator[None]:
        """Wake a stream whenever there is something for it."""
        self._watchers.add(watcher)
        for name in watcher.nodes:
            self._by_node.setdefault(name, set()).add(watcher)
        if self._is_over:
            watcher.end(ShuttingDown())
        try:
            yield
        finally:
            self._watchers.discard(watcher)
            self._waiting.discard(watcher)
            for name in watcher.nodes:
                others = self._by_node[name]
                others.discard(watcher)
                if not others:
                    del self._by_node[name]

    def ping(self, watcher: Watcher, number: int, *, promptly: bool) -> None:
        """Wake a stream when a look that has not begun yet is done."""
        watcher.heard = asyncio.get_running_loop().time()
        watcher.pings.append((self._feed.next_look, number))
        self._waiting.add(watcher)
        if promptly:
            self._feed.nudge()

    @property
    def stream_count(self) -> int:
        """How many streams are open."""
        return len(self._watchers)

    @property
    def now(self) -> Moment | None:
        """How far the feed has come; None: it does not know where it is."""
        return self._now

    async def look(self, watcher: Watcher) -> Moment:
        """Wait for a look that begins after this call.

        Raises:
            DatabaseUnavailable: it does not come.

        """
        look = self._feed.next_look
        self._feed.nudge()
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                while (now := self.now) is None or now.look < look:
                    self._waiting.add(watcher)
                    await watcher.woken()
        except TimeoutError:
            raise DatabaseUnavailable from None
        return now

    def join(self, watcher: Watcher) -> Sequence[Change]:
        """Put a stream behind the last message; give what was sent ahead of what is visible by now."""
        watcher.position, watcher.history = self._end, self.history
        return tuple(self._ahead.values())

    def has_lost(self, watcher: Watcher) -> bool:
        """Whether what comes next for a stream is not in the ring any more."""
        return watcher.position < self._first or watcher.history != self.history

    def take(self, watcher: Watcher, end: int) -> bytes:
        """Take the next messages for a stream that has not lost its place, as one."""
        parts: list[bytes] = []
        size = 0
        while watcher.position < end:
            data, nodes = self._ring[watcher.position]
            size += nodes
            if parts and size > _MESSAGE_NODES:
                break
            parts.append(data)
            watcher.position += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def end(self) -> None:
        """End all streams, now and from now on: the server is shutting down."""
        self._is_over = True
        for watcher in self._watchers:
            watcher.end(ShuttingDown())

    # ----- following --------------------------------------------------------------------------------------------------

    def apply(self, changes: Sequence[Change], visible: Visible) -> None:
        """See `Follower`. What it does not see yet is the worker's own."""
        if changes and not visible.sees(changes[0].xid):
            self._ahead |= {change.xid: change for change in changes}
            self._add(changes, checkpoint="")
            if self._now is not None:
                self._now = replace(self._now, end=self._end)
        else:
            ahead, checkpoint = self._ahead, f"{self.epoch}.{visible}"
            if changes:
                self._batches += 1
                self._add([change for change in changes if change.xid not in ahead], checkpoint)
            if ahead:
                self._ahead = {xid: change for xid, change in ahead.items() if not visible.sees(xid)}
            self._now = Moment(self._end, visible, checkpoint, self._feed.completed, self._batches)
            self._wake(self._waiting)
            self._waiting = {watcher for watcher in self._waiting if watcher.waits_beyond(self._feed.completed)}
        if changes:
            self._suspect(changes)
            self._wake(self._watchers)

    def forget(self, visible: Visible | None, epoch: str) -> None:
        """See `Follower`: no position holds any more."""
        if visible is None or self._now is None or epoch != self.epoch:
            self.history += 1
        self.epoch = epoch
        self._batches += 1
        self._ring.clear()
        self._size = 0
        self._first = self._end = self._end + 1
        self._ahead.clear()
        self._now = None
        if visible is not None:
            self._now = Moment(self._end, visible, f"{epoch}.{visible}", self._feed.completed, self._batches)
        for watcher in self._watchers:
            watcher.is_suspect = True
        self._wake(self._watchers)

    def _add(self, changes: Sequence[Change], checkpoint: str) -> None:
        for data, nodes in encoded(changes, checkpoint):
            self._ring[self._end] = data, nodes
            self._end += 1
            self._size += nodes
        while self._size > _MAX_NODES or len(self._ring) > _MAX_MESSAGES:
            self._size -= self._ring.pop(self._first)[1]
            self._first += 1

    def _suspect(self, changes: Sequence[Change]) -> None:
        for change in changes:
            for name in change.nodes:
                for watcher in self._by_node.get(name, ()):
                    watcher.is_suspect = True

    @staticmethod
    def _wake(watchers: set[Watcher]) -> None:
        for watcher in watchers:
            watcher.wakes.set()


# ----- messages -------------------------------------------------------------------------------------------------------


def encoded(changes: Sequence[Change], checkpoint: str) -> Iterator[tuple[bytes, int]]:
    """Write changes as messages, each with its size in nodes; what they lead to stands in the last one."""
    message, size = pb.WatchChanges(), 0
    for change in changes:
        for start in range(0, len(change.nodes), _MESSAGE_NODES):
            nodes = change.nodes[start : start + _MESSAGE_NODES]
            if size + len(nodes) > _MESSAGE_NODES:
                yield pb.WatchResponse(changes=message).SerializeToString(), size
                message, size = pb.WatchChanges(), 0
            message.changes.append(message_of(change, nodes))
            size += len(nodes) + 1
    if size:
        message.checkpoint = checkpoint
        yield pb.WatchResponse(changes=message).SerializeToString(), size


def message_of(change: Change, nodes: Sequence[int]) -> pb.Change:
    """Write a change, or a part of one that names many nodes."""
    return pb.Change(transaction_id=change.xid, nodes=nodes, concerns_tokens=change.concerns_tokens)
