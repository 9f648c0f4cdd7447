"""Calls of any unary RPC by its request, and a small world of organizations to make them in."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from conftest import PASSWORD
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from wire import RPCS

from watchword.client import Client
from watchword.v1 import organizations_pb2 as pb
from watchword.v1 import permissions_pb2, relationships_pb2

_RPC = {rpc.request.DESCRIPTOR.full_name: rpc for rpc in RPCS}
ALLOWED, DENIED = permissions_pb2.DECISION_ALLOWED, permissions_pb2.DECISION_DENIED


@dataclass
class Refused(Exception):
    """A call was refused."""

    code: str
    reason: str
    message: str
    metadata: dict[str, str]
    fields: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, error: grpc.RpcError) -> "Refused":
        details = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        for detail in status_pb2.Status.FromString(details).details:
            detail.Unpack(info)
            detail.Unpack(bad)
        names = [violation.field for violation in bad.field_violations]
        return cls(error.code().name, info.reason, error.details(), dict(info.metadata), names)


@dataclass(frozen=True)
class World:
    """A server, and calls of it by the administrator's key, perhaps on behalf of a user."""

    watchword: Client
    channel: grpc.Channel
    metadata: tuple[tuple[str, str], ...]

    def call(self, request: Message, *, user: str = "") -> Any:
        """Call the RPC that takes the request; `user` is an access token."""
        rpc = _RPC[request.DESCRIPTOR.full_name]
        stub = self.channel.unary_unary(
            rpc.path, request_serializer=rpc.request.SerializeToString, response_deserializer=rpc.response.FromString
        )
        metadata = (*self.metadata, ("on-behalf-of", user)) if user else self.metadata
        try:
            return stub(request, metadata=metadata, timeout=60)
        except grpc.RpcError as error:
            raise Refused.of(error) from None

    def refused(self, request: Message, *, user: str = "") -> Refused:
        """Call what must be refused."""
        try:
            response = self.call(request, user=user)
        except Refused as refused:
            return refused
        raise AssertionError(f"was not refused: {response}")

    # ----- people -----------------------------------------------------------------------------------------------------

    def user(self, name: str) -> str:
        """Make a user, as a subject."""
        return f"user:{self.watchword.users.create(username=name, password=PASSWORD).user_id}"

    def token(self, name: str) -> str:
        """Sign a user in."""
        return self.watchword.sign_in(name, password=PASSWORD).access_token

    # ----- organizations ----------------------------------------------------------------------------------------------

    def organization(self, organization_id: str, owner: str = "", /, **roles: list[str]) -> str:
        """Make an organization with members, by role."""
        owner_id = owner.removeprefix("user:")
        given = pb.Organization(organization_id=organization_id)
        self.call(pb.CreateOrganizationRequest(organization=given, owner_user_id=owner_id))
        for role, subjects in roles.items():
            for subject in subjects:
                self.add(organization_id, subject, role)
        return organization_id

    def group(self, organization_id: str, group_id: str, *members: str) -> str:
        """Make a group with members."""
        self.call(pb.CreateGroupRequest(group=pb.Group(organization_id=organization_id, group_id=group_id)))
        for subject in members:
            self.add(organization_id, subject, group_id=group_id)
        return group_id

    def add(self, organization_id: str, subject: str, role: str = "", *, group_id: str = "", user: str = "") -> Any:
        request = pb.AddMemberRequest(organization_id=organization_id, subject=subject, role=role, group_id=group_id)
        return self.call(request, user=user)

    def remove(self, organization_id: str, subject: str, role: str = "", *, group_id: str = "", user: str = "") -> Any:
        request = pb.RemoveMemberRequest(organization_id=organization_id, subject=subject, role=role, group_id=group_id)
        return self.call(request, user=user)

    def invite(self, organization_id: str, role: str = "", *, user: str = "", **more: Any) -> Any:
        return self.call(pb.CreateInvitationRequest(organization_id=organization_id, role=role, **more), user=user)

    def members(self, organization_id: str, **more: Any) -> set[tuple[str, str]]:
        """List all pairs of subject and role."""
        found: list[tuple[str, str]] = []
        token = ""
        while True:
            request = pb.ListMembersRequest(organization_id=organization_id, page_token=token, **more)
            page = self.call(request)
            found += [(member.subject, member.role) for member in page.members]
            token = page.next_page_token
            if not token:
                break
        assert len(set(found)) == len(found)
        # By subject: the name, then the relation of a set, then the role.
        assert found == sorted(found, key=lambda item: (item[0].partition("#")[0], item[0].partition("#")[2], item[1]))
        return set(found)

    # ----- permissions ------------------------------------------------------------------------------------------------

    def decision(self, subject: str, relation: str, object_: str) -> int:
        consistency = permissions_pb2.Consistency(full=True)
        request = permissions_pb2.CheckRequest(
            subject=subject, relation=relation, object=object_, consistency=consistency
        )
        return self.call(request).decision

    def write(self, *relationships: str) -> None:
        """Write relationships given as `object#relation@subject`."""
        writes = []
        for text in relationships:
            node, _, subject = text.partition("@")
            object_, _, relation = node.partition("#")
            writes.append(relationships_pb2.Relationship(object=object_, relation=relation, subject=subject))
        self.call(relationships_pb2.WriteRelationshipsRequest(writes=writes))

    def model(self, dsl: str) -> None:
        self.call(permissions_pb2.WriteModelRequest(dsl=dsl, allow_orphans=True))


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait for what the caches learn within milliseconds."""
    end = time.monotonic() + 5
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


class Events:
    """The log, read on."""

    def __init__(self, sql: Callable[..., list[dict[str, Any]]]) -> None:
        self._sql = sql
        self._seen = 0
        self()

    def __call__(self) -> list[dict[str, Any]]:
        """The events since the last time it was asked."""
        rows = self._sql("select *, xid::text as xid from events where event_id > %s order by event_id", self._seen)
        self._seen = rows[-1]["event_id"] if rows else self._seen
        return rows
