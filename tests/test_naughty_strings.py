"""Text that has broken other programs is kept byte for byte, or refused with the name of its field; never executed."""

import json
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
    bare,
    dotted,
    fields_of,
    is_text,
    name_of,
    put,
    valid,
)

from watchword.v1 import permissions_pb2

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
        if taken % 25 == 1:
            # Not each time, and with the failures forgotten: guessing is slowed down.
            wire.call(set_password, set_password.request(user_id=other.user_id, new_password=PASSWORD))
            assert wire.call(sign_in, sign_in.request(identifier="bo", password=password)).code == "UNAUTHENTICATED"
    assert taken > len(naughty) * 0.9
    assert watchword.sign_in("bo", password=PASSWORD).session.user_id == other.user_id


def test_in_organizations(wire, naughty):
    create, get, list_all = RPC["CreateOrganization"], RPC["GetOrganization"], RPC["ListOrganizations"]
    create_group, get_group = RPC["CreateGroup"], RPC["GetGroup"]

    def attempt(number: int, text: str) -> None:
        names = {"organization_id": f"acme-{number}", "group_id": f"devs-{number}"}
        request = create.request(organization={"organization_id": names["organization_id"]})
        created, paths = kept(wire, create, request, ["organization.display_name"], text)
        assert paths or not is_ordinary(text)
        assert_holds(created.response, paths, text)
        found = wire.call(get, get.request(organization_id=names["organization_id"])).response
        assert_holds(found, paths, text)
        request = create_group.request(group=names)
        _, paths = kept(wire, create_group, request, ["group.display_name"], text)
        assert_holds(wire.call(get_group, get_group.request(**names)).response, paths, text)

    for_each(naughty, attempt)
    assert len(wire.call(list_all, list_all.request(page_size=500)).response.organizations) == min(len(naughty), 500)


def test_as_ids_of_organizations_and_groups(wire, naughty):
    """Most are refused. The others find their organization again, and name it in permissions."""
    create, get, check = RPC["CreateOrganization"], RPC["GetOrganization"], RPC["Check"]
    add, taken = RPC["AddMember"], 0
    for text in naughty:
        created = wire.call(create, create.request(organization={"organization_id": text, "display_name": text[:9]}))
        if created.code != "OK":
            assert {bare(field) for field in created.fields} <= {
                "organization.organization_id", "organization.display_name"
            }, created.short  # fmt: skip
            continue
        taken += 1
        assert created.response.organization.organization_id == text
        assert wire.call(get, get.request(organization_id=text)).response.organization == created.response.organization
        account = "service:administrator"
        added = wire.call(add, add.request(organization_id=text, subject=account))
        fresh = {"at_least": added.response.revision}
        question = {"subject": account, "relation": "member", "object": f"organization:{text}", "consistency": fresh}
        assert wire.call(check, check.request(**question)).response.decision == permissions_pb2.DECISION_ALLOWED
    assert taken > 10


def test_as_names_in_relationships(wire, naughty):
    """What is refused changes nothing; what is taken is found, asked about and deleted under the same name."""
    write, read, check = RPC["WriteRelationships"], RPC["ListRelationships"], RPC["Check"]
    taken = []
    for text in naughty:
        relationship = {"subject": f"user:{text}", "relation": "owner", "object": f"organization:{text}"}
        written = wire.call(write, write.request(writes=[relationship]))
        if written.code != "OK":
            assert {bare(field).partition(".")[0] for field in written.fields} == {"writes"}, written.short
            refused = wire.call(check, check.request(**relationship))
            assert refused.reason == "INVALID_FIELD", refused.short
            continue
        taken.append(text)
        found = wire.call(read, read.request(filter={"object": relationship["object"]})).response.relationships
        assert [(row.subject, row.relation, row.object) for row in found] == [tuple(relationship.values())]
        fresh = {"at_least": written.response.revision}
        answer = wire.call(check, check.request(**relationship, consistency=fresh))
        assert answer.response.decision == permissions_pb2.DECISION_ALLOWED
    assert len(taken) > 10
    exported = wire.call(RPC["ExportRelationships"], b"").response.relationships
    assert sorted(row.object for row in exported) == sorted(f"organization:{text}" for text in taken)
    deletes = [{"subject": f"user:{text}", "relation": "owner", "object": f"organization:{text}"} for text in taken]
    assert wire.call(write, write.request(deletes=deletes)).code == "OK"
    assert list(wire.call(read, b"").response.relationships) == []


