"""A TCP proxy whose network a test may take away: cut, swallowed without a word, or slow.

What was swallowed is lost, so a connection that has lost something never works again: it stays silent until the network
is back, and is reset then, as a router does that has forgotten it.
"""

import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_RESET: Final = struct.pack("ii", 1, 0)
_LOOK_SECONDS: Final = 0.02


class TcpProxy:
    """Stands before "host:port" or a Unix socket. Each direction of each connection has a thread of its own."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        # Held while it is decided if bytes go through: what comes after `swallow` has returned does not.
        self._network = threading.Condition()
        self._swallows = self._refuses = self._holds = self._closed = False
        self._connections: list[_Connection] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        """From now on let nothing through, in either direction, and say nothing of it."""
        with self._network:
            self._swallows = True

    def hold(self) -> None:
        """Let nothing through for now; nothing is lost."""
        with self._network:
            self._holds = True

    def cut(self, *, refuse: bool = False) -> None:
        """Reset all connections; new ones work, unless they are refused."""
        with self._network:
            self._refuses = refuse
            for connection in self._connections:
                connection.reset()
            self._connections.clear()

    def resume(self) -> None:
        """Work again. Connections of which something was swallowed are reset."""
        with self._network:
            self._swallows = self._refuses = self._holds = False
            for connection in self._connections:
                if connection.has_lost:
                    connection.reset()
            self._connections = [connection for connection in self._connections if not connection.has_lost]
            self._network.notify_all()

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        self.resume()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            with suppress(OSError):
                if not select.select([self._listener], [], [], _LOOK_SECONDS)[0]:
                    continue
                client, _ = self._listener.accept()
                self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        with self._network:
            if self._refuses:
                _reset(client)
                return
            try:
                server = _connected(self._target)
            except OSError:
                _reset(client)
                return
            connection = _Connection(client, server)
            self._connections.append(connection)
        for source, sink in ((client, server), (server, client)):
            if sink.family != socket.AF_UNIX:
                sink.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._carry, args=(connection, source, sink), daemon=True).start()

    def _carry(self, connection: "_Connection", source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                with self._network:
                    self._network.wait_for(lambda: not self._holds)
                    if self._swallows or connection.has_lost:
                        connection.has_lost = True
                        continue
                # A sink that does not read must not hold up the others.
                sink.sendall(data)
        # The end of a connection is something that a silent network does not tell either.
        with self._network:
            connection.has_lost = connection.has_lost or self._swallows
            if not connection.has_lost:
                connection.reset()


class _Connection:
    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._sockets = (client, server)
        self.has_lost = False

    def reset(self) -> None:
        for each in self._sockets:
            _reset(each)


def _connected(target: str) -> socket.socket:
    if target.startswith("/"):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(target)
        return connection
    host, _, port = target.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=5)
    connection.settimeout(None)
    return connection


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


@contextmanager
def tcp_proxy(target: str) -> Iterator[TcpProxy]:
    """A proxy; nothing is left of it."""
    proxy = TcpProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
