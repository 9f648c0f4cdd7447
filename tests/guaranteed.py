"""What the tests of the guarantees share: both SDKs used alike, a world to ask about, and what may be said of it when.

An SDK is watched by what it lets see: `passed` tells whether its feed has come past a revision. From that moment on its
answers must know of it, whatever is kept.
"""

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, TypeVar

import psycopg
from conftest import PASSWORD
from deployment import Deployment, deployment, free_port, seconds_until
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.json import Json
from tcp_proxy import TcpProxy

from watchword.client import (
    AccessDeniedError,
    AsyncClient,
    Client,
    Decision,
    FeedStatus,
    Principal,
    Relationship,
    TokenError,
    WatchwordError,
)
from watchword.client.revisions import parse_revision
from watchword.server.permissions.standing import Standing

T = TypeVar("T")
Kind = Literal["sync", "async"]
KINDS: tuple[Kind, ...] = ("sync", "async")

MODEL = """model
  schema 1.1
type user
type group
  relations
    define member: [user]
type folder
  relations
    define viewer: [user, group#member]
type document
  relations
    define parent: [folder]
    define viewer: [user, group#member]
    define banned: [user]
    define can_view: (viewer or viewer from parent) but not banned
"""


def relationship(text: str) -> Relationship:
    """A relationship given as `object#relation@subject`."""
    node, _, subject = text.partition("@")
    object_, _, relation = node.partition("#")
    return Relationship(subject, relation, object_)


def grant(client: Client, *texts: str) -> str:
    return client.relationships.write(list(map(relationship, texts)))


def take(client: Client, *texts: str) -> str:
    return client.relationships.write(deletes=list(map(relationship, texts)))


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The event loop of all asynchronous clients: gRPC does not take well to one that is closed."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


class Sdk:
    """A client of either kind, used in a blocking way from any thread."""

    def __init__(self, address: str, api_key: str, *, kind: Kind, **options: Any) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: Any
        if kind == "async":
            self._loop = _loop()
            self._client = AsyncClient(address, api_key=api_key, **options)
        else:
            self._client = Client(address, api_key=api_key, **options)

    def check(self, subject: str, relation: str, object_: str, **more: Any) -> bool:
        return bool(self._run(lambda: self._client.check(subject, relation, object_, **more)))

    def decision(self, subject: str, relation: str, object_: str, **more: Any) -> Decision:
        return self._run(lambda: self._client.check(subject, relation, object_, **more)).decision

    def filter(self, subject: str, relation: str, objects: list[str]) -> list[str]:
        return self._run(lambda: self._client.filter(subject, relation, objects))

    def authenticate(self, token: str) -> Principal:
        return self._run(lambda: self._client.authenticate(token))

    def accepts(self, token: str) -> bool:
        try:
            self.authenticate(token)
        except TokenError:
            return False
        return True

    def ready(self, seconds: float = 10.0) -> None:
        self._run(lambda: self._client.ready(seconds))

    def observe(self, revision: str) -> None:
        self._client.observe(revision)

    def at_least(self, revision: str) -> AbstractContextManager[None]:
        return self._client.at_least(revision)

    @property
    def writer(self) -> Any:
        """The client itself, for what else it can do; blocking."""
        return _Blocking(self._client, self._run)

    @property
    def patient(self) -> Any:
        """The same for calls that must not fail."""
        return _Blocking(self._client.with_timeout(20), self._run)

    @property
    def status(self) -> FeedStatus:
        return self._run(self._client.status)

    @property
    def following(self) -> Any:
        return self._live.knowledge.following

    @property
    def _live(self) -> Any:
        return self._run(self._client._guard._lives.get)

    def passed(self, revision: str) -> bool:
        """Whether the feed has come past a revision."""
        found, snapshot = parse_revision(revision), self.following.snapshot
        assert found is not None, revision
        return snapshot is not None and snapshot.epoch == found[0] and snapshot.sees(found[1])

    def wait_until_passed(self, revision: str) -> None:
        """Wait until its feed has come past a revision; do not wait for the next ping that is due."""

        def asked_anew() -> bool:
            self._run(self._live.feed.start)
            return self.passed(revision)

        seconds_until(asked_anew, within=10)

    def close(self) -> None:
        self._run(self._client.close)

    def _run(self, call: Callable[[], Any]) -> Any:
        if self._loop is None:
            return call()

        async def run() -> Any:
            result = call()
            return await result if isinstance(result, Coroutine) else result

        return self._in_loop(self._loop, run)

    def _in_loop(self, loop: asyncio.AbstractEventLoop, run: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        # With the context of the caller, so that `at_least` works as in the caller's own task.
        context, done = contextvars.copy_context(), Future[Any]()

        def begin() -> None:
            task = loop.create_task(run(), context=context)
            task.add_done_callback(lambda task: _hand_over(task, done))

        loop.call_soon_threadsafe(begin)
        return done.result(timeout=60)


def _hand_over(task: "asyncio.Task[Any]", done: "Future[Any]") -> None:
    error = task.exception()
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(task.result())


@dataclass
class _Blocking:
    _it: Any
    _run: Callable[[Callable[[], Any]], Any]

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._it, name)
        return (lambda *a, **k: self._run(lambda: found(*a, **k))) if callable(found) else _Blocking(found, self._run)


@contextmanager
def sdk(address: str, api_key: str, *, kind: Kind = "sync", **options: Any) -> Iterator[Sdk]:
    made = Sdk(address, api_key, kind=kind, **options)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def sdks(address: str, api_key: str, **options: Any) -> Iterator[list[Sdk]]:
    """One of each kind."""
    with ExitStack() as stack:
        yield [stack.enter_context(sdk(address, api_key, kind=kind, **options)) for kind in KINDS]