MODEL = """model
  schema 1.1
type user
type document
  relations
    define viewer: [user with same]
condition same(stored: string, asked: string) {
  stored == asked
}
"""


def test_in_the_context_of_conditions(wire, naughty):
    """It is kept to the last sign, and compared so."""
    model, write, read, check = RPC["WriteModel"], RPC["WriteRelationships"], RPC["ListRelationships"], RPC["Check"]
    assert wire.call(model, model.request(dsl=MODEL)).code == "OK"

    def attempt(number: int, text: str) -> None:
        question = {"subject": "user:ana", "relation": "viewer", "object": f"document:{number}"}
        condition = {"name": "same", "context": {"stored": text}}
        written = wire.call(write, write.request(writes=[{**question, "condition": condition}]))
        if "\0" in text:
            assert written.fields == ("writes[0].condition.context",), written.short
            return
        assert written.code == "OK", written.short
        (found,) = wire.call(read, read.request(filter={"object": question["object"]})).response.relationships
        assert found.condition.context["stored"] == text
        for asked, decision in ((text, "ALLOWED"), (f"{text} ", "DENIED"), (f"\u200b{text}", "DENIED")):
            fresh = {"at_least": written.response.revision}
            answer = wire.call(check, check.request(**question, context={"asked": asked}, consistency=fresh))
            assert answer.code == "OK", answer.short
            assert answer.response.decision == permissions_pb2.Decision.Value(f"DECISION_{decision}"), (asked, answer)

    for_each(naughty, attempt)


def test_in_models(wire, naughty):
    """As a comment, as the text of an expression and as a name."""
    write, check = RPC["WriteModel"], RPC["Check"]
    stated = {"subject": "user:ana", "relation": "viewer", "object": "document:7"}
    wire.call(write, write.request(dsl=MODEL))
    granted = {**stated, "condition": {"name": "same", "context": {"stored": ""}}}
    assert wire.call(RPC["WriteRelationships"], RPC["WriteRelationships"].request(writes=[granted])).code == "OK"
    understood = 0
    for text in naughty[:: max(1, len(naughty) // 150)] + INJECTIONS:
        literal = "".join(f"\\U{ord(sign):08x}" for sign in text)
        dsl = MODEL.replace("stored == asked", f'stored + "{literal}" == asked')
        outcome = wire.call(write, write.request(dsl=dsl))
        assert outcome.code == "OK", outcome.short
        found = json.loads(outcome.response.model.openfga_json)["conditions"]["same"]["expression"]
        assert literal in found
        fresh = {"at_least": outcome.response.revision}
        answer = wire.call(check, check.request(**stated, context={"asked": text}, consistency=fresh))
        assert answer.response.decision == permissions_pb2.DECISION_ALLOWED, (text, answer.short)
        understood += 1
        for dsl in (f"# {text}\n{MODEL}", MODEL.replace("viewer", text), MODEL.replace('"stored"', text) + text, text):
            outcome = wire.call(write, write.request(dsl=dsl, validate_only=True))
            assert_lawful(outcome, write)
            assert outcome.reason in {"", "MODEL_INVALID", "INVALID_FIELD", "MODEL_ORPHANS"}, outcome.short
        outcome = wire.call(write, write.request(openfga_json=text, validate_only=True))
        assert_lawful(outcome, write)
        assert outcome.reason in {"MODEL_INVALID", "INVALID_FIELD"}, outcome.short
    assert understood > 100


# ----- never executed -------------------------------------------------------------------------------------------------


def sweep(wire: Wire, rpc: Rpc, path: Path_, strings: list[str]) -> None:
    """Send each string in one field of a request that is good otherwise."""
    for text in strings:
        put(request := valid(rpc), path, text)
        outcome = wire.call(rpc, request)
        assert_lawful(outcome, rpc)
        if outcome.reason == "INVALID_FIELD":
            # What the permission model does not allow is refused as a whole.
            ways = {dotted(path[:length]) for length in range(1, len(path) + 1)}
            assert {bare(field) for field in outcome.fields} <= ways, outcome.short


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
