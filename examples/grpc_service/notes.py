"""The notes, served in threads."""

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from examples.grpc_service.stubs import messages, services
from watchword.client import Client, NotFoundError, Relationship, RelationshipKey
from watchword.client.grpc import AUTHENTICATED, PUBLIC, Requires, ServerInterceptor, current_principal

# Who may do what, in one place for all services that ask.
MODEL: Final = """model
  schema 1.1
type user
type note
  relations
    define owner: [user]
    define viewer: [user] or owner
    define can_view: viewer
    define can_edit: owner
    define can_share: owner
"""

METHODS: Final = {
    "/examples.notes.v1.Notes/CreateNote": AUTHENTICATED,
    "/examples.notes.v1.Notes/GetNote": Requires("can_view", "note:{note_id}"),
    "/examples.notes.v1.Notes/AddLines": Requires("can_edit", "note:{note_id}"),
    "/examples.notes.v1.Notes/WatchNote": Requires("can_view", "note:{note_id}"),
    "/examples.notes.v1.Notes/ShareNote": Requires("can_share", "note:{note_id}"),
    "/examples.notes.v1.Notes/UnshareNote": Requires("can_share", "note:{note_id}"),
    "/grpc.health.v1.Health/Check": PUBLIC,
}


class Notes:
    """The handlers. They are called for those who may, and so ask nothing."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._texts: dict[str, str] = {}
        self._changed = threading.Condition()

    def CreateNote(self, request: Any, _context: grpc.ServicerContext) -> Any:  # noqa: N802 - named by the contract
        """Create a note and own it: first the relationship, since what nobody owns nobody could ever see."""
        note_id = str(uuid.uuid4())
        self._client.relationships.write([Relationship(current_principal().subject, "owner", f"note:{note_id}")])
        self._add(note_id, request.text)
        return self._note(note_id)

    def GetNote(self, request: Any, _context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Show a note."""
        return self._note(request.note_id)

    def AddLines(self, requests: Iterator[Any], _context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Take lines as they come."""
        note_id, count = "", 0
        for request in requests:
            note_id = request.note_id or note_id
            self._add(note_id, f"\n{request.line}")
            count += 1
        return messages.AddLinesResponse(lines=count)

    def WatchNote(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:  # noqa: N802
        """Send the note whenever it changes."""
        context.add_callback(self._wake)
        seen = None
        while context.is_active():
            with self._changed:
                while context.is_active() and self._texts[request.note_id] == seen:
                    self._changed.wait()
                seen = self._texts[request.note_id]
            yield messages.Note(id=request.note_id, text=seen)

    def ShareNote(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Let somebody see it."""
        viewer = Relationship(self._named(request, context), "viewer", f"note:{request.note_id}")
        self._client.relationships.write([viewer])
        return messages.ShareNoteResponse()

    def UnshareNote(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Take it back."""
        viewer = RelationshipKey(self._named(request, context), "viewer", f"note:{request.note_id}")
        self._client.relationships.write(deletes=[viewer])
        return messages.UnshareNoteResponse()

    def _note(self, note_id: str) -> Any:
        return messages.Note(id=note_id, text=self._texts[note_id])

    def _add(self, note_id: str, text: str) -> None:
        with self._changed:
            self._texts[note_id] = self._texts.get(note_id, "") + text
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _named(self, request: Any, context: grpc.ServicerContext) -> str:
        try:
            return f"user:{self._client.users.get_by_username(request.username).user_id}"
        except NotFoundError:
            context.abort(grpc.StatusCode.NOT_FOUND, "There is nobody of this name.")


def serve(client: Client, address: str) -> tuple[grpc.Server, int]:
    """Start the server; it and its port."""
    # Each stream that waits takes one of them.
    server = grpc.server(ThreadPoolExecutor(16), interceptors=[ServerInterceptor(client, METHODS)])
    services.add_NotesServicer_to_server(Notes(client), server)
    healthy = health.HealthServicer()
    healthy.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    port = server.add_insecure_port(address)
    server.start()
    return server, port
