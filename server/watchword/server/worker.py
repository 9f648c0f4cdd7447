"""One of several worker processes: `workers.py` starts it, by settings in its environment, and tells it when to end."""

import os
import sys

# As for `watchword serve`: a server does not fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import asyncio
import json

import uvloop

from watchword.server import config as settings
from watchword.server.app import serve
from watchword.server.config import ConfigError
from watchword.server.errors import DatabaseUnavailable
from watchword.server.prepare import PreparationError, prepare


async def _serve() -> None:
    config = settings.load(os.environ)
    with prepare(config) as prepared:
        await serve(
            config,
            database_url=prepared.database_url,
            keyring=prepared.keyring,
            on_ready=_ready,
            is_shared=True,
            orphaned=asyncio.create_task(_input_ends()),
        )


async def _input_ends() -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def _ready(address: str) -> None:
    sys.stdout.write(json.dumps({"address": address}) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until SIGTERM, or until the input ends."""
    try:
        uvloop.run(_serve())
    except (ConfigError, PreparationError, DatabaseUnavailable, OSError) as error:
        sys.exit(f"A worker cannot serve: {error}")


if __name__ == "__main__":
    main()
