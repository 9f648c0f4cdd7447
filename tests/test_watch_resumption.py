"""A Watch stream that goes on where another one ended: nothing is missing, nothing comes twice, or it says so."""

import secrets
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from permission_rpc import Rpcs
from watching import Stream, record, visible, xids

from watchword.server.restore import database_restored
from watchword.server.sealing import Keyring

MODEL = "model\n  schema 1.1\ntype user\ntype document\n  relations\n    define viewer: [user]"
MANY = (
    "insert into events (event_time, type, outcome, actor, objects, nodes, request_id, source, payload) select now(),"
    " 'relationships-changed', 'success', 'x', '{}', %s, 'x', 'x', '{}' from generate_series(1, %s)"
)
BOTH = pytest.mark.parametrize("details", [False, True], ids=["nodes", "details"])


@pytest.fixture
def rpcs(channel, metadata) -> Rpcs:
    rpcs = Rpcs(channel, metadata)
    rpcs.model(MODEL)
    return rpcs


@pytest.fixture
def elsewhere(watchword_server, watchword) -> "Iterator[psycopg.Connection[Any]]":
    """A connection that commits what the server does not know of."""
    with psycopg.connect(watchword_server.database_url, autocommit=True) as connection:
        yield connection


def stream(rpcs: Rpcs, checkpoint: str = "", *, details: bool = False) -> Stream:
    return Stream(rpcs.channel, rpcs.metadata, checkpoint=checkpoint, include_details=details)


@BOTH
def test_it_goes_on_at_every_checkpoint(rpcs, details):
    one = stream(rpcs, details=details)
    first = one.checkpoint
    told: dict[str, list[int]] = {first: []}
    for number in range(20):
        rpcs.write(f"document:{number}#viewer@user:ana")
        found = xids(one.changes())
        assert len(found) == 1
        for checkpoint in told:
            told[checkpoint] += found
        told.setdefault(one.checkpoint, [])
    for checkpoint, missed in told.items():
        for resumed in (stream(rpcs, checkpoint, details=details), stream(rpcs, checkpoint, details=not details)):
            assert resumed.started.resumed
            assert resumed.started.checkpoint == checkpoint
            assert not resumed.started.token_changes
            assert sorted(xids(resumed.changes())) == missed
            resumed.cancel()


@BOTH
def test_what_is_committed_late_is_told_late_and_once(rpcs, watchword_server, elsewhere, details):
    """Its transaction is older than all that was told meanwhile: who goes on by the highest number misses it."""
    one = stream(rpcs, details=details)
    with psycopg.connect(watchword_server.database_url) as held, psycopg.connect(watchword_server.database_url) as lost:
        late, never = record(held, 1), record(lost, 2)
        early = [record(elsewhere, number) for number in range(10)]
        rpcs.write("document:1#viewer@user:ana")
        found = xids(one.changes())
        assert set(early) < set(found)
        assert len(found) == 11
        before = one.checkpoint
        assert {late, never} <= visible(before).running
        lost.rollback()
        meanwhile = stream(rpcs, before, details=details)
        assert xids(meanwhile.changes()) == []
        held.commit()
    assert xids(one.changes()) == xids(meanwhile.changes()) == [late]
    for checkpoint, missed in ((before, [late]), (one.checkpoint, []), (one.started.checkpoint, [late, *found])):
        resumed = stream(rpcs, checkpoint, details=details)
        assert resumed.started.resumed
        assert sorted(xids(resumed.changes())) == sorted(missed)


