"""Looking up and listing users, sessions, credentials and keys costs the same however many there are.

Read from PostgreSQL's plans of the very statements that the server sends, not from a clock: no table is read from end
to end, and no statement looks at more than a few rows for each that it gives. The users are such that a plan which
happens to be good for ordinary ones is not good for them: the oldest are deleted, few and the newest are suspended,
those of one company were the last to come.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from plans import TIME, Plan, PlanReader
from psycopg import AsyncConnection

from watchword.server.storage import schema
from watchword.server.storage.database import _CONNECTION
from watchword.server.storage.embedded import EmbeddedPostgres
from watchword.server.storage.sign_ins import NAMED
from watchword.server.storage.user_imports import NewUser
from watchword.server.storage.user_lists import UserFilter
from watchword.server.storage.users import ACTIVE, DELETED, SUSPENDED

BEGIN = datetime(2020, 1, 1, tzinfo=TIME.tzinfo)
PAGE = 51
MOST = 4 * PAGE
"""The most rows that a statement may look at."""

_ID = "CAST(lpad(to_hex(CAST(extract(epoch FROM {at}) * 1000 AS bigint)), 12, '0') || '70008' || \
lpad(to_hex(n), 15, '0') AS uuid)"
_AT = "timestamptz '2020-01-01 00:00:00Z' + n * interval '1 second'"
_FILL = f"""
INSERT INTO users (user_id, email, email_key, username, username_key, external_id, status, create_time, update_time)
SELECT {_ID.format(at="at")}, email, email, name, name, name, status, at, at
FROM generate_series(1, {{users}}) AS n, LATERAL (SELECT
    {_AT} AS at,
    CASE WHEN n <= {{users}} / 5 THEN 'deleted' WHEN n > {{users}} - 100 THEN 'suspended' ELSE 'active' END AS status,
    CASE WHEN n <= {{users}} / 5 THEN NULL WHEN n > {{users}} - 3000 THEN 'zoe' || n || '@acme.example'
        ELSE 'user' || n || '@example.com' END AS email,
    CASE WHEN n > {{users}} / 5 THEN 'user' || n END AS name
) AS made;
INSERT INTO credentials (credential_id, user_id, kind, password_hash, create_time, update_time)
SELECT user_id, user_id, 'password', '$argon2id$', create_time, create_time FROM users WHERE status <> 'deleted';
INSERT INTO sessions (session_id, user_id, client_id, audiences, authentication_methods, authentication_level,
    authentication_time, create_time, last_active_time, idle_expire_time, expire_time, end_time, end_reason,
    refresh_generation, refresh_hash)
SELECT {_ID.format(at=_AT)}, user_id, 'web', '{{{{}}}}', '{{{{}}}}', 'aal1', at, at, at, later, later,
    CASE WHEN n > 100 THEN at END, CASE WHEN n > 100 THEN 'revoked' END, 1, ''
