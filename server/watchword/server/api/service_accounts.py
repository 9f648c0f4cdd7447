"""ServiceAccountService."""

from datetime import datetime, timedelta
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from watchword.server.api import messages
from watchword.server.api.pages import Pages
from watchword.server.call import SERVER, Call
from watchword.server.changes import remove_all_about
from watchword.server.errors import InvalidField, KeyEnded
from watchword.server.identifiers import Randomness, key_object, service_object
from watchword.server.permissions.built_in import DEPLOYMENT
from watchword.server.permissions.standing import Standing
from watchword.server.storage import service_accounts as storage
from watchword.server.storage.database import Database
from watchword.server.storage.events import Event, EventType
from watchword.server.storage.relationships import Filter
from watchword.server.storage.service_accounts import Key, ServiceAccount
from watchword.server.storage.transaction import Tx
from watchword.server.tokens import hash_of, new_api_key
from watchword.v1 import service_accounts_pb2 as pb

_DEFAULT_OVERLAP = timedelta(hours=24)
_MAX_OVERLAP = timedelta(days=30)
_SHORTEST_LIFE = timedelta(seconds=1)
_MAX_GRANTS = 1_000


class ServiceAccountService:
    """Serves accounts of programs and their API keys."""

    def __init__(
        self,
        database: Database,
        standing: Standing,
        pages: Pages,
        *,
        permissions: frozenset[str],
        randomness: Randomness,
    ) -> None:
        self._database = database
        self._standing = standing
        self._pages = pages
        self._permissions = permissions
        self._randomness = randomness

    async def CreateServiceAccount(
        self, request: pb.CreateServiceAccountRequest, call: Call
    ) -> pb.CreateServiceAccountResponse:
        given = request.service_account
        if given.service_account_id == SERVER:
            raise InvalidField([("service_account.service_account_id", "is the server's own name")])
        async with self._database.write(call) as tx:
            account = await tx.service_accounts.create(
                given.service_account_id, display_name=given.display_name, description=given.description
            )
            tx.record(_event(EventType.SERVICE_ACCOUNT_CREATED, account))
            return tx.answered(
                pb.CreateServiceAccountResponse(service_account=messages.service_account(account), revision=tx.revision)
            )

    async def GetServiceAccount(
        self, request: pb.GetServiceAccountRequest, _call: Call
    ) -> pb.GetServiceAccountResponse:
        async with self._database.read() as reader:
            account = await reader.service_accounts.get(request.service_account_id)
        return pb.GetServiceAccountResponse(service_account=messages.service_account(account))

    async def ListServiceAccounts(
        self, request: pb.ListServiceAccountsRequest, call: Call
    ) -> pb.ListServiceAccountsResponse:
        page = self._pages.page(request, call)
        async with self._database.read() as reader:
            rows = await reader.service_accounts.page(
                include_deleted=request.include_deleted, after=page.after, size=page.fetch
            )
        shown, token = self._pages.cut(page, rows, lambda account: account.service_account_id)
        return pb.ListServiceAccountsResponse(
            service_accounts=map(messages.service_account, shown), next_page_token=token
        )

    async def SuspendServiceAccount(
        self, request: pb.SuspendServiceAccountRequest, call: Call
    ) -> pb.SuspendServiceAccountResponse:
        async with self._database.write(call) as tx:
            account = await _lock(tx, request.service_account_id, request.etag)
            account.require_not_deleted()
            await _require_no_less(tx, account)
            if account.status != storage.SUSPENDED:
                account = await tx.service_accounts.update(account, {"status": storage.SUSPENDED})
                tx.record(_event(EventType.ACCOUNT_DISABLED, account, reason=request.reason))
            return tx.answered(
                pb.SuspendServiceAccountResponse(
                    service_account=messages.service_account(account), revision=tx.revision
                )
            )

    async def ReinstateServiceAccount(
        self, request: pb.ReinstateServiceAccountRequest, call: Call
    ) -> pb.ReinstateServiceAccountResponse:
        async with self._database.write(call) as tx:
            account = await _lock(tx, request.service_account_id, request.etag)
            account.require_not_deleted()
            await _require_no_less(tx, account)
            if account.status != storage.ACTIVE:
                account = await tx.service_accounts.update(account, {"status": storage.ACTIVE})
                tx.record(_event(EventType.ACCOUNT_ENABLED, account))
            return tx.answered(
                pb.ReinstateServiceAccountResponse(
                    service_account=messages.service_account(account), revision=tx.revision
                )
            )

    async def DeleteServiceAccount(
        self, request: pb.DeleteServiceAccountRequest, call: Call
    ) -> pb.DeleteServiceAccountResponse:
        async with self._database.write(call) as tx:
            account = await _lock(tx, request.service_account_id, request.etag)
            await _require_no_less(tx, account)
            if account.status != storage.DELETED:
                account = await tx.service_accounts.update(account, {"status": storage.DELETED, "delete_time": tx.now})
                tx.record(_event(EventType.ACCOUNT_PURGED, account))
                keys = await tx.service_accounts.revoke_all_keys(account.service_account_id)
                if keys:
                    names = tuple(key_object(key_id) for key_id in keys)
                    tx.record(Event(EventType.KEY_REVOKED, names, nodes=names, payload={"reason": "account_deleted"}))
                await remove_all_about(tx, self._standing, [service_object(account.service_account_id)])
            return tx.answered(
                pb.DeleteServiceAccountResponse(service_account=messages.service_account(account), revision=tx.revision)
            )

    async def CreateKey(self, request: pb.CreateKeyRequest, call: Call) -> pb.CreateKeyResponse:
        permissions = sorted(set(request.permissions))
        for permission in permissions:
            if permission not in self._permissions:
                raise InvalidField([("permissions", f"unknown; there are: {', '.join(sorted(self._permissions))}")])
            # Threat: who may make keys makes one that may do more than they themselves.
            call.caller.require(permission)
        async with self._database.write(call) as tx:
            account = await tx.service_accounts.lock(request.service_account_id)
            account.require_not_deleted()
            await _require_grants(tx, account)
            key, text = await self._create_key(
                tx,
                account.service_account_id,
                display_name=request.display_name,
                permissions=permissions,
                expire_time=_expire_time(tx, request.expire_time if request.HasField("expire_time") else None),
            )
            tx.record(_key_event(EventType.KEY_CREATED, key, permissions=permissions))
            return tx.answered(pb.CreateKeyResponse(key=messages.key(key), api_key=text, revision=tx.revision))

    async def ListKeys(self, request: pb.ListKeysRequest, call: Call) -> pb.ListKeysResponse:
        page = self._pages.page(request, call)
        async with self._database.read() as reader:
            account = await reader.service_accounts.get(request.service_account_id)
            rows = await reader.service_accounts.keys(
                account.service_account_id,
                include_ended=request.include_ended,
                after=UUID(page.after) if page.after else None,
                size=page.fetch,
            )
        shown, token = self._pages.cut(page, rows, lambda key: key.key_id)
        return pb.ListKeysResponse(keys=map(messages.key, shown), next_page_token=token)

    async def RotateKey(self, request: pb.RotateKeyRequest, call: Call) -> pb.RotateKeyResponse:
        overlap = request.overlap.ToTimedelta() if request.HasField("overlap") else _DEFAULT_OVERLAP
        if not timedelta() <= overlap <= _MAX_OVERLAP:
            raise InvalidField([("overlap", "must be from 0 to 30 days")])
        async with self._database.write(call) as tx:
            found = await tx.service_accounts.get_key(UUID(request.key_id))
            # The account's row before the key's, as everywhere: its deletion must not miss the new key.
            account = await tx.service_accounts.lock(found.service_account_id)
            account.require_not_deleted()
            await _require_grants(tx, account)
            old = await tx.service_accounts.lock_key(found.key_id)
            # Threat: who may make keys rotates an administrator's and gets the successor.
            _require_all(call, old)
            if old.ended(tx.now) or old.successor_key_id is not None:
                raise KeyEnded(request.key_id)
            key, text = await self._create_key(
                tx,
                old.service_account_id,
                display_name=old.display_name,
                permissions=old.permissions,
                expire_time=_expire_time(tx, request.expire_time if request.HasField("expire_time") else None),
            )
            end = min(filter(None, [old.expire_time, tx.now + overlap]))
            old = await tx.service_accounts.update_key(old, {"expire_time": end, "successor_key_id": key.key_id})
            tx.record(_key_event(EventType.KEY_CREATED, key, permissions=old.permissions))
            # An answer about the old key that was cached before does not know of its end.
            tx.record(_key_event(EventType.KEY_ROTATED, old, successor=str(key.key_id), changes=True))
            return tx.answered(
                pb.RotateKeyResponse(
                    key=messages.key(key), api_key=text, previous_key=messages.key(old), revision=tx.revision
                )
            )

    async def RevokeKey(self, request: pb.RevokeKeyRequest, call: Call) -> pb.RevokeKeyResponse:
        async with self._database.write(call) as tx:
            key = await tx.service_accounts.lock_key(UUID(request.key_id))
            if not key.ended(tx.now):
                _require_all(call, key)
            if key.revoke_time is None:
                key = await tx.service_accounts.update_key(key, {"revoke_time": tx.now})
                tx.record(_key_event(EventType.KEY_REVOKED, key, changes=True))
            return tx.answered(pb.RevokeKeyResponse(key=messages.key(key), revision=tx.revision))

    async def _create_key(
        self,
        tx: Tx,
        account: str,
        *,
        display_name: str,
        permissions: list[str],
        expire_time: datetime | None,
    ) -> tuple[Key, str]:
        key_id = tx.new_id()
        text = new_api_key(key_id, self._randomness)
        key = await tx.service_accounts.create_key(
            account,
            key_id=key_id,
            key_hash=hash_of(text),
            display_name=display_name,
            permissions=permissions,
            expire_time=expire_time,
        )
        return key, text


