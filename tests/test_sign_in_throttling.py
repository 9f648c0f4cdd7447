"""Failed sign-ins are limited, on the real server: guessing is slow, nobody is locked out, nobody is found out."""

import itertools
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from conftest import PASSWORD
from guaranteed import Servers

from watchword.client import (
    Client,
    Device,
    InvalidArgumentError,
    SignInRefusedError,
    SignInThrottledError,
    User,
    WatchwordError,
)
from watchword.server.config import Config
from watchword.server.sign_in_limits import SignInLimits
from watchword.server.throttle import network_of

WRONG = "wrong horse battery"
LIMIT = Config().sign_in_failures_per_account
PER_ADDRESS = Config().sign_in_failures_per_address
IN_ALL = Config().sign_in_failures_in_all
OWN = "192.0.2.77"
"""The address of those who do no harm."""


@pytest.fixture
def ana(watchword: Client) -> User:
    return watchword.users.create(email="ana@example.com", username="ana", password=PASSWORD)


def outcome_of(call: Callable[..., Any], *arguments: Any, **more: Any) -> tuple[str, str, timedelta | None]:
    """How a call ends: all that its caller can see but the time."""
    try:
        call(*arguments, **more)
    except WatchwordError as error:
        return error.reason, f"{error.message} {sorted(error.metadata)}", error.retry_after
    return "OK", "", None


def fail(client: Client, identifier: str, times: int = 1, **more: Any) -> None:
    for _ in range(times):
        with pytest.raises(SignInRefusedError):
            client.sign_in(identifier, password=WRONG, **more)


def throttled(client: Client, identifier: str, password: str = PASSWORD, **more: Any) -> timedelta:
    """Be refused because too many have failed; tell for how long."""
    with pytest.raises(SignInThrottledError) as caught:
        client.sign_in(identifier, password=password, **more)
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    assert caught.value.retry_after is not None
    return caught.value.retry_after


def test_delays_grow_and_the_right_password_is_refused_meanwhile(watchword, watchword_server, ana, sql):
    fail(watchword, "ana", LIMIT)
    for seconds in (1, 2, 4, 8):
        assert throttled(watchword, "ana") == throttled(watchword, "ANA", WRONG) == timedelta(seconds=seconds)
        watchword_server.advance(seconds)
        fail(watchword, "ana")
    assert throttled(watchword, "ana") == timedelta(seconds=16)
    assert watchword.sign_in("ana@example.com", password=PASSWORD), "another name has a count of its own"
    watchword_server.advance(16)
    assert watchword.sign_in("ana", password=PASSWORD)
    fail(watchword, "ana", LIMIT - 1)
    assert watchword.sign_in("ana", password=PASSWORD), "a success ends what failed before it"


def test_what_is_throttled_costs_no_hash_and_leaves_no_trace(watchword, ana, sql):
    """Every hash that proves a password wrong is followed by an event, in the same call."""
    fail(watchword, "ana", LIMIT)
    before = sql("select type, payload from events order by event_id")
    assert [event["type"] for event in before].count("sign-in-throttled") == 1
    assert before[-1]["payload"] == {"method": "pwd", "limit": "account"}
    counters = sql("select * from sign_in_counters order by key")
    for _ in range(20):
        throttled(watchword, "ana", WRONG)
    assert sql("select type, payload from events order by event_id") == before
    assert sql("select * from sign_in_counters order by key") == counters


def test_nobody_learns_who_exists(watchword, watchword_server, ana):
    """The same attempts in a known and in unknown names are answered in the same way, word for word."""
    watchword.users.create(username="without-password")
    suspended = watchword.users.create(username="suspended", password=PASSWORD)
    watchword.users.suspend(suspended.user_id)
    histories = []
    for identifier in ("ana", "nobody", "nobody@example.com", "without-password", "suspended", "' or 1=1 --"):
        history = []
        for seconds in (0,) * (LIMIT + 2) + (1, 0, 2, 0, 4, 0):
            watchword_server.advance(seconds)
            password = PASSWORD if identifier == "suspended" else WRONG
            history.append(outcome_of(watchword.sign_in, identifier, password=password))
        histories.append(history)
    assert all(history == histories[0] for history in histories)
    assert [reason for reason, _, _ in histories[0]].count("SIGN_IN_THROTTLED") == 2 + 3


