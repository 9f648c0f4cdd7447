"""SessionService: refresh rotation, reuse, lifetimes, ending."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import PASSWORD
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from watchword.client import (
    Client,
    Device,
    NotFoundError,
    RefreshTokenInvalidError,
    RefreshTokenReusedError,
    SessionEndReason,
    SessionTokens,
    User,
)

GRACE = 30
IDLE = 7 * 86400
ABSOLUTE = 30 * 86400


@pytest.fixture
def ana(watchword: Client) -> User:
    return watchword.users.create(username="ana", password=PASSWORD)


@pytest.fixture
def tokens(watchword: Client, ana) -> SessionTokens:
    return watchword.sign_in("ana", password=PASSWORD)


def test_refresh_rotates(watchword: Client, tokens, sql):
    device = Device(display_name="Laptop")
    second = watchword.sessions.refresh(tokens.refresh_token, device=device)
    assert second.refresh_token != tokens.refresh_token
    assert second.access_token != tokens.access_token
    assert second.session.device == device
    assert watchword.tokens.introspect(second.access_token).active
    third = watchword.sessions.refresh(second.refresh_token)
    assert third.session.device == device
    for secret in (tokens.refresh_token, second.refresh_token, third.refresh_token):
        for table in ("sessions", "events", "answers"):
            assert secret[4:] not in str(sql(f"select * from {table}"))


@pytest.mark.parametrize("device", [None, Device(display_name="Laptop")], ids=["as usual", "with a device"])
def test_both_ways_of_refreshing_record_the_same(watchword: Client, ana, tokens, sql, device):
    renewed = watchword.sessions.refresh(tokens.refresh_token, device=device)
    query = """
        select e.type, e.outcome, e.objects, e.nodes, e.payload, e.person_id::text as person,
            e.personal_sealed is null as impersonal, s.refresh_generation as generation,
            e.event_time >= s.last_active_time and s.last_active_time = s.previous_refresh_time
                and s.idle_expire_time - s.last_active_time = interval '7 days' as in_time,
            (select count(*) from answers a where a.create_time >= s.last_active_time) as answers
        from events e, sessions s order by e.event_id desc limit 1
    """
    assert sql(query) == [
        {
            "type": "session-presented",
            "outcome": "success",
            "objects": [f"session:{renewed.session.session_id}", f"user:{ana.user_id}"],
            "nodes": [],
            "payload": {"generation": 2},
            "person": ana.user_id,
            "impersonal": device is None,
            "generation": 2,
            "in_time": True,
            "answers": 1,
        }
    ]
    assert renewed.session.last_active_time > tokens.session.last_active_time
    rev = json.loads(base64.urlsafe_b64decode(renewed.access_token.split(".")[1] + "=="))["rev"]
    (now,) = sql("select (select epoch from deployment), max(xid::text::bigint) as xid from events")
    assert rev.partition(".")[0] == now["epoch"]
    assert int(rev.partition(".")[2]) <= now["xid"]


def test_an_honest_retry_gets_the_same_successor(watchword: Client, watchword_server, tokens):
    first = watchword.sessions.refresh(tokens.refresh_token)
    watchword_server.advance(GRACE - 1)
    again = watchword.sessions.refresh(tokens.refresh_token)
    assert again.refresh_token == first.refresh_token
    assert watchword.tokens.introspect(again.access_token).active


def test_many_at_once_with_one_token_all_get_the_same_successor(watchword: Client, tokens):
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(watchword.sessions.refresh, [tokens.refresh_token] * 32))
    assert len({answer.refresh_token for answer in answers}) == 1
    assert watchword.sessions.refresh(answers[0].refresh_token)


@pytest.mark.parametrize("how", ["after the grace", "after two rotations"])
def test_reuse_ends_the_session(watchword: Client, watchword_server, ana, tokens, sql, how):
    newest = watchword.sessions.refresh(tokens.refresh_token)
    if how == "after the grace":
        watchword_server.advance(GRACE + 1)
    else:
        newest = watchword.sessions.refresh(newest.refresh_token)
    with pytest.raises(RefreshTokenReusedError):
        watchword.sessions.refresh(tokens.refresh_token)
    assert not watchword.tokens.introspect(newest.access_token).active
    with pytest.raises(RefreshTokenInvalidError):
        watchword.sessions.refresh(newest.refresh_token)
    session = watchword.sessions.get(tokens.session.session_id)
    assert session.end_reason is SessionEndReason.REFRESH_TOKEN_REUSED
    events = [row["type"] for row in sql("select type from events order by event_id")]
    assert events[-2:] == ["refresh-token-reused", "session-revoked"]


def test_an_invented_token_ends_nothing(watchword: Client, tokens):
    import base64

    body = base64.urlsafe_b64decode(tokens.refresh_token[4:] + "==")
    invented = [
        "wwr_" + base64.urlsafe_b64encode(body[:20] + bytes(32) + bytes(16)).decode().rstrip("="),
        "wwr_" + base64.urlsafe_b64encode(body[:-1] + bytes([body[-1] ^ 1])).decode().rstrip("="),
        tokens.refresh_token + "=",
        tokens.refresh_token[4:],
        "wwr_",
        "x",
    ]
    for text in invented:
        with pytest.raises(RefreshTokenInvalidError):
            watchword.sessions.refresh(text)
    assert watchword.sessions.refresh(tokens.refresh_token)


def test_another_service_cannot_go_on_with_a_session(watchword: Client, watchword_server, tokens):
    watchword.service_accounts.create("shop")
    key = watchword.service_accounts.create_key("shop", permissions=["sign_in"])
    with Client(watchword_server.address, api_key=key.api_key) as shop, pytest.raises(RefreshTokenInvalidError):
        shop.sessions.refresh(tokens.refresh_token)
    assert watchword.sessions.refresh(tokens.refresh_token)


def test_idle_and_absolute_lifetimes(watchword: Client, watchword_server, ana, tokens):
    for _ in range(4):
        watchword_server.advance(IDLE - 60)
        tokens = watchword.sessions.refresh(tokens.refresh_token)
    watchword_server.advance(ABSOLUTE - 4 * (IDLE - 60) - 120)
    tokens = watchword.sessions.refresh(tokens.refresh_token)
    # The access token does not outlive its session.
    assert watchword.tokens.introspect(tokens.access_token).remaining_lifetime.total_seconds() <= 121
    watchword_server.advance(121)
    assert watchword.sessions.get(tokens.session.session_id).end_reason is SessionEndReason.EXPIRED
    with pytest.raises(RefreshTokenInvalidError):
        watchword.sessions.refresh(tokens.refresh_token)
    idle = watchword.sign_in("ana", password=PASSWORD)
    watchword_server.advance(IDLE)
    with pytest.raises(RefreshTokenInvalidError):
        watchword.sessions.refresh(idle.refresh_token)
    assert list(watchword.sessions.list(ana.user_id)) == []
    assert len(list(watchword.sessions.list(ana.user_id, include_ended=True))) == 2


def test_ending_one_all_or_all_but_one(watchword: Client, ana):
    sessions = [watchword.sign_in("ana", password=PASSWORD) for _ in range(5)]
    ids = [tokens.session.session_id for tokens in sessions]
    assert [s.session_id for s in watchword.sessions.list(ana.user_id, page_size=2)] == ids[::-1]
    revoked = watchword.sessions.revoke(ids[0])
    assert revoked.end_reason is SessionEndReason.REVOKED
    assert watchword.sessions.revoke(ids[0]) == revoked
    assert watchword.sessions.revoke_all(ana.user_id, except_session_id=ids[1]) == 3
    assert [s.session_id for s in watchword.sessions.list(ana.user_id)] == [ids[1]]
    assert watchword.tokens.introspect(sessions[1].access_token).active
    assert watchword.sessions.revoke_all(ana.user_id) == 1
    assert watchword.sessions.revoke_all(ana.user_id) == 0
    for tokens in sessions:
        assert not watchword.tokens.introspect(tokens.access_token).active
        with pytest.raises(RefreshTokenInvalidError):
            watchword.sessions.refresh(tokens.refresh_token)
    with pytest.raises(NotFoundError):
        watchword.sessions.revoke("01890a5d-ac96-774b-bcce-b302099a8057")
    with pytest.raises(NotFoundError):
        watchword.sessions.revoke_all("01890a5d-ac96-774b-bcce-b302099a8057")


def test_nobody_elses_sessions_end(watchword: Client, ana, tokens):
    watchword.users.create(username="bob", password=PASSWORD)
    bob = watchword.sign_in("bob", password=PASSWORD)
    watchword.sessions.revoke_all(ana.user_id, except_session_id=bob.session.session_id)
    assert watchword.tokens.introspect(bob.access_token).active
    assert not watchword.tokens.introspect(tokens.access_token).active


def test_random_histories_of_refreshing(watchword: Client, watchword_server):
    """A model that remembers only generations and times agrees with the server on random histories."""
    number = iter(range(10**9))

    class Refreshing(RuleBasedStateMachine):
        @initialize()
        def sign_in(self):
            name = f"user{next(number)}"
            watchword.users.create(username=name, password=PASSWORD)
            self.texts = [watchword.sign_in(name, password=PASSWORD).refresh_token]
            self.now, self.used_at, self.active_at, self.alive = 0.0, -1e9, 0.0, True
            self.began = self.now

        @rule(seconds=st.sampled_from([1, 10, 29, 31, 3600, IDLE - 10, IDLE + 10]))
        def wait(self, seconds):
            watchword_server.advance(seconds)
            self.now += seconds

        @property
        def expired(self) -> bool:
            return self.now >= self.active_at + IDLE or self.now >= self.began + ABSOLUTE

        @precondition(lambda self: hasattr(self, "texts"))
        @rule(data=st.data())
        def refresh(self, data):
            index = data.draw(st.integers(max(0, len(self.texts) - 4), len(self.texts) - 1))
            newest = len(self.texts) - 1
            try:
                answer = watchword.sessions.refresh(self.texts[index]).refresh_token
            except RefreshTokenReusedError:
                assert self.alive
                assert not self.expired
                assert index < newest
                assert index < newest - 1 or self.now - self.used_at > GRACE - 1
                self.alive = False
            except RefreshTokenInvalidError:
                assert not self.alive or self.expired
                self.alive = False
            else:
                assert self.alive
                if index == newest:
                    self.texts.append(answer)
                    self.used_at = self.active_at = self.now
                else:
                    assert index == newest - 1
                    assert self.now - self.used_at <= GRACE
                    assert answer == self.texts[newest]

    run_state_machine_as_test(
        Refreshing,
        settings=settings(
            max_examples=40, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
