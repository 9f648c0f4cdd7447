"""SignInService."""

from uuid import UUID

from watchword.server.api import messages
from watchword.server.call import Call
from watchword.server.errors import InvalidField, ServerBusy, SignInRefused
from watchword.server.identifiers import user_object
from watchword.server.passwords import PasswordHasher
from watchword.server.sessions import Device, Issued, SessionKeeper
from watchword.server.storage import users
from watchword.server.storage.credentials import Credential
from watchword.server.storage.database import Database, Tx
from watchword.server.storage.events import Event, EventType, Outcome
from watchword.server.validation import normalize_email, normalize_username
from watchword.v1 import sign_in_pb2 as pb


class SignInService:
    """Serves sign-ins."""

    def __init__(
        self, database: Database, passwords: PasswordHasher, keeper: SessionKeeper, *, default_audience: str
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._keeper = keeper
        self._default_audience = default_audience

    async def StartSignIn(self, request: pb.StartSignInRequest, call: Call) -> pb.StartSignInResponse:
        if request.WhichOneof("proof") is None or not request.password:
            raise InvalidField([("password", "a first proof is required")])
        device = messages.device(request.device)
        credential = await self._password_of(request.identifier)
        # Threat: finding out which accounts exist. The work is the same without one (ASVS 6.3.8).
        verdict = await self._passwords.verify(request.password, credential.password_hash if credential else None)
        if credential is None or not verdict.ok:
            await self._refuse(call, credential.user_id if credential else None, device)
            raise SignInRefused
        rehashed = await self._rehash(request.password) if verdict.rehash else ""
        audiences = list(dict.fromkeys(request.audiences)) or [self._default_audience]
        issued: Issued | None = None
        async with self._database.write(call) as tx:
            user = await tx.users.lock_shared(credential.user_id)
            if user.status == users.ACTIVE and await _is_current(tx, credential):
                await tx.credentials.touch(credential.credential_id)
                if rehashed:
                    old = credential.password_hash or ""
                    await tx.credentials.replace_hash(credential.credential_id, old=old, new=rehashed)
                issued = await self._keeper.begin(tx, user, methods=["pwd"], audiences=audiences, device=device)
                return tx.answered(
                    pb.StartSignInResponse(completed=messages.session_tokens(issued, now=tx.now), revision=tx.revision)
                )
            tx.record(_failed(credential.user_id, device))
        raise SignInRefused

    async def _password_of(self, identifier: str) -> Credential | None:
        """Find the password of whoever the identifier names: an address if it holds "@", else a username."""
        if "@" in identifier:
            column, key = "email_key", normalize_email(identifier)
        else:
            column, key = "username_key", normalize_username(identifier)
        async with self._database.read() as reader:
            return await reader.credentials.password_of(column, key)

    async def _rehash(self, password: str) -> str:
        """Hash a password with today's parameters; empty if there is no room now: another sign-in will do."""
        try:
            return await self._passwords.hash(password)
        except ServerBusy:
            return ""

    async def _refuse(self, call: Call, user_id: UUID | None, device: Device) -> None:
        async with self._database.write(call) as tx:
            tx.record(_failed(user_id, device))


async def _is_current(tx: Tx, checked: Credential) -> bool:
    """Whether the password that was verified, outside the transaction, is still the user's password."""
    now = await tx.credentials.password(checked.user_id)
    return now is not None and now.password_hash == checked.password_hash


def _failed(user_id: UUID | None, device: Device) -> Event:
    # Of an unknown identifier nothing is kept: people type passwords into that field.
    return Event(
        EventType.SIGN_IN_FAILED,
        (user_object(user_id),) if user_id else (),
        outcome=Outcome.FAILURE,
        payload={"method": "pwd"},
        person=user_id,
        personal=device.columns(),
    )
