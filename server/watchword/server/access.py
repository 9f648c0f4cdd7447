"""Who is calling: API keys in "authorization", users' access tokens in "on-behalf-of"; and what an RPC needs.

The permission of each RPC stands in its proto option, is read once at start-up, and nowhere else.
"""

import asyncio
from uuid import UUID

import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from watchword.server.call import ADMINISTRATOR, Caller
from watchword.server.errors import ApiKeyInvalid, DomainError, OnBehalfOfInvalid
from watchword.server.identifiers import service_object
from watchword.server.incidents import describe
from watchword.server.introspection import Introspector, UserToken
from watchword.server.storage.database import Database
from watchword.server.storage.service_accounts import ACTIVE, LAST_USED_RESOLUTION, Key
from watchword.server.tokens import api_key_id, is_that_key
from watchword.v1 import options_pb2

_SCHEME = "bearer "
_log = structlog.get_logger("watchword.access")


class UndeclaredAccess(Exception):
    """An RPC has no access option: the server must not start, or anybody could call it."""


def permission_of(method: MethodDescriptor) -> str:
    """Read the permission that an RPC needs.

    Raises:
        UndeclaredAccess: the proto does not say.

    """
    permission: str = method.GetOptions().Extensions[options_pb2.access].permission
    if not permission:
        raise UndeclaredAccess(f"{method.full_name} has no option (watchword.v1.access): say who may call it.")
    return permission


def permissions_of(services: list[ServiceDescriptor]) -> frozenset[str]:
    """List every permission there is."""
    methods = (method for service in services for method in service.methods)
    return frozenset({ADMINISTRATOR, *(permission_of(method) for method in methods)})


class Authenticator:
    """Finds out who calls."""

    def __init__(self, database: Database, introspector: Introspector, *, default_audience: str) -> None:
        self._database = database
        self._introspector = introspector
        self._default_audience = default_audience
        self._touching: dict[UUID, asyncio.Task[None]] = {}

    async def caller(self, authorization: str | None) -> Caller:
        """Authenticate the calling service by the value of its "authorization" metadata.

        Raises:
            ApiKeyInvalid: no key, or one that is not good (any longer).

        """
        if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise ApiKeyInvalid
        text = authorization[len(_SCHEME) :]
        key_id = api_key_id(text)
        if key_id is None:
            raise ApiKeyInvalid
        async with self._database.read() as reader:
            key = await reader.service_accounts.presented(key_id)
            if key is None or not is_that_key(text, key.key_hash):
                raise ApiKeyInvalid
            if key.account_status != ACTIVE or key.ended(reader.now):
                raise ApiKeyInvalid
            if key.last_used_time is None or reader.now - key.last_used_time >= LAST_USED_RESOLUTION:
                self._touch(key)
        return Caller(key.service_account_id, key.key_id, frozenset(key.permissions))

    async def on_behalf_of(self, caller: Caller, token: str) -> UUID:
        """Find the user whose access token a service shows, so that the user is the actor of what it does.

        Raises:
            OnBehalfOfInvalid: the token is not good, or for other services only.

        """
        answer = await self._introspector.access_token(token)
        if not isinstance(answer, UserToken):
            raise OnBehalfOfInvalid
        # Threat: a service hoarding tokens that were meant for another one, and acting with them here.
        meant_for = {self._default_audience, caller.service_account_id, service_object(caller.service_account_id)}
        if not meant_for.intersection(answer.token.audiences):
            raise OnBehalfOfInvalid
        return answer.token.user_id

    def _touch(self, key: Key) -> None:
        """Note the key's use beside the call, not in it; one statement at a time for each key."""
        if key.key_id not in self._touching:
            task = asyncio.create_task(self._note_use(key.key_id))
            self._touching[key.key_id] = task
            task.add_done_callback(lambda _: self._touching.pop(key.key_id, None))

    async def _note_use(self, key_id: UUID) -> None:
        try:
            async with self._database.read() as reader:
                await reader.service_accounts.touch_key(key_id)
        except DomainError as error:
            _log.warning("last_used_time not written", key_id=str(key_id), reason=error.reason_name())
        except Exception as error:  # noqa: BLE001  # a background task has nobody to raise to
            _log.error("last_used_time not written", key_id=str(key_id), **describe(error))

    async def close(self) -> None:
        """Wait for what is being noted."""
        await asyncio.gather(*self._touching.values(), return_exceptions=True)
