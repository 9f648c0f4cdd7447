"""ImportUsers, through the SDK and below it, on the real server."""

import random
import secrets
import threading
import unicodedata
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import UUID

import argon2
import bcrypt
import django.contrib.auth.hashers as django
import passlib.hash as passlib
import pytest
import werkzeug.security as werkzeug
from google.protobuf.json_format import ParseDict
from wire import RPC, Wire

from watchword.client import (
    AsyncClient,
    Client,
    ImportedUser,
    ImportedUsers,
    ImportOutcome,
    NotFoundError,
    PermissionDeniedError,
    SignInRefusedError,
    UserImportResult,
    UserStatus,
)
from watchword.server.api.user_imports import UserImporter
from watchword.server.app import utc_now
from watchword.server.call import server_call
from watchword.server.sealing import Keyring, Sealer
from watchword.server.storage.database import Database
from watchword.v1 import users_pb2 as pb

IMPORT = RPC["ImportUsers"]
PASSWORD = "hvězda nad Tatrou"
CANARY = "canary-51d"
CREATED, EXISTS, REFUSED = ImportOutcome.CREATED, ImportOutcome.EXISTS, ImportOutcome.REFUSED


def outcomes(client: Client, *users: ImportedUser, **options) -> list[UserImportResult]:
    results: list[UserImportResult] = []
    client.users.import_(users, on_result=results.append, **options)
    return results


def numbered(*numbers: int, **fields) -> list[ImportedUser]:
    return [
        ImportedUser(external_id=f"crm/{n}", email=f"user{n}@example.com", username=f"user{n}", **fields)
        for n in numbers
    ]


# ----- what is imported -----------------------------------------------------------------------------------------------


def test_everything_of_a_user_arrives(watchword: Client):
    long_ago = datetime(2012, 2, 29, 12, 30, 1, 250000, tzinfo=UTC)
    lately = long_ago + timedelta(days=4000)
    given = ImportedUser(
        external_id="crm/42",
        email="Ana.Lopez@Example.com",
        username="Ana",
        display_name='Ana "López" \\ {NULL}',
        locale="pt-BR",
        attributes={"plan": "pro", "seats": 3, "tags": ["a", None, {"b\\": '"'}]},
        password_hash=django.make_password(PASSWORD, hasher=django.PBKDF2SHA1PasswordHasher()),
        create_time=long_ago,
        last_sign_in_time=lately,
    )
    (result,) = outcomes(watchword, given)
    user = watchword.users.get_by_external_id("crm/42")
    assert (result.outcome, result.user_id, result.external_id) == (CREATED, user.user_id, "crm/42")
    assert (result.password_scheme, result.password_is_weak) == ("pbkdf2_sha1", True)
    assert watchword.users.get_by_email("ana.lopez@EXAMPLE.com") == watchword.users.get_by_username("aNA") == user
    assert (user.email, user.username, user.display_name) == (given.email, "Ana", given.display_name)
    assert (user.locale, user.attributes, user.status) == ("pt-BR", given.attributes, UserStatus.ACTIVE)
    assert user.create_time == long_ago < user.update_time
    (credential,) = watchword.credentials.list(user.user_id)
    assert credential.last_used_time == lately
    assert watchword.users.update(user.user_id, display_name="Ana", etag=user.etag).display_name == "Ana"


def test_users_are_listed_in_the_order_in_which_they_were_created_elsewhere(watchword: Client):
    years = [2019, 1931, 2024, 2001]
    here = watchword.users.create(username="here")
    users = [*numbered(0), *(numbered(year, create_time=datetime(year, 1, 1, tzinfo=UTC))[0] for year in years)]
    assert {result.outcome for result in outcomes(watchword, *users)} == {CREATED}
    listed = list(watchword.users.list())
    assert [user.external_id for user in listed if user != here] == [
        "crm/1931",
        "crm/2001",
        "crm/2019",
        "crm/2024",
        "crm/0",
    ]


def test_least_of_a_user(watchword: Client):
    (result,) = outcomes(watchword, ImportedUser(external_id="7"))
    assert (result.outcome, result.password_scheme, result.password_is_weak) == (CREATED, None, False)
    user = watchword.users.get_by_external_id("7")
    assert (user.email, user.username, user.display_name, user.attributes) == (None, None, None, {})
    assert watchword.credentials.list(user.user_id) == ()


