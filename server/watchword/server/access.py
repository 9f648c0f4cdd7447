"""Who is calling: API keys in "authorization", users' access tokens in "on-behalf-of"; and what an RPC needs.

The permission of each RPC stands in its proto option, is read once at start-up, and nowhere else. Whether a caller has
it is decided by the permission engine, on the reserved type `watchword`: from the permissions of its key, and from
relationships of its account. That is done once for a key, and stands until an event names the key or the account.
"""

import asyncio
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message

from watchword.server.asked import Consistency, Question
from watchword.server.call import Caller
from watchword.server.errors import (
    AccessDenied,
    ApiKeyInvalid,
    DomainError,
    InvalidField,
    ModelLacksRelation,
    OnBehalfOfInvalid,
)
from watchword.server.feed import Feed
from watchword.server.followed import FollowedCache
from watchword.server.identifiers import Clock, key_object, node, service_object, user_object
from watchword.server.incidents import describe
from watchword.server.introspection import Introspector, UserToken
from watchword.server.permissions.answers import Decision
from watchword.server.permissions.built_in import ADMINISTRATOR, DEPLOYMENT, with_reserved
from watchword.server.permissions.engine import Engine
from watchword.server.permissions.model import Model
from watchword.server.permissions.plan import Plan
from watchword.server.permissions.relationships import Relationship, Relationships
from watchword.server.questions import Questions
from watchword.server.storage.database import Database
from watchword.server.storage.service_accounts import ACTIVE, LAST_USED_RESOLUTION, Key, PresentedKey
from watchword.server.tokens import api_key_id, hash_of, is_that_key
from watchword.v1 import options_pb2

_SCHEME = "bearer "
_MAX_TOUCHED = 10_000
_FIELD = re.compile(r"\{([a-z_.]+)\}")
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


def permissions_of_fields(method: MethodDescriptor) -> dict[str, str]:
    """Read which fields of its request need a permission besides, if they are set."""
    found = {}
    for field in method.input_type.fields:
        rules: options_pb2.FieldRules = field.GetOptions().Extensions[options_pb2.rules]
        if rules.permission:
            found[field.name] = rules.permission
    return found


def permissions_of(services: list[ServiceDescriptor]) -> frozenset[str]:
    """List every permission there is."""
    methods = [method for service in services for method in service.methods]
    of_fields = (name for method in methods for name in permissions_of_fields(method).values())
    return frozenset({ADMINISTRATOR, *map(permission_of, methods), *of_fields})


