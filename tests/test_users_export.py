"""ExportUsers, through the SDK and below it, on the real server: nobody is kept here who wants to go."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import argon2
import bcrypt
import django.contrib.auth.hashers as django
import grpc
import pytest
from google.protobuf.json_format import ParseDict
from organization_calls import Refused
from wire import RPC, Wire

from watchword.client import (
    AsyncClient,
    Client,
    ExportedUser,
    ImportedUser,
    PermissionDeniedError,
    SignInRefusedError,
    UserStatus,
)
from watchword.v1 import users_pb2 as pb

EXPORT = RPC["ExportUsers"]
PASSWORD = "hvězda nad Tatrou"
LONG_AGO = datetime(2012, 2, 29, 12, 30, 1, 250000, tzinfo=UTC)
CANARY = "canary-77e"


@pytest.fixture
def stream(channel, metadata) -> Callable[..., Iterator[pb.ExportUsersResponse]]:
    """Call the RPC itself."""

    def call(**fields: Any) -> Iterator[pb.ExportUsersResponse]:
        rpc = channel.unary_stream(EXPORT.path, response_deserializer=EXPORT.response.FromString)
        request = ParseDict(fields, pb.ExportUsersRequest())
        try:
            yield from rpc(request.SerializeToString(), metadata=metadata, timeout=20)
        except grpc.RpcError as error:
            raise Refused.of(error) from None

    return call


def numbered(count: int, **fields: Any) -> list[ImportedUser]:
    return [ImportedUser(external_id=f"crm/{n}", email=f"user{n:05}@example.com", **fields) for n in range(count)]


def ids(message: pb.ExportUsersResponse) -> list[str]:
    return [user.user.user_id for user in message.users]


def exports(sql) -> list[dict[str, Any]]:
    return sql("select * from events where type = 'password-hashes-exported' order by event_id")


# ----- what is exported -----------------------------------------------------------------------------------------------


def test_everything_of_a_user_is_exported(watchword: Client):
    hashed = argon2.PasswordHasher().hash("staple horse")
    given = ImportedUser(
        external_id="crm/42",
        email="Ana.Lopez@Example.com",
        username="Ana",
        display_name='=cmd|"/c calc"!A1',
        locale="pt-BR",
        attributes={"plan": "pro", "tags": ["a", None, {"b": 1.5}]},
        password_hash=hashed,
        create_time=LONG_AGO,
        last_sign_in_time=LONG_AGO + timedelta(days=400),
    )
    watchword.users.import_([given])
    (bare,) = watchword.users.export()
    assert bare.user == watchword.users.get_by_external_id("crm/42")
    assert (bare.last_sign_in_time, bare.password_hash) == (given.last_sign_in_time, None)
    (whole,) = watchword.users.export(include_password_hashes=True)
    assert (whole.user, whole.password_hash) == (bare.user, hashed), "argon2's own format, as it is"
    assert whole.to_import() == given


def test_least_of_a_user(watchword: Client):
    made = watchword.users.create(username="ana")
    (found,) = watchword.users.export(include_password_hashes=True)
    assert found == ExportedUser(user=made, last_sign_in_time=None, password_hash=None)
    assert found.to_import().external_id == made.user_id


def test_who_is_exported_is_who_is_listed(watchword: Client):
    watchword.users.import_([*numbered(30), *numbered(0)])
    watchword.users.import_([ImportedUser(external_id=f"old/{n}", create_time=LONG_AGO) for n in range(5)])
    everybody = list(watchword.users.list())
    watchword.users.suspend(everybody[7].user_id)
    watchword.users.delete(everybody[9].user_id)
    for conditions in (
        {},
        {"statuses": [UserStatus.SUSPENDED]},
        {"statuses": [UserStatus.DELETED, UserStatus.ACTIVE]},
        {"email_prefix": "USER0001"},
        {"create_time_until": LONG_AGO + timedelta(seconds=1)},
        {"create_time_from": LONG_AGO + timedelta(seconds=1)},
    ):
        exported = [each.user for each in watchword.users.export(**conditions)]
        assert exported == list(watchword.users.list(**conditions)), conditions
        assert exported, conditions
    by_address = [each.user.email for each in watchword.users.export(email_prefix="user")]
    assert by_address == sorted(by_address)


async def test_the_asynchronous_client(watchword_async: AsyncClient):
    await watchword_async.users.import_(numbered(10))
    found = [each.user.external_id async for each in watchword_async.users.export()]
    assert sorted(found) == [f"crm/{n}" for n in range(10)]
    await watchword_async.close()


# ----- there and back -------------------------------------------------------------------------------------------------


def test_users_move_to_another_server_and_sign_in_with_their_passwords(watchword: Client, watchword_server):
    hashes = [
        django.make_password(PASSWORD, hasher=django.PBKDF2PasswordHasher()),
        bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode(),
    ]
    watchword.users.import_(
        ImportedUser(
            external_id=f"{n}", username=f"user{n}", password_hash=text, create_time=LONG_AGO + timedelta(days=n)
        )
        for n, text in enumerate(hashes)
    )
    watchword.users.create(username="made-here", password=PASSWORD, attributes={"plan": "pro"})
    watchword.users.create(username="without", display_name="Without a password")
    watchword.users.suspend(watchword.users.create(username="suspended", password=PASSWORD).user_id)
    watchword.sign_in("user0", password=PASSWORD)
    before = list(watchword.users.export(include_password_hashes=True))
    watchword_server.reset()
    with Client(watchword_server.address, api_key=watchword_server.api_key) as other:
        assert list(other.users.list()) == []
        done = other.users.import_(user.to_import() for user in before)
        assert done.created_count == 5
        after = list(other.users.export(include_password_hashes=True))
        for name in ("username", "display_name", "locale", "attributes", "status", "create_time"):
            assert [getattr(each.user, name) for each in after] == [getattr(each.user, name) for each in before]
        assert [each.password_hash for each in after] == [each.password_hash for each in before]
        assert [each.last_sign_in_time for each in after] == [each.last_sign_in_time for each in before]
        for name in ("user0", "user1", "made-here"):
            assert other.sign_in(name, password=PASSWORD).session
        for name in ("without", "suspended"):
            with pytest.raises(SignInRefusedError):
                other.sign_in(name, password=PASSWORD)


# ----- in bulk --------------------------------------------------------------------------------------------------------


def test_an_export_resumes_behind_any_message(watchword: Client, stream):
    watchword.users.import_(numbered(1_200))
    whole = list(stream())
    assert len(whole) > 3
    everybody = [user_id for message in whole for user_id in ids(message)]
    assert len(set(everybody)) == len(everybody) == 1_200
    for index, message in enumerate(whole):
        rest = list(stream(resumeToken=message.resume_token))
        assert [ids(item) for item in rest] == [ids(item) for item in whole[index + 1 :]]
    watchword.users.delete(ids(whole[0])[-1])
    late = watchword.users.create(username="late").user_id
    rest = [user_id for item in stream(resumeToken=whole[0].resume_token) for user_id in ids(item)]
    assert rest == [*everybody[len(ids(whole[0])) :], late]
    by_address = list(stream(filter={"emailPrefix": "user"}))
    (_, *tail) = (ids(item) for item in by_address)
    assert [ids(item) for item in stream(filter={"emailPrefix": "USER"}, resumeToken="")] == list(map(ids, by_address))
    resumed = stream(filter={"emailPrefix": "user"}, resumeToken=by_address[0].resume_token)
    assert [ids(item) for item in resumed] == tail


def test_messages_of_large_users_are_small(watchword: Client, stream):
    watchword.users.import_(numbered(300, attributes={"x": "y" * 16_000}))
    whole = list(stream())
    assert sum(len(message.users) for message in whole) == 300
    assert max(message.ByteSize() for message in whole) < 1.1 * 1024 * 1024


def test_a_resume_token_belongs_to_its_request(watchword: Client, stream):
    watchword.users.import_(numbered(3))
    (message,) = stream()
    assert list(stream(resumeToken=message.resume_token)) == []
    for wrong in (
        {"resumeToken": message.resume_token, "filter": {"emailPrefix": "user"}},
        {"resumeToken": message.resume_token, "includePasswordHashes": True},
        {"resumeToken": "nonsense"},
        {"resumeToken": message.resume_token[:-2] + "AA"},
    ):
        with pytest.raises(Refused) as refused:
            list(stream(**wrong))
        assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "INVALID_PAGE_TOKEN"), wrong
    for wrong in ({"resumeToken": "two words"}, {"filter": {"statuses": ["USER_STATUS_UNSPECIFIED"]}}):
        with pytest.raises(Refused) as refused:
            list(stream(**wrong))
        assert (refused.value.code, refused.value.reason) == ("INVALID_ARGUMENT", "INVALID_FIELD"), wrong


# ----- who may --------------------------------------------------------------------------------------------------------


def test_hashes_take_a_permission_of_their_own(watchword: Client, watchword_server, sql):
    """Threat: a job that copies addresses to a data warehouse takes the passwords along."""
    watchword.users.create(username="ana", password=PASSWORD)
    watchword.service_accounts.create("warehouse")

    def client(*permissions: str) -> Client:
        key = watchword.service_accounts.create_key("warehouse", permissions=permissions)
        return Client(watchword_server.address, api_key=key.api_key)

    with client("read_users", "read_credentials", "import_users", "export_password_hashes") as reader:
        for hashes in (False, True):
            with pytest.raises(PermissionDeniedError) as refused:
                list(reader.users.export(include_password_hashes=hashes))
            assert refused.value.metadata["permission"] == "export_users"
    with client("export_users") as exporter:
        assert [each.password_hash for each in exporter.users.export()] == [None]
        with pytest.raises(PermissionDeniedError) as refused:
            list(exporter.users.export(include_password_hashes=True))
        assert refused.value.metadata["permission"] == "export_password_hashes"
    assert exports(sql) == []
    with client("export_users", "export_password_hashes") as exporter:
        (found,) = exporter.users.export(include_password_hashes=True)
        assert found.password_hash is not None
    (event,) = exports(sql)
    assert event["actor"] == "service:warehouse"


def test_what_a_field_takes_is_refused_before_anything_is_said_of_the_request(watchword: Client, channel):
    watchword.service_accounts.create("warehouse")
    key = watchword.service_accounts.create_key("warehouse", permissions=["export_users"])
    request = pb.ExportUsersRequest(include_password_hashes=True, resume_token="two words")
    answer = Wire(channel, (("authorization", f"Bearer {key.api_key}"),)).call(EXPORT, request)
    assert (answer.code, answer.reason) == ("PERMISSION_DENIED", "PERMISSION_MISSING")


def test_the_log_tells_who_exported_hashes_and_of_how_many_users(watchword: Client, stream, sql):
    watchword.users.import_(numbered(300))
    watchword.users.delete(watchword.users.get_by_external_id("crm/7").user_id)
    list(watchword.users.export())
    list(stream(filter={"emailPrefix": "user"}))
    assert exports(sql) == [], "none was given"
    messages = stream(includePasswordHashes=True)
    first = next(messages)
    (event,) = exports(sql)
    assert (event["payload"], event["objects"], event["nodes"]) == (
        {"user_count": 299, "resumed": False},
        ["watchword:deployment"],
        [],
    )
    assert event["actor"] == "service:administrator"
    list(messages)
    list(stream(includePasswordHashes=True, resumeToken=first.resume_token))
    list(stream(includePasswordHashes=True, filter={"emailPrefix": "user0001"}))
    assert [row["payload"] for row in exports(sql)[1:]] == [
        {"user_count": 299, "resumed": True},
        {"user_count": 10, "resumed": False},
    ]


def test_no_hash_is_given_that_is_not_told_of(watchword: Client, stream, sql):
    watchword.users.create(username="ana", password=PASSWORD)
    sql("alter table events add constraint nothing_is_told check (type <> 'password-hashes-exported')")
    try:
        with pytest.raises(Refused) as refused:
            list(stream(includePasswordHashes=True))
        assert refused.value.code == "INTERNAL"
    finally:
        sql("alter table events drop constraint nothing_is_told")


def test_nothing_of_the_users_is_logged_or_shown(watchword: Client, watchword_server):
    given = ImportedUser(
        external_id=CANARY,
        email=f"{CANARY}@example.com",
        display_name=CANARY,
        attributes={"x": CANARY},
        password_hash=argon2.PasswordHasher(time_cost=1, memory_cost=64).hash(CANARY),
    )
    watchword.users.import_([given])
    (found,) = watchword.users.export(include_password_hashes=True)
    assert found.password_hash == given.password_hash
    assert CANARY not in repr(found)
    assert "argon2" not in repr(found)
    assert "ExportUsers" in watchword_server.log()
    assert CANARY not in watchword_server.log()
    assert "argon2" not in watchword_server.log()
