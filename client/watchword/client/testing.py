"""A pytest plugin: the real server on a PostgreSQL of its own, for tests of code that uses the SDK.

It is loaded by installing `watchword[server]`; nothing has to be configured.

```python
def test_sharing(watchword, as_user, grant, assert_denied, app):
    watchword.permissions.write_model(dsl=MODEL)
    ana, ben = as_user("ana"), as_user("ben")
    grant(ana, "viewer", "document:42")
    assert app.get("/documents/42", headers=ana.headers).status_code == 200
    assert app.get("/documents/42", headers=ben.headers).status_code == 403
    assert_denied(ben, "can_view", "document:42")  # if that fails, it says why
```

The server is a process of its own, which this module starts and tells what to do over its standard input: the
client never imports the server. pytest imports this module in every run, so it imports the SDK only when asked.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import IO, TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from watchword.client import AsyncClient, Client, SessionTokens, User

_PASSWORD: Final = "correct horse battery"  # noqa: S105 - of people who exist in tests only


@dataclass(slots=True, kw_only=True)
class LocalServer:
    """A server on this machine, with an empty database of its own.

    Attributes:
        address: Where it listens.
        api_key: The administrator's API key.
        database_url: Its database.

    """

    address: str
    api_key: str = field(repr=False)
    database_url: str = field(repr=False)
    _commands: IO[str] = field(repr=False)
    _answers: IO[str] = field(repr=False)
    _log: IO[str] = field(repr=False)
    _advanced: float = 0.0

    def reset(self) -> None:
        """Forget all data but the administrator's key, and set the clock back."""
        self._tell(command="reset")
        self._advanced = 0.0

    def advance(self, seconds: float) -> None:
        """Move the server's clock forward."""
        self._tell(command="advance", seconds=seconds)
        self._advanced += seconds

    def time(self) -> float:
        """What the server's clock shows, in Unix seconds."""
        return time.time() + self._advanced

    def log(self) -> str:
        """What the server has logged so far, a JSON object a line."""
        # Not by seeking: the server writes at the position that it shares with this process.
        return os.pread(self._log.fileno(), sys.maxsize >> 32, 0).decode()

    def _tell(self, **command: Any) -> None:
        self._commands.write(json.dumps(command) + "\n")
        self._commands.flush()
        line = self._answers.readline()
        answer = json.loads(line) if line else {"error": "the test server has stopped"}
        if not answer.get("ok"):
            raise RuntimeError(f"The test server refused {command['command']}: {answer.get('error', line)}")


