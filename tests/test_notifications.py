"""Workers tell each other to look at the log: after each commit, and not because of what they were told themselves."""

import psycopg
import pytest
from permission_rpc import Rpcs

MODEL = """model
  schema 1.1
type user
type document
  relations
    define viewer: [user]
"""
LISTEN = "LISTEN watchword"


@pytest.fixture
def rpcs(channel, metadata) -> Rpcs:
    rpcs = Rpcs(channel, metadata)
    rpcs.model(MODEL)
    return rpcs


def heard(connection, within: float = 10.0) -> str:
    """Wait for the next notification."""
    (notification,) = connection.notifies(timeout=within, stop_after=1)
    return notification.payload


def test_a_commit_is_told_to_the_other_workers_once(rpcs, watchword_server):
    with psycopg.connect(watchword_server.database_url, autocommit=True) as connection:
        connection.execute(LISTEN)
        tellers = set()
        for number in range(5):
            rpcs.write(f"document:{number}#viewer@user:ana")
            tellers.add(heard(connection))
        assert len(tellers) == 1, "a worker tells its name"
        # Nothing more comes: the worker that told has not told itself.
        assert list(connection.notifies(timeout=1.0)) == []
