"""Watch streams as bytes have it, without the SDK: to open one, to ping, and to collect what comes."""

import queue
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import psycopg
from google.protobuf.json_format import MessageToDict
from organization_calls import Refused
from permission_rpc import refused_by, text_of

from watchword.server.identifiers import node
from watchword.server.storage.snapshot import Visible
from watchword.v1 import relationships_pb2
from watchword.v1 import watch_pb2 as pb

PATH = "/watchword.v1.WatchService/Watch"
_RECORD = (
    "INSERT INTO events (event_time, type, outcome, actor, objects, nodes, request_id, source, payload) VALUES"
    " (now(), 'relationships-changed', 'success', 'x', '{}', %s, 'x', 'x', '{}') RETURNING xid::text::bigint"
)


def opened(channel: grpc.Channel, requests: Iterable[Any], metadata: Any, *, timeout: float = 60) -> Any:
    """Open a stream that says what comes."""
    stub = channel.stream_stream(
        PATH,
        request_serializer=lambda request: request if isinstance(request, bytes) else request.SerializeToString(),
        response_deserializer=pb.WatchResponse.FromString,
    )
    return stub(iter(requests), metadata=metadata, timeout=timeout)


class Stream:
    """An open stream. Whatever it waits for comes, or the test fails by the deadline of the call."""

    def __init__(self, channel: grpc.Channel, metadata: Any, *, timeout: float = 60, **start: Any) -> None:
        self._requests: queue.SimpleQueue[pb.WatchRequest | None] = queue.SimpleQueue()
        self.say(start=pb.WatchStart(**start))
        self._call = opened(channel, iter(self._requests.get, None), metadata, timeout=timeout)
        self._pings = 0
        self.checkpoints: list[str] = []
        self.told_last: list[pb.Change] = []
        self.started = self.next().started
        self._know(self.started.checkpoint)

    @property
    def checkpoint(self) -> str:
        """The last one that it was told."""
        return self.checkpoints[-1]

    def say(self, **request: Any) -> None:
        self._requests.put(pb.WatchRequest(**request))

    def next(self) -> pb.WatchResponse:
        """Take the next message; raises Refused when the stream ends with an error."""
        try:
            return next(self._call)
        except grpc.RpcError as error:
            raise refused_by(error) from None

    def ping(self, *, promptly: bool = True) -> int:
        self._pings += 1
        self.say(ping=pb.WatchPing(number=self._pings, promptly=promptly))
        return self._pings

    def changes(self) -> list[pb.Change]:
        """Take all that was committed by now: what comes before the answer to a ping."""
        return list(self.messages(self.ping()))

    def messages(self, number: int) -> Iterator[pb.Change]:
        while True:
            message = self.next()
            match message.WhichOneof("response"):
                case "changes":
                    yield from message.changes.changes
                    if message.changes.checkpoint:
                        self._know(message.changes.checkpoint)
                case "pong":
                    self._know(message.pong.checkpoint)
                    if message.pong.number == number:
                        return
                case other:
                    raise AssertionError(f"{other} came")

    def _know(self, checkpoint: str) -> None:
        self.checkpoints.append(checkpoint)

    def resynchronized(self) -> list[pb.Change]:
        """Read on until the stream has lost its place; give what came before that."""
        before: list[pb.Change] = []
        while (message := self.next()).WhichOneof("response") != "resynchronize":
            before += message.changes.changes
        self.started = message.resynchronize.started
        assert not self.started.resumed
        self._know(self.started.checkpoint)
        return before

    def read_on(self) -> None:
        """Read until the stream ends; raises what gRPC raises."""
        for _ in self._call:
            pass

    def refused(self) -> Refused:
        """Read on until the stream ends with an error; keeps the changes that came before."""
        try:
            while True:
                self.told_last += self.next().changes.changes
        except Refused as refused:
            return refused

    def end(self) -> None:
        """Say nothing more, and read until the server ends it in good order."""
        self._requests.put(None)
        self.read_on()

    def cancel(self) -> None:
        self._call.cancel()
        self._requests.put(None)


def names(changes: Iterable[pb.Change], *candidates: str) -> list[set[str]]:
    """Which of the nodes that a test knows each change names."""
    hashes = {node(name): name for name in candidates}
    return [{hashes[hash_] for hash_ in change.nodes if hash_ in hashes} for change in changes]


def xids(changes: Iterable[pb.Change]) -> list[int]:
    """The transactions of changes."""
    return [change.transaction_id for change in changes]


def visible(checkpoint: str) -> Visible:
    """The snapshot of a checkpoint."""
    return Visible.parse(checkpoint.partition(".")[2])


def record(connection: "psycopg.Connection[Any]", *nodes: int) -> int:
    """Write an event that names nodes, past the server, as another one does; give its transaction."""
    row = connection.execute(_RECORD, [list(nodes)]).fetchone()
    assert row is not None
    return int(row[0])


def logged(database_url: str) -> list[tuple[int, int]]:
    """The transaction id and the number of each event that names nodes, in the order of the log."""
    with psycopg.connect(database_url) as connection:
        return connection.execute(
            "SELECT xid::text::bigint, event_id FROM events WHERE nodes <> '{}' ORDER BY event_id"
        ).fetchall()


def told(relationship: relationships_pb2.Relationship) -> Any:
    """All there is to a relationship, to compare."""
    return MessageToDict(relationship)


def replay(state: dict[str, Any], changes: Iterable[pb.Change]) -> dict[str, Any]:
    """Do to relationships what a stream told."""
    for change in changes:
        for written in change.details.written:
            state[text_of(written)] = told(written)
        for deleted in change.details.deleted:
            del state[text_of(deleted)]
    return state