@BOTH
def test_a_checkpoint_that_is_not_of_this_history_is_none(rpcs, details):
    one = stream(rpcs, details=details)
    rpcs.write("document:1#viewer@user:ana")
    (change,) = one.changes()
    epoch, _, snapshot = one.checkpoint.partition(".")
    ahead = visible(one.checkpoint).xmax + 1_000_000
    for checkpoint in (
        f"{epoch}.{ahead}:{ahead}:",
        f"{epoch}.1:{ahead}:1",
        f"other.{snapshot}",
        f".{snapshot}",
        f"{epoch.upper()}x.{snapshot}",
        f"{epoch}.1:{10**17}:{','.join(map(str, range(1, 1_500)))}",
    ):
        anew = stream(rpcs, checkpoint, details=details)
        assert not anew.started.resumed
        assert visible(anew.checkpoint).sees(change.transaction_id)
        assert anew.changes() == []
    # Not all that were running need be so.
    many = ",".join(str(number) for number in range(change.transaction_id, change.transaction_id + 700))
    made_up = f"{epoch}.{change.transaction_id}:{change.transaction_id + 1}:{change.transaction_id}"
    assert xids(stream(rpcs, made_up, details=details).changes()) == [change.transaction_id]
    assert not stream(rpcs, f"{epoch}.{change.transaction_id}:{ahead}:{many}", details=details).started.resumed


def test_who_has_missed_too_much_begins_anew(rpcs, elsewhere):
    """By its nodes alone; of what happened, all is told however much it is."""
    before = stream(rpcs).checkpoint
    many = "insert into events (event_time, type, outcome, actor, objects, nodes, request_id, source, payload)"
    many += (
        " select now(), 'relationships-changed', 'success', 'x', '{}', %s, 'x', 'x', '{}' from generate_series(1, %s)"
    )
    elsewhere.execute(MANY, [[1], 10_000])
    one = stream(rpcs, before)
    assert one.started.resumed
    assert len(one.changes()) == 10_000
    elsewhere.execute(MANY, [[1], 1])
    assert not stream(rpcs, before).started.resumed
    assert len(one.changes()) == 1

    detailed = stream(rpcs, before, details=True)
    assert detailed.started.resumed
    ids = [change.details.event_id for change in detailed.changes()]
    assert len(set(ids)) == len(ids) == 10_001
    assert ids == sorted(ids)

    before = one.checkpoint
    elsewhere.execute(MANY, [list(range(1_000)), 50])
    assert stream(rpcs, before).started.resumed
    elsewhere.execute(MANY, [[1], 1])
    anew = stream(rpcs, before)
    assert not anew.started.resumed
    rpcs.write("document:1#viewer@user:ana")
    assert len(anew.changes()) == 1


@pytest.mark.parametrize(("nodes", "changes"), [(1, 10_001), (2_500, 81)])
def test_so_much_that_the_server_itself_forgets(rpcs, elsewhere, nodes, changes):
    """It cannot tell which answers stand; of what happened, all is told."""
    one, detailed = stream(rpcs), stream(rpcs, details=True)
    elsewhere.execute(MANY, [list(range(nodes)), changes])
    assert one.resynchronized() == []
    assert len(detailed.changes()) == changes
    xid = record(elsewhere, 1)
    assert xids(one.changes()) == xids(detailed.changes()) == [xid]


@BOTH
def test_after_a_restore_it_begins_anew(rpcs, watchword_server, details):
    one = stream(rpcs, details=details)
    rpcs.write("document:1#viewer@user:ana")
    one.changes()
    before = one.checkpoint
    keyring = Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)
    epoch = database_restored(watchword_server.database_url, keyring)
    assert one.resynchronized() == []
    assert one.checkpoint.startswith(f"{epoch}.")
    rpcs.write("document:2#viewer@user:ana")
    assert len(one.changes()) == 1
    for checkpoint, resumed in ((before, False), (one.checkpoint, True)):
        other = stream(rpcs, checkpoint, details=details)
        assert other.started.resumed == resumed
        assert other.changes() == []


@BOTH
def test_when_what_has_changed_is_not_known_it_begins_anew(rpcs, watchword_server, details):
    one = stream(rpcs, details=details)
    rpcs.write("document:1#viewer@user:ana")
    one.changes()
    watchword_server.reset()
    assert one.resynchronized() == []
    rpcs.model(MODEL)
    rpcs.write("document:1#viewer@user:ana")
    assert len(one.changes()) == 2