def test_who_is_suspended_stays_out_until_reinstated(watchword: Client):
    (user,) = numbered(1, suspended=True, password_hash=bcrypt.hashpw(b"staple horse", bcrypt.gensalt(4)).decode())
    outcomes(watchword, user)
    with pytest.raises(SignInRefusedError):
        watchword.sign_in("user1", password="staple horse")
    user_id = watchword.users.get_by_username("user1").user_id
    assert watchword.users.get(user_id).status is UserStatus.SUSPENDED
    watchword.users.reinstate(user_id)
    assert watchword.sign_in("user1", password="staple horse").session.user_id == user_id


# ----- passwords ------------------------------------------------------------------------------------------------------

FRAMEWORKS = {
    "django": lambda password: django.make_password(password, hasher=django.PBKDF2PasswordHasher()),
    "django bcrypt": lambda password: django.make_password(password, hasher=django.BCryptSHA256PasswordHasher()),
    "werkzeug": werkzeug.generate_password_hash,
    "passlib": passlib.pbkdf2_sha512.hash,
    "argon2-cffi": argon2.PasswordHasher().hash,
    "bcrypt": lambda password: bcrypt.hashpw(password.encode(), bcrypt.gensalt(6)).decode(),
}


def test_users_sign_in_with_the_passwords_they_have_and_their_hashes_become_ours(watchword: Client, sql):
    def stored() -> dict[str, str]:
        rows = sql("select username, password_hash from credentials join users using (user_id)")
        return {row["username"]: row["password_hash"] for row in rows}

    taken_apart = unicodedata.normalize("NFD", PASSWORD)
    hashes = {f"user{number}": make(taken_apart) for number, make in enumerate(FRAMEWORKS.values())}
    users = [ImportedUser(external_id=name, username=name, password_hash=text) for name, text in hashes.items()]
    assert [result.outcome for result in outcomes(watchword, *users)] == [CREATED] * len(users)
    assert stored() == hashes, "as they are"
    for name, theirs in hashes.items():
        with pytest.raises(SignInRefusedError):
            watchword.sign_in(name, password=PASSWORD + "x")
        assert stored()[name] == theirs
        assert watchword.sign_in(name, password=PASSWORD).session
        ours = stored()[name]
        assert ours.startswith("$argon2id$")
        assert ours != theirs
        watchword.sign_in(name, password=taken_apart)
        assert stored()[name] == ours, "once"
    types = Counter(row["type"] for row in sql("select type from events where person_id is not null"))
    assert types == {
        "user-created": len(users), "sign-in-failed": len(users), "session-established": 2 * len(users)
    }  # fmt: skip


def test_a_password_is_changed_by_proving_the_old_one(watchword: Client, sql):
    outcomes(watchword, *numbered(1, password_hash=werkzeug.generate_password_hash("staple horse")))
    user_id = watchword.users.get_by_username("user1").user_id
    watchword.credentials.change_password(user_id, current_password="staple horse", new_password=PASSWORD)
    assert watchword.sign_in("user1", password=PASSWORD)
    (row,) = sql("select password_hash from credentials")
    assert row["password_hash"].startswith("$argon2id$")


BAD_HASHES = {
    "md5$salt$900150983cd24fb0d6963f7d28e17f72": "kind",
    "staple-horse": "kind",
    "$2b$31$abcdefghijklmnopqrstuuo18IGPhAd/HzW4M2PTaBFRFTK9llj.O": "cost",
    "$argon2id$v=19$m=4194304,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$c29tZXNhbHRzb21lc2FsdA": "cost",
    "pbkdf2:sha256:1000000000$salt$" + "ab" * 32: "cost",
    "$2b$12$abcdefghijklmnopqrstuv": "malformed",
    "!Ae8Wp0kXf3": "leave it empty",
}


def test_hashes_that_cannot_be_verified_or_cost_too_much_are_refused(watchword: Client):
    users = [ImportedUser(external_id=str(n), password_hash=text) for n, text in enumerate(BAD_HASHES)]
    for result, (text, why) in zip(outcomes(watchword, *users), BAD_HASHES.items(), strict=True):
        assert (result.outcome, result.field, result.reason) == (REFUSED, "password_hash", "INVALID_FIELD")
        assert why in result.description
        assert text not in result.description
    assert list(watchword.users.list()) == []


# ----- bad rows -------------------------------------------------------------------------------------------------------

