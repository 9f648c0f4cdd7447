# Made by client/make_sync.py from client/watchword/client/_async/client.py: do not edit.
"""The client: a connection, and the groups of methods that use it."""

import copy
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from watchword.client import _convert
from watchword.client._event_models import EventBatch
from watchword.client._knowledge import Options
from watchword.client._permission_models import CheckAnswer, Relationship
from watchword.client._sync.connection import Channel, Connection
from watchword.client._sync.credentials import Credentials
from watchword.client._sync.events import follow
from watchword.client._sync.guard import Guard
from watchword.client._sync.keys import Keys
from watchword.client._sync.organizations import Organizations
from watchword.client._sync.permissions import Permissions
from watchword.client._sync.relationships import Relationships
from watchword.client._sync.service_accounts import ServiceAccounts
from watchword.client._sync.sessions import Sessions
from watchword.client._sync.tokens import Tokens
from watchword.client._sync.users import Users
from watchword.client._transport import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, TLS, Settings, new_id
from watchword.client.errors import SignInIncompleteError
from watchword.client.models import Device, FeedStatus, Principal, SessionTokens
from watchword.client.revisions import Revisions
from watchword.v1 import sign_in_pb2


class Client:
    """A client of Watchword.

    ```python
    with Client("localhost:7420", api_key=api_key) as client:
        user = client.users.create(email="ana@example.com", password="correct horse battery")
        tokens = client.sign_in("ana@example.com", password="correct horse battery")
        principal = client.authenticate(tokens.access_token)
        if client.check(principal.subject, "can_edit", "document:42"):
            ...
    ```

    One client serves a whole process. It connects when it is first used, so it may be made before gunicorn or Celery
    fork: each process gets a connection of its own.

    `authenticate`, `check`, `require` and `filter` answer in this process, in microseconds: what they have once found
    out is kept, and taken back within milliseconds by the feed of changes, which the client follows from its first
    question on. Until the feed is live, and whenever it has not been proven complete for `max_staleness`, they ask the
    server instead, and raise `UnavailableError` if that cannot be reached. They never say yes for longer than
    `max_staleness` after it ceased to be true, and never once the feed has told. For the feed the API key needs the
    permission `watch`, besides `verify_tokens` and `check_permissions`.

    Every method that asks the server may raise `UnavailableError`, `DeadlineExceededError`, `ApiKeyInvalidError`,
    `PermissionDeniedError`, `InvalidArgumentError` and `InternalError` besides what it names itself. Calls that find
    no server are tried up to five times. Each change carries a `request_id`, so it is made once however often it
    is sent; pass your own (a random UUID) to repeat a call safely after an error, within 24 hours.

    Attributes:
        users: Accounts of people.
        service_accounts: Accounts of programs, and their API keys.
        credentials: What users prove themselves with.
        sessions: Users' sessions.
        tokens: Tokens, and the keys that sign them.
        permissions: Questions about permissions, and the models by which they are answered.
        relationships: Who has which relation to what.
        organizations: Organizations, their groups and members, and invitations.

    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        api_key: str,
        timeout: float = DEFAULT_TIMEOUT,
        tls: TLS | None = None,
        plaintext: bool = False,
        clock: Callable[[], float] = time.time,
        skew_seconds: float = 10.0,
        max_staleness: float = 2.0,
        when_stale: Literal["ask", "refuse"] = "ask",
        cache_bytes: int = 64 * 1024 * 1024,
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            address: Where the server is: "host:port" or any gRPC target.
            api_key: The API key of the service account that this client speaks for.
            timeout: Seconds after which a call fails with `DeadlineExceededError`, all its attempts together.
            tls: What to trust and show. Default: TLS with public authorities, but none for a server on this
                machine.
            plaintext: Do without TLS, though the API key crosses the network in clear then.
            clock: Tells the time in Unix seconds, for the expiry of access tokens.
            skew_seconds: How far the clocks of issuer and verifier may differ, 0 to 60 seconds.
            max_staleness: For how many seconds what was found out may be used without the proof that nothing has
                changed.
            when_stale: What to do beyond that: "ask" the server, or "refuse" with `FeedStaleError`.
            cache_bytes: How much memory what was found out may take in each process, about.

        Raises:
            ValueError: An argument is out of its range.

        """
        settings = Settings(address=address, api_key=api_key, timeout=timeout, tls=tls, plaintext=plaintext)
        options = Options(max_staleness=max_staleness, when_stale=when_stale, cache_bytes=cache_bytes)
        channel = Channel(settings)
        self._revisions = Revisions()
        connection = Connection(channel, settings, self._revisions)
        keys = Keys(connection, clock=clock, skew_seconds=skew_seconds)
        self._guard = Guard(connection, keys, self._revisions, options, clock=clock, skew_seconds=skew_seconds)
        self._bind(channel, connection, keys)

    @classmethod
    def from_environment(cls, **options: Any) -> Self:
        """Make a client from WATCHWORD_ADDRESS ("localhost:7420"), WATCHWORD_API_KEY and WATCHWORD_CA_FILE.

        The latter names a PEM file with the certificates to trust. `options` are arguments of the constructor and
        win. Nothing else in the SDK reads the environment.

        Raises:
            ValueError: There is no API key.
            OSError: The file of certificates cannot be read.

        """
        ca_file = os.environ.get("WATCHWORD_CA_FILE")
        if "api_key" not in options and "WATCHWORD_API_KEY" not in os.environ:
            raise ValueError("Set WATCHWORD_API_KEY to the API key of your service account.")
        found: dict[str, Any] = {
            "address": os.environ.get("WATCHWORD_ADDRESS") or DEFAULT_ADDRESS,
            "api_key": os.environ.get("WATCHWORD_API_KEY"),
        }
        if ca_file:
            found["tls"] = TLS(root_certificates=Path(ca_file).read_bytes())
        return cls(**(found | options))

    def _bind(self, channel: Channel | None, connection: Connection, keys: Keys) -> None:
        self._channel = channel  # None in a view: it is not the view's to close
        self._connection = connection
        self._keys = keys
        self.users = Users(connection)
        self.service_accounts = ServiceAccounts(connection)
        self.credentials = Credentials(connection)
        self.sessions = Sessions(connection)
        self.tokens = Tokens(connection)
        self.permissions = Permissions(connection)
        self.relationships = Relationships(connection)
        self.organizations = Organizations(connection)

    def on_behalf_of(self, access_token: str) -> Self:
        """A view of this client whose calls are made for a user.

        The user is then the actor of each event and this client's service account the intermediary. Closing the
        view does nothing.

        Raises:
            ValueError: The token is not printable ASCII.

        """
        return self._view(on_behalf_of=access_token)

    def with_timeout(self, seconds: float) -> Self:
        """A view of this client with another timeout. Closing the view does nothing."""
        return self._view(timeout=seconds)

    def _view(self, **changes: Any) -> Self:
        view = copy.copy(self)
        view._bind(None, self._connection.using(**changes), self._keys)  # noqa: SLF001 - it is of this class
        return view

    def sign_in(
        self,
        identifier: str,
        *,
        password: str,
        device: Device | None = None,
        audiences: Iterable[str] = (),
        device_token: str = "",
        request_id: str | None = None,
    ) -> SessionTokens:
        """Sign a user in.

        Args:
            identifier: The user's e-mail address or username, whatever the case.
            password: The user's password.
            device: The user's device, for the list of sessions and the event log.
            audiences: The services that the access tokens will be for. Default: the deployment's one default.
            device_token: That of an earlier sign-in on this device, see `SessionTokens`. With it others who fail in the
                user's name cannot lock the user out.
            request_id: See `Client`.

        Raises:
            SignInRefusedError: Unknown identifier, wrong password or disabled account; it is not said which.
            SignInThrottledError: Too many have failed; `retry_after` says when to try again.
            ServerBusyError: Too many passwords wait to be checked; `retry_after` says when to try again.
            SignInIncompleteError: The server asks for a further proof.

        """
        request = sign_in_pb2.StartSignInRequest(
            identifier=identifier,
            password=password,
            device=_convert.device_message(device),
            audiences=audiences,
            device_token=device_token,
            request_id=request_id or new_id(),
        )
        response = self._connection.call(request, sign_in_pb2.StartSignInResponse)
        if response.WhichOneof("outcome") != "completed":
            raise SignInIncompleteError("This sign-in needs a newer version of the SDK.")
        return _convert.session_tokens(response.completed, device_token=response.device_token)

    def authenticate(self, token: str, *, audience: str | None = None) -> Principal:
        """Find out whom an access token speaks for, and refuse it at once when it has been taken back.

        A token that is new to this process is verified here, one that was seen before is looked up. The server is
        asked only about a token whose session, account or signing key has changed since it was issued.

        Args:
            token: The access token, as it came; whatever it is, it is safe to pass.
            audience: The audience that it must be for. Default: the deployment's one default.

        Raises:
            TokenError: The token is refused; the class says why.
            UnavailableError: It cannot be known whether it is good.

        """
        return self._guard.authenticate(token, audience)

    def check(
        self,
        subject: str,
        relation: str,
        object: str,  # noqa: A002 - the name in the contract
        *,
        context: Mapping[str, Any] | None = None,
        contextual_relationships: Iterable[Relationship] = (),
    ) -> CheckAnswer:
        """Tell whether a subject has a relation to an object. The answer is true in an `if` only if it is allowed.

        What misses what is kept here is asked together with other misses of the same moment, in one BatchCheck. An
        answer is never older than this client's own writes. For another freshness, see `permissions.check`.

        Args:
            subject: Who: "user:ana", such as `Principal.subject`.
            relation: The relation, such as "can_edit".
            object: To what: "document:42".
            context: Values for the parameters of conditions; a JSON object.
            contextual_relationships: Relationships that count for this question only; with them the server is asked.

        Raises:
            InvalidArgumentError: The permission model lacks one of the names.
            ConditionFailedError: A condition cannot be evaluated.
            ResolutionLimitError: The answer lies beyond a limit.
            UnavailableError: It cannot be known.

        """
        return self._guard.check(subject, relation, object, context, contextual_relationships)

    def require(
        self,
        subject: str,
        relation: str,
        object: str,  # noqa: A002 - the name in the contract
        *,
        context: Mapping[str, Any] | None = None,
    ) -> None:
        """Raise `AccessDeniedError` unless `check` says allowed. Arguments and errors as there."""
        self._guard.require(subject, relation, object, context)

    def filter(
        self, subject: str, relation: str, objects: Iterable[str], *, context: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Leave out the objects for which `check` does not say allowed, and keep the order of the others.

        Arguments and errors as there.
        """
        return self._guard.filter(subject, relation, objects, context)

    def watch(
        self, *, since: str | None = None, object_types: Iterable[str] = (), until_now: bool = False
    ) -> Iterator[EventBatch]:
        """Follow what changes, as soon as it is committed and visible: an outbox, or a copy kept elsewhere.

        These are the events by which answers change: of relationships and models, and of accounts, sessions and keys
        that end or change. That a user was created, or has signed in, is not among them.

        Handle the events of a batch, then keep its checkpoint: `since` goes on there.

        The first batch holds no events: it tells that the server answers, and where the stream begins. Each event
        comes at least once. It comes again after its batch was handled and the checkpoint not saved, or if the
        connection breaks in the middle of events that became visible together. Once it has begun it outlasts any
        outage, and goes on where it was. The API key needs the permissions `watch` and `read_relationships`.

        Args:
            since: The checkpoint to go on from. Default: from now on.
            object_types: Only events that concern objects of these types, such as "document". Default: all.
            until_now: End when all has been told that had happened when it began, instead of waiting for more.

        Raises:
            InvalidArgumentError: `since` is no checkpoint.
            UnavailableError: The server cannot be reached at first, five times in a row.

        """
        return follow(self._connection, since, object_types, until_now=until_now)

    def ready(self, seconds: float = 5.0) -> None:
        """Wait until the feed is live, so that answers are kept: for a warm start, or for tests.

        Raises:
            UnavailableError: It is not after so many seconds; the text says why.

        """
        self._guard.ready(seconds)

    def status(self) -> FeedStatus:
        """Tell how the feed does in this process, and what is kept."""
        return self._guard.status()

    @property
    def revision(self) -> str:
        """The newest revision of this context, else of this client: what to send along to other services.

        Empty if there is none. It travels as the header `REVISION_HEADER`, or as the metadata `REVISION_METADATA`.
        """
        return self._revisions.current

    def observe(self, revision: str) -> None:
        """Let no answer of this client be older than a revision, which another service answered with."""
        self._revisions.note(revision)

    def at_least(self, revision: str) -> AbstractContextManager[None]:
        """Let no answer within the block be older than a revision, which came with a request."""
        return self._revisions.at_least(revision)

    def verify(self, token: str, *, audience: str | None = None) -> Principal:
        """Verify an access token in this process. The server is asked for its keys at times, not for the token.

        This is signature, audience and time only: a session that was revoked less than the lifetime of an
        access token (5 minutes by default) ago still passes. `authenticate` refuses it at once.

        Args:
            token: The access token, as it came.
            audience: The audience that it must be for. Default: the deployment's one default.

        Raises:
            TokenError: The token is refused; the class says why.

        """
        return self._keys.verify(token, audience=audience)

    def close(self) -> None:
        """Close the connection. Calls that are under way fail, later ones raise `ClientClosedError`."""
        if self._channel is not None:
            self._guard.close()
            self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
