"""CredentialService."""

from uuid import UUID

from watchword.server import sessions as logic
from watchword.server.api import messages
from watchword.server.call import Call
from watchword.server.decoys import Decoys
from watchword.server.errors import CurrentPasswordWrong
from watchword.server.identifiers import user_object
from watchword.server.passwords import PasswordHasher
from watchword.server.storage import users
from watchword.server.storage.database import Database
from watchword.server.storage.events import Event, EventType, Outcome
from watchword.server.storage.transaction import Tx
from watchword.server.storage.users import User
from watchword.server.throttle import Attempt, Throttle
from watchword.v1 import credentials_pb2 as pb


class CredentialService:
    """Serves what users prove themselves with."""

    def __init__(self, database: Database, passwords: PasswordHasher, throttle: Throttle, decoys: Decoys) -> None:
        self._database = database
        self._passwords = passwords
        self._decoys = decoys
        self._throttle = throttle

    async def SetPassword(self, request: pb.SetPasswordRequest, call: Call) -> pb.SetPasswordResponse:
        async with self._database.read() as reader:
            user = await reader.users.get(UUID(request.user_id))
        user.require_not_deleted()
        password_hash = await self._passwords.check_and_hash(request.new_password, own_words=_own_words(user))
        async with self._database.write(call) as tx:
            user = await tx.users.lock(user.user_id)
            user.require_not_deleted()
            credential = await tx.credentials.set_password(user.user_id, password_hash)
            await logic.credentials_changed(tx, user.user_id, kind="password", change="set")
            # Whoever was locked out has a way back in; what failed was about another password.
            names = [key for key in (user.email_key, user.username_key) if key]
            await self._throttle.forget(tx, user.user_id, names)
            return tx.answered(pb.SetPasswordResponse(credential=messages.credential(credential), revision=tx.revision))

    async def ChangePassword(self, request: pb.ChangePasswordRequest, call: Call) -> pb.ChangePasswordResponse:
        # Threat: guessing the password of a session that was left open, or whose tokens were stolen.
        async with self._throttle.change_of(UUID(request.user_id)) as attempt:
            return await self._change(request, call, attempt)

    async def _change(
        self, request: pb.ChangePasswordRequest, call: Call, attempt: Attempt
    ) -> pb.ChangePasswordResponse:
        user_id = UUID(request.user_id)
        async with self._database.read() as reader:
            current = await reader.credentials.password(user_id)
        verdict = await self._passwords.verify(
            request.current_password,
            current.password_hash if current else None,
            decoy=await self._decoys.of(request.user_id),
        )
        if current is None or not verdict.ok:
            async with self._database.write(call) as tx:
                await _refuse(tx, attempt, user_id if current else None)
            raise CurrentPasswordWrong
        async with self._database.read() as reader:
            user = await reader.users.get(user_id)
        password_hash = await self._passwords.check_and_hash(request.new_password, own_words=_own_words(user))
        async with self._database.write(call) as tx:
            user = await tx.users.lock(user_id)
            now = await tx.credentials.password(user_id)
            # The password that was verified may have been changed, or the account closed, meanwhile.
            if user.status == users.ACTIVE and now is not None and now.password_hash == current.password_hash:
                credential = await tx.credentials.set_password(user_id, password_hash)
                keep = UUID(request.keep_session_id) if request.keep_session_id else None
                await logic.credentials_changed(tx, user_id, kind="password", change="update", keep=keep)
                attempt.succeed()
                return tx.answered(
                    pb.ChangePasswordResponse(credential=messages.credential(credential), revision=tx.revision)
                )
            await _refuse(tx, attempt, user_id)
        raise CurrentPasswordWrong

    async def ListCredentials(self, request: pb.ListCredentialsRequest, _call: Call) -> pb.ListCredentialsResponse:
        async with self._database.read() as reader:
            user = await reader.users.get(UUID(request.user_id))
            rows = await reader.credentials.list(user.user_id)
        return pb.ListCredentialsResponse(credentials=map(messages.credential, rows))

    async def RemoveCredential(self, request: pb.RemoveCredentialRequest, call: Call) -> pb.RemoveCredentialResponse:
        async with self._database.write(call) as tx:
            user = await tx.users.lock(UUID(request.user_id))
            await tx.credentials.remove(user.user_id, UUID(request.credential_id))
            await logic.credentials_changed(tx, user.user_id, kind="password", change="delete")
            return tx.answered(pb.RemoveCredentialResponse(revision=tx.revision))


async def _refuse(tx: Tx, attempt: Attempt, user_id: UUID | None) -> None:
    reached = await attempt.fail(tx)
    if user_id is not None:
        tx.record(_failed(EventType.SIGN_IN_FAILED, user_id))
        for limit in reached:
            tx.record(_failed(EventType.SIGN_IN_THROTTLED, user_id, limit=limit))


def _failed(type_: EventType, user_id: UUID, **facts: str) -> Event:
    return Event(
        type_,
        (user_object(user_id),),
        outcome=Outcome.FAILURE,
        payload={"method": "pwd", "purpose": "change_password", **facts},
    )


def _own_words(user: User) -> list[str]:
    return [user.email or "", user.username or "", user.display_name]
