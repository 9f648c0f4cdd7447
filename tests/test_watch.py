"""A Watch stream: what it tells, when it ends, and what it does not take."""

import json
import secrets
from datetime import UTC, datetime, timedelta

import grpc
import psycopg
import pytest
from conftest import PASSWORD
from deployment import seconds_until
from organization_calls import Refused
from permission_rpc import Rpcs, row, text_of
from watching import Stream, logged, names, opened, replay, told
from wire import outcome_of

from watchword.client import SignInRefusedError
from watchword.v1 import watch_pb2 as pb

MODEL = """model
  schema 1.1
type user
type document
  relations
    define viewer: [user, user with before]
    define editor: [user]
type folder
  relations
    define viewer: [user]
condition before(now: timestamp, end: timestamp, note: string) {
  now < end && note != "x"
}
"""


@pytest.fixture
def rpcs(channel, metadata) -> Rpcs:
    rpcs = Rpcs(channel, metadata)
    rpcs.model(MODEL)
    return rpcs


def stream(rpcs: Rpcs, **start) -> Stream:
    return Stream(rpcs.channel, rpcs.metadata, **start)


# ----- what it tells --------------------------------------------------------------------------------------------------


def test_it_starts_and_answers_pings(rpcs):
    one = stream(rpcs)
    assert not one.started.resumed
    epoch = one.checkpoint.partition(".")[0]
    assert epoch == rpcs.write("document:1#viewer@user:ana").partition(".")[0]
    for promptly in (True, False, True):
        list(one.messages(one.ping(promptly=promptly)))
    assert all(checkpoint.startswith(f"{epoch}.") for checkpoint in one.checkpoints)
    one.end()


def test_pings_are_answered_one_by_one(rpcs):
    one = stream(rpcs)
    numbers = [one.ping(promptly=bool(number % 3)) for number in range(50)]
    for number in numbers:
        assert list(one.messages(number)) == []


def test_nobody_is_told_to_look_for_what_makes_no_answer_another_one(rpcs, watchword, watchword_server):
    watchword.users.create(username="ana", password=PASSWORD)
    one = stream(rpcs)
    with psycopg.connect(watchword_server.database_url, autocommit=True) as connection:
        connection.execute("LISTEN watchword")

        def told_to_look() -> int:
            one.changes()  # after a look that began after all that was done
            connection.execute("SELECT")  # after which whoever listens has heard what was said before
            return len(list(connection.notifies(timeout=0)))

        told_to_look()
        watchword.sessions.refresh(watchword.sign_in("ana", password=PASSWORD).refresh_token)
        assert not told_to_look()
        rpcs.write("document:1#viewer@user:ana")
        assert told_to_look()
    one.end()


@pytest.mark.parametrize("details", [False, True])
def test_changes_name_their_nodes(rpcs, watchword, details):
    user = watchword.users.create(username="ana", password=PASSWORD)
    session = watchword.sign_in("ana", password=PASSWORD).session.session_id
    other = watchword.sign_in("ana", password=PASSWORD).session.session_id
    watchword.service_accounts.create("billing")
    key = watchword.service_accounts.create_key("billing", permissions=["read_users"])
    one = stream(rpcs, include_details=details)

    rpcs.write("document:1#viewer@user:ana", deletes=["document:2#editor@user:ana"])
    (change,) = one.changes()
    known = ("document:1#viewer", "document:*#viewer", "document#viewer", "document:2#editor", "document:3#viewer")
    assert names([change], *known) == [{"document:1#viewer", "document:*#viewer", "document:2#editor"}]
    assert not change.concerns_tokens

    watchword.sessions.revoke(session)
    watchword.users.suspend(user.user_id)
    watchword.service_accounts.revoke_key(key.key.key_id)
    watchword.service_accounts.suspend("billing")
    watchword.tokens.rotate_signing_key()
    rpcs.model(MODEL.replace("editor", "owner"))
    found = one.changes()
    known = (
        f"session:{session}", f"session:{other}", f"user:{user.user_id}", f"key:{key.key.key_id}", "service:billing",
        "signing_keys", "permission_model",
    )  # fmt: skip
    seen = set().union(*names(found, *known))
    assert seen == set(known)
    assert [change.concerns_tokens for change in found] == [True] * (len(found) - 1) + [False]
    assert [bool(change.details.event_id) for change in found] == [details] * len(found)


