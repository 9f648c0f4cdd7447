"""Text that has broken other programs is kept byte for byte, or refused with the name of its field; never executed."""

import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import PASSWORD
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from wire import (
    RPC,
    Outcome,
    Path_,
    Rpc,
    Wire,
    all_fields,
    assert_lawful,
    assert_refused,
    dotted,
    fields_of,
    is_text,
    name_of,
    put,
    valid,
)

INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE users; --",
    "x'); DELETE FROM sessions; --",
    "\\'; SELECT pg_sleep(30); --",
    "1; UPDATE api_keys SET permissions='{administrator}'",
    "' UNION SELECT key_hash::text FROM api_keys --",
    "%(id)s %s %% :id $1 {id} {0}",
    "$$; COPY users TO PROGRAM 'id'; $$",
    "E'\\\\'",
    "\\x27; --",
    "'/*",
    "\u02bc OR 1=1 --",
]


@pytest.fixture
def wire(channel, metadata) -> Wire:
    return Wire(channel, metadata)


@pytest.fixture(scope="module")
def naughty(corpora: Path) -> list[str]:
    text = (corpora / "naughty-strings.txt").read_text(encoding="utf-8")
    lines = [line for line in text.split("\n") if line and not line.startswith("#")]
    return [*dict.fromkeys([*lines, *INJECTIONS])]


def is_ordinary(text: str) -> bool:
    """Whether every field for one line of text has to take it."""
    odd = any(unicodedata.category(sign) == "Cc" or ord(sign) & 0xFFFE == 0xFFFE for sign in text)
    return not odd and len(text.encode()) <= 256


def for_each(strings: list[str], attempt: Callable[[int, str], None]) -> None:
    """Try all strings, a few at a time."""
    with ThreadPoolExecutor(6) as pool:
        for _ in pool.map(attempt, range(len(strings)), strings):
            pass


def kept(wire: Wire, rpc: Rpc, request: Any, names: list[str], text: str) -> tuple[Outcome, list[Path_]]:
    """Send text in many fields; without those that refuse it, it is taken. Give the answer and where it was taken."""
    ways = {dotted(path): path for path in fields_of(rpc.request.DESCRIPTOR)}
    paths = [ways[name] for name in names]
    before = type(request)()
    before.CopyFrom(request)
    for path in paths:
        put(request, path, text)
    outcome = wire.call(rpc, request)
    if outcome.reason == "INVALID_FIELD":
        refused = {field.removesuffix("[0]") for field in outcome.fields}
        assert refused <= {*names}, outcome.short
        paths = [path for path in paths if dotted(path) not in refused]
        request.CopyFrom(before)
        for path in paths:
            put(request, path, text)
        outcome = wire.call(rpc, request)
    assert outcome.code == "OK", (text, outcome.short)
    return outcome, paths


def assert_holds(message: Message, paths: list[Path_], text: str) -> None:
    """A message holds the text in each of the fields, the first step of the way being the message itself."""
    for path in paths:
        found: Any = message
        for step in path:
            found = getattr(found, step.name)
        assert found == text, (dotted(path), found, text)


# ----- kept -----------------------------------------------------------------------------------------------------------


def test_in_users(wire, naughty):
    create, get, update = RPC["CreateUser"], RPC["GetUser"], RPC["UpdateUser"]

    def attempt(number: int, text: str) -> None:
        request = create.request(user={"username": f"user{number}"})
        fields = [f"user.{name}" for name in ("display_name", "locale", "external_id")]
        created, paths = kept(wire, create, request, fields, text)
        user_id = created.response.user.user_id
        assert_holds(created.response, paths, text)
        assert_holds(wire.call(get, get.request(user_id=user_id)).response, paths, text)
        if is_ordinary(text):
            assert {"display_name", "external_id"} <= {path[-1].name for path in paths}
            assert wire.call(get, get.request(external_id=text)).response.user == created.response.user
        attributes = Struct(fields={text: Value(list_value={"values": [Value(string_value=text)]})})
        update_request = update.request(user={"user_id": user_id, "attributes": attributes})
        assert wire.call(update, update_request).response.user.attributes == attributes
        assert wire.call(get, get.request(user_id=user_id)).response.user.attributes == attributes

    for_each(naughty, attempt)


@pytest.mark.parametrize("name", ["email", "username"])
def test_as_names_to_sign_in_with(wire, naughty, name):
    """Most are refused. The others find their user again, and are free again when the user is gone."""
    create, get, delete = RPC["CreateUser"], RPC["GetUser"], RPC["DeleteUser"]
    taken = 0
    for text in [*naughty, *(f"{text}@example.com" for text in naughty), *(f"x@{text}.example" for text in naughty)]:
        request = create.request(user={name: text})
        created = wire.call(create, request)
        if created.code != "OK":
            assert_refused(created, create, f"user.{name}")
            continue
        taken += 1
        assert getattr(created.response.user, name) == text
        assert wire.call(get, get.request(**{name: text})).response.user == created.response.user
        assert wire.call(delete, delete.request(user_id=created.response.user.user_id)).code == "OK"
    assert taken > 30