BAD = {
    "external_id": [{}, {"externalId": "x" * 257}, {"externalId": f"{CANARY}\n"}],
    "email": [{"email": f"{CANARY}@"}, {"email": f"{CANARY}@@example.com"}, {"email": f"{'x' * 250}@example.com"}],
    "username": [{"username": f"{CANARY}@example"}, {"username": "two words"}, {"username": "x" * 65}],
    "display_name": [{"displayName": "x" * 513}, {"displayName": f"{CANARY}\0"}],
    "locale": [{"locale": f"{CANARY}_"}],
    "attributes": [{"attributes": {CANARY: "\0"}}, {"attributes": {"x": "y" * 16_384}}],
    "password_hash": [{"passwordHash": f"{CANARY} with spaces"}, {"passwordHash": "$2b$" + "x" * 1024}],
    "create_time": [{"createTime": "2999-01-01T00:00:00Z"}],
    "last_sign_in_time": [{"lastSignInTime": "2999-01-01T00:00:00Z"}],
}


def test_a_bad_user_keeps_no_other_from_being_created(channel, metadata, watchword: Client):
    rows, fields = [], []
    for field, cases in BAD.items():
        for case in cases:
            rows += [
                {"externalId": f"good/{len(rows)}"},
                {**({"externalId": f"bad/{len(rows)}"} if field != "external_id" else {}), **case},
            ]
            fields += ["", field]
    request = ParseDict({"users": rows}, pb.ImportUsersRequest())
    answer = Wire(channel, metadata).call(IMPORT, request)
    assert answer.code == "OK", answer.short
    assert [result.field for result in answer.response.results] == fields
    created = [pb.IMPORT_OUTCOME_REFUSED if field else pb.IMPORT_OUTCOME_CREATED for field in fields]
    assert [result.outcome for result in answer.response.results] == created
    assert CANARY not in str(answer.response)
    assert len(list(watchword.users.list())) == len(rows) // 2


def test_a_name_that_is_taken_is_refused_whatever_its_spelling(watchword: Client):
    watchword.users.create(email="Ana@Bücher.example", username="straße")
    results = outcomes(
        watchword,
        ImportedUser(external_id="1", email="aNA@xn--bcher-kva.example"),
        ImportedUser(external_id="2", username="STRASSE"),
        ImportedUser(external_id="3", email="ben@example.com", username="ben"),
        ImportedUser(external_id="4", email="BEN@example.com"),
        ImportedUser(external_id="5", username="Ben"),
        ImportedUser(external_id="3", username="cleo"),
        ImportedUser(external_id="6", email="ana@xn--bcher-kva.example", username="BEN"),
        ImportedUser(external_id="7", email="dora@example.com"),
    )
    refused = [(result.field, result.reason) for result in results if result.outcome is REFUSED]
    assert refused == [
        (field, "ALREADY_EXISTS") for field in ("email", "username", "email", "username", "external_id", "email")
    ]
    assert {user.external_id for user in watchword.users.list()} == {None, "3", "7"}


def test_a_message_of_too_many_or_of_nonsense_ends_the_stream_and_what_came_before_stays(channel, metadata, watchword):
    call = channel.stream_stream(IMPORT.path, response_deserializer=IMPORT.response.FromString)
    good = pb.ImportUsersRequest(users=[{"external_id": "1"}]).SerializeToString()
    for number, (bad, reason) in enumerate(
        [
            (pb.ImportUsersRequest(users=[{"external_id": str(n)} for n in range(1_001)]).SerializeToString(), "users"),
            (b"\xff", "not an encoding"),
        ]
    ):
        answers = []
        with pytest.raises(Exception, match=reason):
            answers.extend(answer for answer in call(iter([good, bad, good]), metadata=metadata, timeout=20))
        assert len(answers) <= 1
        assert len(list(watchword.users.list())) == 1, number


# ----- repetition -----------------------------------------------------------------------------------------------------


def test_an_import_that_is_repeated_adds_nothing_and_changes_nothing(watchword: Client, sql):
    users = numbered(*range(25), password_hash=bcrypt.hashpw(b"staple", bcrypt.gensalt(4)).decode())
    first = outcomes(watchword, *users, batch_size=10)
    before = list(watchword.users.list())
    watchword.users.update(first[3].user_id, email="new@example.com", external_id="crm/3")
    for batch_size in (1, 7, 1_000):
        again = outcomes(watchword, *users, batch_size=batch_size)
        assert [result.outcome for result in again] == [EXISTS] * 25
        assert [result.user_id for result in again] == [result.user_id for result in first]
    after = list(watchword.users.list())
    assert [user.user_id for user in after] == [user.user_id for user in before]
    assert watchword.users.get(first[3].user_id).email == "new@example.com"
    assert sql("select count(*) as n from events where type = 'user-created'")[0]["n"] == 25
    assert sql("select count(*) as n from credentials")[0]["n"] == 25