class Permissions:
    """Which permissions a key has, by the engine."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = sorted(names)
        self._plan = Plan(with_reserved(Model({}, {}), names))

    def of(self, key: PresentedKey, *, now: datetime) -> frozenset[str]:
        """Decide every permission: by those that the key was made with, and by the relationships of its account."""
        account = service_object(key.service_account_id)
        rows = [Relationship(DEPLOYMENT, name, account) for name in key.permissions]
        rows += [
            Relationship(DEPLOYMENT, grant.relation, account, expire_time=grant.expire_time) for grant in key.grants
        ]
        engine = Engine(self._plan, Relationships(rows), now=now)
        return frozenset(
            name for name in self._names if engine.check(account, name, DEPLOYMENT).decision == Decision.ALLOWED
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """A good key, as the cache holds it."""

    key: PresentedKey
    caller: Caller

    def is_good(self, now: datetime) -> bool:
        return self.caller.until is None or now < self.caller.until


class Authenticator:
    """Finds out who calls."""

    def __init__(
        self,
        database: Database,
        introspector: Introspector,
        permissions: Permissions,
        feed: Feed,
        *,
        default_audience: str,
        clock: Clock,
    ) -> None:
        self._database = database
        self._introspector = introspector
        self._permissions = permissions
        self._default_audience = default_audience
        self._clock = clock
        self._known: FollowedCache[bytes, _Known] = FollowedCache(feed)
        self._by_id: FollowedCache[UUID, _Known] = FollowedCache(feed)
        self._touching: dict[UUID, asyncio.Task[None]] = {}
        self._touched: dict[UUID, datetime] = {}

    async def caller(self, authorization: str | None) -> Caller:
        """Authenticate the calling service by the value of its "authorization" metadata.

        Raises:
            ApiKeyInvalid: no key, or one that is not good (any longer).

        """
        if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
            raise ApiKeyInvalid
        text = authorization[len(_SCHEME) :]
        now = self._clock()
        # By the hash of the whole key: to find it here is to have compared it.
        known = self._known.get(hash_of(text))
        if known is None or not known.is_good(now):
            key_id = api_key_id(text)
            if key_id is None:
                raise ApiKeyInvalid
            known = await self._look_up(key_id, text)
        self._note(known.key, now)
        return known.caller

    async def again(self, caller: Caller) -> Caller:
        """Find out anew what the key of a caller is good for, who has shown it before.

        Raises:
            ApiKeyInvalid: it is not good any longer.

        """
        known = self._by_id.get(caller.key_id)
        if known is None or not known.is_good(self._clock()):
            known = await self._look_up(caller.key_id)
        return known.caller

    async def _look_up(self, key_id: UUID, text: str | None = None) -> _Known:
        async with self._database.read() as reader:
            key = await reader.service_accounts.presented(key_id)
            now = reader.now
        if key is None or not (text is None or is_that_key(text, key.key_hash)):
            raise ApiKeyInvalid
        if key.account_status != ACTIVE or key.ended(now):
            raise ApiKeyInvalid
        permissions = self._permissions.of(key, now=now)
        known = _Known(key, Caller(key.service_account_id, key.key_id, permissions, _end(key)))
        nodes = (node(key_object(key.key_id)), node(service_object(key.service_account_id)))
        self._known.put(key.key_hash, known, nodes=nodes, epoch=key.epoch, horizon=key.horizon)
        self._by_id.put(key.key_id, known, nodes=nodes, epoch=key.epoch, horizon=key.horizon)
        return known

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

    def _note(self, key: Key, now: datetime) -> None:
        """Note the key's use beside the call, not in it; one statement at a time for each key."""
        last = self._touched.get(key.key_id, key.last_used_time)
        if last is not None and timedelta() <= now - last < LAST_USED_RESOLUTION:
            return
        if key.key_id not in self._touching:
            if len(self._touched) >= _MAX_TOUCHED:
                self._touched.clear()
            self._touched[key.key_id] = now
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


def _end(key: PresentedKey) -> datetime | None:
    """When the key itself ends, or a permission of its account."""
    times = (key.expire_time, *(grant.expire_time for grant in key.grants))
    return min((time for time in times if time is not None), default=None)


class Authorizer:
    """Decides whether a user, on whose behalf a service calls, may do what an RPC does to an object."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    async def require(self, user_id: UUID, relation: str, template: str, request: Message) -> None:
        """Let the call pass only if the user has the relation to the object that the request names.

        Threat: an administrator of one organization who names another one. Whether that exists makes no difference.

        Raises:
            AccessDenied: the user has not.
            ModelLacksRelation: the permission model in force does not define it.

        """
        object_ = _FIELD.sub(lambda match: _value(request, match[1]), template)
        question = Question(user_object(user_id), relation, object_)
        try:
            found = await self._questions.check(question, Consistency())
        except InvalidField as error:
            if error.violations[0][0] == "object" and not object_.partition(":")[2]:
                raise AccessDenied(relation, object_) from None
            raise ModelLacksRelation(object_.partition(":")[0], relation) from None
        if found.answer.decision != Decision.ALLOWED:
            raise AccessDenied(relation, object_)


def _value(request: Message, path: str) -> str:
    value: object = request
    for name in path.split("."):
        value = getattr(value, name)
    return str(value)
