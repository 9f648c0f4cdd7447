"""A relay of gRPC calls that holds back what a test wants: single questions, single answers, or the feed alone.

A TCP proxy cannot do that, for all calls of a client share one connection. The relay reads nothing and changes nothing:
it passes bytes on.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Final

import grpc

_METADATA: Final = ("authorization", "x-request-id", "on-behalf-of")
WATCH: Final = "Watch"


class Gate:
    """Where calls of one method wait, while it is closed."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._closed = False
        self._waiting = 0

    def close(self) -> None:
        with self._changed:
            self._closed = True

    def open(self) -> None:
        with self._changed:
            self._closed = False
            self._changed.notify_all()

    def wait_for_somebody(self, count: int = 1) -> None:
        """Wait until so many are held here."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._waiting >= count, timeout=10), "nobody came"

    def release_one(self) -> None:
        """Let those who wait go on, and hold the next."""
        with self._changed:
            self._closed = False
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._waiting == 0, timeout=10)
            self._closed = True

    def go_through(self) -> None:
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._closed, timeout=60)
            self._waiting -= 1
            self._changed.notify_all()


class Relay:
    """Passes calls on to a server, or those of some methods to another one."""

    def __init__(self, target: str, others: dict[str, str]) -> None:
        self._channels = {address: grpc.insecure_channel(address) for address in {target, *others.values()}}
        self._routes = {method: self._channels[address] for method, address in others.items()}
        self._default = self._channels[target]
        self._gates: dict[tuple[str, str], Gate] = {}
        self._server = grpc.server(ThreadPoolExecutor(32))
        self._server.add_generic_rpc_handlers((_Handler(self),))
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def questions(self, method: str) -> Gate:
        """Where requests of a method pass on their way to the server."""
        return self._gates.setdefault((method, "request"), Gate())

    def answers(self, method: str) -> Gate:
        """Where answers of a method pass on their way back."""
        return self._gates.setdefault((method, "answer"), Gate())

    @contextmanager
    def holding(self, gate: Gate) -> Iterator[Gate]:
        gate.close()
        try:
            yield gate
        finally:
            gate.open()

    def close(self) -> None:
        for gate in self._gates.values():
            gate.open()
        self._server.stop(None).wait()
        for channel in self._channels.values():
            channel.close()

    def unary(self, path: str) -> Callable[[bytes, Any], bytes]:
        method = path.rpartition("/")[2]
        call = self._routes.get(method, self._default).unary_unary(path)

        def run(request: bytes, context: Any) -> bytes:
            self.questions(method).go_through()
            try:
                answer = call(request, metadata=_passed_on(context), timeout=context.time_remaining())
            except grpc.RpcError as error:
                context.set_trailing_metadata(tuple(error.trailing_metadata() or ()))
                context.abort(error.code(), error.details())
            self.answers(method).go_through()
            return answer

        return run

    def stream(self, path: str) -> Callable[[Any, Any], Iterator[bytes]]:
        method = path.rpartition("/")[2]
        open_stream = self._routes.get(method, self._default).stream_stream(path)

        def run(requests: Any, context: Any) -> Iterator[bytes]:
            call = open_stream(_until_gone(requests), metadata=_passed_on(context))
            context.add_callback(call.cancel)
            answers = self.answers(method)
            try:
                for answer in call:
                    answers.go_through()
                    yield answer
            except grpc.RpcError as error:
                context.set_trailing_metadata(tuple(error.trailing_metadata() or ()))
                context.abort(error.code(), error.details())

        return run


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        path = handler_call_details.method
        if path.endswith(f"/{WATCH}"):
            return grpc.stream_stream_rpc_method_handler(self._relay.stream(path))
        return grpc.unary_unary_rpc_method_handler(self._relay.unary(path))


def _until_gone(requests: Iterator[bytes]) -> Iterator[bytes]:
    """What a client says until it goes away, which gRPC tells by an error."""
    with suppress(grpc.RpcError):
        yield from requests


def _passed_on(context: Any) -> list[tuple[str, str | bytes]]:
    return [(name, value) for name, value in context.invocation_metadata() if name in _METADATA]


@contextmanager
def relay(target: str, **others: str) -> Iterator[Relay]:
    """A relay; `others` are other servers for single methods. Nothing is left of it."""
    made = Relay(target, others)
    try:
        yield made
    finally:
        made.close()