def test_an_import_goes_on_from_wherever_it_broke_off(watchword: Client):
    class Broken(Exception):
        pass

    def broken(users):
        yield from users[:37]
        raise Broken

    users = numbered(*range(60))
    with pytest.raises(Broken):
        watchword.users.import_(broken(users), batch_size=5)
    there = len(list(watchword.users.list()))
    assert 15 <= there <= 35, "no more than four messages are sent ahead of their answers"
    done = watchword.users.import_(users, batch_size=5)
    assert (done.created_count, done.existing_count, done.refused_count) == (60 - there, there, 0)


def test_who_was_deleted_can_be_imported_anew(watchword: Client):
    (first,) = outcomes(watchword, *numbered(1))
    watchword.users.delete(first.user_id)
    (second,) = outcomes(watchword, *numbered(1))
    assert second.outcome is CREATED
    assert second.user_id != first.user_id


def test_imports_of_the_same_users_at_once_create_each_of_them_once(watchword: Client, sql):
    """In all orders, so that they meet and wait for each other."""
    users = numbered(*range(300))
    start = threading.Barrier(4)

    def run(seed: int) -> dict[str, UserImportResult]:
        shuffled = random.Random(seed).sample(users, len(users))
        start.wait()
        return {result.external_id: result for result in outcomes(watchword, *shuffled, batch_size=50)}

    with ThreadPoolExecutor(4) as threads:
        runs = list(threads.map(run, range(4)))
    for user in users:
        results = [found[user.external_id] for found in runs]
        assert Counter(result.outcome for result in results) == {CREATED: 1, EXISTS: 3}
        assert len({result.user_id for result in results}) == 1
    assert len(list(watchword.users.list())) == 300
    for table in ("person_keys", "events where type = 'user-created'"):
        assert sql(f"select count(*) as n from {table}")[0]["n"] == 300


def test_of_two_who_are_given_one_address_at_once_one_gets_it(watchword: Client):
    start = threading.Barrier(2)

    def run(prefix: str) -> list[UserImportResult]:
        users = [ImportedUser(external_id=f"{prefix}/{n}", email=f"user{n}@example.com") for n in range(100)]
        start.wait()
        return outcomes(watchword, *users, batch_size=20)

    with ThreadPoolExecutor(2) as threads:
        pairs = zip(*threads.map(run, "ab"), strict=True)
    for pair in pairs:
        assert sorted(result.outcome for result in pair) == [CREATED, REFUSED]
        assert {result.field for result in pair} == {None, "email"}


# ----- trying out -----------------------------------------------------------------------------------------------------


def test_validate_only_tells_the_same_and_writes_nothing(watchword: Client, sql):
    outcomes(watchword, *numbered(1, 2))
    users = [
        *numbered(1, 3, password_hash=passlib.pbkdf2_sha256.hash("x")),
        ImportedUser(external_id="new", email="user2@example.com"),
        ImportedUser(external_id="newer", password_hash="md5$x$y"),
    ]
    events = sql("select count(*) as n from events")
    tried = outcomes(watchword, *users, validate_only=True)
    assert watchword.users.import_(users, validate_only=True).revision is None
    assert sql("select count(*) as n from events") == events
    assert len(list(watchword.users.list())) == 2
    real = outcomes(watchword, *users)
    assert [result.outcome for result in tried] == [EXISTS, CREATED, REFUSED, REFUSED]
    for found, made in zip(tried, real, strict=True):
        assert (found.outcome, found.field, found.reason) == (made.outcome, made.field, made.reason)
        assert (found.description, found.password_scheme) == (made.description, made.password_scheme)
        assert found.user_id == (made.user_id if made.outcome is EXISTS else None)


# ----- what the log holds ---------------------------------------------------------------------------------------------


async def sent(*requests: pb.ImportUsersRequest) -> AsyncIterator[pb.ImportUsersRequest]:
    for request in requests:
        yield request


