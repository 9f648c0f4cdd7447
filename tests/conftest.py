"""What the tests share: the real server with its real PostgreSQL, and ways to look behind it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# As for `watchword serve`: root starts PostgreSQL by a real fork, and gRPC's care for that has broken it.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import grpc
import psycopg
import pytest
from psycopg.rows import dict_row

from watchword.client import Client
from watchword.client.testing import LocalServer

CORPORA = Path(__file__).parents[2] / "shared" / "corpora"
PASSWORD = "correct horse battery"


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of outside test vectors; a test that needs it is skipped where it is not."""
    if not CORPORA.is_dir():
        pytest.skip("the outside test vectors are not here")
    return CORPORA


@pytest.fixture
def sql(watchword_server: LocalServer, watchword: Client) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """Ask the server's database directly; after the reset that `watchword` makes."""
    with psycopg.connect(watchword_server.database_url, autocommit=True, row_factory=dict_row) as connection:

        def run(statement: str, *values: Any) -> list[dict[str, Any]]:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

        yield run


@pytest.fixture
def channel(watchword_server: LocalServer, watchword: Client) -> Iterator[grpc.Channel]:
    """A bare gRPC channel, for what the SDK would not send."""
    with grpc.insecure_channel(watchword_server.address) as channel:
        yield channel


@pytest.fixture
def metadata(watchword_server: LocalServer) -> tuple[tuple[str, str], ...]:
    """The metadata of the administrator."""
    return (("authorization", f"Bearer {watchword_server.api_key}"),)


@pytest.fixture(scope="session")
def two_servers() -> Iterator[Any]:
    """Two server processes on one database, as `guaranteed.Servers`; for tests that leave both as they were."""
    from guaranteed import servers

    with servers() as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the server's incidents to the report of a test that failed."""
    report = yield
    server = getattr(item, "funcargs", {}).get("watchword_server")
    if report.failed and report.when != "teardown" and server is not None:  # the teardown may have ended the server
        incidents = [line for line in server.log().splitlines() if '"error"' in line]
        report.sections.append(("server", "\n".join(incidents[-5:])))
    return report