def test_each_change_comes_once_whoever_committed_it(rpcs, watchword_server):
    """What the server committed itself is sent before a look sees it, and not again."""
    streams = []
    for number in range(60):
        rpcs.write(f"document:{number}#viewer@user:ana")
        if number % 10 == 0:
            streams.append((stream(rpcs), stream(rpcs, include_details=True)))
    xids = [xid for xid, _ in logged(watchword_server.database_url)]
    for one, detailed in streams:
        for each in (one, detailed):
            found = [change.transaction_id for change in each.changes()]
            assert sorted(found) == [xid for xid in xids if xid in set(found)]
            # All since the beginning.
            assert xids[-len(found) :] == sorted(found)
            assert len(found) >= 59 - 10 * streams.index((one, detailed)) - 1


def test_details(rpcs):
    rpcs.write("document:gone#viewer@user:ana")
    one = stream(rpcs, include_details=True)
    end = datetime(2040, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    conditional = row("document:1#viewer@user:a@b.example")
    conditional.condition.name = "before"
    conditional.condition.context.update({"end": "2030-01-01T00:00:00Z"})
    timed = row("document:2#viewer@user:ana")
    timed.expire_time.FromDatetime(end)
    rpcs.write(conditional, timed, "folder:x#viewer@user:ana", deletes=["document:gone#viewer@user:ana"])
    (change,) = one.changes()
    details = change.details
    assert details.type == "relationships-changed"
    assert details.actor == "service:administrator"
    assert sorted(details.objects) == ["document:1", "document:2", "document:gone", "folder:x"]
    assert list(details.written) == [conditional, timed, row("folder:x#viewer@user:ana")]
    assert [text_of(key) for key in details.deleted] == ["document:gone#viewer@user:ana"]
    assert abs(details.event_time.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(minutes=1)
    assert not details.facts


def test_details_of_an_account(rpcs, watchword):
    user = watchword.users.create(username="ana", password=PASSWORD, display_name="Ana Personal")
    session = watchword.sign_in("ana", password=PASSWORD).session.session_id
    one = stream(rpcs, include_details=True)
    watchword.sessions.revoke(session)
    watchword.users.suspend(user.user_id, reason="Ana did something personal")
    found = one.changes()
    assert [change.details.type for change in found] == ["session-revoked", "account-disabled"]
    assert found[0].details.objects == [f"session:{session}", f"user:{user.user_id}"]
    assert found[0].details.facts["reason"]
    assert "personal" not in str(found).lower()


def test_nothing_personal_is_told(watchword, channel, metadata):
    """Of no kind of event: it is sealed in the log, and read by AuditService alone."""
    one = Stream(channel, metadata, include_details=True)
    user = watchword.users.create(username="personal-name", email="personal@example.com", password=PASSWORD)
    session = watchword.sign_in("personal-name", password=PASSWORD).session
    watchword.sessions.revoke(session.session_id)
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("personal-name", password="personal password")
    watchword.users.update(user.user_id, email="personal@other.example", display_name="Personal")
    watchword.credentials.set_password(user.user_id, new_password="a personal password")
    watchword.organizations.create("acme", display_name="Personal", owner_user_id=user.user_id)
    invitation = watchword.organizations.create_invitation("acme", email="personal@example.com")
    watchword.organizations.accept_invitation(invitation.invitation_token, user_id=user.user_id)
    watchword.users.suspend(user.user_id, reason="personal")
    watchword.users.reinstate(user.user_id)
    watchword.users.delete(user.user_id)
    found = one.changes()
    assert len({change.details.type for change in found}) >= 4
    assert "personal" not in str(found).lower()


def test_of_some_types_only(rpcs):
    one = stream(rpcs, include_details=True, object_types=["folder", "user"])
    rpcs.write("document:1#viewer@user:ana")
    rpcs.write("document:2#viewer@user:ana", "folder:2#viewer@user:ana")
    # Its hundred objects are all documents.
    rpcs.imported([row(f"document:{n}#viewer@user:ana") for n in range(150)] + [row("folder:3#viewer@user:ana")])
    rpcs.write("document:4#viewer@user:ana")
    assert [len(change.details.written) for change in one.changes()] == [2, 151]
    assert one.changes() == []


def test_a_large_event_comes_in_parts(rpcs):
    one = stream(rpcs, include_details=True)
    large = {"end": "2030-01-01T00:00:00Z", "note": "x" * 15_000}
    rows = [row(f"document:{n}#viewer@user:ana") for n in range(2_500)]
    for item in rows[:100]:
        item.condition.name = "before"
        item.condition.context.update(large if item.object == "document:0" else {"end": large["end"]})
    rpcs.imported(rows)
    found = one.changes()
    assert len(found) >= 3
    assert len({change.details.event_id for change in found}) == 1
    assert [bool(change.nodes) for change in found] == [True] + [False] * (len(found) - 1)
    assert all(len(change.details.written) <= 1_000 for change in found)
    assert replay({}, found) == {text_of(item): told(item) for item in rows}


# ----- tokens ---------------------------------------------------------------------------------------------------------


def test_it_begins_with_what_tokens_depend_on(rpcs, watchword, watchword_server, sql):
    ended = []
    for name in ("first", "second"):
        user = watchword.users.create(username=name, password=PASSWORD)
        ended.append(watchword.sign_in(name, password=PASSWORD).session.session_id)
        watchword.sessions.revoke(ended[-1])
        rpcs.write("document:1#viewer@user:ana")
        watchword_server.advance(3600)
    watchword.users.suspend(user.user_id)
    one = stream(rpcs)
    known = [*(f"session:{session}" for session in ended), f"user:{user.user_id}"]
    found = [name for each in names(one.started.token_changes, *known) for name in each]
    # Tokens of an hour ago have expired.
    assert found == [f"user:{user.user_id}"]
    assert all(change.concerns_tokens for change in one.started.token_changes)
    xids = {change.transaction_id for change in one.started.token_changes}
    assert min(xids) >= one.started.tokens_since
    rows = sql(
        "select xid::text::bigint as xid from events where nodes <> '{}' and xid::text::bigint >= %s"
        " and type not in ('relationships-changed', 'permission-model-written')",
        one.started.tokens_since,
    )
    assert xids == {row["xid"] for row in rows}


def test_of_too_many_token_changes_the_newest(rpcs, watchword_server, sql):
    """They are made past the server: ten thousand calls would take their time."""
    sql(
        "insert into events (xid, event_time, type, outcome, actor, objects, nodes, request_id, source, payload)"
        " select ((select pg_snapshot_xmin(pg_current_snapshot())::text::bigint) - 1 - n %% 200)::text::xid8, now(),"
        " 'session-revoked', 'success', 'x', '{}', array[n], 'x', 'x', '{}' from generate_series(1, 12000) as n"
    )
    one = stream(rpcs)
    found = [change.transaction_id for change in one.started.token_changes]
    assert 9_000 < len(found) <= 10_000
    of_tokens = sql(
        "select count(*) from events where nodes <> '{}' and xid::text::bigint >= %s"
        " and type not in ('relationships-changed', 'permission-model-written')",
        one.started.tokens_since,
    )
    assert of_tokens == [{"count": len(found)}]
    assert min(found) >= one.started.tokens_since


# ----- the caller's own key -------------------------------------------------------------------------------------------


def other_key(watchword, **options):
    watchword.service_accounts.create("watcher")
    made = watchword.service_accounts.create_key("watcher", **{"permissions": ["watch"], **options})
    return made.key.key_id, (("authorization", f"Bearer {made.api_key}"),)


def test_a_revoked_key_ends_the_stream(rpcs, watchword):
    key_id, metadata = other_key(watchword)
    watching, watching_on = Stream(rpcs.channel, metadata), stream(rpcs)
    watching.changes()
    watchword.service_accounts.revoke_key(key_id)
    rpcs.write("document:1#viewer@user:ana")
    assert watching.refused().reason == "API_KEY_INVALID"
    assert len(watching_on.changes()) == 2


def test_a_suspended_account_ends_the_stream(rpcs, watchword):
    _, metadata = other_key(watchword)
    one = Stream(rpcs.channel, metadata)
    watchword.service_accounts.suspend("watcher")
    assert one.refused().reason == "API_KEY_INVALID"


@pytest.mark.parametrize("gone", ["watch", "read_relationships"])
def test_a_permission_that_is_taken_away_ends_the_stream(rpcs, watchword, gone):
    _, metadata = other_key(watchword, permissions=["read_users"])
    grants = {name: f"watchword:deployment#{name}@service:watcher" for name in ("watch", "read_relationships")}
    rpcs.write(*grants.values())
    detailed, plain = (Stream(rpcs.channel, metadata, include_details=details) for details in (True, False))
    # Something else of the account that changes does not end it.
    rpcs.write("watchword:deployment#read_sessions@service:watcher")
    assert detailed.changes()
    rpcs.write(deletes=[grants[gone]])
    refused = detailed.refused()
    assert (refused.code, refused.reason, refused.metadata["permission"]) == (
        "PERMISSION_DENIED", "PERMISSION_MISSING", gone,
    )  # fmt: skip
    if gone == "read_relationships":
        assert plain.changes()
    else:
        assert plain.refused().reason == "PERMISSION_MISSING"


def test_a_key_that_expires_ends_the_stream(rpcs, watchword, watchword_server):
    _, metadata = other_key(watchword, expire_time=datetime.now(UTC) + timedelta(hours=1))
    one = Stream(rpcs.channel, metadata)
    watchword_server.advance(3_500)
    one.changes()
    watchword_server.advance(200)
    one.ping()
    assert one.refused().reason == "API_KEY_INVALID"


def test_details_take_a_permission_of_their_own(rpcs, watchword):
    _, metadata = other_key(watchword)
    Stream(rpcs.channel, metadata).end()
    with pytest.raises(Refused) as refused:
        Stream(rpcs.channel, metadata, include_details=True)
    assert refused.value.metadata["permission"] == "read_relationships"


# ----- what it does not take ------------------------------------------------------------------------------------------

PING, START = pb.WatchRequest(ping=pb.WatchPing()), pb.WatchRequest(start=pb.WatchStart())


def started(**start) -> pb.WatchRequest:
    return pb.WatchRequest(start=pb.WatchStart(**start))


@pytest.mark.parametrize(
    ("requests", "reason", "field"),
    [
        ([], "INVALID_FIELD", "start"),
        ([pb.WatchRequest()], "INVALID_FIELD", "start"),
        ([PING], "INVALID_FIELD", "start"),
        ([START, START], "INVALID_FIELD", "ping"),
        ([START, PING, pb.WatchRequest()], "INVALID_FIELD", "ping"),
        ([b"\xff"], "MALFORMED_REQUEST", ""),
        ([START, b"\xff"], "MALFORMED_REQUEST", ""),
        ([started(object_types=["folder"])], "INVALID_FIELD", "start.object_types"),
        ([started(object_types=["x" * 300], include_details=True)], "INVALID_FIELD", "start.object_types[0]"),
        *(
            ([started(checkpoint=text)], "INVALID_FIELD", "start.checkpoint")
            for text in (
                "x", "x.", "x.1", "x.1:2", "x.1:2:3:4", "x.2:1:", "x.0:1:", "x.1:3:3", "x.2:3:1", "x.1:2:,", "x.1:2:x",
                "x.-1:2:", "x. 1:2:", "x.1:2: ", "x.1_0:20:", "x.\u0661:2:", "x.1:2:\n", "1:2:", f"x.1:{10**18}:",
                "x" * 9_000, "x.1:2:\0",
            )
        ),
    ],
    ids=lambda value: ascii(value)[:40],
)  # fmt: skip
def test_what_is_no_start_or_no_ping(channel, metadata, requests, reason, field):
    with pytest.raises(grpc.RpcError) as error:
        for _ in opened(channel, requests, metadata, timeout=20):
            pass
    outcome = outcome_of(error.value)
    assert (outcome.reason, outcome.metadata.get("field", "")) == (reason, field), outcome.short


def test_who_has_no_key_is_told_nothing(channel, rpcs):
    for metadata in ((), (("authorization", "Bearer x"),)):
        with pytest.raises(Refused) as refused:
            Stream(channel, metadata)
        assert refused.value.reason == "API_KEY_INVALID"


def test_a_stream_has_one_line_in_the_log(rpcs, watchword, watchword_server):
    name = secrets.token_hex(8)

    def lines() -> list[dict]:
        return [json.loads(line) for line in watchword_server.log().splitlines() if name in line]

    for number, (end, event) in enumerate((("end", "ok"), ("refused", "refused"))):
        one = Stream(rpcs.channel, (*rpcs.metadata, ("x-request-id", f"{name}/{number}")))
        rpcs.write(f"document:secret{number}#viewer@user:ana")
        one.changes()
        if event == "refused":
            one.say(start=pb.WatchStart())
        getattr(one, end)()
        seconds_until(lambda n=number: len(lines()) == n + 1, within=5)
        assert lines()[-1]["event"] == event


def test_a_stream_that_hangs_up_leaves_nothing_behind(rpcs):
    """Its place is free again, and others go on."""
    staying = stream(rpcs)
    for _ in range(150):
        stream(rpcs, include_details=True).cancel()
    rpcs.write("document:1#viewer@user:ana")
    assert len(staying.changes()) == 1