async def test_each_user_has_an_event_sealed_under_their_own_key(watchword_server, sql):
    keyring = Keyring.parse(Keyring.generate(secrets.token_bytes), randomness=secrets.token_bytes)
    database = Database(
        watchword_server.database_url, pool_size=2, keyring=keyring, clock=utc_now, randomness=secrets.token_bytes
    )
    await database.open()
    rows = [{"external_id": f"{CANARY}/{n}", "email": f"{CANARY}.{n}@example.com"} for n in range(3)]
    call = server_call("test")
    answers = UserImporter(database).run(sent(pb.ImportUsersRequest(users=[*rows, {"external_id": ""}])), call)
    assert len([answer async for answer in answers]) == 1
    await database.close()
    events = sql(
        "select event_id, person_id, objects, nodes, payload, personal_sealed, key_sealed, request_id from events"
        " join person_keys on user_id = person_id where type = 'user-created' order by event_id"
    )
    assert len(events) == 3
    opened = set()
    for event in events:
        assert CANARY not in str(event)
        assert event["objects"] == [f"user:{event['person_id']}"]
        assert (event["nodes"], event["request_id"]) == ([], call.request_id)
        assert event["payload"] == {"fields": ["email", "external_id"], "status": "active", "imported": True}
        key = keyring.sealer("person_keys").open(event["key_sealed"], context=str(event["person_id"]))
        context = f"events/user-created/{call.request_id}/{event['person_id']}"
        opened.add(Sealer.from_key(key, randomness=secrets.token_bytes).open(event["personal_sealed"], context=context))
    assert len(opened) == 3
    assert all(CANARY.encode() in personal for personal in opened)


def test_nothing_of_the_users_is_logged(watchword_server, channel, metadata):
    rows = [
        {"external_id": CANARY, "email": f"{CANARY}@example.com", "password_hash": f"md5${CANARY}$x"},
        {"external_id": f"{CANARY}2", "display_name": CANARY},
    ]
    assert Wire(channel, metadata).call(IMPORT, pb.ImportUsersRequest(users=rows)).code == "OK"
    assert "ImportUsers" in watchword_server.log()
    assert CANARY not in watchword_server.log()
    assert CANARY not in repr(
        ImportedUser(external_id=CANARY, email=CANARY, password_hash=CANARY, attributes={CANARY: 1})
    )


# ----- the SDK --------------------------------------------------------------------------------------------------------


def test_progress_and_what_is_returned(watchword: Client):
    results: list[UserImportResult] = []
    progress: list[ImportedUsers] = []
    bad = [ImportedUser(external_id=f"bad/{n}", email="@") for n in range(150)]
    outcomes(watchword, *numbered(0))
    done = watchword.users.import_(
        (user for group in (numbered(*range(100)), bad) for user in group),
        batch_size=100,
        on_result=results.append,
        on_progress=progress.append,
    )
    assert [(part.created_count, part.existing_count, part.refused_count) for part in progress] == [
        (99, 1, 0), (99, 1, 100), (99, 1, 150)
    ]  # fmt: skip
    assert done == progress[-1]
    assert [result.external_id for result in results] == [f"crm/{n}" for n in range(100)] + [
        f"bad/{n}" for n in range(150)
    ]
    assert done.refusals == tuple(results[100:200])
    assert done.revision
    for size in (0, 1_001):
        with pytest.raises(ValueError, match="batch_size"):
            watchword.users.import_([], batch_size=size)
    nothing = watchword.users.import_([])
    assert (nothing.created_count, nothing.revision) == (0, None)


async def test_the_asynchronous_client(watchword_async: AsyncClient):
    async def source():
        for user in numbered(*range(30)):
            yield user

    done = await watchword_async.users.import_(source(), batch_size=7)
    assert done.created_count == 30
    assert UUID((await watchword_async.users.get_by_username("user29")).user_id)
    await watchword_async.close()


def test_it_has_a_permission_of_its_own(watchword: Client, watchword_server):
    """Threat: whoever may create users could set anybody's password by a hash of their own."""
    watchword.service_accounts.create("billing")
    key = watchword.service_accounts.create_key("billing", permissions=["write_users", "read_users"])
    with Client(watchword_server.address, api_key=key.api_key) as client, pytest.raises(PermissionDeniedError):
        client.users.import_(numbered(1))
    with pytest.raises(NotFoundError):
        watchword.users.get_by_username("user1")


def test_large_users_go_in_smaller_messages(watchword: Client):
    users = numbered(*range(400), attributes={"x": "y" * 16_000})
    sizes: list[int] = []
    watchword.users.import_(users, on_progress=lambda done: sizes.append(done.created_count))
    assert sizes[-1] == 400
    assert len(sizes) == 3
