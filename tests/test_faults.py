"""What is killed, hangs or goes away: nothing acknowledged is lost, nothing is half done, and it mends itself."""

import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import psycopg
import pytest
from conftest import PASSWORD
from deployment import Deployment, deployment, health, seconds_until
from load import Load

from watchword.client import (
    Client,
    ConflictError,
    DatabaseUnavailableError,
    UnavailableError,
    UserStatus,
    WatchwordError,
)
from watchword.client._transport import path_of
from watchword.server.app import utc_now
from watchword.server.call import server_call
from watchword.server.errors import DatabaseUnavailable
from watchword.server.sealing import Keyring
from watchword.server.storage.database import Database
from watchword.v1 import users_pb2


@pytest.fixture(scope="module")
def whole() -> Iterator[Deployment]:
    with deployment() as made:
        yield made


@pytest.fixture
def client(whole: Deployment) -> Iterator[Client]:
    with whole.client() as client:
        yield client


def kill_the_server(whole: Deployment) -> None:
    whole.kill_server()
    whole.start_server()


def kill_the_database(whole: Deployment) -> None:
    whole.kill_database()
    whole.start_database()


def kill_both(whole: Deployment) -> None:
    whole.kill_database()
    whole.kill_server()
    whole.start_database()
    whole.start_server()


def hang_up(whole: Deployment) -> None:
    """What a failover or a restart of PgBouncer does to all connections at once."""
    with psycopg.connect(whole.database_url, autocommit=True) as connection:
        connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()")


@pytest.mark.parametrize(
    "rounds", [pytest.param(1, id="once"), pytest.param(8, id="again and again", marks=pytest.mark.slow)]
)
def test_nothing_acknowledged_is_lost_and_nothing_is_half(rounds: int):
    # A deployment of its own: what other tests do is no part of the load, and would be searched for its changes.
    with deployment() as whole, whole.client() as client:
        with Load(client, threads=6) as load:
            for _ in range(rounds):
                for fault in (kill_the_server, kill_the_database, hang_up, kill_both):
                    load.wait_for(20)
                    fault(whole)
            load.wait_for(20)
        # Else the faults hit nothing and prove nothing.
        assert load.unanswered or rounds == 1
        load.check(whole.database_url)


def test_a_server_stays_up_while_its_connections_are_cut(whole: Deployment, client: Client):
    """Cut connections are seen by retries of the SDK alone: its callers see nothing."""
    mistakes: list[WatchwordError] = []
    stop = threading.Event()

    def use(number: int) -> int:
        calls = 0
        while not stop.is_set():
            try:
                client.users.create(username=f"cut-{number}-{calls}-{time.monotonic_ns()}")
                client.users.list_page(page_size=1)
            except WatchwordError as error:
                mistakes.append(error)
            calls += 1
        return calls

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(use, number) for number in range(4)]
        for _ in range(5):
            hang_up(whole)
            client.users.list_page(page_size=1)
        stop.set()
        assert all(future.result() for future in running)
    assert mistakes == []


def test_cut_connections_cost_one_call_without_retries_and_not_one_each(whole: Deployment, client: Client):
    user = client.users.create(username="pool")
    with ThreadPoolExecutor(6) as pool, holding(whole, user.user_id) as connection:
        for number in range(6):
            pool.submit(client.users.update, user.user_id, display_name=str(number))
        seconds_until(lambda: waiting(whole) == 6, within=5)
        connection.rollback()
    request = users_pb2.ListUsersRequest(page_size=1)
    metadata = (("authorization", f"Bearer {whole.api_key}"),)
    with grpc.insecure_channel(whole.address, options=[("grpc.enable_retries", 0)]) as channel:
        call = channel.unary_unary(path_of(request), request_serializer=users_pb2.ListUsersRequest.SerializeToString)
        call(request, metadata=metadata)
        hang_up(whole)
        codes = [_code(call, request, metadata) for _ in range(8)]
    # The pings of the server itself may have been the one that noticed.
    assert codes.count(grpc.StatusCode.OK) >= 7, codes


def _code(call: Any, request: Any, metadata: Any) -> grpc.StatusCode:
    try:
        call(request, metadata=metadata, timeout=10)
    except grpc.RpcError as error:
        return error.code()  # type: ignore[attr-defined]
    return grpc.StatusCode.OK


