"""SignInService."""

from uuid import UUID

from watchword.server.api import messages
from watchword.server.call import Call
from watchword.server.decoys import Decoys
from watchword.server.devices import DeviceTokens, KnownDevice
from watchword.server.errors import InvalidField, ServerBusy, SignInRefused
from watchword.server.identifiers import user_object
from watchword.server.passwords import PasswordHasher
from watchword.server.pipeline import at_once
from watchword.server.sessions import Device, SessionKeeper, Terms
from watchword.server.storage import users
from watchword.server.storage.credentials import Credential
from watchword.server.storage.database import Database, Told
from watchword.server.storage.events import Event, EventType, Outcome
from watchword.server.storage.sign_ins import BEGIN, NAMED, Named, begin_values
from watchword.server.storage.transaction import Tx
from watchword.server.throttle import Attempt, Throttle
from watchword.server.validation import normalize_email, normalize_username
from watchword.v1 import sign_in_pb2 as pb


class SignInService:
    """Serves sign-ins."""

    def __init__(
        self,
        database: Database,
        passwords: PasswordHasher,
        keeper: SessionKeeper,
        throttle: Throttle,
        devices: DeviceTokens,
        *,
        decoys: Decoys,
        default_audience: str,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._keeper = keeper
        self._throttle = throttle
        self._devices = devices
        self._decoys = decoys
        self._default_audience = default_audience

    @at_once
    async def StartSignIn(self, request: pb.StartSignInRequest, call: Call) -> pb.StartSignInResponse:
        if request.WhichOneof("proof") is None or not request.password:
            raise InvalidField([("password", "a first proof is required")])
        column, key = _named(request.identifier)
        known = await self._known_device(request.device_token, column, key)
        async with self._throttle.attempt(key, address=request.device.ip_address, device=known) as attempt:
            return await self._sign_in(request, call, attempt, known)

    async def _sign_in(
        self, request: pb.StartSignInRequest, call: Call, attempt: Attempt, known: KnownDevice | None
    ) -> pb.StartSignInResponse:
        device = messages.device(request.device)
        column, key = _named(request.identifier)
        named = await self._named(column, key)
        # Threat: finding out which accounts exist. The work is the same without one (ASVS 6.3.8).
        verdict = await self._passwords.verify(
            request.password, named.credential.password_hash if named else None, decoy=await self._decoys.of(key)
        )
        if named is None or not verdict.ok:
            async with self._database.write(call) as tx:
                await _refuse(tx, attempt, named.credential.user_id if named else None, device)
            raise SignInRefused
        credential = named.credential
        rehashed = await self._rehash(request.password) if verdict.rehash else ""
        audiences = list(dict.fromkeys(request.audiences)) or [self._default_audience]
        terms = Terms(credential.user_id, ["pwd"], audiences, device)
        token = self._devices.issue(credential.user_id, key, known)
        usual = None if rehashed else await self._begin_as_usual(call, attempt, named, terms, token)
        if usual is not None:
            return usual
        async with self._database.write(call) as tx:
            user = await tx.users.lock_shared(credential.user_id)
            if user.status == users.ACTIVE and await _is_current(tx, credential):
                await tx.credentials.touch(credential.credential_id)
                if rehashed:
                    old = credential.password_hash or ""
                    await tx.credentials.replace_hash(credential.credential_id, old=old, new=rehashed)
                issued = await self._keeper.begin(tx, terms)
                attempt.succeed()
                return tx.answered(
                    pb.StartSignInResponse(
                        completed=messages.session_tokens(issued, now=tx.now),
                        revision=tx.revision,
                        device_token=token,
                    )
                )
            await _refuse(tx, attempt, credential.user_id, device)
        raise SignInRefused

    async def _begin_as_usual(
        self, call: Call, attempt: Attempt, named: Named, terms: Terms, device_token: str
    ) -> pb.StartSignInResponse | None:
        """Begin a session in one trip to the database, where a transaction takes eleven, and one more for the attempt.

        Returns:
            None if the user may not, or not any more: then it is a transaction that refuses.

        """
        now, ground = self._database.now(), named.ground
        beginning = self._keeper.beginning(ground, self._database.new_id(), terms, call, now=now)
        if beginning is None or ground.key_sealed is None:
            return None
        answer = pb.StartSignInResponse(
            completed=messages.session_tokens(beginning.issued, now=now), device_token=device_token
        )
        sealed = self._database.seal_personal(beginning.event, call, ground.key_sealed)
        told = Told(call, beginning.event, answer, sealed)
        values = begin_values(named.credential, ground.kid or "", beginning.values, attempt.counters, now)
        return answer if await self._database.write_at_once(BEGIN, values, (told,), may_wait=True) else None

    async def _named(self, column: str, key: str) -> Named | None:
        statement = NAMED[column]
        values = statement.parameters({"key": key, "now": self._database.now()})
        (row,) = await self._database.gather(statement, values)
        return Named.of(row)

    async def _known_device(self, token: str, column: str, key: str) -> KnownDevice | None:
        """Recognise a device on which whom the identifier names has signed in with the password they have now.

        Only a token that was issued for this very identifier leads to a look at it, so the time tells nothing new.
        """
        known = self._devices.read(token, key) if token else None
        return known if known is not None and known.is_of(await self._password_of(column, key)) else None

    async def _password_of(self, column: str, key: str) -> Credential | None:
        async with self._database.read() as reader:
            return await reader.credentials.password_of(column, key)

    async def _rehash(self, password: str) -> str:
        """Hash a password with today's parameters; empty if there is no room now: another sign-in will do."""
        try:
            return await self._passwords.hash(password)
        except ServerBusy:
            return ""


def _named(identifier: str) -> tuple[str, str]:
    """Read whom an identifier names: an address if it holds "@", else a username."""
    if "@" in identifier:
        return "email_key", normalize_email(identifier)
    return "username_key", normalize_username(identifier)


async def _is_current(tx: Tx, checked: Credential) -> bool:
    """Whether the password that was verified, outside the transaction, is still the user's password."""
    now = await tx.credentials.password(checked.user_id)
    return now is not None and now.password_hash == checked.password_hash


async def _refuse(tx: Tx, attempt: Attempt, user_id: UUID | None, device: Device) -> None:
    tx.record(_failed(EventType.SIGN_IN_FAILED, user_id, device))
    # Once when a limit is reached, and not for those that are refused then: nobody can fill the log.
    for limit in await attempt.fail(tx):
        tx.record(_failed(EventType.SIGN_IN_THROTTLED, user_id, device, limit=limit))


def _failed(type_: EventType, user_id: UUID | None, device: Device, **facts: str) -> Event:
    # Of an unknown identifier nothing is kept: people type passwords into that field.
    return Event(
        type_,
        (user_object(user_id),) if user_id else (),
        outcome=Outcome.FAILURE,
        payload={"method": "pwd", **facts},
        person=user_id,
        personal=device.columns(),
    )
