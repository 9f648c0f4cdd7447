"""Services that are not ours: grpc's health and reflection. They need no API key, and get the same care with bytes.

A stock server answers UNKNOWN to a message that does not decode; here it is INVALID_ARGUMENT, or the protocol's own
way of saying so. Reflection exists as v1 and v1alpha with the same messages; the library offers v1alpha only, which
is what older builds of grpcurl speak.
"""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_status import rpc_status

from watchword.server.errors import MalformedRequest
from watchword.server.pipeline import Undecodable, decoder

REFLECTION_SERVICES = ("grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)


def health_service(servicer: health.aio.HealthServicer) -> grpc.GenericRpcHandler:
    """Offer grpc.health.v1."""

    async def check(request: Any, context: Any) -> Any:
        await _refuse_undecodable(request, context)
        return await servicer.Check(request, context)

    async def watch(request: Any, context: Any) -> AsyncIterator[Any]:
        await _refuse_undecodable(request, context)
        # The library's servicer writes to the stream itself.
        await servicer.Watch(request, context)
        return
        yield

    decode = decoder(health_pb2.HealthCheckRequest)
    encode = health_pb2.HealthCheckResponse.SerializeToString
    return grpc.method_handlers_generic_handler(
        health.SERVICE_NAME,
        {
            "Check": grpc.unary_unary_rpc_method_handler(
                check, request_deserializer=decode, response_serializer=encode
            ),
            "Watch": grpc.unary_stream_rpc_method_handler(
                watch, request_deserializer=decode, response_serializer=encode
            ),
        },
    )


def reflection_services(names: list[str]) -> list[grpc.GenericRpcHandler]:
    """Offer reflection of the named services, and of itself, under both of its names."""
    servicer = reflection.aio.ReflectionServicer(service_names=[*names, *REFLECTION_SERVICES])
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=_reflection_request,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return [
        grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler}) for name in REFLECTION_SERVICES
    ]


def _reflection_request(data: bytes) -> Any:
    """Decode a question; what does not decode is a question about nothing, which the protocol has an error for."""
    try:
        return reflection_pb2.ServerReflectionRequest.FromString(data)
    except DecodeError:
        return reflection_pb2.ServerReflectionRequest()


async def _refuse_undecodable(request: Any, context: Any) -> None:
    if isinstance(request, Undecodable):
        await context.abort_with_status(rpc_status.to_status(MalformedRequest().to_status("")))
