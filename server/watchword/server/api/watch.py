"""WatchService.

A stream sends what changed either from the ring that all streams share (`fan_out`), or, if it asked for details, from
the log: it goes from snapshot to snapshot and reads what lies in between. So a stream that asked for details never
loses its place, however slow it is; those that did not, which are many, cost no statements.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Final, Protocol

from watchword.server.access import Authenticator
from watchword.server.api.change_details import changes_of, messages_of
from watchword.server.call import Call
from watchword.server.errors import InvalidField, TimedOut
from watchword.server.fan_out import FanOut, Moment, Watcher, encoded, message_of
from watchword.server.identifiers import Clock
from watchword.server.pipeline import open_ended
from watchword.server.storage.database import Database
from watchword.server.storage.snapshot import Visible
from watchword.server.storage.watched import Watched
from watchword.server.streams import Streams
from watchword.v1 import watch_pb2 as pb

_SILENCE_SECONDS: Final = 30.0
_TOKEN_MARGIN: Final = timedelta(minutes=2)
"""Clocks may differ by so much, and transactions take so long."""
_MAX_DETAILED: Final = 100
"""Each of them asks the database whenever something changes."""
_MAX_READING: Final = 4
"""Streams that ask the database at a time: there may be thousands, and calls need its connections too."""
_CHECKPOINT: Final = re.compile(r"([^.]*)\.([0-9]{1,18}):([0-9]{1,18}):((?:[0-9]{1,18}(?:,[0-9]{1,18})*)?)")


class _Source(Protocol):
    """Where a stream gets its changes from."""

    permissions: Sequence[str]

    @property
    def is_lost(self) -> bool:
        """Whether it cannot go on."""

    def begin(self, now: Moment) -> Sequence[bytes]:
        """Go on from now; give what was sent to others ahead of that."""

    async def resume(self, now: Moment, since: Visible) -> Sequence[bytes] | None:
        """Go on from a snapshot of before; None if that is not possible."""

    def news(self, now: Moment) -> AsyncGenerator[bytes]:
        """Tell all that has changed up to now, unless it is lost meanwhile."""


class _Log:
    """The log, as the streams share it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._places = asyncio.Semaphore(_MAX_READING)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Watched]:
        """Read, when it is one's turn."""
        async with self._places, self._database.read() as reader:
            yield Watched(reader)


class _Beginning:
    """Where streams begin, and the two messages by which they are told."""

    def __init__(self, started: pb.WatchStarted) -> None:
        self.started = pb.WatchResponse(started=started).SerializeToString()
        self.resynchronize = pb.WatchResponse(resynchronize=pb.WatchResynchronize(started=started)).SerializeToString()


