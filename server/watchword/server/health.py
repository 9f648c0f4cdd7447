"""grpc.health.v1, which tells load balancers whether to send calls here. Anybody may ask, so nobody may be in the way.

The library's servicer is not used, for three reasons that a caller without an API key can bring about. It writes to a
stream while it holds the lock that setting a status takes: a client that does not read freezes the health of all, and
a shutdown. A watcher that leaves takes the others' registration along. And it keeps whatever name it is asked about.
"""

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2
from grpc_status import rpc_status

from watchword.server.errors import MalformedRequest
from watchword.server.pipeline import Undecodable, decoder
from watchword.server.streams import Streams

# Names of services are far shorter; threat: memory, held by streams that ask about names of megabytes.
_MAX_REQUEST_BYTES = 256
_MAX_WATCHERS = 1_000
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
_SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """The health of services: of all the same, since all need the same database. NOT_SERVING until it is told.

    Watchers wait for an event that each change replaces, so telling never waits for anybody, and a watcher that is
    slow to read misses what is no longer true.
    """

    NAME = health.SERVICE_NAME

    def __init__(self, names: list[str]) -> None:
        self._names = frozenset(("", *names))
        self._status = _NOT_SERVING
        self._ended = False
        self._changed = asyncio.Event()
        self._watchers = Streams(_MAX_WATCHERS)

    def tell(self, *, serving: bool) -> None:
        """Tell whether the services serve. After the end it changes nothing."""
        if not self._ended:
            self._set(_SERVING if serving else _NOT_SERVING)

    def end(self) -> None:
        """Tell NOT_SERVING, for good. Each stream ends when it has told so."""
        self._ended = True
        self._set(_NOT_SERVING)

    def _set(self, status: "health_pb2.HealthCheckResponse.ServingStatus") -> None:
        self._status = status
        self._changed.set()
        self._changed = asyncio.Event()

    def service(self) -> grpc.GenericRpcHandler:
        """Offer the RPCs."""
        decode = decoder(health_pb2.HealthCheckRequest, max_bytes=_MAX_REQUEST_BYTES)
        encode = health_pb2.HealthCheckResponse.SerializeToString
        return grpc.method_handlers_generic_handler(
            self.NAME,
            {
                "Check": grpc.unary_unary_rpc_method_handler(
                    self._check, request_deserializer=decode, response_serializer=encode
                ),
                "Watch": grpc.unary_stream_rpc_method_handler(
                    self._watch, request_deserializer=decode, response_serializer=encode
                ),
            },
        )

    async def _check(self, request: Any, context: Any) -> Any:
        name = await _name(request, context)
        if name not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "No such service is served here.")
        return health_pb2.HealthCheckResponse(status=self._status)

    async def _watch(self, request: Any, context: Any) -> None:
        name = await _name(request, context)
        async with self._watchers.one(context):
            told = None
            while True:
                changed = self._changed
                status = self._status if name in self._names else _SERVICE_UNKNOWN
                if status != told:
                    await context.write(health_pb2.HealthCheckResponse(status=status))
                    told = status
                elif self._ended:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "This server is shutting down.")
                else:
                    await changed.wait()


async def _name(request: Any, context: Any) -> str:
    if isinstance(request, Undecodable):
        await context.abort_with_status(rpc_status.to_status(MalformedRequest().to_status("")))
    name: str = request.service
    return name
