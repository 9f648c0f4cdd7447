"""A caller of Watchword by bare gRPC stubs: every answer it gets is held against the truth.

The SDK is not used: what it costs, and saves, is a figure of its own.
"""

import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass

import grpc

from benchmarks.load import WrongAnswer
from benchmarks.world import MODEL, Question, Relationship, batches
from watchword.v1 import permissions_pb2, relationships_pb2
from watchword.v1.permissions_pb2_grpc import PermissionServiceStub
from watchword.v1.relationships_pb2_grpc import RelationshipServiceStub

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_IMPORTED_AT_ONCE = 10_000
_PAGE = 10_000
_DEADLINE = 60.0
_DECISIONS = {True: permissions_pb2.DECISION_ALLOWED, False: permissions_pb2.DECISION_DENIED}


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list must hold."""

    subject: str
    objects: frozenset[str]


class Caller:
    """Calls over one channel."""

    def __init__(self, channel: grpc.aio.Channel, api_key: str) -> None:
        self._permissions = PermissionServiceStub(channel)
        self._relationships = RelationshipServiceStub(channel)
        self._metadata = (("authorization", f"Bearer {api_key}"),)

    async def write_model(self) -> None:
        """Put the world's model into force."""
        request = permissions_pb2.WriteModelRequest(dsl=MODEL, request_id=str(uuid.uuid4()))
        await self._permissions.WriteModel(request, metadata=self._metadata, timeout=_DEADLINE)

    async def check(self, question: Question) -> None:
        """Ask one question."""
        request = permissions_pb2.CheckRequest(
            subject=question.subject, relation=question.relation, object=question.object
        )
        answer = await self._permissions.Check(request, metadata=self._metadata, timeout=_DEADLINE)
        if answer.decision != _DECISIONS[question.expected]:
            raise WrongAnswer(f"{question}: {permissions_pb2.Decision.Name(answer.decision)}")

    async def batch_check(self, questions: Sequence[Question]) -> None:
        """Ask many in one message."""
        items = [
            permissions_pb2.BatchCheckItem(subject=q.subject, relation=q.relation, object=q.object) for q in questions
        ]
        request = permissions_pb2.BatchCheckRequest(items=items)
        answer = await self._permissions.BatchCheck(request, metadata=self._metadata, timeout=_DEADLINE)
        for question, result in zip(questions, answer.results, strict=True):
            if result.decision != _DECISIONS[question.expected]:
                raise WrongAnswer(f"{question}: {result}")

    async def list_documents(self, listing: Listing) -> None:
        """List what a person may view, all pages."""
        found: list[str] = []
        token = ""
        while True:
            request = permissions_pb2.ListObjectsRequest(
                subject=listing.subject,
                relation="viewer",
                object_type="document",
                page_size=_PAGE,
                page_token=token,
            )
            answer = await self._permissions.ListObjects(request, metadata=self._metadata, timeout=_DEADLINE)
            found += answer.objects
            token = answer.next_page_token
            if not token:
                break
        if len(found) != len(listing.objects) or listing.objects.symmetric_difference(found):
            raise WrongAnswer(f"{listing.subject} sees {len(listing.objects)} documents, the list has {len(found)}")

    async def write(self, relationship: Relationship) -> None:
        """Write one relationship."""
        request = relationships_pb2.WriteRelationshipsRequest(
            writes=[_message(relationship)], request_id=str(uuid.uuid4())
        )
        await self._relationships.WriteRelationships(request, metadata=self._metadata, timeout=_DEADLINE)

    async def import_all(self, messages: Sequence[relationships_pb2.ImportRelationshipsRequest]) -> int:
        """Write relationships in bulk; return how many were."""
        stream = self._relationships.ImportRelationships(_sent(messages), metadata=self._metadata)
        count = 0
        async for answer in stream:
            count = answer.relationship_count
        return count


def import_messages(relationships: Iterable[Relationship]) -> list[relationships_pb2.ImportRelationshipsRequest]:
    """Make the messages of an import: before the clock starts, for the caller's work is not the server's."""
    return [
        relationships_pb2.ImportRelationshipsRequest(relationships=[_message(r) for r in batch])
        for batch in batches(relationships, _IMPORTED_AT_ONCE)
    ]


def new_relationships(series: str, users: int) -> Iterator[Relationship]:
    """Give relationships that no world has, without end."""
    number = 0
    while True:
        yield Relationship(f"document:w{series}_{number}", "viewer", f"user:u{number % users}")
        number += 1


async def _sent(
    messages: Sequence[relationships_pb2.ImportRelationshipsRequest],
) -> AsyncIterator[relationships_pb2.ImportRelationshipsRequest]:
    for message in messages:
        yield message


def _message(relationship: Relationship) -> relationships_pb2.Relationship:
    return relationships_pb2.Relationship(
        subject=relationship.subject, relation=relationship.relation, object=relationship.object
    )
