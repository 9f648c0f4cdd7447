"""The real server, as a process of its own."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any


@dataclass(slots=True, kw_only=True)
class LocalServer:
    """A server on this machine, with an empty database of its own.

    Attributes:
        address: Where it listens.
        api_key: The administrator's API key.
        database_url: Its database.

    """

    address: str
    api_key: str = field(repr=False)
    database_url: str = field(repr=False)
    _commands: IO[str] = field(repr=False)
    _answers: IO[str] = field(repr=False)
    _log: IO[str] = field(repr=False)
    _advanced: float = 0.0

    def reset(self) -> None:
        """Forget all data but the administrator's key, and set the clock back."""
        self._tell(command="reset")
        self._advanced = 0.0

    def advance(self, seconds: float) -> None:
        """Move the server's clock forward."""
        self._tell(command="advance", seconds=seconds)
        self._advanced += seconds

    def time(self) -> float:
        """What the server's clock shows, in Unix seconds."""
        return time.time() + self._advanced

    def log(self) -> str:
        """What the server has logged so far, a JSON object a line."""
        # Not by seeking: the server writes at the position that it shares with this process.
        return os.pread(self._log.fileno(), sys.maxsize >> 32, 0).decode()

    def _tell(self, **command: Any) -> None:
        self._commands.write(json.dumps(command) + "\n")
        self._commands.flush()
        line = self._answers.readline()
        answer = json.loads(line) if line else {"error": "the test server has stopped"}
        if not answer.get("ok"):
            raise RuntimeError(f"The test server refused {command['command']}: {answer.get('error', line)}")


@contextmanager
def local_server(database_url: str | None = None) -> Generator[LocalServer]:
    """Start a server, which takes about a second, and stop it in the end.

    Args:
        database_url: A new and empty PostgreSQL database to use instead of one of its own.

    Raises:
        RuntimeError: It did not start; the text holds what it wrote.

    """
    with (
        tempfile.TemporaryFile("w+") as log,
        # When its standard input ends, also because this process died, the server stops and deletes its data.
        subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "watchword.server.testing", *([database_url] if database_url else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            # The server forks nothing that goes on with gRPC; its care for that costs log lines and has crashed.
            env={**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"},
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101 - both were asked for above
        assert process.stdout is not None  # noqa: S101
        line = process.stdout.readline()
        if not line:
            process.wait()
            log.seek(0)
            raise RuntimeError(f"The test server did not start. It wrote:\n{log.read()}")
        yield LocalServer(**json.loads(line), _commands=process.stdin, _answers=process.stdout, _log=log)
