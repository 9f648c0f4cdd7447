"""Traces of OpenTelemetry: one span for each call, within the trace that its caller has begun.

The library's own interceptors are not used: they put the caller's address and the texts of errors into spans, and
those hold what strangers have sent. A span here has the names of service and method, the code, and the reason of a
refusal. Streams that stay open have none, which would end after days.

Threat: a stranger who lets everything be recorded by saying so in a header. Which traces are recorded is for
OTEL_TRACES_SAMPLER to decide; what is too much for the queue is dropped, and calls never wait for it.
"""

import threading
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from importlib.metadata import version
from typing import Any, Final

import grpc
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from watchword.server.errors import DomainError

_PACKAGE: Final = "watchword.v1."
_HEADERS: Final = frozenset({"traceparent", "tracestate"})
_LONGEST_HEADER: Final = 512
_LAST_SECONDS: Final = 2.0
_OURS: Final = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
"""The codes that tell of a fault of the server, in OpenTelemetry's conventions."""


class Traces:
    """Records calls (see `pipeline.Around`)."""

    def __init__(self, provider: trace.TracerProvider) -> None:
        self._tracer = provider.get_tracer("watchword")
        self._propagator = TraceContextTextMapPropagator()

    def unary(self, rpc: str, behavior: Any) -> Any:
        """Record the calls of an RPC."""
        name, attributes = _described(rpc)

        async def traced(request: Any, context: Any) -> Any:
            with self._span(name, attributes, context):
                return await behavior(request, context)

        return traced

    def stream(self, rpc: str, behavior: Any, *, open_ended: bool) -> Any:
        """Record the calls of an RPC that has a stream."""
        if open_ended:
            return behavior
        name, attributes = _described(rpc)

        async def traced(requests: Any, context: Any) -> AsyncGenerator[Any]:
            with self._span(name, attributes, context):
                async with aclosing(behavior(requests, context)) as responses:
                    async for response in responses:
                        yield response

        return traced

    def refused(self, rpc: str, failure: DomainError) -> None:  # noqa: ARG002 - see `Around`
        """Note why the call is refused."""
        trace.get_current_span().set_attribute("watchword.reason", failure.reason_name())

    @contextmanager
    def _span(self, name: str, attributes: dict[str, str], context: Any) -> Iterator[None]:
        headers = {
            key: value
            for key, value in context.invocation_metadata() or ()
            if key in _HEADERS and len(value) <= _LONGEST_HEADER
        }
        parent = self._propagator.extract(headers, contexts.Context())
        span = self._tracer.start_span(name, parent, trace.SpanKind.SERVER, attributes)
        # For good: each call has a task of its own, and the end of a stream may be run by another one.
        contexts.attach(trace.set_span_in_context(span, parent))
        code = "OK"
        try:
            yield
        except BaseException:
            found = context.code()
            # None was set: the caller has hung up.
            code = found.name if isinstance(found, grpc.StatusCode) else "CANCELLED"
            raise
        finally:
            span.set_attribute("rpc.grpc.status_code", grpc.StatusCode[code].value[0])
            if code in _OURS:
                span.set_status(trace.StatusCode.ERROR)
            span.end()


@contextmanager
def tracing() -> Iterator[Traces]:
    """Record until the block ends, and send what is recorded by OTLP; OTEL_… variables say where to, and how much."""
    resource = Resource.create({"service.name": "watchword", "service.version": version("watchword")})
    provider = TracerProvider(resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield Traces(provider)
    finally:
        # It sends what is left, and would try that for long if nobody took it.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(_LAST_SECONDS)
        if ending.is_alive():
            exporter.shutdown()
            ending.join()


def _described(rpc: str) -> tuple[str, dict[str, str]]:
    service, _, method = rpc.partition("/")
    attributes = {"rpc.system": "grpc", "rpc.service": f"{_PACKAGE}{service}", "rpc.method": method}
    return f"{_PACKAGE}{rpc}", attributes
