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

The server is a process of its own, which this package starts and tells what to do over its standard input: the
client never imports the server. pytest imports this package in every run, so it imports the SDK only when asked.
"""

import os
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import pytest

from watchword.client.testing._clock import Clock, sdk_time
from watchword.client.testing._scene import Scene, SignedIn
from watchword.client.testing._server import LocalServer, local_server

if TYPE_CHECKING:
    from watchword.client import AsyncClient, Client

__all__ = ["Clock", "LocalServer", "Scene", "SignedIn", "local_server"]


@pytest.fixture(scope="session")
def watchword_server() -> Generator[LocalServer]:
    """A server for the whole run of tests; on the new database WATCHWORD_TEST_DATABASE_URL if that is set."""
    with sdk_time(), local_server(os.environ.get("WATCHWORD_TEST_DATABASE_URL")) as server:
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
    """Sign somebody in, who is made if need be, as `Scene.as_user` does."""
    return Scene(watchword).as_user


@pytest.fixture
def grant(watchword: "Client") -> Callable[..., str]:
    """Give somebody a relation, as `Scene.grant` does: `grant(ana, "viewer", "document:42")`."""
    return Scene(watchword).grant


@pytest.fixture
def revoke(watchword: "Client") -> Callable[..., str]:
    """Take it back, as `Scene.revoke` does: `revoke(ana, "viewer", "document:42")`."""
    return Scene(watchword).revoke


@pytest.fixture
def assert_allowed(watchword: "Client") -> Callable[..., None]:
    """Fail, and explain, unless it is so: `assert_allowed(ana, "can_view", "document:42")`."""
    return Scene(watchword).assert_allowed


@pytest.fixture
def assert_denied(watchword: "Client") -> Callable[..., None]:
    """Fail, and explain, if it is not so: `assert_denied(ben, "can_view", "document:42")`."""
    return Scene(watchword).assert_denied