async def _lock(tx: Tx, service_account_id: str, etag: str) -> ServiceAccount:
    account = await tx.service_accounts.lock(service_account_id)
    account.require_etag(etag)
    return account


async def _require_no_less(tx: Tx, account: ServiceAccount) -> None:
    """Let nobody close or open an account that may do more than they themselves.

    Threat: who may make keys shuts the administrator out, for good.
    """
    for key in await tx.service_accounts.living_keys(account.service_account_id):
        _require_all(tx.call, key)
    await _require_grants(tx, account)


async def _require_grants(tx: Tx, account: ServiceAccount) -> None:
    """Let nobody have a hand in an account that was granted, by relationships, what they may not do themselves.

    Threat: every key of the account can do all of that, so who may make keys makes one there.
    """
    asked = Filter(object=DEPLOYMENT, subject=service_object(account.service_account_id))
    for grant in await tx.relationships.page(asked, after=None, size=_MAX_GRANTS):
        if grant.expire_time is None or grant.expire_time > tx.now:
            tx.call.caller.require(grant.relation)


def _require_all(call: Call, key: Key) -> None:
    for permission in key.permissions:
        call.caller.require(permission)


def _expire_time(tx: Tx, given: Timestamp | None) -> datetime | None:
    if given is None:
        return None
    expire_time = messages.time(given)
    if expire_time < tx.now + _SHORTEST_LIFE:
        raise InvalidField([("expire_time", "must be at least a second from now")])
    return expire_time


def _event(type_: EventType, account: ServiceAccount, *, reason: str = "") -> Event:
    name = service_object(account.service_account_id)
    nodes = () if type_ is EventType.SERVICE_ACCOUNT_CREATED else (name,)
    return Event(type_, (name,), nodes=nodes, personal={"reason": reason})


def _key_event(type_: EventType, key: Key, *, changes: bool = False, **payload: object) -> Event:
    name = key_object(key.key_id)
    return Event(
        type_, (name, service_object(key.service_account_id)), nodes=(name,) if changes else (), payload=payload
    )
