"""The desk, served in asyncio. It has a client of its own, and so keeps answers of its own."""

from typing import Any, Final

import grpc.aio

from examples.grpc_service.stubs import messages, services
from watchword.client import AsyncClient
from watchword.client.grpc import (
    AUTHENTICATED,
    AsyncServerInterceptor,
    Requires,
    async_client_interceptors,
    current_principal,
    current_token,
)

METHODS: Final = {
    "/examples.notes.v1.Desk/DraftNote": AUTHENTICATED,
    "/examples.notes.v1.Desk/GetTitle": Requires("can_view", "note:{note_id}"),
}


class Desk:
    """The handlers."""

    def __init__(self, client: AsyncClient, notes: grpc.aio.Channel) -> None:
        self._client = client
        self._notes = services.NotesStub(notes)

    async def DraftNote(self, request: Any, _context: Any) -> Any:  # noqa: N802 - named by the contract
        """Create a note for the caller."""
        note = await self._notes.CreateNote(messages.CreateNoteRequest(text=request.text))
        # Notes has just written that, with a client of its own; its answer brought the revision along.
        await self._client.require(current_principal().subject, "can_edit", f"note:{note.id}")
        return _title(note)

    async def GetTitle(self, request: Any, _context: Any) -> Any:  # noqa: N802
        """Tell a note's first line."""
        return _title(await self._notes.GetNote(messages.GetNoteRequest(note_id=request.note_id)))


def _title(note: Any) -> Any:
    return messages.Title(note_id=note.id, text=note.text.partition("\n")[0])


async def serve(client: AsyncClient, notes_address: str, address: str) -> tuple[grpc.aio.Server, int]:
    """Start the server; it and its port."""
    # The caller's token goes along to Notes, which is of this deployment, and on this machine, hence without TLS.
    interceptors = async_client_interceptors(client, token=current_token)
    notes = grpc.aio.insecure_channel(notes_address, interceptors=interceptors)
    server = grpc.aio.server(interceptors=[AsyncServerInterceptor(client, METHODS)])
    services.add_DeskServicer_to_server(Desk(client, notes), server)
    port = server.add_insecure_port(address)
    await server.start()
    return server, port
