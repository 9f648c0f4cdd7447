"""How calls travel: address, credentials, deadlines, retries and keepalive, as data without I/O.

Both clients open their channels from this, so that what holds for one holds for the other.
"""

import asyncio
import ipaddress
import json
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from watchword.client.errors import ClientClosedError
from watchword.v1 import (
    credentials_pb2,
    organizations_pb2,
    permissions_pb2,
    relationships_pb2,
    service_accounts_pb2,
    sessions_pb2,
    sign_in_pb2,
    tokens_pb2,
    users_pb2,
    watch_pb2,
)

T = TypeVar("T")
Owner = tuple[int, asyncio.AbstractEventLoop | None]

DEFAULT_ADDRESS: Final = "localhost:7420"
DEFAULT_TIMEOUT: Final = 10.0

# Tried again are UNAVAILABLE, and CANCELLED, which is what a server that stops says to calls that it has not begun: the
# request did not arrive or its answer was lost, and a change that was made after all is not made twice, since each
# attempt carries the same request_id. ABORTED is the caller's to judge.
SERVICE_CONFIG: Final[dict[str, Any]] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ],
    # While most calls fail, retries stop: they would keep a struggling server down.
    "retryThrottling": {"maxTokens": 100, "tokenRatio": 0.1},
}

CHANNEL_OPTIONS: Final[Sequence[tuple[str, Any]]] = (
    ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
    # Notices a peer that is gone without a word within 20 s, also between calls. The server allows a ping each 10 s.
    ("grpc.keepalive_time_ms", 15_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A server that restarts is found again before the attempts of a call are over, however long it was away.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A thousand users with 16 KiB of attributes each.
    ("grpc.max_receive_message_length", 32 * 1024 * 1024),
    # Connections are not shared with other channels, least of all with those of the process before a fork.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TLS:
    """What to trust and, for mutual TLS, what to show.

    Attributes:
        root_certificates: The PEM certificates to trust. Default: gRPC's own list of public authorities.
        certificate_chain: This client's own PEM certificate, with those that it was signed by.
        private_key: The PEM private key of `certificate_chain`.

    """

    root_certificates: bytes | None = None
    certificate_chain: bytes | None = None
    private_key: bytes | None = field(default=None, repr=False)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """The same as gRPC has it."""
        return grpc.ssl_channel_credentials(self.root_certificates, self.private_key, self.certificate_chain)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that a client was told about its calls."""

    address: str
    api_key: str = field(repr=False)
    timeout: float
    tls: TLS | None
    plaintext: bool
    on_behalf_of: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        # gRPC quotes metadata that it cannot send in its error, secrets included; so it is never given any.
        _check_header("api_key", self.api_key)
        if self.on_behalf_of is not None:
            _check_header("access_token", self.on_behalf_of)
        if not self.timeout > 0:
            raise ValueError("timeout must be more than 0 seconds")
        if self.plaintext and self.tls is not None:
            raise ValueError("tls and plaintext exclude each other")

    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """What secures the channel; None for plain text, which the machine itself may use without asking.

        Anywhere else the API key would cross a network in clear.
        """
        if self.tls is not None:
            return self.tls.channel_credentials()
        if self.plaintext or is_local(self.address):
            return None
        return TLS().channel_credentials()

    def metadata(self, call_id: str) -> tuple[tuple[str, str], ...]:
        """What goes along with a call."""
        pairs = (("authorization", f"Bearer {self.api_key}"), ("x-request-id", call_id))
        return pairs if self.on_behalf_of is None else (*pairs, ("on-behalf-of", self.on_behalf_of))


class PerProcess(Generic[T]):
    """A thing that must not outlive a fork, such as a channel or a lock: each process makes its own.

    The parent's is kept, untouched: closing it in the child would end the parent's connection.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: dict[Owner, T] = {}

    def get(self) -> T:
        """The one that belongs here, made when it is first asked for."""
        made = self.existing()
        # `setdefault` is atomic: of two threads that come first, one wins and both get the winner's.
        return self._made.setdefault(self._owner(), self._make()) if made is None else made

    def existing(self) -> T | None:
        """The one that belongs here, if it has been made."""
        return self._made.get(self._owner())

    def _owner(self) -> Owner:
        return os.getpid(), None


class PerLoop(PerProcess[T]):
    """The same for things of asyncio, which belong to one event loop. What belonged to closed loops is dropped."""

    def get(self) -> T:
        """The one that belongs here, made when it is first asked for.

        Raises:
            ClientClosedError: It was used before a fork.

        """
        made = self.existing()
        if made is not None:
            return made
        for process, loop in list(self._made):
            if process != os.getpid():
                # gRPC's poller for asyncio does not survive a fork: the call would hang.
                raise ClientClosedError("An AsyncClient that was used before a fork cannot be used after it.")
            if loop is not None and loop.is_closed():
                self._made.pop((process, loop), None)
        return super().get()

    def _owner(self) -> Owner:
        return os.getpid(), asyncio.get_running_loop()


def is_local(address: str) -> bool:
    """Whether a gRPC target is on this machine, judged by its spelling alone."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    target = address.removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:").lstrip("/")
    host = target.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def new_id() -> str:
    """A random UUID."""
    return str(uuid.uuid4())


def path_of(request: Message) -> str:
    """The path of the RPC that takes this request; each RPC has a request message of its own."""
    return _PATHS[request.DESCRIPTOR.full_name]


def _check_header(name: str, value: str) -> None:
    if not value or not all("!" <= character <= "~" for character in value):
        raise ValueError(f"{name} must be printable ASCII without spaces")


_PATHS: Final = {
    method.input_type.full_name: f"/{service.full_name}/{method.name}"
    for file in (
        credentials_pb2,
        organizations_pb2,
        permissions_pb2,
        relationships_pb2,
        service_accounts_pb2,
        sessions_pb2,
        sign_in_pb2,
        tokens_pb2,
        users_pb2,
        watch_pb2,
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
