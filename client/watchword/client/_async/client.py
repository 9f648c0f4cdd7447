"""The client: a connection, and the groups of methods that use it."""

import copy
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from watchword.client import _convert
from watchword.client._async.connection import AsyncChannel, AsyncConnection
from watchword.client._async.credentials import AsyncCredentials
from watchword.client._async.keys import AsyncKeys
from watchword.client._async.organizations import AsyncOrganizations
from watchword.client._async.permissions import AsyncPermissions
from watchword.client._async.relationships import AsyncRelationships
from watchword.client._async.service_accounts import AsyncServiceAccounts
from watchword.client._async.sessions import AsyncSessions
from watchword.client._async.tokens import AsyncTokens
from watchword.client._async.users import AsyncUsers
from watchword.client._transport import DEFAULT_ADDRESS, DEFAULT_TIMEOUT, TLS, Settings, new_id
from watchword.client.errors import SignInIncompleteError
from watchword.client.models import Device, Principal, SessionTokens
from watchword.v1 import sign_in_pb2


class AsyncClient:
    """A client of Watchword.

    ```python
    async with AsyncClient("localhost:7420", api_key=api_key) as client:
        user = await client.users.create(email="ana@example.com", password="correct horse battery")
        tokens = await client.sign_in("ana@example.com", password="correct horse battery")
        principal = await client.verify(tokens.access_token)
    ```

    One client serves a whole process. It connects when it is first used, so it may be made before gunicorn or Celery
    fork: each process gets a connection of its own.

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
    ) -> None:
        """Make a client; nothing is sent yet.

        Args:
            address: Where the server is: "host:port" or any gRPC target.
            api_key: The API key of the service account that this client speaks for.
            timeout: Seconds after which a call fails with `DeadlineExceededError`, all its attempts together.
            tls: What to trust and show. Default: TLS with public authorities, but none for a server on this
                machine.
            plaintext: Do without TLS, though the API key crosses the network in clear then.
            clock: Tells the time in Unix seconds, for `verify`.
            skew_seconds: How far the clocks of issuer and verifier may differ for `verify`, 0 to 60 seconds.

        Raises:
            ValueError: An argument is out of its range.

        """
        settings = Settings(address=address, api_key=api_key, timeout=timeout, tls=tls, plaintext=plaintext)
        channel = AsyncChannel(settings)
        connection = AsyncConnection(channel, settings)
        self._bind(channel, connection, AsyncKeys(connection, clock=clock, skew_seconds=skew_seconds))

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

    def _bind(self, channel: AsyncChannel | None, connection: AsyncConnection, keys: AsyncKeys) -> None:
        self._channel = channel  # None in a view: it is not the view's to close
        self._connection = connection
        self._keys = keys
        self.users = AsyncUsers(connection)
        self.service_accounts = AsyncServiceAccounts(connection)
        self.credentials = AsyncCredentials(connection)
        self.sessions = AsyncSessions(connection)
        self.tokens = AsyncTokens(connection)
        self.permissions = AsyncPermissions(connection)
        self.relationships = AsyncRelationships(connection)
        self.organizations = AsyncOrganizations(connection)

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

    async def sign_in(
        self,
        identifier: str,
        *,
        password: str,
        device: Device | None = None,
        audiences: Iterable[str] = (),
        request_id: str | None = None,
    ) -> SessionTokens:
        """Sign a user in.

        Args:
            identifier: The user's e-mail address or username, whatever the case.
            password: The user's password.
            device: The user's device, for the list of sessions and the event log.
            audiences: The services that the access tokens will be for. Default: the deployment's one default.
            request_id: See `AsyncClient`.

        Raises:
            SignInRefusedError: Unknown identifier, wrong password or disabled account; it is not said which.
            ServerBusyError: Too many passwords wait to be checked; `retry_after` says when to try again.
            SignInIncompleteError: The server asks for a further proof.

        """
        request = sign_in_pb2.StartSignInRequest(
            identifier=identifier,
            password=password,
            device=_convert.device_message(device),
            audiences=audiences,
            request_id=request_id or new_id(),
        )
        response = await self._connection.call(request, sign_in_pb2.StartSignInResponse)
        if response.WhichOneof("outcome") != "completed":
            raise SignInIncompleteError("This sign-in needs a newer version of the SDK.")
        return _convert.session_tokens(response.completed)

    async def verify(self, token: str, *, audience: str | None = None) -> Principal:
        """Verify an access token in this process. The server is asked for its keys at times, not for the token.

        This is signature, audience and time only: a session that was revoked less than the lifetime of an
        access token (5 minutes by default) ago still passes. `tokens.introspect` refuses it at once.

        Args:
            token: The access token, as it came.
            audience: The audience that it must be for. Default: the deployment's one default.

        Raises:
            TokenError: The token is refused; the class says why.

        """
        return await self._keys.verify(token, audience=audience)

    async def close(self) -> None:
        """Close the connection. Calls that are under way fail, later ones raise `ClientClosedError`."""
        if self._channel is not None:
            await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
