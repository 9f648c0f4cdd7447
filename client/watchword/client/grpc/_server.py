"""The interceptor of servers that serve in threads."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import grpc

from watchword.client._sync.client import Client
from watchword.client.errors import WatchwordError
from watchword.client.grpc._caller import (
    Admission,
    behavior_of,
    revision_of,
    set_caller,
    token_of,
    told,
    undeclared,
    with_behavior,
    with_revision,
)
from watchword.client.grpc._methods import Methods, Needs, Rule
from watchword.client.models import Principal


class ServerInterceptor(grpc.ServerInterceptor):
    """Lets calls pass to those who may make them. See `watchword.client.grpc`."""

    def __init__(self, client: Client, methods: Mapping[str, Rule], *, audience: str | None = None) -> None:
        """Nothing is sent yet.

        Args:
            client: The client.
            methods: What each method needs, by its path. All others are refused.
            audience: What tokens must be for. Default: the deployment's default audience.

        Raises:
            ValueError: A declaration is wrong, or one is missing.

        """
        self._client = client
        self._methods = Methods(methods)
        self._audience = audience

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Any], handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        """Put the guard before a handler."""
        handler, path = continuation(handler_call_details), handler_call_details.method
        if handler is None:
            return None
        if not self._methods.is_declared(path):
            return with_behavior(handler, _refusing(path))
        needs = self._methods.needs(path)
        return handler if needs is None else with_behavior(handler, self._guarded(handler, needs))

    def _guarded(self, handler: Any, needs: Needs) -> Callable[[Any, grpc.ServicerContext], Any]:
        behavior = behavior_of(handler)

        def one(request: Any, context: grpc.ServicerContext) -> Any:
            with self._serving(needs, context) as call:
                response = behavior(call.admitted(request, streaming=handler.request_streaming), context)
                call.admission.raise_refused()
                return response

        def many(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._serving(needs, context) as call:
                for response in behavior(call.admitted(request, streaming=handler.request_streaming), context):
                    call.confirm()
                    yield response
                call.admission.raise_refused()

        return many if handler.response_streaming else one

    @contextmanager
    def _serving(self, needs: Needs, context: grpc.ServicerContext) -> "Generator[_Call]":
        metadata: Any = context.invocation_metadata()
        with self._client.at_least(revision_of(metadata)):
            known = self._client.revision
            try:
                yield _Call(self._client, token_of(metadata), self._audience, Admission(needs))
            except WatchwordError as error:
                context.abort(*told(error))
            finally:
                revision = self._client.revision
                if revision != known:
                    context.set_trailing_metadata(with_revision(context.trailing_metadata(), revision))


def _refusing(path: str) -> Callable[[Any, grpc.ServicerContext], Any]:
    def refuse(_request: Any, context: grpc.ServicerContext) -> None:
        context.abort(*undeclared(path))

    return refuse


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that is being served."""

    client: Client
    token: str
    audience: str | None
    admission: Admission

    def admitted(self, request: Any, *, streaming: bool) -> Any:
        """The request, or the messages of one that streams, as the handler may see them: each decided on before."""
        principal = self._authenticate()
        set_caller(principal, self.token)
        if not streaming:
            self._decide(principal, request)
            return request
        messages = self._messages(request)
        if not self.admission.needs.waits_for_message:
            self._decide(principal)
            return messages
        first = list(islice(messages, 1))
        self.admission.require_object()
        return chain(first, messages)

    def confirm(self, *messages: Any) -> None:
        """See that the caller still may: what was taken back meanwhile ends the call."""
        self.admission.raise_refused()
        with self.admission.remembering():
            self._decide(self._authenticate(), *messages)

    def _messages(self, messages: Iterator[Any]) -> Iterator[Any]:
        for message in messages:
            self.confirm(message)
            yield message

    def _authenticate(self) -> Principal:
        return self.client.authenticate(self.token, audience=self.audience)

    def _decide(self, principal: Principal, *messages: Any) -> None:
        relation = self.admission.take(*messages)
        if relation is not None:
            self.client.require(principal.subject, relation, self.admission.object)
