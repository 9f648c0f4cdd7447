"""Both clients have a method for each RPC, the same one, and generated code is current."""

import inspect
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sdk_recorder import METHODS, Recorder, recording

from watchword.client import (
    AsyncClient,
    CheckItem,
    Client,
    ImportedUser,
    Relationship,
    RelationshipFilter,
    SignInIncompleteError,
)
from watchword.v1 import options_pb2, users_pb2

ROOT = Path(__file__).parents[1]

# Which method calls which RPC. Where several call one, the parity of the clients is checked all the same.
METHOD_OF = {
    "CreateUser": "users.create",
    "GetUser": "users.get",
    "BatchGetUsers": "users.batch_get",
    "ListUsers": "users.list",
    "UpdateUser": "users.update",
    "SuspendUser": "users.suspend",
    "ReinstateUser": "users.reinstate",
    "DeleteUser": "users.delete",
    "ImportUsers": "users.import_",
    "ExportUsers": "users.export",
    "CreateServiceAccount": "service_accounts.create",
    "GetServiceAccount": "service_accounts.get",
    "ListServiceAccounts": "service_accounts.list",
    "SuspendServiceAccount": "service_accounts.suspend",
    "ReinstateServiceAccount": "service_accounts.reinstate",
    "DeleteServiceAccount": "service_accounts.delete",
    "CreateKey": "service_accounts.create_key",
    "ListKeys": "service_accounts.list_keys",
    "RotateKey": "service_accounts.rotate_key",
    "RevokeKey": "service_accounts.revoke_key",
    "StartSignIn": "sign_in",
    "SetPassword": "credentials.set_password",
    "ChangePassword": "credentials.change_password",
    "ListCredentials": "credentials.list",
    "RemoveCredential": "credentials.remove",
    "RefreshSession": "sessions.refresh",
    "GetSession": "sessions.get",
    "ListSessions": "sessions.list",
    "RevokeSession": "sessions.revoke",
    "RevokeAllSessions": "sessions.revoke_all",
    "IntrospectToken": "tokens.introspect",
    "GetSigningKeys": "tokens.get_signing_keys",
    "RotateSigningKey": "tokens.rotate_signing_key",
    "WriteModel": "permissions.write_model",
    "GetModel": "permissions.get_model",
    "ListModels": "permissions.list_models",
    "Check": "permissions.check",
    "BatchCheck": "permissions.batch_check",
    "ListObjects": "permissions.list_objects",
    "ListSubjects": "permissions.list_subjects",
    "Explain": "permissions.explain",
    "WriteRelationships": "relationships.write",
    "ListRelationships": "relationships.list",
    "DeleteRelationships": "relationships.delete",
    "ImportRelationships": "relationships.import_",
    "ExportRelationships": "relationships.export",
    "CreateOrganization": "organizations.create",
    "GetOrganization": "organizations.get",
    "ListOrganizations": "organizations.list",
    "UpdateOrganization": "organizations.update",
    "DeleteOrganization": "organizations.delete",
    "AddMember": "organizations.add_member",
    "RemoveMember": "organizations.remove_member",
    "ListMembers": "organizations.list_members",
    "CreateGroup": "organizations.create_group",
    "GetGroup": "organizations.get_group",
    "ListGroups": "organizations.list_groups",
    "UpdateGroup": "organizations.update_group",
    "DeleteGroup": "organizations.delete_group",
    "CreateInvitation": "organizations.create_invitation",
    "ListInvitations": "organizations.list_invitations",
    "RevokeInvitation": "organizations.revoke_invitation",
    "AcceptInvitation": "organizations.accept_invitation",
}

# Every field of a request can be set through the method, or this is why not.
SET_BY_PAGES = {"page_token"}
SET_BY_OTHER_METHODS = {"GetUser": {"email", "username", "external_id"}}
SET_BY_STREAMS = {
    "ImportRelationships": {"request_id"},
    "ImportUsers": {"request_id"},
    "ExportRelationships": {"resume_token"},
    "ExportUsers": {"resume_token"},
}
# Arguments for methods that an "x" for each parameter would not do for.
ARGUMENTS: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "WriteModel": ([], {"dsl": "x"}),
    "BatchCheck": ([[CheckItem("x", "x", "x")]], {}),
    "DeleteRelationships": ([RelationshipFilter()], {}),
    "ImportRelationships": ([[Relationship("x", "x", "x")]], {}),
    "ImportUsers": ([[ImportedUser(external_id="x")]], {}),
}
# Answers of methods that an empty one would not do for.
ANSWERS: dict[str, list[Any]] = {"ImportUsers": [users_pb2.ImportUsersResponse(results=[{}])]}
RESOURCES = {"user", "service_account", "organization", "group"}


def method_at(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name)
    return client