FROM (
    SELECT n, user_id FROM (SELECT row_number() OVER (ORDER BY user_id DESC) AS n, user_id FROM users) AS each
    UNION ALL SELECT {{users}} + n, (SELECT max(user_id::text)::uuid FROM users) FROM generate_series(1, 5000) AS n
) AS those (n, user_id), LATERAL (SELECT {_AT} AS at, timestamptz '2030-01-01Z' AS later) AS times;
INSERT INTO service_accounts (service_account_id, status, create_time, update_time)
SELECT 'service-' || lpad(CAST(n AS text), 6, '0'), 'active', {_AT}, {_AT} FROM generate_series(1, 10000) AS n;
INSERT INTO api_keys (key_id, service_account_id, key_hash, permissions, create_time)
SELECT {_ID.format(at=_AT)}, 'service-' || lpad(CAST(n AS text), 6, '0'), '', '{{{{}}}}', {_AT}
FROM generate_series(1, 10000) AS n;
INSERT INTO api_keys (key_id, service_account_id, key_hash, permissions, create_time)
SELECT {_ID.format(at=_AT)}, 'service-000001', '', '{{{{}}}}', {_AT} FROM generate_series(10001, 10300) AS n;
"""


@pytest.fixture(
    scope="module", params=[50_000, pytest.param(1_000_000, marks=pytest.mark.slow)], ids=["50,000", "1,000,000"]
)
def crowd(request, tmp_path_factory) -> Iterator[tuple[str, int]]:
    """A database of many users; its URL and their number."""
    with EmbeddedPostgres.start(tmp_path_factory.mktemp("crowd"), durable=False) as postgres:
        schema.migrate(postgres.url)
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(_FILL.format(users=request.param).encode())
            connection.execute(b"VACUUM ANALYZE")
        yield postgres.url, request.param


@pytest.fixture
async def reader(crowd) -> AsyncIterator[PlanReader]:
    url, _ = crowd
    async with (
        await AsyncConnection.connect(url, **_CONNECTION) as connection,
        connection.transaction(force_rollback=True),
    ):
        yield PlanReader(connection)


@pytest.fixture
def person(crowd) -> Callable[[int], UUID]:
    """The ids of the users, by their numbers."""
    _, count = crowd

    def numbered(number: int) -> UUID:
        number = number % (count + 1)
        milliseconds = int((BEGIN + timedelta(seconds=number)).timestamp()) * 1000
        return UUID(f"{milliseconds:012x}70008{number:015x}")

    return numbered


def require_flat(plans: list[Plan], *, most: int = MOST) -> None:
    assert plans
    for plan in plans:
        assert not plan.scanned(), plan
        assert plan.rows_read() <= most, plan


# ----- one of many ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["user_id", "email_key", "username_key", "external_id"])
async def test_a_user_is_found_by_any_key(reader: PlanReader, person, crowd, key):
    number = crowd[1] - 5_000
    values = {"email_key": f"user{number}@example.com", "username_key": f"user{number}", "external_id": f"user{number}"}
    found = await (reader.users.get(person(number)) if key == "user_id" else reader.users.find(key, values[key]))
    assert found is not None
    assert found.user_id == person(number)
    require_flat(reader.plans, most=1)


async def test_rows_are_found_by_what_calls_name_them_by(reader: PlanReader, person):
    user_id = person(-1)
    await reader.users.lock(user_id)
    await reader.users.lock_shared(user_id)
    await reader.credentials.password(user_id)
    await reader.credentials.list(user_id)
    await reader.credentials.password_of("email_key", "zoe49999@acme.example")
    await reader.credentials.password_of("username_key", "user49999")
    for column, key in (("email_key", "zoe49999@acme.example"), ("username_key", "user49999")):
        await reader.value(NAMED[column], key=key, now=reader.now)
    await reader.credentials.touch(user_id)
    await reader.credentials.replace_hash(user_id, old="$argon2id$", new="$argon2id$")
    session_id = person(7)
    session = await reader.sessions.get(session_id)
    await reader.sessions.lock(session_id)
    await reader.sessions.presented(session_id, session.user_id, "k")
    await reader.sessions.end(session, "revoked")
    key = await reader.service_accounts.presented(session_id)
    assert key is not None
    await reader.service_accounts.lock_key(session_id)
    await reader.service_accounts.touch_key(session_id)
    await reader.service_accounts.get("service-000007")
    await reader.service_accounts.living_keys("service-000007")
    require_flat(reader.plans, most=5)


async def test_a_thousand_users_are_found_at_once_or_by_their_names(reader: PlanReader, person, crowd):
    numbers = range(crowd[1] // 2, crowd[1] // 2 + 1_000)
    assert len(await reader.users.get_many([person(number) for number in numbers])) == 1_000
    named = [_imported(number) for number in numbers]
    assert len(await reader.user_imports.known(named)) == 3_000
    require_flat(reader.plans, most=6_000)


def _imported(number: int) -> NewUser:
    name = f"user{number}"
    email = f"{name}@example.com"
    return NewUser(
        external_id=name, email=email, email_key=email, username=name, username_key=name, display_name="", locale="",
        attributes={}, status=ACTIVE, create_time=TIME, password_hash=None, last_used_time=None,
    )  # fmt: skip


# ----- lists ----------------------------------------------------------------------------------------------------------

LISTS: dict[str, Callable[[int], UserFilter]] = {
    "those who are not deleted": lambda _: UserFilter((ACTIVE, SUSPENDED)),
    "all": lambda _: UserFilter((ACTIVE, SUSPENDED, DELETED)),
    "active": lambda _: UserFilter((ACTIVE,)),
    "suspended": lambda _: UserFilter((SUSPENDED,)),
    "deleted": lambda _: UserFilter((DELETED,)),
    "twice the same": lambda _: UserFilter((DELETED, DELETED)),
    "address of many": lambda _: UserFilter((ACTIVE, SUSPENDED), "u"),
    "address of the newest": lambda _: UserFilter((ACTIVE, SUSPENDED), "zoe"),
    "address of few": lambda count: UserFilter((ACTIVE, SUSPENDED), f"user{count // 20}"),
    "address of nobody": lambda _: UserFilter((ACTIVE, SUSPENDED), "nobody"),
    "address of the suspended": lambda _: UserFilter((SUSPENDED,), "z"),
    "since": lambda count: UserFilter((ACTIVE, SUSPENDED), create_time_from=BEGIN + timedelta(seconds=count - 1_000)),
    "until": lambda _: UserFilter((DELETED,), create_time_until=BEGIN + timedelta(seconds=1_000)),
    "between": lambda count: UserFilter(
        (ACTIVE,),
        create_time_from=BEGIN + timedelta(seconds=count // 2),
        create_time_until=BEGIN + timedelta(seconds=count // 2 + 500),
    ),
    "before anybody": lambda _: UserFilter((ACTIVE,), create_time_until=datetime(1, 1, 2, tzinfo=TIME.tzinfo)),
}


async def pages_of(
    reader: PlanReader, asked: UserFilter, crowd: tuple[str, int], person: Callable[[int], UUID]
) -> None:
    """Ask for the first page, the second, and one in the middle."""
    first = await reader.user_lists.page(asked, after="", size=PAGE)
    _require_fit(asked, first)
    if not first:
        return
    second = await reader.user_lists.page(asked, after=asked.position(first[-1]), size=PAGE)
    _require_fit(asked, second)
    assert not {user.user_id for user in first} & {user.user_id for user in second}
    middle = f"{asked.email_prefix}{crowd[1] - 1_000}@example.com"
    if not asked.email_prefix:
        middle = f"{(BEGIN + timedelta(seconds=crowd[1] // 2)).isoformat()} {person(crowd[1] // 2)}"
    _require_fit(asked, await reader.user_lists.page(asked, after=middle, size=PAGE))


def _require_fit(asked: UserFilter, users: list[Any]) -> None:
    assert all(user.status in asked.statuses for user in users)
    assert all((user.email_key or "").startswith(asked.email_prefix) for user in users)
    places = [asked.position(user) for user in users]
    assert places == sorted(set(places))


@pytest.mark.parametrize("name", LISTS)
async def test_pages_of_users(reader: PlanReader, crowd, person, name):
    await pages_of(reader, LISTS[name](crowd[1]), crowd, person)
    require_flat(reader.plans)


@pytest.mark.parametrize("include_ended", [True, False])
async def test_pages_of_sessions_of_somebody_with_thousands(reader: PlanReader, person, include_ended):
    user_id = person(-1)
    newest = await reader.sessions.page(user_id, include_ended=include_ended, before=None, size=PAGE)
    assert len(newest) == (PAGE if include_ended else 1)
    await reader.sessions.page(user_id, include_ended=include_ended, before=newest[-1].session_id, size=PAGE)
    ended = await reader.sessions.end_all(user_id, "revoked")
    assert len(ended) == 1
    require_flat(reader.plans)


@pytest.mark.parametrize("include_deleted", [True, False])
async def test_pages_of_service_accounts(reader: PlanReader, include_deleted):
    for after in ("", "service-005000"):
        assert len(await reader.service_accounts.page(include_deleted=include_deleted, after=after, size=PAGE)) == PAGE
    require_flat(reader.plans)


@pytest.mark.parametrize("include_ended", [True, False])
async def test_pages_of_keys_of_an_account_with_hundreds(reader: PlanReader, include_ended):
    keys = await reader.service_accounts.keys("service-000001", include_ended=include_ended, after=None, size=PAGE)
    assert len(keys) == PAGE
    await reader.service_accounts.keys("service-000001", include_ended=include_ended, after=keys[-1].key_id, size=PAGE)
    require_flat(reader.plans)


# ----- the test itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "name"),
    [
        ("users_by_creation", "those who are not deleted"),
        ("users_by_creation", "deleted"),
        ("users_by_email", "address of few"),
        ("users_by_email", "address of nobody"),
    ],
)
async def test_a_list_without_its_index_is_found_out(reader: PlanReader, crowd, person, index, name):
    async with reader._connection.transaction(force_rollback=True):
        await reader._connection.execute(f"DROP INDEX {index}".encode())
        await pages_of(reader, LISTS[name](crowd[1]), crowd, person)
        with pytest.raises(AssertionError):
            require_flat(reader.plans)
