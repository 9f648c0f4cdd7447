"""What a process knows of the feed: what has changed, and how sure it is that it has heard of all changes.

Pure state, told the messages and the time by whoever reads the stream. How complete it is, is proven and not assumed:
the server answers a ping after it has sent all that was visible in a snapshot which it took after the ping came, so
this process has heard of everything that was committed before it sent that ping. Only its own monotonic clock plays
a part; no two clocks are ever compared.

One thread tells it; others read at the same time. So the order of assignments matters here.
"""

from collections.abc import Callable
from typing import Final

from watchword.client._recent import Change, Recent, Snapshot
from watchword.client.revisions import Revisions, parse_revision
from watchword.v1 import watch_pb2

_NEVER: Final = float("-inf")
# What an int in a dictionary, in a deque and in a tuple takes, about.
_NODE_BYTES: Final = 160


class Following:
    """The feed, as one process has heard it."""

    def __init__(self, revisions: Revisions, *, max_staleness: float, max_bytes: int) -> None:
        self._revisions = revisions
        self._max_staleness = max_staleness
        self._pings: dict[int, float] = {}
        self._number = 0
        self._settled = 0
        self._passed = ""
        self._on_forget: list[Callable[[], None]] = []
        self.changes = Recent(max_bytes // 2 // _NODE_BYTES)
        """All changes."""
        self.token_changes = Recent(max_bytes // 2 // _NODE_BYTES)
        """Those that tokens depend on; remembered apart, so that others do not crowd them out."""
        self.snapshot: Snapshot | None = None
        """All that it sees has been heard."""
        self.horizon = 0
        """The snapshot's xmin: every change before it has been heard."""
        self.checkpoint = ""
        """Where to go on."""
        self.proven = _NEVER
        """The moment before which nothing is missing."""
        self.fresh_until = _NEVER
        """Until when what is kept may be used."""
        self.round_trip = 0.0
        """Seconds that the last ping took."""
        self.resynchronizations = 0

    def on_forget(self, forget: Callable[[], None]) -> None:
        """Have something called whenever all must be forgotten."""
        self._on_forget.append(forget)

    @property
    def epoch(self) -> str:
        """The history of the database that is followed; "" before it is known."""
        snapshot = self.snapshot
        return snapshot.epoch if snapshot is not None else ""

    # ----- talking to the server --------------------------------------------------------------------------------------

    def start(self) -> watch_pb2.WatchRequest:
        """The first message of a stream: to go on where the last one ended, if there was one."""
        self._pings.clear()
        return watch_pb2.WatchRequest(start=watch_pb2.WatchStart(checkpoint=self.checkpoint))

    def ping(self, now: float, *, promptly: bool) -> watch_pb2.WatchRequest:
        """The next ping, which is sent now."""
        self._number += 1
        self._pings[self._number] = now
        return watch_pb2.WatchRequest(ping=watch_pb2.WatchPing(number=self._number, promptly=promptly))

    def awaits(self, number: int) -> bool:
        """Whether a ping is unanswered."""
        return number in self._pings

    def unanswered_since(self) -> float | None:
        """When the oldest ping was sent to which no answer came."""
        # A copy: one thread sends pings, and another one hears the answers.
        return next(iter(tuple(self._pings.values())), None)

    def receive(self, response: watch_pb2.WatchResponse, now: float) -> None:
        """Take what the server says.

        Raises:
            ValueError: It makes no sense.

        """
        kind = response.WhichOneof("response")
        if kind == "changes":
            self._take(response.changes)
        elif kind == "pong":
            self._hear(response.pong, now)
        elif kind == "started":
            self._begin(response.started)
        elif kind == "resynchronize":
            self.resynchronizations += 1
            self._forget(response.resynchronize.started)

    def _begin(self, started: watch_pb2.WatchStarted) -> None:
        if started.resumed and self.snapshot is not None:
            return  # what was missed comes as changes
        self._forget(started)

    def _take(self, message: watch_pb2.WatchChanges) -> None:
        for given in message.changes:
            change = Change(given.transaction_id, tuple(given.nodes), given.concerns_tokens)
            self.changes.add(change)
            if change.concerns_tokens:
                self.token_changes.add(change)
        if message.checkpoint:
            self._stand_at(message.checkpoint)

    def _hear(self, pong: watch_pb2.WatchPong, now: float) -> None:
        sent_at = self._pings.pop(pong.number, None)
        if sent_at is None:
            return
        # Those before it are answered by it too.
        for number in tuple(self._pings):
            if number < pong.number:
                self._pings.pop(number, None)
        self._stand_at(pong.checkpoint)
        self.round_trip = now - sent_at
        self.proven = max(self.proven, sent_at)
        self.fresh_until = self.proven + self._max_staleness
        self._settle()

    def _stand_at(self, checkpoint: str) -> None:
        snapshot = Snapshot.parse(checkpoint)
        self.snapshot, self.checkpoint = snapshot, checkpoint
        self.horizon = snapshot.xmin
        self._settle()

    def _forget(self, started: watch_pb2.WatchStarted) -> None:
        snapshot = Snapshot.parse(started.checkpoint)
        self.fresh_until = self.proven = _NEVER
        # Of before the checkpoint nothing is known but what tokens depend on.
        self.changes.forget(floor=snapshot.xmax - 1)
        self.token_changes.forget(floor=started.tokens_since - 1)
        for given in started.token_changes:
            self.token_changes.add(Change(given.transaction_id, tuple(given.nodes), concerns_tokens=True))
        self._passed = ""
        self._stand_at(started.checkpoint)
        for forget in self._on_forget:
            forget()

    # ----- revisions --------------------------------------------------------------------------------------------------

    def lacking(self) -> list[str]:
        """The revisions of this context and of the client that the feed has not come past yet."""
        lacking: list[str] = []
        if self._settled != self._revisions.count:
            self._settle()
            lacking = [noted.text for noted in self._revisions.after(self._settled)]
        of_context = self._revisions.of_context
        if of_context and of_context != self._passed and of_context not in lacking:
            if self._is_past(of_context):
                self._passed = of_context
            else:
                lacking.append(of_context)
        return lacking

    @property
    def is_past_all(self) -> bool:
        """Whether the feed has come past all revisions that concern this context: what it tells is fresh enough."""
        if self._settled != self._revisions.count:
            return not self.lacking()
        of_context = self._revisions.of_context
        return not of_context or of_context == self._passed or not self.lacking()

    def _is_past(self, revision: str) -> bool:
        parsed, snapshot = parse_revision(revision), self.snapshot
        if parsed is None:
            return True
        return snapshot is not None and parsed[0] == snapshot.epoch and snapshot.sees(parsed[1])

    def _settle(self) -> None:
        """Note up to which of the client's revisions the feed has come."""
        snapshot, settled = self.snapshot, self._settled
        if settled == self._revisions.count or snapshot is None:
            return
        for noted in self._revisions.after(settled):
            is_seen = noted.epoch == snapshot.epoch and snapshot.sees(noted.xid)
            # One that was noted before what is proven to be complete, and still is not seen, never was.
            if not is_seen and noted.noted_at >= self.proven:
                break
            settled += 1
        self._settled = settled
