"""What happens to every call before and after its handler.

    decode → admit → authenticate → authorize → validate → answer as before → handle (again, if it collides) → log

Handlers are `async (request, call) -> response`, or async iterators where the RPC has a stream; they raise
`DomainError`s and never see gRPC. This replaces grpc's interceptors: those are asked anew for every call, cannot catch
a message that does not decode (a stock server answers UNKNOWN), and hide their order. Here a handler is composed once,
at start-up, from its descriptor.
Authorization comes before validation, so that nobody learns from errors what they may not see (AIP-211).
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn, Protocol, TypeVar
from uuid import UUID

import grpc
import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_status import rpc_status

from watchword.server.access import Authenticator, Authorizer, permission_of, permissions_of_fields
from watchword.server.call import Call, Caller
from watchword.server.errors import (
    Conflict,
    DomainError,
    InternalError,
    MalformedRequest,
    OnBehalfOfInvalid,
    RequestTooLarge,
    ServerBusy,
    TimedOut,
)
from watchword.server.identifiers import Randomness
from watchword.server.incidents import describe
from watchword.server.storage.database import Database
from watchword.server.storage.failures import AnswerExists
from watchword.server.streams import Streams, TooManyStreams
from watchword.server.validation import Validators
from watchword.v1 import options_pb2

AnyHandler = TypeVar("AnyHandler", bound=Callable[..., Awaitable[Message]])
AnyStream = TypeVar("AnyStream", bound=Callable[..., AsyncIterator[bytes]])
Context = grpc.aio.ServicerContext[Any, Any]

_TRIES = 3
_LIMIT_SECONDS = 30
# Threat: calls that pile up until none is answered in time, from callers with and without a key.
_MAX_CALLS = 2_000
_BUSY_FOR = timedelta(seconds=1)
_MAX_STREAMS = 100
# Those that stay open as long as a caller runs.
_MAX_OPEN_ENDED = 10_000
# Answered thousands of times a second, for which a line each would take a third of the time. Those that are refused or
# slow have one.
_QUESTIONS = frozenset({"check_permissions", "verify_tokens"})
_SLOW_MILLISECONDS = 100
_MAX_REQUEST_BYTES = 256 * 1024
_MAX_REQUEST_ID = 128
_SAFE_IN_IDS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/+=-")
_log = structlog.get_logger("watchword.rpc")


class MissingHandler(Exception):
    """A servicer lacks a method that the proto promises: the server must not start."""


@dataclass(frozen=True, slots=True)
class _Rpc:
    """One RPC, composed from its descriptor."""

    name: str
    permission: str
    of_fields: Mapping[str, str]
    handler: Any
    response: type[Message]
    validate: Callable[[Message], None]
    is_mutation: bool
    is_question: bool
    at_once: bool
    open_ended: bool
    relation: str
    object: str
    max_bytes: int


class Around(Protocol):
    """What is put around every RPC when it is composed: metrics, traces."""

    def unary(self, rpc: str, behavior: Any) -> Any:
        """Put it around a behavior `async (request, context) -> response`."""

    def stream(self, rpc: str, behavior: Any, *, open_ended: bool) -> Any:
        """Put it around a behavior that gives its responses one by one."""

    def refused(self, rpc: str, failure: DomainError) -> None:
        """Hear why a call is refused."""


class Undecodable:
    """Stands in for a request whose bytes are no message, or too many."""


UNDECODABLE = Undecodable()
TOO_LARGE = Undecodable()


def decoder(message: type[Message], *, max_bytes: int = sys.maxsize) -> Callable[[bytes], Message | Undecodable]:
    """Decode requests without ever raising: grpc would answer UNKNOWN."""

    def decode(data: bytes) -> Message | Undecodable:
        if len(data) > max_bytes:
            return TOO_LARGE
        try:
            return message.FromString(data)
        except (DecodeError, RecursionError, ValueError):
            return UNDECODABLE

    return decode


def at_once(handler: AnyHandler) -> AnyHandler:
    """Mark a handler whose transaction itself finds out that its call is a repetition: nobody need look before."""
    handler.at_once = True  # type: ignore[attr-defined]
    return handler


def open_ended(handler: AnyStream) -> AnyStream:
    """Mark a handler whose stream stays open, and which sees to its limits of time itself.

    It gives messages that are serialized already: one that goes to many streams is so only once.
    """
    handler.open_ended = True  # type: ignore[attr-defined]
    return handler


class Pipeline:
    """Composes the handlers of services."""

    def __init__(
        self,
        database: Database,
        authenticator: Authenticator,
        authorizer: Authorizer,
        validators: Validators,
        *,
        randomness: Randomness,
        around: Sequence[Around] = (),
    ) -> None:
        self._around = around
        self._database = database
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._validators = validators
        self._randomness = randomness
        self._under_way = 0
        self._streams = Streams(_MAX_STREAMS)
        self._open_ended = Streams(_MAX_OPEN_ENDED)

    def service(self, descriptor: ServiceDescriptor, servicer: object) -> grpc.GenericRpcHandler:
        """Compose a service: every RPC that the descriptor names, or none.

        Raises:
            UndeclaredAccess: an RPC has no access option.
            MissingHandler: the servicer lacks one.

        """
        handlers = {method.name: self._method(method, servicer) for method in descriptor.methods}
        return grpc.method_handlers_generic_handler(descriptor.full_name, handlers)

    def _method(self, method: MethodDescriptor, servicer: object) -> "grpc.RpcMethodHandler[Any, Any]":
        handler = getattr(servicer, method.name, None)
        if handler is None:
            raise MissingHandler(f"{type(servicer).__name__} has no {method.name}.")
        access = method.GetOptions().Extensions[options_pb2.access]
        rpc = _Rpc(
            name=f"{method.containing_service.name}/{method.name}",
            permission=permission_of(method),
            of_fields=permissions_of_fields(method),
            handler=handler,
            response=GetMessageClass(method.output_type),
            validate=self._validators.validator_for(method.input_type),
            is_mutation="request_id" in method.input_type.fields_by_name,
            is_question=access.permission in _QUESTIONS,
            at_once=getattr(handler, "at_once", False),
            open_ended=getattr(handler, "open_ended", False),
            relation=access.relation,
            object=access.object,
            max_bytes=access.max_request_bytes or _MAX_REQUEST_BYTES,
        )
        coding: dict[str, Any] = {
            "request_deserializer": decoder(GetMessageClass(method.input_type), max_bytes=rpc.max_bytes),
            "response_serializer": None if rpc.open_ended else rpc.response.SerializeToString,
        }
        if not method.server_streaming:
            return grpc.unary_unary_rpc_method_handler(self._unary(rpc), **coding)
        if method.client_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streaming(rpc), **coding)
        return grpc.unary_stream_rpc_method_handler(self._streaming(rpc), **coding)

    def _unary(self, rpc: _Rpc) -> Any:
        async def behavior(request: Message | Undecodable, context: Context) -> Message:
            return await self._serve(rpc, request, context)

        composed: Any = behavior
        for around in self._around:
            composed = around.unary(rpc.name, composed)
        return composed

    def _streaming(self, rpc: _Rpc) -> Any:
        async def behavior(requests: Any, context: Context) -> AsyncGenerator[Message, None]:
            async for response in self._serve_stream(rpc, requests, context):
                yield response

        composed: Any = behavior
        for around in self._around:
            composed = around.stream(rpc.name, composed, open_ended=rpc.open_ended)
        return composed

    async def _serve(self, rpc: _Rpc, request: Message | Undecodable, context: Context) -> Message:
        """Answer one call, and log it: never with anything that came in its request."""
        started = time.perf_counter()
        metadata = _texts(context)
        request_id = _request_id(metadata.get("x-request-id"), self._randomness)
        context.set_trailing_metadata((("x-request-id", request_id),))
        try:
            with self._admitted():
                async with asyncio.timeout(_LIMIT_SECONDS):
                    response = await self._answer(rpc, request, metadata, request_id, context.peer())
        except DomainError as error:
            failure = error
        except TimeoutError:
            failure = TimedOut()
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets a status
            failure = self._incident(rpc, request_id, error)
        else:
            ms = _milliseconds(started)
            if not rpc.is_question or ms > _SLOW_MILLISECONDS:
                _log.info("ok", rpc=rpc.name, request_id=request_id, ms=ms)
            return response
        self._refused(rpc, request_id, failure, _milliseconds(started))
        return await _abort(context, failure, request_id)

    async def _serve_stream(self, rpc: _Rpc, requests: Any, context: Context) -> AsyncGenerator[Message, None]:
        """Answer one call that has a stream, message by message; the time limit is for each of them."""
        started = time.perf_counter()
        metadata = _texts(context)
        request_id = _request_id(metadata.get("x-request-id"), self._randomness)
        context.set_trailing_metadata((("x-request-id", request_id),))
        failure: DomainError | None = None
        try:
            with (self._open_ended if rpc.open_ended else self._streams).place():
                call = await self._open_stream(rpc, metadata, request_id, context.peer())
                if isinstance(requests, Message | Undecodable):
                    _require_fit(rpc, requests, call.caller)
                    responses = rpc.handler(requests, call)
                else:
                    responses = rpc.handler(self._messages(rpc, requests, call.caller), call)
                async for response in responses if rpc.open_ended else _each_in_time(responses):
                    yield response
        except DomainError as error:
            failure = error
        except TooManyStreams:
            failure = ServerBusy("More streams are open than this server takes: try later.", retry_after=_BUSY_FOR)
        except TimeoutError:
            failure = TimedOut()
        except Exception as error:  # noqa: BLE001  # whatever it is, the caller gets a status
            failure = self._incident(rpc, request_id, error)
        if failure is not None:
            self._refused(rpc, request_id, failure, _milliseconds(started))
            await _abort(context, failure, request_id)
        _log.info("ok", rpc=rpc.name, request_id=request_id, ms=_milliseconds(started))

    async def _open_stream(self, rpc: _Rpc, metadata: Mapping[str, str], request_id: str, peer: str) -> Call:
        caller = await self._authenticator.caller(metadata.get("authorization"))
        caller.require(rpc.permission)
        user_id = await self._user(caller, metadata)
        return Call(method=rpc.name, request_id=request_id, source=peer, caller=caller, user_id=user_id)

    async def _messages(self, rpc: _Rpc, requests: AsyncIterator[Any], caller: Caller) -> AsyncIterator[Message]:
        async for request in requests:
            _require_fit(rpc, request, caller)
            yield request

    def _incident(self, rpc: _Rpc, request_id: str, error: Exception) -> DomainError:
        incident = f"incident-{self._randomness(8).hex()}"
        # No traceback: it may quote data.
        _log.error("incident", rpc=rpc.name, request_id=request_id, incident=incident, **describe(error))
        return InternalError(incident)

    def _refused(self, rpc: _Rpc, request_id: str, failure: DomainError, ms: float) -> None:
        _log.info("refused", rpc=rpc.name, request_id=request_id, reason=failure.reason_name(), ms=ms)
        for around in self._around:
            around.refused(rpc.name, failure)

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        if self._under_way >= _MAX_CALLS:
            raise ServerBusy("More calls are under way than this server takes: try again later.", retry_after=_BUSY_FOR)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _answer(
        self, rpc: _Rpc, request: Message | Undecodable, metadata: Mapping[str, str], request_id: str, peer: str
    ) -> Message:
        caller = await self._authenticator.caller(metadata.get("authorization"))
        caller.require(rpc.permission)
        _require_fit(rpc, request, caller)
        user_id = await self._user(caller, metadata)
        call = Call(
            method=rpc.name,
            request_id=request_id,
            source=peer,
            caller=caller,
            user_id=user_id,
            request=request,  # type: ignore[arg-type]
            idempotency_key=getattr(request, "request_id", "") if rpc.is_mutation else "",
        )
        return await self._handle(rpc, request, call)  # type: ignore[arg-type]

    async def _user(self, caller: Any, metadata: Mapping[str, str]) -> UUID | None:
        token = metadata.get("on-behalf-of")
        if token is None:
            return None
        if not token:
            raise OnBehalfOfInvalid
        return await self._authenticator.on_behalf_of(caller, token)

    async def _handle(self, rpc: _Rpc, request: Message, call: Call) -> Message:
        """Run the handler; again as a whole if its transaction collided, which is safe: nothing was committed."""
        for attempt in range(1, _TRIES + 1):
            if call.idempotency_key and not (rpc.at_once and attempt == 1):
                earlier = await self._database.answer_of(call, rpc.response)
                if earlier is not None:
                    return earlier
            try:
                # Behind the first answer: who took away their own right by a call may still repeat it.
                if rpc.relation and call.user_id is not None:
                    await self._authorizer.require(call.user_id, rpc.relation, rpc.object, request)
                response: Message = await rpc.handler(request, call)
                return response  # noqa: TRY300  # nothing else can raise here
            except (Conflict, AnswerExists):
                if attempt == _TRIES:
                    raise Conflict from None
                await asyncio.sleep(self._randomness(1)[0] / 255 * 0.02 * attempt)
            except DomainError:
                # Two calls with the same request id ran at the same time, and the other one was first: this one
                # may have failed for no other reason (the e-mail address it wants is taken, by itself).
                if call.idempotency_key:
                    earlier = await self._database.answer_of(call, rpc.response)
                    if earlier is not None:
                        return earlier
                raise
        raise AssertionError("unreachable")


async def _each_in_time(responses: AsyncIterator[Message]) -> AsyncIterator[Message]:
    while (response := await asyncio.wait_for(anext(responses, None), _LIMIT_SECONDS)) is not None:
        yield response


def _require_fit(rpc: _Rpc, request: Message | Undecodable, caller: Caller) -> None:
    """Refuse what is no message, asks for more than its caller may have, or breaks the rules of its fields."""
    if request is TOO_LARGE:
        raise RequestTooLarge(rpc.max_bytes)
    if isinstance(request, Undecodable):
        raise MalformedRequest
    for name, permission in rpc.of_fields.items():
        if getattr(request, name):
            caller.require(permission)
    rpc.validate(request)


async def _abort(context: Context, error: DomainError, request_id: str) -> NoReturn:
    status = rpc_status.to_status(error.to_status(request_id))
    # What an abort brings along replaces the trailing metadata that were set before.
    await context.abort(status.code, status.details, (*status.trailing_metadata, ("x-request-id", request_id)))
    raise AssertionError("abort raises")


def _texts(context: Context) -> dict[str, str]:
    """Read the metadata that is text. Of a key given twice, the last value counts, as in grpc itself."""
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _request_id(given: str | None, randomness: Randomness) -> str:
    """Take the caller's id of the call if it is harmless in logs (CWE-117), else make one."""
    if given and len(given) <= _MAX_REQUEST_ID and _SAFE_IN_IDS.issuperset(given):
        return given
    return randomness(12).hex()


def _milliseconds(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 2)