class Outage:
    """What callers and load balancers see while the database is away."""

    def __init__(self, whole: Deployment, client: Client) -> None:
        self._whole = whole
        self._client = client
        self._stop = threading.Event()
        self.calls: list[tuple[float, float, str]] = []

    def _call(self, call: Callable[[], object]) -> None:
        while not self._stop.is_set():
            start = time.monotonic()
            try:
                call()
                outcome = "ok"
            except WatchwordError as error:
                outcome = error.reason or error.code
            self.calls.append((start, time.monotonic(), outcome))

    @contextmanager
    def of(self, seconds: float) -> Iterator[None]:
        user = self._client.users.create(username=f"outage-{time.monotonic_ns()}")
        work = [
            lambda: self._client.users.get(user.user_id),
            lambda: self._client.users.update(user.user_id, display_name=str(time.monotonic_ns())),
            lambda: self._client.tokens.introspect("x"),
        ]
        with ThreadPoolExecutor(6) as pool:
            for call in work * 2:
                pool.submit(self._call, call)
            try:
                self._whole.stop_database()
                back = time.monotonic() + seconds
                yield
                self._stop.wait(back - time.monotonic())
            finally:
                self._whole.start_database()
                self.back = time.monotonic()
                seconds_until(lambda: health(self._whole.address) == "SERVING", within=5)
                self.healthy = time.monotonic() - self.back
                self._stop.set()


@pytest.mark.parametrize(
    "seconds", [pytest.param(3, id="short"), *(pytest.param(n, id=f"{n} s", marks=pytest.mark.slow) for n in (12, 40))]
)
def test_the_database_goes_away_and_comes_back(whole: Deployment, client: Client, seconds: int):
    outage = Outage(whole, client)
    with outage.of(seconds):
        seconds_until(lambda: health(whole.address) == "NOT_SERVING", within=3)
    assert {outcome for _, _, outcome in outage.calls} <= {"ok", "DATABASE_UNAVAILABLE"}
    assert max(end - start for start, end, _ in outage.calls) < 9
    # Whatever a call that began when all was well again may find, it is not the outage.
    assert all(outcome == "ok" for start, _, outcome in outage.calls if start > outage.back + 2)
    assert min(end for _, end, outcome in outage.calls if outcome == "ok" and end > outage.back) < outage.back + 2
    assert outage.healthy < 3


@pytest.mark.slow
def test_a_database_that_hangs_is_noticed_and_forgiven(whole: Deployment, client: Client):
    user = client.users.create(username="hang")
    whole.signal_database(signal.SIGSTOP)
    try:
        start = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(client.users.get, user.user_id) for _ in range(8)]
            codes = {getattr(future.exception(), "code", "none") for future in futures}
        assert codes <= {"DEADLINE_EXCEEDED", "UNAVAILABLE"}
        assert time.monotonic() - start < 11
        seconds_until(lambda: health(whole.address) == "NOT_SERVING", within=5)
        # By then it is known, and told at once rather than at the deadline.
        with pytest.raises(DatabaseUnavailableError):
            client.users.get(user.user_id)
    finally:
        whole.signal_database(signal.SIGCONT)
    seconds_until(lambda: health(whole.address) == "SERVING", within=10)
    assert client.users.get(user.user_id) == user


async def test_a_transaction_that_was_left_open_is_ended_and_said_so(whole: Deployment):
    """The database ends it, whatever held the server up, and its caller may try again."""
    keyring = Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)
    database = Database(whole.database_url, pool_size=2, keyring=keyring, clock=utc_now, randomness=secrets.token_bytes)
    await database.open()
    try:
        with psycopg.connect(whole.database_url, autocommit=True) as other, pytest.raises(DatabaseUnavailable):
            await _leave_open(database, other)
        await database.ping()
    finally:
        await database.close()


async def _leave_open(database: Database, other: psycopg.Connection) -> None:
    async with database.write(server_call("test")) as tx:
        await tx._connection.execute("set idle_in_transaction_session_timeout = '10ms'")
        mine = [tx._connection.info.backend_pid]
        seconds_until(
            lambda: not other.execute("select from pg_stat_activity where pid = %s", mine).fetchall(), within=5
        )
        await tx.signing_keys.lock()


@contextmanager
def holding(whole: Deployment, user_id: str) -> Iterator[psycopg.Connection]:
    """Hold a user's row as a forgotten transaction would."""
    with psycopg.connect(whole.database_url) as connection:
        connection.execute("set deadlock_timeout = '1min'")
        connection.execute("select from users where user_id = %s for update", [user_id])
        yield connection


def waiting(whole: Deployment) -> int:
    """How many of the server's connections wait for a lock."""
    with psycopg.connect(whole.database_url) as connection:
        return len(connection.execute("select from pg_stat_activity where wait_event_type = 'Lock'").fetchall())


