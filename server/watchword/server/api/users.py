"""UserService."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from watchword.server import sessions as logic
from watchword.server.api import messages
from watchword.server.api.pages import Pages
from watchword.server.api.user_exports import UserExporter
from watchword.server.api.user_imports import UserImporter
from watchword.server.call import Call
from watchword.server.changes import remove_all_about
from watchword.server.errors import InvalidField, NotFound
from watchword.server.identifiers import user_object
from watchword.server.passwords import PasswordHasher
from watchword.server.permissions.standing import Standing
from watchword.server.storage import users as storage
from watchword.server.storage.database import Database
from watchword.server.storage.events import Event, EventType
from watchword.server.storage.sessions import ACCOUNT_DISABLED
from watchword.server.storage.transaction import Tx
from watchword.server.storage.users import User
from watchword.server.validation import mask_paths, normalize_email, normalize_username, require_uuid
from watchword.v1 import users_pb2 as pb

_IDENTIFIERS = frozenset({"email", "username", "external_id"})


class UserService:
    """Serves accounts of people."""

    def __init__(self, database: Database, passwords: PasswordHasher, standing: Standing, pages: Pages) -> None:
        self._database = database
        self._passwords = passwords
        self._standing = standing
        self._pages = pages
        self._importer = UserImporter(database)
        self._exporter = UserExporter(database, pages)

    async def CreateUser(self, request: pb.CreateUserRequest, call: Call) -> pb.CreateUserResponse:
        values = _columns(request.user, [name for name in _WRITABLE if _is_set(request.user, name)])
        if not any(values.get(name) for name in _IDENTIFIERS):
            raise InvalidField([("user", "needs at least one of email, username and external_id")])
        password_hash = ""
        if request.password:
            password_hash = await self._passwords.check_and_hash(
                request.password, own_words=[request.user.email, request.user.username, request.user.display_name]
            )
        async with self._database.write(call) as tx:
            user = await tx.users.create(values)
            await tx.add_person_key(user.user_id)
            if password_hash:
                await tx.credentials.set_password(user.user_id, password_hash)
            tx.record(
                _event(
                    EventType.USER_CREATED,
                    user,
                    payload={"fields": sorted(name for name in _WRITABLE if _is_set(request.user, name))},
                    personal=_names(user),
                )
            )
            return tx.answered(pb.CreateUserResponse(user=messages.user(user), revision=tx.revision))

    async def GetUser(self, request: pb.GetUserRequest, _call: Call) -> pb.GetUserResponse:
        async with self._database.read() as reader:
            match request.WhichOneof("key"):
                case "user_id":
                    return pb.GetUserResponse(user=messages.user(await reader.users.get(UUID(request.user_id))))
                case "email":
                    user = await reader.users.find("email_key", normalize_email(request.email))
                case "username":
                    user = await reader.users.find("username_key", normalize_username(request.username))
                case "external_id":
                    user = await reader.users.find("external_id", request.external_id)
                case _:
                    raise InvalidField([("key", "one of user_id, email, username and external_id is required")])
        if user is None:
            raise NotFound("user")
        return pb.GetUserResponse(user=messages.user(user))

    async def BatchGetUsers(self, request: pb.BatchGetUsersRequest, _call: Call) -> pb.BatchGetUsersResponse:
        ids = list(dict.fromkeys(map(UUID, request.user_ids)))
        async with self._database.read() as reader:
            found = await reader.users.get_many(ids)
        return pb.BatchGetUsersResponse(
            users=[messages.user(found[user_id]) for user_id in ids if user_id in found],
            missing_user_ids=[str(user_id) for user_id in ids if user_id not in found],
        )

    async def ListUsers(self, request: pb.ListUsersRequest, call: Call) -> pb.ListUsersResponse:
        page = self._pages.page(request, call)
        asked = messages.user_filter(request.filter)
        async with self._database.read() as reader:
            rows = await reader.user_lists.page(asked, after=page.after, size=page.fetch)
        shown, next_page_token = self._pages.cut(page, rows, asked.position)
        return pb.ListUsersResponse(users=map(messages.user, shown), next_page_token=next_page_token)

    async def UpdateUser(self, request: pb.UpdateUserRequest, call: Call) -> pb.UpdateUserResponse:
        require_uuid("user.user_id", request.user.user_id)
        paths = mask_paths(request.update_mask, pb.User.DESCRIPTOR)
        if not paths:
            paths = [name for name in _WRITABLE if _is_set(request.user, name)]
        # The etag guards an update; it is not a value to be written.
        values = _columns(request.user, [name for name in paths if name != "etag"])
        async with self._database.write(call) as tx:
            before = await tx.users.lock(UUID(request.user.user_id))
            before.require_etag(request.user.etag)
            before.require_not_deleted()
            changes = {name: value for name, value in values.items() if getattr(before, name) != value}
            user = before
            if changes:
                if not any(changes.get(name, getattr(before, name)) for name in _IDENTIFIERS):
                    raise InvalidField([("user", "must keep at least one of email, username and external_id")])
                user = await tx.users.update(before, changes)
                type_ = EventType.IDENTIFIER_CHANGED if _IDENTIFIERS & changes.keys() else EventType.USER_UPDATED
                fields = sorted(name for name in changes if not name.endswith("_key"))
                tx.record(_event(type_, user, payload={"fields": fields}, personal=_names(user)))
            return tx.answered(pb.UpdateUserResponse(user=messages.user(user), revision=tx.revision))

    async def SuspendUser(self, request: pb.SuspendUserRequest, call: Call) -> pb.SuspendUserResponse:
        async with self._database.write(call) as tx:
            user = await _lock(tx, request.user_id, request.etag)
            user.require_not_deleted()
            if user.status != storage.SUSPENDED:
                user = await tx.users.update(user, {"status": storage.SUSPENDED})
                tx.record(
                    _event(
                        EventType.ACCOUNT_DISABLED,
                        user,
                        changes_status=True,
                        personal={"reason": request.reason},
                    )
                )
                await logic.end_all(tx, user.user_id, ACCOUNT_DISABLED)
            return tx.answered(pb.SuspendUserResponse(user=messages.user(user), revision=tx.revision))

    async def ReinstateUser(self, request: pb.ReinstateUserRequest, call: Call) -> pb.ReinstateUserResponse:
        async with self._database.write(call) as tx:
            user = await _lock(tx, request.user_id, request.etag)
            user.require_not_deleted()
            if user.status != storage.ACTIVE:
                user = await tx.users.update(user, {"status": storage.ACTIVE})
                tx.record(_event(EventType.ACCOUNT_ENABLED, user, changes_status=True))
            return tx.answered(pb.ReinstateUserResponse(user=messages.user(user), revision=tx.revision))

    async def DeleteUser(self, request: pb.DeleteUserRequest, call: Call) -> pb.DeleteUserResponse:
        async with self._database.write(call) as tx:
            user = await _lock(tx, request.user_id, request.etag)
            if user.status != storage.DELETED:
                user = await tx.users.update(user, storage.deleted(tx.now))
                tx.record(_event(EventType.ACCOUNT_PURGED, user, changes_status=True))
                await logic.end_all(tx, user.user_id, ACCOUNT_DISABLED)
                await tx.credentials.remove_all(user.user_id)
                # Also what makes them an organization's last owner: who goes for good cannot be held back by a role.
                await remove_all_about(tx, self._standing, [user_object(user.user_id)])
            return tx.answered(pb.DeleteUserResponse(user=messages.user(user), revision=tx.revision))

    async def ImportUsers(
        self, requests: AsyncIterator[pb.ImportUsersRequest], call: Call
    ) -> AsyncIterator[pb.ImportUsersResponse]:
        async for response in self._importer.run(requests, call):
            yield response

    async def ExportUsers(self, request: pb.ExportUsersRequest, call: Call) -> AsyncIterator[pb.ExportUsersResponse]:
        async for response in self._exporter.run(request, call):
            yield response


async def _lock(tx: Tx, user_id: str, etag: str) -> User:
    user = await tx.users.lock(UUID(user_id))
    user.require_etag(etag)
    return user


_WRITABLE = ("email", "username", "display_name", "locale", "external_id", "attributes")


def _is_set(user: pb.User, name: str) -> bool:
    return user.HasField("attributes") if name == "attributes" else bool(getattr(user, name))


def _columns(user: pb.User, names: list[str]) -> dict[str, Any]:
    """Give the columns that the named fields fill; an empty field clears its column."""
    columns: dict[str, Any] = {}
    for name in names:
        match name:
            case "email":
                columns["email"] = user.email or None
                columns["email_key"] = normalize_email(user.email) if user.email else None
            case "username":
                columns["username"] = user.username or None
                columns["username_key"] = normalize_username(user.username) if user.username else None
            case "external_id":
                columns["external_id"] = user.external_id or None
            case "attributes":
                columns["attributes"] = _json(user.attributes)
            case _:
                columns[name] = getattr(user, name)
    return columns


def _json(attributes: Struct) -> dict[str, Any]:
    return MessageToDict(attributes)


def _names(user: User) -> dict[str, str]:
    return {
        "email": user.email or "",
        "username": user.username or "",
        "display_name": user.display_name,
        "external_id": user.external_id or "",
    }


def _event(
    type_: EventType,
    user: User,
    *,
    changes_status: bool = False,
    payload: dict[str, object] | None = None,
    personal: dict[str, str] | None = None,
) -> Event:
    name = user_object(user.user_id)
    return Event(
        type_,
        (name,),
        nodes=(name,) if changes_status else (),
        payload=payload or {},
        person=user.user_id,
        personal=personal or {},
    )