def test_a_known_device_is_not_locked_out(watchword, watchword_server, ana):
    device = Device(ip_address="203.0.113.7")
    first = watchword.sign_in("ana", password=PASSWORD, device=device)
    assert first.device_token
    assert first.device_token not in repr(first)
    fail(watchword, "ana", LIMIT, device=device)
    for number in range(PER_ADDRESS - LIMIT):
        fail(watchword, f"nobody{number}", device=device)
    throttled(watchword, "ana", device=device)
    throttled(watchword, "somebody-else", device=device)
    second = watchword.sign_in("ana", password=PASSWORD, device=device, device_token=first.device_token)
    # The attacker's count goes on as it was, and the device has one of its own.
    throttled(watchword, "ana", device=device)
    fail(watchword, "ana", LIMIT, device_token=second.device_token)
    throttled(watchword, "ana", device_token=second.device_token)
    throttled(watchword, "ana", device_token=first.device_token)
    watchword_server.advance(1)
    assert watchword.sign_in("ana", password=PASSWORD, device_token=first.device_token)


def test_a_device_token_is_good_for_one_user_one_name_one_password_and_some_time(watchword, watchword_server, ana):
    bob = watchword.users.create(username="bob", password=PASSWORD)
    own = watchword.sign_in("ana", password=PASSWORD).device_token
    others = watchword.sign_in("bob", password=PASSWORD).device_token
    refresh_token = watchword.sign_in("ana", password=PASSWORD).refresh_token
    changed = own[:-1] + ("A" if own[-1] != "A" else "B")
    fail(watchword, "ana", LIMIT)
    fail(watchword, "ana@example.com", LIMIT)
    for token in (others, changed, own[:-4], own + "AAAA", "wwd_", "wwd_A", refresh_token, "x" * 512, ""):
        throttled(watchword, "ana", device_token=token)
    throttled(watchword, "ana@example.com", device_token=own)
    assert watchword.sign_in("ana", password=PASSWORD, device_token=own)
    watchword_server.advance(Config().known_device_lifetime.total_seconds() - 60)
    fail(watchword, "ana", LIMIT)
    assert watchword.sign_in("ana", password=PASSWORD, device_token=own)
    watchword_server.advance(61)
    fail(watchword, "ana")
    throttled(watchword, "ana", device_token=own)

    own = watchword.sign_in("bob", password=PASSWORD).device_token
    watchword.credentials.set_password(bob.user_id, new_password=PASSWORD)
    fail(watchword, "bob", LIMIT)
    throttled(watchword, "bob", device_token=own)


def test_a_new_password_begins_anew(watchword, ana):
    fail(watchword, "ana", LIMIT)
    fail(watchword, "ana@example.com", LIMIT)
    watchword.credentials.set_password(ana.user_id, new_password="staple battery horse")
    fail(watchword, "ana")
    assert watchword.sign_in("ana@example.com", password="staple battery horse")


def test_an_address_is_limited_whatever_the_names(watchword, watchword_server, ana):
    """A household has a /64 of IPv6 addresses, any of which it may use."""
    for number in range(PER_ADDRESS):
        fail(watchword, f"nobody{number}", device=Device(ip_address=f"2001:db8:0:7::{number:x}"))
    assert throttled(watchword, "ana", device=Device(ip_address="2001:db8:0:7:ffff::1")) == timedelta(seconds=1)
    assert watchword.sign_in("ana", password=PASSWORD, device=Device(ip_address="2001:db8:0:8::1"))
    assert watchword.sign_in("ana", password=PASSWORD), "of whom nothing is known, no address is counted"
    watchword_server.advance(1)
    assert watchword.sign_in("ana", password=PASSWORD, device=Device(ip_address="2001:db8:0:7::1"))
    # A success of the attacker's own does not end what failed.
    fail(watchword, "nobody", device=Device(ip_address="2001:db8:0:7::1"))
    assert throttled(watchword, "ana", device=Device(ip_address="2001:db8:0:7::1")) == timedelta(seconds=2)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::/64"),
        ("2001:db8:0:0:ffff:ffff:ffff:ffff", "2001:db8::/64"),
        ("2001:db8:0:1::", "2001:db8:0:1::/64"),
    ],
)
def test_whose_an_address_is(address: str, network: str):
    assert network_of(address) == network