# ----- asking on and on -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """An answer, or why there was none, and when it was asked for and given."""

    began: float
    ended: float
    answer: bool | None
    problem: str = ""


@dataclass
class Asking:
    """Somebody who asks on and on."""

    ask: Callable[[], bool]
    said: list[Said] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def once(self) -> Said:
        began = time.monotonic()
        problem, answer = "", None
        try:
            answer = self.ask()
        except (TokenError, AccessDeniedError):
            answer = False
        except WatchwordError as error:
            problem = type(error).__name__
        said = Said(began, time.monotonic(), answer, problem)
        self.said.append(said)
        return said

    def go_on(self) -> None:
        while not self.over.is_set():
            self.once()
            # Or nobody else in this process gets anything done.
            time.sleep(0.0005)

    def count(self) -> int:
        return len(self.said)

    def yes_after(self, moment: float) -> list[Said]:
        return [said for said in self.said if said.answer and said.began > moment]


@contextmanager
def asking(*questions: Callable[[], bool]) -> Iterator[list[Asking]]:
    """Let questions be asked on and on, each in a thread of its own."""
    going = [Asking(ask) for ask in questions]
    with ThreadPoolExecutor(len(going)) as threads:
        futures = [threads.submit(each.go_on) for each in going]
        try:
            yield going
        finally:
            for each in going:
                each.over.set()
            for future in futures:
                future.result()


def wait_for_more(each: Asking, count: int = 3) -> None:
    """Let so many more questions be asked and answered."""
    before = each.count()
    seconds_until(lambda: each.count() >= before + count, within=30)


def all_say_yes(readers: list[Sdk], threads: list[Asking]) -> None:
    """Wait until everybody is told yes, from what is kept: else there is nothing to take back."""
    for each in threads:
        seconds_until(lambda e=each: bool(e.said) and e.said[-1].answer is True, within=10)
    for reader in readers:
        hits = reader.status.hits
        seconds_until(lambda r=reader, h=hits: r.status.hits > h + len(threads), within=10)


# ----- a world --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Person:
    """A user with a session."""

    user_id: str
    session_id: str
    token: str = field(repr=False)

    @property
    def subject(self) -> str:
        return f"user:{self.user_id}"


def person(client: Client, name: str) -> Person:
    user = client.users.create(username=name, password=PASSWORD)
    tokens = client.sign_in(name, password=PASSWORD)
    return Person(user.user_id, tokens.session.session_id, tokens.access_token)


def change(connection: psycopg.Connection[Any], *, grants: Iterable[str] = (), takes: Iterable[str] = ()) -> str:
    """Change relationships as a server does, within a transaction that goes on; give its revision."""
    written, deleted = list(grants), list(takes)
    for text in written:
        found = relationship(text)
        connection.execute(
            "INSERT INTO relationships (object, relation, subject, subject_relation) VALUES (%s, %s, %s, '')",
            (found.object, found.relation, found.subject),
        )
    for text in deleted:
        found = relationship(text)
        connection.execute(
            "DELETE FROM relationships WHERE object = %s AND relation = %s AND subject = %s",
            (found.object, found.relation, found.subject),
        )
    nodes = Standing().of_change({text.partition("@")[0] for text in (*written, *deleted)})
    connection.execute(
        "INSERT INTO events (event_time, type, outcome, actor, objects, nodes, request_id, source, payload)"
        " VALUES (now(), 'relationships-changed', 'success', 'service:test', '{}', %s, 'test', 'test', %s)",
        (nodes, Json({"written": written, "deleted": deleted})),
    )
    row = connection.execute("SELECT pg_current_xact_id()::text, epoch FROM deployment").fetchone()
    assert row is not None
    return f"{row[1]}.{row[0]}"


@contextmanager
def held_open(database_url: str, *, grants: Iterable[str] = (), takes: Iterable[str] = ()) -> Iterator[str]:
    """The same in a transaction that is committed when the block ends."""
    with psycopg.connect(database_url) as connection:
        yield change(connection, grants=grants, takes=takes)


@dataclass
class Servers:
    """Two server processes on one database."""

    whole: Deployment
    one: str
    other: str

    @property
    def api_key(self) -> str:
        return self.whole.api_key


def socket_of(database_url: str) -> str:
    """The Unix socket of a database."""
    parts = conninfo_to_dict(database_url)
    return f"{parts['host']}/.s.PGSQL.{parts['port']}"


def reached_through(proxy: TcpProxy, database_url: str) -> str:
    """The URL of a database, by way of a proxy."""
    parts = conninfo_to_dict(database_url)
    return f"postgresql://{parts['user']}@{proxy.address}/{parts['dbname']}"


@contextmanager
def second_server(whole: Deployment, *, database_url: str = "") -> Iterator[str]:
    """Another server process of a deployment; give its address."""
    address = f"127.0.0.1:{free_port()}"
    kept = dict(whole.settings)
    whole.settings |= {"WATCHWORD_LISTEN": address}
    if database_url:
        whole.settings |= {"WATCHWORD_DATABASE_URL": database_url}
    try:
        process = whole.spawn()
    finally:
        whole.settings.clear()
        whole.settings.update(kept)
    try:
        assert process.stdout is not None
        assert address in process.stdout.readline(), whole.log[-3000:]
        yield address
    finally:
        process.kill()
        process.communicate()


@contextmanager
def servers() -> Iterator[Servers]:
    """Two servers that know the model."""
    with deployment() as made, second_server(made) as other, made.client() as client:
        client.permissions.write_model(dsl=MODEL)
        yield Servers(made, made.address, other)
