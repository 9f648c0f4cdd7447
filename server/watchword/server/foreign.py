"""Reflection, which is grpc's own service. It needs no API key, and gets the same care with bytes and memory.

A stock server answers UNKNOWN to a message that does not decode; the protocol has an error of its own for that.
Reflection exists as v1 and v1alpha with the same messages; the library offers v1alpha only, which is what older builds
of grpcurl speak.
"""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection, reflection_pb2

from watchword.server.streams import Streams

_NAMES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)
# Threat: each answer repeats its question, which waits in memory for a client that does not read.
_MAX_REQUEST_BYTES = 4 * 1024
_MAX_STREAMS = 100


class Reflection:
    """Reflection of the named services, and of itself, under both of its names."""

    def __init__(self, names: list[str]) -> None:
        self._servicer = reflection.aio.ReflectionServicer(service_names=[*names, *_NAMES])
        self._streams = Streams(_MAX_STREAMS)

    def services(self) -> list[grpc.GenericRpcHandler]:
        """Offer the RPC."""
        handler = grpc.stream_stream_rpc_method_handler(
            self._answer,
            request_deserializer=_request,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        return [grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in _NAMES]

    async def _answer(self, requests: AsyncIterator[Any], context: Any) -> None:
        async with self._streams.one(context):
            async for answer in self._servicer.ServerReflectionInfo(requests, context):
                await context.write(answer)


def _request(data: bytes) -> Any:
    """Decode a question; what does not decode is a question about nothing, which the protocol has an error for."""
    try:
        if len(data) <= _MAX_REQUEST_BYTES:
            return reflection_pb2.ServerReflectionRequest.FromString(data)
    except DecodeError:
        pass
    return reflection_pb2.ServerReflectionRequest()