class WatchService:
    """Serves the feed."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        fan_out: FanOut,
        *,
        token_lifetime: timedelta,
        clock: Clock,
    ) -> None:
        self._log = _Log(database)
        self._authenticator = authenticator
        self._fan_out = fan_out
        self._token_lifetime = token_lifetime
        self._clock = clock
        self._asking = asyncio.Semaphore(_MAX_READING)
        self._detailed = Streams(_MAX_DETAILED)
        self._beginning: tuple[str, asyncio.Task[_Beginning]] | None = None
        self.resynchronizations = 0
        """Streams that were told that they have lost their place."""

    @open_ended
    async def Watch(self, requests: AsyncIterator[pb.WatchRequest], call: Call) -> AsyncGenerator[bytes]:
        start, since = await _start(requests)
        watcher = Watcher(call.caller)
        source: _Source = _Ring(self._log, self._fan_out, watcher)
        if start.include_details:
            call.caller.require("read_relationships")
            source = _Details(self._log, self._fan_out, watcher, frozenset(start.object_types))
        with self._detailed.place() if start.include_details else nullcontext(), self._fan_out.watching(watcher):
            listening = asyncio.create_task(self._listen(requests, watcher))
            try:
                for message in await self._begin(watcher, source, start.checkpoint, since):
                    await self._require_good_key(watcher, source, call)
                    yield message
                async for message in self._go_on(watcher, source, call):
                    yield message
            finally:
                watcher.end()
                listening.cancel()

    async def _listen(self, requests: AsyncIterator[pb.WatchRequest], watcher: Watcher) -> None:
        """Take pings until the caller has no more of them."""
        watcher.limit_silence(_SILENCE_SECONDS)
        try:
            async for request in requests:
                if request.WhichOneof("request") != "ping":
                    raise InvalidField([("ping", "must be set: only the first message is a start")])  # noqa: TRY301
                self._fan_out.ping(watcher, request.ping.number, promptly=request.ping.promptly)
                await watcher.room()
            watcher.end()
        except Exception as error:  # noqa: BLE001  # whatever it is, the stream ends with it
            watcher.end(error)

    async def _begin(
        self, watcher: Watcher, source: _Source, checkpoint: str, since: tuple[str, Visible] | None
    ) -> list[bytes]:
        now = await self._fan_out.look(watcher)
        if since is not None and since[0] == self._fan_out.epoch and now.visible.covers(since[1]):
            missed = await source.resume(now, since[1])
            if missed is not None:
                started = pb.WatchStarted(checkpoint=checkpoint, resumed=True)
                return [pb.WatchResponse(started=started).SerializeToString(), *missed]
        beginning, ahead = await self._begin_anew(watcher, source)
        return [beginning.started, *ahead]

    async def _begin_anew(self, watcher: Watcher, source: _Source) -> tuple[_Beginning, Sequence[bytes]]:
        now = self._fan_out.now or await self._fan_out.look(watcher)
        # Before anything is waited for: what comes from now on waits for the stream.
        ahead = source.begin(now)
        kept = self._beginning
        if kept is None or kept[0] != now.checkpoint or (kept[1].done() and kept[1].exception() is not None):
            # Once for all that begin at the same snapshot: thousands, when a server was started anew.
            self._beginning = kept = now.checkpoint, asyncio.create_task(self._read_beginning(now))
        return await asyncio.shield(kept[1]), ahead

    async def _read_beginning(self, now: Moment) -> _Beginning:
        cutoff = self._clock() - self._token_lifetime - _TOKEN_MARGIN
        async with self._log.read() as watched:
            found = await watched.token_changes(now.visible, cutoff=cutoff)
        return _Beginning(
            pb.WatchStarted(
                checkpoint=now.checkpoint,
                tokens_since=found.since,
                token_changes=[message_of(change, change.nodes) for change in found.changes],
            )
        )

    async def _go_on(self, watcher: Watcher, source: _Source, call: Call) -> AsyncGenerator[bytes]:
        while not watcher.is_done:
            watcher.wakes.clear()
            await self._require_good_key(watcher, source, call)
            now = self._fan_out.now
            if now is None or source.is_lost:
                beginning, ahead = await self._begin_anew(watcher, source)
                self.resynchronizations += 1
                for message in (beginning.resynchronize, *ahead):
                    yield message
                continue
            async for message in source.news(now):
                await self._require_good_key(watcher, source, call)
                yield message
            if source.is_lost:
                continue
            for number in watcher.answerable(now.look):
                pong = pb.WatchPong(number=number, checkpoint=now.checkpoint)
                yield pb.WatchResponse(pong=pong).SerializeToString()
            await watcher.wakes.wait()
        watcher.require_open()

    async def _require_good_key(self, watcher: Watcher, source: _Source, call: Call) -> None:
        """Go on only if the key by which the stream was opened is good.

        Threat: whose key is revoked goes on to follow everything that happens, on a stream of before.

        Raises:
            ApiKeyInvalid, PermissionMissing, DatabaseUnavailable

        """
        watcher.require_open()
        if watcher.is_suspect or (watcher.until is not None and watcher.until <= self._clock()):
            watcher.is_suspect = False
            async with self._asking:
                caller = await self._authenticator.again(call.caller)
            for permission in source.permissions:
                caller.require(permission)
            watcher.until = caller.until


class _Ring:
    """What changed, from the ring that all streams share."""

    permissions: Sequence[str] = ("watch",)

    def __init__(self, log: _Log, fan_out: FanOut, watcher: Watcher) -> None:
        self._log = log
        self._fan_out = fan_out
        self._watcher = watcher

    @property
    def is_lost(self) -> bool:
        return self._fan_out.has_lost(self._watcher)

    def begin(self, _now: Moment) -> Sequence[bytes]:
        ahead = self._fan_out.join(self._watcher)
        return [message for message, _ in encoded(ahead, "")]

    async def resume(self, now: Moment, since: Visible) -> Sequence[bytes] | None:
        ahead = self.begin(now)
        async with self._log.read() as watched:
            missed = await watched.changes(since, now.visible)
        if missed is None:
            return None
        return [*(message for message, _ in encoded(missed, now.checkpoint)), *ahead]

    async def news(self, now: Moment) -> AsyncGenerator[bytes]:
        while not self.is_lost and self._watcher.position < now.end:
            yield self._fan_out.take(self._watcher, now.end)


class _Details:
    """What happened, from the log."""

    permissions: Sequence[str] = ("watch", "read_relationships")

    def __init__(self, log: _Log, fan_out: FanOut, watcher: Watcher, object_types: frozenset[str]) -> None:
        self._log = log
        self._fan_out = fan_out
        self._watcher = watcher
        self._object_types = object_types
        self._at: Visible | None = None
        self._batches = -1

    @property
    def is_lost(self) -> bool:
        return self._watcher.history != self._fan_out.history

    def begin(self, now: Moment) -> Sequence[bytes]:
        self._fan_out.join(self._watcher)
        self._at, self._batches = now.visible, now.batches
        return ()

    async def resume(self, now: Moment, since: Visible) -> Sequence[bytes] | None:
        self.begin(now)
        self._at, self._batches = since, -1
        return ()

    async def news(self, now: Moment) -> AsyncGenerator[bytes]:
        if self._at is None or self._batches == now.batches:
            return
        after, is_last = 0, False
        while not is_last:
            messages, after, is_last = await self._page(self._at, now, after)
            if self.is_lost:
                return
            for message in messages:
                yield message
        self._at, self._batches = now.visible, now.batches

    async def _page(self, since: Visible, now: Moment, after: int) -> tuple[list[bytes], int, bool]:
        """Read a page, as messages: a stream that does not read holds these, and not what they were made of."""
        async with self._log.read() as watched:
            events, is_last = await watched.events(since, now.visible, after=after)
        changes = [change for event in events for change in changes_of(event, self._object_types)]
        messages = list(messages_of(changes, now.checkpoint if is_last else ""))
        return messages, events[-1].event_id if events else after, is_last


# ----- requests -------------------------------------------------------------------------------------------------------


async def _start(requests: AsyncIterator[pb.WatchRequest]) -> tuple[pb.WatchStart, tuple[str, Visible] | None]:
    """Take the first message, and the epoch and snapshot at which it wants to go on."""
    try:
        async with asyncio.timeout(_SILENCE_SECONDS):
            request = await anext(requests, None)
    except TimeoutError:
        raise TimedOut from None
    if request is None or request.WhichOneof("request") != "start":
        raise InvalidField([("start", "must be the first message")])
    start = request.start
    if start.object_types and not start.include_details:
        raise InvalidField([("start.object_types", "must be empty without include_details")])
    return start, _parsed(start.checkpoint) if start.checkpoint else None


def _parsed(checkpoint: str) -> tuple[str, Visible]:
    found = _CHECKPOINT.fullmatch(checkpoint)
    if found is not None:
        epoch, _, snapshot = checkpoint.partition(".")
        visible = Visible.parse(snapshot)
        if 0 < visible.xmin <= visible.xmax and all(visible.xmin <= xid < visible.xmax for xid in visible.running):
            return epoch, visible
    raise InvalidField([("start.checkpoint", "must be a checkpoint of an earlier stream")])
