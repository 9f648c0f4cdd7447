"""Traces: a span for each call, in the trace of its caller, with nothing in it that came in the request."""

import queue
import time
from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from conftest import PASSWORD
from deployment import Deployment, deployment
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.trace.v1 import trace_pb2

from watchword.client import Client, Relationship
from watchword.v1 import users_pb2

SECONDS = 20.0
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Collector:
    """An OpenTelemetry collector that keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: queue.SimpleQueue[otlp.ExportTraceServiceRequest] = queue.SimpleQueue()
        method = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=otlp.ExportTraceServiceRequest.FromString,
            response_serializer=otlp.ExportTraceServiceResponse.SerializeToString,
        )
        self._server = grpc.server(futures.ThreadPoolExecutor(2))
        name = "opentelemetry.proto.collector.trace.v1.TraceService"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": method}),))
        self.endpoint = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def _export(self, request: otlp.ExportTraceServiceRequest, _context: object) -> otlp.ExportTraceServiceResponse:
        self.sent.put(request)
        return otlp.ExportTraceServiceResponse()

    def next(self, name: str) -> trace_pb2.Span:
        """The next span of this name."""
        deadline = time.monotonic() + SECONDS
        while True:
            request = self.sent.get(timeout=deadline - time.monotonic())
            for resource in request.resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                assert names["service.name"] == "watchword-test"
                for scope in resource.scope_spans:
                    for span in scope.spans:
                        assert "canary" not in str(span)
                        if span.name == name:
                            return span

    def close(self) -> None:
        self._server.stop(0)


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def settings(collector: Collector) -> dict[str, str]:
    return {
        "WATCHWORD_TRACES": "true",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_SERVICE_NAME": "watchword-test",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }


@pytest.fixture(scope="module")
def served(collector: Collector) -> Iterator[Deployment]:
    with deployment(**settings(collector)) as made:
        yield made


@pytest.fixture
def client(served: Deployment) -> Iterator[Client]:
    with served.client() as made:
        yield made


def attributes(span: trace_pb2.Span) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def get_user(served: Deployment, **headers: str) -> None:
    with grpc.insecure_channel(served.address) as channel:
        call = channel.unary_unary(
            "/watchword.v1.UserService/GetUser", request_serializer=users_pb2.GetUserRequest.SerializeToString
        )
        metadata = (("authorization", f"Bearer {served.api_key}"), *headers.items())
        with pytest.raises(grpc.RpcError) as caught:
            call(users_pb2.GetUserRequest(username="canary-nobody"), metadata=metadata, timeout=10)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_call_is_a_span_and_nothing_of_its_request_is_in_it(client: Client, collector: Collector):
    client.users.create(username="canary", email="canary@example.com", password=PASSWORD)
    span = collector.next("watchword.v1.UserService/CreateUser")
    assert attributes(span) == {
        "rpc.system": "grpc",
        "rpc.service": "watchword.v1.UserService",
        "rpc.method": "CreateUser",
        "rpc.grpc.status_code": 0,
    }
    assert (span.kind, len(span.parent_span_id), span.events) == (trace_pb2.Span.SPAN_KIND_SERVER, 0, [])
    assert span.end_time_unix_nano > span.start_time_unix_nano


def test_it_goes_on_with_the_trace_of_the_caller(served: Deployment, collector: Collector):
    get_user(served, traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="vendor=1")
    span = collector.next("watchword.v1.UserService/GetUser")
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (TRACE, PARENT, "vendor=1")
    assert attributes(span)["watchword.reason"] == "NOT_FOUND"
    assert attributes(span)["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    # That is the caller's fault, in OpenTelemetry's conventions, and none of the server's.
    assert span.status.code == trace_pb2.Status.STATUS_CODE_UNSET


@pytest.mark.parametrize("header", ["canary", "00-0-0-00", f"00-{TRACE}-{PARENT}-01" + "canary" * 500])
def test_a_header_that_makes_no_sense_begins_a_new_trace(served: Deployment, collector: Collector, header: str):
    get_user(served, traceparent=header)
    span = collector.next("watchword.v1.UserService/GetUser")
    assert (span.trace_id.hex() != TRACE, span.parent_span_id) == (True, b"")


def test_what_the_caller_does_not_record_is_not_recorded(served: Deployment, collector: Collector):
    get_user(served, traceparent=f"00-{TRACE}-{PARENT}-00")
    get_user(served, traceparent=f"00-{TRACE[::-1]}-{PARENT}-01")
    assert collector.next("watchword.v1.UserService/GetUser").trace_id.hex() == TRACE[::-1]


def test_a_stream_is_a_span_too(client: Client, collector: Collector):
    client.relationships.write([Relationship("user:canary", "member", "group:canary")])
    assert list(client.relationships.export())
    span = collector.next("watchword.v1.RelationshipService/ExportRelationships")
    assert attributes(span)["rpc.grpc.status_code"] == 0


def test_a_collector_that_is_away_disturbs_nobody():
    """A deployment of its own, which is stopped."""
    collector = Collector()
    with deployment(**settings(collector)) as served, served.client() as client:
        collector.close()
        user = client.users.create(username="ben")
        for _ in range(100):
            client.users.get(user.user_id)
        assert served.stop_server() == 0
