"""A gRPC server that records what it is called with and answers as told: for what only the wire shows.

It stands in for no behaviour of Watchword's; tests of those run against the real server.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

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
)

FILES = (
    credentials_pb2,
    organizations_pb2,
    permissions_pb2,
    relationships_pb2,
    service_accounts_pb2,
    sessions_pb2,
    sign_in_pb2,
    tokens_pb2,
    users_pb2,
)
METHODS = {
    f"/{service.full_name}/{method.name}": method
    for file in FILES
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


@dataclass
class Call:
    """One attempt of a call, or one message of a stream, as it arrived."""

    path: str
    request: Any
    metadata: dict[str, str]
    seconds_left: float

    @property
    def rpc(self) -> str:
        return self.path.rpartition("/")[2]


Answer = Message | status_pb2.Status | Callable[[], Message] | list[Message | status_pb2.Status]


@dataclass
class Recorder(grpc.GenericRpcHandler):
    """Answers calls with `answers`, first in first out, and with an empty message after that.

    Of a stream, each message of the client gets one answer, which may be a list if the RPC answers with a stream.

    With `forbid_retries` its failures carry the header by which a gRPC server stops a client's attempts.
    """

    address: str = ""
    calls: list[Call] = field(default_factory=list)
    answers: deque[Answer] = field(default_factory=deque)
    forbid_retries: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = METHODS[details.method]
        metadata = {pair[0]: pair[1] for pair in details.invocation_metadata}

        def handle(data: bytes, context: grpc.ServicerContext) -> bytes:
            return encoded(answer_to(data, context), context)

        def handle_stream(data: Iterable[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            for each in data:
                answer = answer_to(each, context)
                for one in answer if isinstance(answer, list) else [answer]:
                    yield encoded(one, context)

        def answer_to(data: bytes, context: grpc.ServicerContext) -> Any:
            request = method.input_type._concrete_class.FromString(data)
            with self.lock:
                self.calls.append(Call(details.method, request, metadata, context.time_remaining()))
                answer = self.answers.popleft() if self.answers else b""
            return answer() if callable(answer) else answer

        def encoded(answer: Any, context: grpc.ServicerContext) -> bytes:
            if isinstance(answer, status_pb2.Status):
                failure = rpc_status.to_status(answer)
                if self.forbid_retries:
                    more = ("grpc-retry-pushback-ms", "-1")
                    failure = failure._replace(trailing_metadata=(*failure.trailing_metadata, more))
                context.abort_with_status(failure)
            return answer.SerializeToString() if isinstance(answer, Message) else answer

        if method.server_streaming:  # all that have a stream answer with one
            return grpc.stream_stream_rpc_method_handler(handle_stream)
        return grpc.unary_unary_rpc_method_handler(handle)


def status(
    code: str, reason: str = "", *details: Message, domain: str = "watchword", **metadata: str
) -> status_pb2.Status:
    """A failure as the server sends it."""
    made = status_pb2.Status(code=code_pb2.Code.Value(code), message=f"told {reason or code}")
    all_details: Iterable[Message] = details
    if reason:
        all_details = (error_details_pb2.ErrorInfo(reason=reason, domain=domain, metadata=metadata), *details)
    for detail in all_details:
        made.details.add().Pack(detail)
    return made


@contextmanager
def recording(credentials: grpc.ServerCredentials | None = None) -> Iterator[Recorder]:
    """A running recorder."""
    recorder = Recorder()
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=(recorder,))
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    recorder.address = f"localhost:{port}" if credentials else f"127.0.0.1:{port}"
    server.start()
    try:
        yield recorder
    finally:
        server.stop(None).wait()
