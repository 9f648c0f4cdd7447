"""Read your writes: who has written sees it at once, and so does whoever has received the revision.

The feed is held back meanwhile, so that what is kept would tell what was before. There are two servers on one database,
and it makes no difference which of them is written at and which is asked.
"""

import contextvars
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from guaranteed import KINDS, MODEL, Sdk, Servers, grant, person, relationship, sdk, take
from held_calls import WATCH, Relay, relay

from watchword.client import AccessDeniedError, Client

GRANT = "document:1#viewer@user:ben"
ASKED = ("user:ben", "can_view", "document:1")


@pytest.fixture
def servers(two_servers: Servers) -> Servers:
    with Client(two_servers.one, api_key=two_servers.api_key) as client:
        client.permissions.write_model(dsl=MODEL, allow_orphans=True)
    return two_servers


@dataclass
class Reader:
    """An SDK whose feed can be held back."""

    sdk: Sdk
    between: Relay

    def hold_the_feed(self) -> None:
        self.between.answers(WATCH).close()

    def let_it_go_on(self) -> None:
        self.between.answers(WATCH).open()


@pytest.fixture(params=KINDS)
def reader(request, servers) -> Iterator[Reader]:
    with (
        relay(servers.other) as between,
        sdk(between.address, servers.api_key, kind=request.param, max_staleness=20) as made,
    ):
        made.ready()
        yield Reader(made, between)


@pytest.fixture
def writer(servers) -> Iterator[Client]:
    with Client(servers.one, api_key=servers.api_key) as client:
        take(client, GRANT)
        yield client


def test_the_writer_sees_its_own_write_at_once(servers, writer, reader):
    """Though its own feed has not heard of it."""
    client = reader.sdk
    client.wait_until_passed(take(writer, GRANT))
    for number in range(6):
        assert client.check(*ASKED) == bool(number % 2)
        hits = client.status.hits
        assert client.check(*ASKED) == bool(number % 2)
        reader.hold_the_feed()
        change = [relationship(GRANT)]
        revision = (
            client.writer.relationships.write(deletes=change)
            if number % 2
            else client.writer.relationships.write(change)
        )
        for _ in range(3):
            assert client.check(*ASKED) != bool(number % 2)
        assert client.filter("user:ben", "can_view", ["document:1"]) == ([] if number % 2 else ["document:1"])
        reader.let_it_go_on()
        client.wait_until_passed(revision)
        assert client.check(*ASKED) != bool(number % 2)
        # Kept, and not asked for each time: else this shows nothing.
        client.check(*ASKED)
        assert client.status.hits > hits


@pytest.mark.parametrize("way", ["observe", "at_least"])
def test_another_client_sees_it_that_has_received_the_revision(servers, writer, reader, way):
    """Within the request that it came with, or from then on; not a moment later."""
    client = reader.sdk
    for number in range(6):
        revision = (grant if number % 2 else take)(writer, GRANT)
        client.wait_until_passed(revision)
        for _ in range(2):
            assert client.check(*ASKED) == bool(number % 2)
        reader.hold_the_feed()
        revision = (take if number % 2 else grant)(writer, GRANT)
        # It is what is kept here that would be wrong.
        assert client.check(*ASKED) == bool(number % 2)
        contextvars.copy_context().run(sees, client, revision, way, yes=not number % 2)
        if way == "at_least":
            # Others are answered from what is kept, as before.
            hits = client.status.hits
            client.check(*ASKED)
            assert client.status.hits == hits + 1
        reader.let_it_go_on()


def sees(client: Sdk, revision: str, way: str, *, yes: bool) -> None:
    with ExitStack() as stack:
        if way == "observe":
            client.observe(revision)
        else:
            stack.enter_context(client.at_least(revision))
        for _ in range(3):
            assert client.check(*ASKED) is yes
        assert client.filter("user:ben", "can_view", ["document:1"]) == (["document:1"] if yes else [])


def test_a_revocation_of_a_session_is_seen_by_its_revision(servers, writer, reader):
    client = reader.sdk
    ana = person(writer, f"ana-{id(reader)}")
    client.wait_until_passed(writer.revision)
    assert client.accepts(ana.token)
    reader.hold_the_feed()
    writer.sessions.revoke(ana.session_id)
    assert client.accepts(ana.token)
    client.observe(writer.revision)
    for _ in range(3):
        assert not client.accepts(ana.token)
    reader.let_it_go_on()


def test_requirements_too(servers, writer, reader):
    client = reader.sdk
    client.wait_until_passed(take(writer, GRANT))
    for _ in range(2):
        assert not client.check(*ASKED)
    reader.hold_the_feed()
    client.observe(grant(writer, GRANT))
    client.writer.require(*ASKED)
    client.observe(take(writer, GRANT))
    with pytest.raises(AccessDeniedError):
        client.writer.require(*ASKED)
    reader.let_it_go_on()


def test_revisions_that_were_made_up_cost_nobody_else_anything(servers, writer, reader):
    """Threat: whoever can send a header keeps all others from being answered, or is answered wrongly themselves."""
    client = reader.sdk
    client.wait_until_passed(grant(writer, GRANT))
    for _ in range(2):
        assert client.check(*ASKED)
    epoch, _, xid = writer.revision.rpartition(".")
    for made_up in (f"{epoch}.{int(xid) + 10**9}", f"another.{xid}", "nonsense", f"{epoch}.{'9' * 20}"):
        with client.at_least(made_up):
            assert client.check(*ASKED)
    hits = client.status.hits
    assert client.check(*ASKED)
    assert client.status.hits == hits + 1