@contextmanager
def local_server(database_url: str | None = None) -> Generator[LocalServer]:
    """Start a server, which takes about a second, and stop it in the end.

    Args:
        database_url: A new and empty PostgreSQL database to use instead of one of its own.

    Raises:
        RuntimeError: It did not start; the text holds what it wrote.

    """
    with (
        tempfile.TemporaryFile("w+") as log,
        # When its standard input ends, also because this process died, the server stops and deletes its data.
        subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "watchword.server.testing", *([database_url] if database_url else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # The server forks nothing that goes on with gRPC; its care for that costs log lines and has crashed.
            env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"},
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101 - both were asked for above
        assert process.stdout is not None  # noqa: S101
        line = process.stdout.readline()
        if not line:
            process.wait()
            log.seek(0)
            raise RuntimeError(f"The test server did not start. It wrote:\n{log.read()}")
        yield LocalServer(**json.loads(line), _commands=process.stdin, _answers=process.stdout, _log=log)


class _TimeAhead:
    """The module `time`, as the SDK sees it in tests: its monotonic clock goes forward with the server's clock.

    It never goes back, also when the server's does: what a client had proven before would count as proven for ages.
    """

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self.seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


_time_ahead = _TimeAhead()
_MEASURING: Final = ("revisions", "_async.guard", "_async.keys", "_sync.guard", "_sync.keys")


@contextmanager
def _sdk_time() -> Generator[None]:
    # In tests only. In production nothing can move this clock, so the SDK has no handle for it.
    modules: list[Any] = [import_module(f"watchword.client.{name}") for name in _MEASURING]
    for module in modules:
        module.time = _time_ahead
    try:
        yield
    finally:
        for module in modules:
            module.time = time


class Clock:
    """A clock that tests move: the server's, and that of every client in this process.

    Those that the code under test makes must be told: `Client(..., clock=watchword_clock)`.
    """

    def __init__(self, server: LocalServer) -> None:
        self._server = server

    def __call__(self) -> float:
        """What it shows, in Unix seconds."""
        return self._server.time()

    def now(self) -> datetime:
        """What it shows."""
        return datetime.fromtimestamp(self(), UTC)

    def advance(self, time: float | timedelta) -> None:
        """Move it forward, by seconds. Tokens, grants and whatever was found out about them age by as much."""
        seconds = time.total_seconds() if isinstance(time, timedelta) else time
        # A client's own time first: an answer that has ended must be kept nowhere when the server says so.
        _time_ahead.seconds += seconds
        self._server.advance(seconds)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user who is signed in, for requests to the application under test.

    What the test has written before it takes `headers`, `environ` or `metadata` is seen by the request that carries
    them: the client's newest revision is among them. So take them anew for each request.
    """

    user: "User"
    tokens: "SessionTokens"
    client: "Client"
    """A view of `watchword` whose calls are made for the user."""

    @property
    def subject(self) -> str:
        """ "user:<user_id>"."""
        return f"user:{self.user.user_id}"

    @property
    def headers(self) -> dict[str, str]:
        """For HTTP: `test_client.get("/", headers=ana.headers)`."""
        headers = {"Authorization": f"Bearer {self.tokens.access_token}"}
        revision = self.client.revision
        return {**headers, "Watchword-Revision": revision} if revision else headers

    @property
    def environ(self) -> dict[str, str]:
        """For WSGI, and for Django's test client: `Client(**ana.environ)`."""
        return {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in self.headers.items()}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """For gRPC: `stub.GetNote(request, metadata=ana.metadata)`."""
        return tuple((name.lower(), value) for name, value in self.headers.items())


class Scene:
    """Who is there, and what they may: what the fixtures `as_user`, `grant` and so on do.

    A subject is a name such as "user:ana" or "group:eng#member", a `SignedIn`, a `User` or a `Principal`; an object a
    name, or whatever has it as `watchword_object`.
    """

    def __init__(self, client: "Client") -> None:
        self._client = client

    def as_user(
        self, name: str, *, password: str = _PASSWORD, audiences: Iterable[str] = (), **fields: Any
    ) -> SignedIn:
        """Sign a user in, on a device of its own each time.

        Args:
            name: The username, or the e-mail address. If nobody has it, the user is made.
            password: The user's password.
            audiences: The services that the access token is for. Default: the deployment's one default.
            fields: What else a user who is made has, as `users.create` takes it.

        Raises:
            SignInRefusedError: Somebody has this name and another password.

        """
        from watchword.client import AlreadyExistsError  # noqa: PLC0415 - see above

        client, kind = self._client, "email" if "@" in name else "username"
        try:
            user = client.users.create(**{kind: name}, password=password, **fields)
        except AlreadyExistsError:
            user = client.users.get_by_email(name) if kind == "email" else client.users.get_by_username(name)
        tokens = client.sign_in(name, password=password, audiences=audiences)
        return SignedIn(user, tokens, client.on_behalf_of(tokens.access_token))

    def grant(
        self,
        subject: Any,
        relation: str,
        object: Any,  # noqa: A002 - the name in the contract
        *,
        condition: str | None = None,
        context: Mapping[str, Any] | None = None,
        expire_time: datetime | None = None,
    ) -> str:
        """Give a subject a relation to an object; the revision of the change."""
        from watchword.client import Relationship  # noqa: PLC0415 - see above

        written = Relationship(
            _subject(subject), relation, _object(object), condition=condition, context=context, expire_time=expire_time
        )
        return self._client.relationships.write([written])

    def revoke(self, subject: Any, relation: str, object: Any) -> str:  # noqa: A002 - the name in the contract
        """Take it back; the revision of the change."""
        from watchword.client import RelationshipKey  # noqa: PLC0415 - see above

        key = RelationshipKey(_subject(subject), relation, _object(object))
        return self._client.relationships.write(deletes=[key])

    def assert_allowed(
        self,
        subject: Any,
        relation: str,
        object: Any,  # noqa: A002 - the name in the contract
        *,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Fail, and say what is lacking, unless a subject has a relation to an object at this moment."""
        __tracebackhide__ = True
        self._assert("allowed", _subject(subject), relation, _object(object), context)

    def assert_denied(
        self,
        subject: Any,
        relation: str,
        object: Any,  # noqa: A002 - the name in the contract
        *,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Fail, and say why, if a subject has a relation to an object at this moment.

        Also if that hangs on values which `context` lacks: such a test would pass whatever the condition says.
        """
        __tracebackhide__ = True
        self._assert("denied", _subject(subject), relation, _object(object), context)

    def _assert(
        self, expected: str, subject: str, relation: str, object_: str, context: Mapping[str, Any] | None
    ) -> None:
        __tracebackhide__ = True
        explanation = self._client.permissions.explain(subject, relation, object_, context=context)
        if explanation.decision != expected:
            from watchword.cli.explanation import explanation_lines  # noqa: PLC0415 - only to tell of a failure

            lines = explanation_lines(explanation.tree, subject=subject)
            raise AssertionError(
                "\n".join([f"{subject} must be {expected} {relation} of {object_}, and is not:", *lines])
            )


def _subject(subject: Any) -> str:
    if isinstance(subject, str):
        return subject
    name = getattr(subject, "subject", None) or getattr(subject, "watchword_subject", None)
    return name or f"user:{subject.user_id}"


def _object(object_: Any) -> str:
    name: str = getattr(object_, "watchword_object", object_)
    return name


# --- fixtures -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def watchword_server() -> Generator[LocalServer]:
    """A server for the whole run of tests; on the new database WATCHWORD_TEST_DATABASE_URL if that is set."""
    with _sdk_time(), local_server(os.environ.get("WATCHWORD_TEST_DATABASE_URL")) as server:
        yield server


@pytest.fixture
def _watchword_emptied(watchword_server: LocalServer) -> LocalServer:
    # Once per test: both clients, and whatever has been written before the second of them is asked for, share the data.
    watchword_server.reset()
    return watchword_server


@pytest.fixture
def watchword(_watchword_emptied: LocalServer) -> "Generator[Client]":
    """A client with all permissions, on a clean database, whose clock is the server's."""
    from watchword.client import Client  # noqa: PLC0415 - see above

    server = _watchword_emptied
    with Client(server.address, api_key=server.api_key, clock=server.time) as client:
        yield client


@pytest.fixture
def watchword_async(_watchword_emptied: LocalServer) -> "AsyncClient":
    """The same for asynchronous tests, under any plugin that runs them. Close it or leave it to the end of the test."""
    from watchword.client import AsyncClient  # noqa: PLC0415 - see above

    server = _watchword_emptied
    return AsyncClient(server.address, api_key=server.api_key, clock=server.time)


@pytest.fixture
def watchword_clock(_watchword_emptied: LocalServer) -> Clock:
    """A clock that the test moves: `watchword_clock.advance(60)`."""
    return Clock(_watchword_emptied)


@pytest.fixture
def as_user(watchword: "Client") -> Callable[..., SignedIn]:
    """Sign a user in, who is made if need be: `ana = as_user("ana")`. See `Scene.as_user`."""
    return Scene(watchword).as_user


@pytest.fixture
def grant(watchword: "Client") -> Callable[..., str]:
    """Give somebody a relation: `grant(ana, "viewer", "document:42")`. See `Scene.grant`."""
    return Scene(watchword).grant


@pytest.fixture
def revoke(watchword: "Client") -> Callable[..., str]:
    """Take it back: `revoke(ana, "viewer", "document:42")`. See `Scene.revoke`."""
    return Scene(watchword).revoke


@pytest.fixture
def assert_allowed(watchword: "Client") -> Callable[..., None]:
    """Fail, and explain, unless it is so: `assert_allowed(ana, "can_view", "document:42")`."""
    return Scene(watchword).assert_allowed


@pytest.fixture
def assert_denied(watchword: "Client") -> Callable[..., None]:
    """Fail, and explain, if it is not so: `assert_denied(ben, "can_view", "document:42")`."""
    return Scene(watchword).assert_denied
