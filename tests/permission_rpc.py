"""Questions about permissions and changes of them, over bare stubs: what the tests of permissions ask of a server."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from organization_calls import Refused
from wire import RPC, RPCS

from watchword.server.api.messages import relationship as message_of
from watchword.server.permissions.relationships import Relationship
from watchword.v1 import errors_pb2
from watchword.v1 import permissions_pb2 as pb
from watchword.v1 import relationships_pb2 as rpb

ALLOWED, DENIED, CONDITIONAL = pb.DECISION_ALLOWED, pb.DECISION_DENIED, pb.DECISION_CONDITIONAL
FULL = pb.Consistency(full=True)
FAST = pb.Consistency(minimize_latency=True)
_RPC_OF = {rpc.request.DESCRIPTOR.full_name: rpc for rpc in RPCS}


def row(text: str, **more: Any) -> rpb.Relationship:
    """A relationship given as `object#relation@subject`."""
    node, _, subject = text.partition("@")
    object_, _, relation = node.partition("#")
    return rpb.Relationship(object=object_, relation=relation, subject=subject, **more)


def key(text: str) -> rpb.RelationshipKey:
    found = row(text)
    return rpb.RelationshipKey(object=found.object, relation=found.relation, subject=found.subject)


def text_of(message: rpb.Relationship | rpb.RelationshipKey) -> str:
    return f"{message.object}#{message.relation}@{message.subject}"


def at_least(revision: str) -> pb.Consistency:
    return pb.Consistency(at_least=revision)


@dataclass(frozen=True)
class Question:
    """What may come with a check, a list and an explanation alike."""

    context: Mapping[str, Any] = field(default_factory=dict)
    contextual: Sequence[rpb.Relationship | Relationship] = ()
    consistency: pb.Consistency = field(default_factory=lambda: FULL)

    def fill(self, message: Any) -> Any:
        if self.context:
            message.context.update(dict(self.context))
        for item in self.contextual:
            message.contextual_relationships.append(message_of(item) if isinstance(item, Relationship) else item)
        if "consistency" in message.DESCRIPTOR.fields_by_name:
            message.consistency.CopyFrom(self.consistency)
        return message


PLAIN = Question()
QUICK = Question(consistency=FAST)


class Rpcs:
    """A server, called with one key."""

    def __init__(self, channel: grpc.Channel, metadata: Iterable[tuple[str, str]]) -> None:
        self.channel = channel
        self.metadata = tuple(metadata)
        self._stubs: dict[str, Callable[..., Any]] = {}

    def with_key(self, api_key: str) -> "Rpcs":
        return Rpcs(self.channel, (("authorization", f"Bearer {api_key}"),))

    def call(self, request: Message) -> Any:
        """Call the RPC that takes the request."""
        rpc = _RPC_OF[request.DESCRIPTOR.full_name]
        if rpc.path not in self._stubs:
            self._stubs[rpc.path] = self.channel.unary_unary(
                rpc.path,
                request_serializer=rpc.request.SerializeToString,
                response_deserializer=rpc.response.FromString,
            )
        try:
            return self._stubs[rpc.path](request, metadata=self.metadata, timeout=60)
        except grpc.RpcError as error:
            raise refused_by(error) from None

    def refused(self, request: Message) -> Refused:
        """Call what must be refused."""
        try:
            response = self.call(request)
        except Refused as refused:
            return refused
        raise AssertionError(f"was not refused: {response}")

    # ----- changes ----------------------------------------------------------------------------------------------------

    def model(self, dsl: str, **more: Any) -> pb.WriteModelResponse:
        return self.call(pb.WriteModelRequest(dsl=dsl, **more))

    def write(self, *writes: str | rpb.Relationship, deletes: Iterable[str] = (), **more: Any) -> str:
        """Write and delete relationships; give the revision."""
        rows = [row(item) if isinstance(item, str) else item for item in writes]
        request = rpb.WriteRelationshipsRequest(writes=rows, deletes=map(key, deletes), **more)
        return self.call(request).revision

    def stored(self, **asked: str) -> list[str]:
        """All stored relationships that a filter selects."""
        found: list[str] = []
        token = ""
        while True:
            request = rpb.ListRelationshipsRequest(
                filter=rpb.RelationshipFilter(**asked), page_size=500, page_token=token
            )
            page = self.call(request)
            found += map(text_of, page.relationships)
            token = page.next_page_token
            if not token:
                return found

    def imported(self, *messages: Sequence[rpb.Relationship]) -> list[rpb.ImportRelationshipsResponse]:
        """Import, message by message; raises Refused with the answers so far as `answers`."""
        stub = self.channel.stream_stream(
            RPC["ImportRelationships"].path,
            request_serializer=rpb.ImportRelationshipsRequest.SerializeToString,
            response_deserializer=rpb.ImportRelationshipsResponse.FromString,
        )
        requests = (rpb.ImportRelationshipsRequest(relationships=rows) for rows in messages)
        answers: list[rpb.ImportRelationshipsResponse] = []
        try:
            answers.extend(stub(requests, metadata=self.metadata, timeout=60))
        except grpc.RpcError as error:
            refused = refused_by(error)
            refused.answers = answers  # type: ignore[attr-defined]
            raise refused from None
        return answers

    def exported(self, resume_token: str = "", **asked: str) -> Any:
        stub = self.channel.unary_stream(
            RPC["ExportRelationships"].path,
            request_serializer=rpb.ExportRelationshipsRequest.SerializeToString,
            response_deserializer=rpb.ExportRelationshipsResponse.FromString,
        )
        request = rpb.ExportRelationshipsRequest(filter=rpb.RelationshipFilter(**asked), resume_token=resume_token)
        return stub(request, metadata=self.metadata, timeout=60)

    # ----- questions --------------------------------------------------------------------------------------------------

    def check(self, subject: str, relation: str, object_: str, question: Question = PLAIN) -> pb.CheckResponse:
        return self.call(question.fill(pb.CheckRequest(subject=subject, relation=relation, object=object_)))

    def explain(self, subject: str, relation: str, object_: str, question: Question = PLAIN) -> pb.ExplainResponse:
        return self.call(question.fill(pb.ExplainRequest(subject=subject, relation=relation, object=object_)))

    def batch(self, asked: Iterable[tuple[str, str, str]], question: Question = PLAIN) -> pb.BatchCheckResponse:
        """Ask all with the same context."""
        items = [
            question.fill(pb.BatchCheckItem(subject=subject, relation=relation, object=object_))
            for subject, relation, object_ in asked
        ]
        return self.call(pb.BatchCheckRequest(items=items, consistency=question.consistency))

    def objects(
        self, subject: str, relation: str, type_: str, question: Question = PLAIN, **more: Any
    ) -> pb.ListObjectsResponse:
        request = pb.ListObjectsRequest(subject=subject, relation=relation, object_type=type_, **more)
        return self.call(question.fill(request))

    def subjects(
        self, object_: str, relation: str, filters: Iterable[str], question: Question = PLAIN, **more: Any
    ) -> pb.ListSubjectsResponse:
        request = pb.ListSubjectsRequest(object=object_, relation=relation, subject_filters=filters, **more)
        return self.call(question.fill(request))


def refused_by(error: grpc.RpcError) -> Refused:
    """Read a refusal; one that carries no details is a failure of the test."""
    assert "grpc-status-details-bin" in dict(error.trailing_metadata() or ()), error
    return Refused.of(error)


def reason(name: int) -> str:
    """The name of a reason as ErrorInfo has it."""
    return errors_pb2.ErrorReason.Name(name).removeprefix("ERROR_REASON_")


@contextmanager
def refusing(expected: str):
    """What is in the block must be refused for a reason."""
    with pytest.raises(Refused) as refused:
        yield
    assert refused.value.reason == expected, refused.value