def required_arguments(rpc: str, method: Any) -> tuple[list[str], dict[str, Any]]:
    """Something for each parameter that has no default."""
    if rpc in ARGUMENTS:
        return ARGUMENTS[rpc]
    positional, named = [], {}
    for parameter in inspect.signature(method).parameters.values():
        if parameter.default is parameter.empty:
            value: Any = ("x",) if "Iterable" in str(parameter.annotation) else "x"
            if parameter.kind is parameter.KEYWORD_ONLY:
                named[parameter.name] = value
            else:
                positional.append(value)
    return positional, named


@pytest.fixture(scope="module")
def recorder() -> Any:
    with recording() as made:
        yield made


def test_each_rpc_has_a_method():
    assert METHOD_OF.keys() == {path.rpartition("/")[2] for path in METHODS}


@pytest.mark.parametrize("rpc", METHOD_OF)
def test_the_sync_method_calls_it(recorder: Recorder, rpc: str):
    with Client(recorder.address, api_key="wwk_x") as client:
        method = method_at(client, METHOD_OF[rpc])
        positional, named = required_arguments(rpc, method)
        recorder.answers.extend(ANSWERS.get(rpc, []))
        try:
            answer = method(*positional, **named)
            if inspect.isgenerator(answer):
                list(answer)
        except SignInIncompleteError:  # the empty answer to StartSignIn
            pass
    check_call(recorder, rpc)


@pytest.mark.parametrize("rpc", METHOD_OF)
async def test_the_async_method_calls_it(recorder: Recorder, rpc: str):
    async with AsyncClient(recorder.address, api_key="wwk_x") as client:
        method = method_at(client, METHOD_OF[rpc])
        positional, named = required_arguments(rpc, method)
        recorder.answers.extend(ANSWERS.get(rpc, []))
        try:
            answer = method(*positional, **named)
            if isinstance(answer, AsyncIterator):
                [item async for item in answer]
            else:
                await answer
        except SignInIncompleteError:
            pass
    check_call(recorder, rpc)


def check_call(recorder: Recorder, rpc: str) -> None:
    call = recorder.calls[-1]
    assert call.rpc == rpc
    if not METHODS[call.path].GetOptions().idempotency_level:
        assert len(call.request.request_id) == 36, "a change that is retried must carry its request_id"
    else:
        assert "request_id" not in call.request.DESCRIPTOR.fields_by_name


@pytest.mark.parametrize("rpc", METHOD_OF)
def test_each_field_of_the_request_can_be_set(rpc: str):
    """A field that the contract has and the method lacks would be out of a caller's reach."""
    request = next(method for path, method in METHODS.items() if path.endswith(f"/{rpc}")).input_type
    names = set()
    for field in request.fields:
        # A filter is an argument of its own where it serves more than one method.
        spread = field.name in RESOURCES or (field.name == "filter" and rpc in {"ListUsers", "ExportUsers"})
        resource = field.message_type if spread else None
        names |= (
            {
                inner.name
                for inner in resource.fields
                if not inner.GetOptions().Extensions[options_pb2.rules].output_only
            }
            if resource
            else {field.name}
        )
    if rpc.startswith("Create"):
        names -= {"etag"}
    names -= SET_BY_PAGES | SET_BY_OTHER_METHODS.get(rpc, set()) | SET_BY_STREAMS.get(rpc, set()) | {"update_mask"}
    parameters = inspect.signature(method_at(Client("x:1", api_key="x"), METHOD_OF[rpc])).parameters.keys()
    assert names <= parameters


GROUPS = ("", *sorted({path.rpartition(".")[0] for path in METHOD_OF.values()} - {""}))


def surface(client: Any) -> dict[str, Any]:
    return {name: member for name, member in inspect.getmembers(client) if not name.startswith("_")}


@pytest.mark.parametrize("group", GROUPS)
def test_both_clients_have_the_same_surface(group: str):
    sync, asynchronous = Client("x:1", api_key="x"), AsyncClient("x:1", api_key="x")
    if group:
        sync, asynchronous = getattr(sync, group), getattr(asynchronous, group)
    ours, theirs = surface(sync), surface(asynchronous)
    assert ours.keys() == theirs.keys()
    for name in ours:
        if callable(ours[name]):
            assert spelled_out(ours[name]) == spelled_out(theirs[name]), name
            assert inspect.getdoc(ours[name]) == (inspect.getdoc(theirs[name]) or "").replace("Async", "")


def spelled_out(method: Any) -> str:
    signature = str(inspect.signature(method)).replace("AsyncIterator", "Iterator").replace("AsyncClient", "Client")
    # An asynchronous import takes asynchronous sources too.
    return re.sub(r"(collections\.abc\.)Iterable(\[.*?\]) \| \1AsyncIterable\2", r"\1Iterable\2", signature)


def test_the_synchronous_files_are_current():
    done = subprocess.run(
        [sys.executable, str(ROOT / "client" / "make_sync.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