def test_in_service_accounts_and_keys(wire, naughty, sql):
    create, get, suspend = RPC["CreateServiceAccount"], RPC["GetServiceAccount"], RPC["SuspendServiceAccount"]
    create_key, list_keys = RPC["CreateKey"], RPC["ListKeys"]

    def attempt(number: int, text: str) -> None:
        name = f"account-{number}"
        request = create.request(service_account={"service_account_id": name})
        fields = ["service_account.display_name", "service_account.description"]
        created, paths = kept(wire, create, request, fields, text)
        assert len(paths) == 2 or not is_ordinary(text)
        assert_holds(wire.call(get, get.request(service_account_id=name)).response, paths, text)
        request = create_key.request(service_account_id=name, permissions=["read_users"])
        kept(wire, create_key, request, ["display_name"], text)
        keys = wire.call(list_keys, list_keys.request(service_account_id=name)).response.keys
        assert [key.display_name for key in keys] == [text if is_ordinary(text) else ""]
        kept(wire, suspend, suspend.request(service_account_id=name, etag=created.response.service_account.etag),
             ["reason"], text)  # fmt: skip

    for_each(naughty, attempt)
    # The reason may name somebody: it is sealed, so here it is only seen not to stand in clear.
    assert {str(row["payload"]) for row in sql("select payload from events where type = 'account-disabled'")} == {"{}"}


def test_in_sessions(wire, naughty, watchword):
    user = watchword.users.create(username="ana", password=PASSWORD)
    sign_in, refresh, get = RPC["StartSignIn"], RPC["RefreshSession"], RPC["GetSession"]
    device = ["device.display_name", "device.user_agent", "device.ip_address"]

    def attempt(_number: int, text: str) -> None:
        request = sign_in.request(identifier="ana", password=PASSWORD)
        begun, paths = kept(wire, sign_in, request, [*device, "audiences"], text)
        tokens = begun.response.completed
        session = wire.call(get, get.request(session_id=tokens.session.session_id)).response.session
        assert session.user_id == user.user_id
        assert_holds(session, [path for path in paths if path[0].name == "device"], text)
        assert list(session.audiences) == ([text] if ("audiences",) in map(names_of, paths) else ["internal"])
        refreshed, paths = kept(wire, refresh, refresh.request(refresh_token=tokens.refresh_token), device, text)
        assert_holds(refreshed.response.tokens.session, paths, text)

    for_each(naughty, attempt)


def names_of(path: Path_) -> tuple[str, ...]:
    return tuple(field.name for field in path)


def test_as_passwords(wire, naughty, watchword):
    user = watchword.users.create(username="ana")
    other = watchword.users.create(username="bo", password=PASSWORD)
    set_password, sign_in = RPC["SetPassword"], RPC["StartSignIn"]
    taken = 0
    for text in naughty:
        password = f"{text} horse battery {text}"[:250]
        outcome = wire.call(set_password, set_password.request(user_id=user.user_id, new_password=password))
        assert_lawful(outcome, set_password)
        if outcome.code != "OK":
            assert outcome.reason == "PASSWORD_REFUSED", outcome.short
            continue
        taken += 1
        assert wire.call(sign_in, sign_in.request(identifier="ana", password=password)).code == "OK"
        assert wire.call(sign_in, sign_in.request(identifier="bo", password=password)).code == "UNAUTHENTICATED"
    assert taken > len(naughty) * 0.9
    assert watchword.sign_in("bo", password=PASSWORD).session.user_id == other.user_id


# ----- never executed -------------------------------------------------------------------------------------------------


def sweep(wire: Wire, rpc: Rpc, path: Path_, strings: list[str]) -> None:
    """Send each string in one field of a request that is good otherwise."""
    for text in strings:
        put(request := valid(rpc), path, text)
        outcome = wire.call(rpc, request)
        assert_lawful(outcome, rpc)
        if outcome.reason == "INVALID_FIELD":
            assert {field.removesuffix("[0]") for field in outcome.fields} == {dotted(path)}, outcome.short


@pytest.mark.parametrize(("rpc", "path"), all_fields(is_text), ids=name_of)
def test_sql_in_every_text_field(wire, sql, rpc, path):
    before = sql("select * from service_accounts, api_keys, deployment")
    sweep(wire, rpc, path, INJECTIONS)
    assert sql("select key_hash, permissions from api_keys where service_account_id <> 'nobody'") == [
        {"key_hash": before[0]["key_hash"], "permissions": before[0]["permissions"]}
    ]
    assert len(sql("select from users")) <= 1
    assert sql("select * from deployment")[0]["epoch"] == before[0]["epoch"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_in_every_text_field_of_every_request(wire, watchword, naughty):
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda field: sweep(wire, *field, naughty), all_fields(is_text)))
    assert watchword.users.create(username="still-here")
