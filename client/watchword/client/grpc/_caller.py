"""Who is calling, and what refusals are to them. Shared by threads and asyncio; nothing here asks the server."""

import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from watchword.client import _http
from watchword.client.errors import WatchwordError
from watchword.client.grpc._methods import Needs, ObjectUnnamedError
from watchword.client.models import Principal
from watchword.client.revisions import REVISION_METADATA

_AUTHORIZATION: Final = "authorization"
_CODES: Final[Mapping[int, grpc.StatusCode]] = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    503: grpc.StatusCode.UNAVAILABLE,
}
_MAKERS: Final[Mapping[tuple[bool, bool], tuple[str, Any]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}
_log = logging.getLogger("watchword.client")


@dataclass(frozen=True, slots=True)
class _Caller:
    principal: Principal
    token: str = field(repr=False)


# gRPC serves each call in a context of its own, in threads as in asyncio, so nothing of it reaches the next one.
_caller: ContextVar[_Caller | None] = ContextVar("watchword_caller", default=None)


def current_principal() -> Principal:
    """Who sent the call that is being served.

    Raises:
        RuntimeError: Nobody was authenticated: the method is public, or this is a thread that does not inherit the
            context of the call.

    """
    caller = _caller.get()
    if caller is None:
        raise RuntimeError("No call with an authenticated caller is being served here.")
    return caller.principal


def current_token() -> str | None:
    """The access token of the call that is being served; None if there is none. For `ClientInterceptor`."""
    caller = _caller.get()
    return None if caller is None else caller.token


def set_caller(principal: Principal, token: str) -> None:
    """Make somebody the caller for the rest of this context."""
    _caller.set(_Caller(principal, token))


class Admission:
    """What one call is admitted to, message after message."""

    def __init__(self, needs: Needs) -> None:
        self.needs = needs
        self.object = needs.objects.constant if needs.objects is not None else ""
        """What the call is about; "" while that is not known."""
        self._refused: WatchwordError | None = None

    def take(self, *messages: Any) -> str | None:
        """Note what messages are about: what they name, else what the one before was about.

        Returns:
            The relation to `object` that is needed, if any is.

        Raises:
            ObjectUnnamedError: They are about nothing, or about what cannot be.

        """
        if self.needs.objects is not None:
            for message in messages:
                self.object = self.needs.objects.of(message) or self.object
            self.require_object()
        return self.needs.relation

    def require_object(self) -> None:
        """Insist on knowing what the call is about.

        Raises:
            ObjectUnnamedError: It is not known.

        """
        if self.needs.objects is not None and not self.object:
            raise ObjectUnnamedError(f"The field {'.'.join(self.needs.objects.path)} is not set.")

    @contextmanager
    def remembering(self) -> Generator[None]:
        """Keep a refusal: a handler that swallows it gets nothing out of it."""
        try:
            yield
        except WatchwordError as error:
            self._refused = error
            raise

    def raise_refused(self) -> None:
        """Refuse again what was refused before."""
        if self._refused is not None:
            raise self._refused


def token_of(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """The access token that came with a call.

    Raises:
        NotSignedInError: There is none. Threat: of two, this would look at one and the handler or a proxy at the other.

    """
    found = [value for key, value in metadata if key == _AUTHORIZATION]
    token = _http.bearer_token(found[0]) if len(found) == 1 and isinstance(found[0], str) else None
    if token is None:
        raise _http.NotSignedInError("This needs an access token.")
    return token


def revision_of(metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
    """The revision that came with a call or its answer; "" if there is none."""
    for key, value in metadata or ():
        if key == REVISION_METADATA and isinstance(value, str):
            return value
    return ""


def with_revision(metadata: Iterable[tuple[str, str | bytes]] | None, revision: str) -> Any:
    """Metadata, and a revision in it."""
    kept = ((key, value) for key, value in metadata or () if key != REVISION_METADATA)
    return (*kept, (REVISION_METADATA, revision))


def with_token(metadata: Iterable[tuple[str, str | bytes]] | None, token: str | None) -> Any:
    """Metadata, and an access token in it unless there is one."""
    pairs = tuple(metadata) if metadata is not None else ()
    if token is None or any(key == _AUTHORIZATION for key, _ in pairs):
        return pairs
    return (*pairs, (_AUTHORIZATION, f"Bearer {token}"))


def told(error: WatchwordError) -> tuple[grpc.StatusCode, str]:
    """How an error is told over gRPC."""
    if isinstance(error, ObjectUnnamedError):
        return grpc.StatusCode.INVALID_ARGUMENT, error.message
    refusal = _http.refusal(error)
    if refusal is None:
        # A mistake of the service, which must not look as if the caller were to blame, and is not the caller's affair.
        _log.error("A call could not be decided.", exc_info=error)
        return grpc.StatusCode.INTERNAL, "It cannot be told who may do this: the service is not set up rightly."
    return _CODES[refusal.status], refusal.detail


def undeclared(path: str) -> tuple[grpc.StatusCode, str]:
    """How the call of a method that was forgotten is refused."""
    text = f"Nobody may call {path}: it is not among the methods declared as Requires(…), AUTHENTICATED or PUBLIC."
    return grpc.StatusCode.PERMISSION_DENIED, text


def behavior_of(handler: Any) -> Any:
    """The function that serves a method."""
    return getattr(handler, _MAKERS[handler.request_streaming, handler.response_streaming][0])


def with_behavior(handler: Any, behavior: Any) -> Any:
    """The same handler with another function."""
    make = _MAKERS[handler.request_streaming, handler.response_streaming][1]
    return make(behavior, handler.request_deserializer, handler.response_serializer)
