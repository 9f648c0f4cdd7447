"""Starts both services: `python -m examples.grpc_service [notes' address] [desk's address]`."""

import asyncio
import signal
import sys

from examples.grpc_service import desk, notes
from examples.local import find_server, write_model
from watchword.client import AsyncClient, Client


async def main(notes_address: str = "127.0.0.1:50051", desk_address: str = "127.0.0.1:50052") -> None:
    """Serve until somebody stops it."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    find_server()
    write_model(notes.MODEL)
    with Client.from_environment() as client:
        async with AsyncClient.from_environment() as async_client:
            of_notes, port = notes.serve(client, notes_address)
            _say("notes", port)
            of_desk, port = await desk.serve(async_client, f"127.0.0.1:{port}", desk_address)
            _say("desk", port)
            await stopped.wait()
            await of_desk.stop(grace=1)
            of_notes.stop(grace=1).wait()


def _say(name: str, port: int) -> None:
    sys.stdout.write(f"{name} on port {port}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