def test_a_change_waits_for_a_lock(whole: Deployment, client: Client):
    user = client.users.create(username="waits")
    with ThreadPoolExecutor(1) as pool, holding(whole, user.user_id) as connection:
        change = pool.submit(client.users.suspend, user.user_id)
        seconds_until(lambda: waiting(whole) == 1, within=5)
        connection.rollback()
        assert change.result().status is UserStatus.SUSPENDED


@pytest.mark.slow
def test_a_lock_that_does_not_come_is_a_conflict_before_the_callers_deadline(whole: Deployment, client: Client):
    user = client.users.create(username="stuck")
    with holding(whole, user.user_id), pytest.raises(ConflictError):
        client.users.suspend(user.user_id)
    assert client.users.get(user.user_id).status is UserStatus.ACTIVE
    assert client.users.suspend(user.user_id).status is UserStatus.SUSPENDED


def test_the_victim_of_a_deadlock_goes_on(whole: Deployment, client: Client):
    user = client.users.create(username="deadlock", password=PASSWORD)
    session = client.sign_in("deadlock", password=PASSWORD).session
    with ThreadPoolExecutor(1) as pool, psycopg.connect(whole.database_url) as other:
        # PostgreSQL breaks a deadlock in the transaction that notices it first: not in this one.
        other.execute("set deadlock_timeout = '1min'")
        other.execute("select from sessions where session_id = %s for update", [session.session_id])
        change = pool.submit(client.users.suspend, user.user_id)  # holds the user, waits for the session
        seconds_until(lambda: waiting(whole) == 1, within=5)
        other.execute("select from users where user_id = %s for update", [user.user_id])  # waits for the user
        other.rollback()
        assert change.result().status is UserStatus.SUSPENDED
    assert client.sessions.get(session.session_id).end_time is not None
    with psycopg.connect(whole.database_url) as connection:
        events = connection.execute("select type from events where %s = any (objects)", [f"user:{user.user_id}"])
        assert sorted(row[0] for row in events.fetchall()) == [
            "account-disabled", "session-established", "session-revoked", "user-created",
        ]  # fmt: skip


def test_sigterm_lets_running_calls_end_and_sends_others_away(whole: Deployment, client: Client):
    user = client.users.create(username="graceful")
    statuses: list[bytes] = []
    with (
        ThreadPoolExecutor(2) as pool,
        grpc.insecure_channel(whole.address) as channel,
        holding(whole, user.user_id) as connection,
    ):
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"")
        statuses.append(next(watch))
        change = pool.submit(client.users.suspend, user.user_id)
        seconds_until(lambda: waiting(whole) == 1, within=5)
        whole.server.send_signal(signal.SIGTERM)
        statuses.append(next(watch))
        with whole.client(timeout=5) as late:
            seconds_until(lambda: _is_refused(late), within=2)
        assert not change.done()
        assert whole.server.poll() is None
        connection.rollback()
        assert change.result().status is UserStatus.SUSPENDED
    assert statuses == [b"\x08\x01", b"\x08\x02"]
    # The grace is 10 seconds; nothing keeps the server any longer than the last call.
    whole.server.communicate(timeout=5)
    assert whole.server.returncode == 0
    whole.start_server()
    assert client.users.get(user.user_id).status is UserStatus.SUSPENDED


def _is_refused(client: Client) -> bool:
    try:
        client.users.list_page(page_size=1)
    except UnavailableError:
        return True
    return False


@pytest.mark.slow
def test_sigterm_under_load_loses_nothing():
    with deployment() as whole, whole.client() as client:
        with Load(client, threads=4) as load:
            for _ in range(2):
                load.wait_for(20)
                assert whole.stop_server() == 0
                whole.start_server()
            load.wait_for(10)
        load.check(whole.database_url)
        assert '"incident"' not in whole.log


def test_a_port_in_use_is_said(whole: Deployment):
    second = whole.spawn()
    second.communicate(timeout=30)
    assert second.returncode == 1
    assert f"Cannot serve on {whole.address}: is another process using the port?" in whole.log
    assert "add_port" not in whole.log  # grpc's own line
    assert health(whole.address) == "SERVING"


def test_a_server_does_not_start_without_its_database(whole: Deployment):
    whole.stop_server()
    whole.stop_database()
    try:
        alone = whole.spawn()
        alone.communicate(timeout=30)
        assert alone.returncode not in {0, None}
        assert "The database does not answer" in whole.log
        assert "Traceback" not in whole.log
    finally:
        whole.start_database()
        whole.start_server()