def test_all_together_are_limited_but_for_known_devices(watchword, watchword_server, ana):
    token = watchword.sign_in("ana", password=PASSWORD).device_token
    numbers = itertools.count()
    with ThreadPoolExecutor(8) as pool:

        def some() -> list[str]:
            names = [f"nobody{next(numbers)}" for _ in range(40)]
            return list(pool.map(lambda name: outcome_of(watchword.sign_in, name, password=WRONG)[0], names))

        reasons: list[str] = []
        # On a slow machine some are forgotten while this runs, and more can fail.
        while "SIGN_IN_THROTTLED" not in reasons[-40:]:
            reasons += some()
            assert len(reasons) < 5 * IN_ALL
    assert reasons.count("SIGN_IN_REFUSED") >= IN_ALL
    throttled(watchword, "ana")
    assert watchword.sign_in("ana", password=PASSWORD, device_token=token)
    watchword_server.advance(60)
    assert watchword.sign_in("ana", password=PASSWORD)


def test_users_whose_passwords_are_right_do_not_disturb_each_other(watchword, ana):
    """More at a time in one name than may fail: none of them did, so each waits for its turn."""
    start = threading.Barrier(4 * LIMIT)

    def sign_in(_: int) -> bool:
        start.wait()
        return bool(watchword.sign_in("ana", password=PASSWORD))

    with ThreadPoolExecutor(4 * LIMIT) as pool:
        for _ in range(5):
            assert all(pool.map(sign_in, range(4 * LIMIT)))
    fail(watchword, "ana", LIMIT)


def test_the_current_password_cannot_be_guessed_either(watchword, watchword_server, ana):
    def change(user_id: str, current: str) -> tuple[str, str, timedelta | None]:
        new = "staple battery horse"
        return outcome_of(watchword.credentials.change_password, user_id, current_password=current, new_password=new)

    nobody = "01890a5d-ac96-774b-bcce-b302099a8057"
    answers = [[change(user_id, WRONG) for _ in range(LIMIT + 2)] for user_id in (ana.user_id, nobody)]
    assert answers[0] == answers[1]
    assert [reason for reason, _, _ in answers[0]] == ["CURRENT_PASSWORD_WRONG"] * LIMIT + ["SIGN_IN_THROTTLED"] * 2
    assert change(ana.user_id, PASSWORD)[0] == "SIGN_IN_THROTTLED"
    assert watchword.sign_in("ana", password=PASSWORD), "the sign-in page is not concerned"
    watchword_server.advance(1)
    assert change(ana.user_id, PASSWORD)[0] == "OK"
    assert change(ana.user_id, WRONG)[0] == "CURRENT_PASSWORD_WRONG"


def test_the_counters_hold_nothing_personal(watchword, ana, sql):
    fail(watchword, "ana@example.com", device=Device(ip_address="203.0.113.7"))
    rows = sql("select * from sign_in_counters")
    assert len(rows) == 3
    assert {len(row["key"]) for row in rows} == {17}
    assert not [row for row in rows if b"ana" in bytes(row["key"]) or b"203.0.113" in bytes(row["key"])]


def test_what_is_refused_for_other_reasons_is_not_counted(watchword, ana):
    """Too many audiences for one token: the password was right."""
    audiences = [f"{number:02}" + "x" * 60 for number in range(16)]
    for _ in range(LIMIT + 1):
        with pytest.raises(InvalidArgumentError):
            watchword.sign_in("ana", password=PASSWORD, audiences=audiences)


def test_of_a_hundred_guesses_at_a_time_on_two_servers_few_are_looked_at(two_servers: Servers):
    with ExitStack() as stack:
        clients = [
            stack.enter_context(Client(address, api_key=two_servers.api_key, timeout=30))
            for address in (two_servers.one, two_servers.other)
        ]
        clients[0].users.create(username="victim", password=PASSWORD)
        connection = stack.enter_context(psycopg.connect(two_servers.whole.database_url, autocommit=True))
        for name in ("victim", "nobody"):
            start = threading.Barrier(100)
            began = time.monotonic()

            def guess(number: int, name: str = name, start: threading.Barrier = start) -> str:
                start.wait()
                return outcome_of(clients[number % 2].sign_in, name, password=WRONG)[0]

            with ThreadPoolExecutor(100) as pool:
                reasons = list(pool.map(guess, range(100)))
            assert set(reasons) == {"SIGN_IN_REFUSED", "SIGN_IN_THROTTLED"}
            # Those beyond the limit had to wait for delays that double.
            beyond = math.log2(time.monotonic() - began + 1)
            assert LIMIT <= reasons.count("SIGN_IN_REFUSED") <= LIMIT + beyond
        assert connection.execute("select sum(pending) from sign_in_counters").fetchall() == [(0,)]


def test_limits_of_nought_are_none():
    limits = SignInLimits.of(
        Config(sign_in_failures_per_account=0, sign_in_failures_per_address=0, sign_in_failures_in_all=0)
    )
    assert limits == SignInLimits(None, None, None, None, None)
