"""First answers to mutations, so that a retry changes nothing and hears the same (AIP-155).

An answer may hold personal data, tokens or keys. So it is sealed under a key derived from the master key and
the request id, and neither the id nor a hash that could be tried without the master key is stored.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Any

from google.protobuf.message import Message
from sqlalchemy import ARRAY, BigInteger, LargeBinary, Text, any_, bindparam, cast, delete, exists, insert, select

from watchword.server.call import Call
from watchword.server.errors import RequestIdReused
from watchword.server.sealing import Keyring
from watchword.server.storage import tables as t
from watchword.server.storage.snapshot import EPOCH, FROZEN
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

_is_named = t.answers.c.request_key == any_(bindparam("keys", type_=ARRAY(LargeBinary)))
_xid = cast(cast(t.answers.c.xid, Text), BigInteger).label("xid")
_FIND = Statement(select(t.answers.c.request_mac, t.answers.c.answer_sealed, _xid, EPOCH).where(_is_named))
_EXISTS = Statement(select(exists().where(_is_named)))
_ADD = Statement(insert(t.answers).values({c: bindparam(c) for c in t.answers.c.keys() if c != "xid"}))  # noqa: SIM118
_DROP = Statement(delete(t.answers).where(t.answers.c.create_time < bindparam("before")))
_KEY = "answers/key"


class _Row:
    __slots__ = ("answer_sealed", "epoch", "request_mac", "xid")

    def __init__(self, request_mac: bytes, answer_sealed: bytes, xid: int | None, epoch: str) -> None:
        self.request_mac = request_mac
        self.answer_sealed = answer_sealed
        self.xid = xid
        self.epoch = epoch


class Answers:
    """The answers kept for retries."""

    def __init__(self, reader: "Reader", keyring: Keyring) -> None:
        self._reader = reader
        self._keyring = keyring

    async def find(self, call: Call, answer: type[Message]) -> Message | None:
        """Return the first answer to this call, or None if it is the first.

        Raises:
            RequestIdReused: the id belongs to another request.

        """
        row = await self._reader.one(_Row, _FIND, keys=self._keys(call))
        if row is None:
            return None
        if not self._keyring.verify_mac(_purpose(call), _request(call), 32, mac=row.request_mac):
            raise RequestIdReused
        found = answer.FromString(self._keyring.sealer(_purpose(call)).open(row.answer_sealed, context=call.method))
        if row.xid is not None:
            found.revision = f"{row.epoch}.{row.xid}"  # type: ignore[attr-defined]  # mutations answer with one
        elif not found.revision.startswith(f"{row.epoch}."):  # type: ignore[attr-defined]
            # Of an epoch before this one, of which every moment of this one knows.
            found.revision = f"{row.epoch}.{FROZEN}"  # type: ignore[attr-defined]
        return found

    async def exists(self, call: Call) -> bool:
        """Tell whether a call with this request id was answered, whatever its request."""
        return bool(await self._reader.value(_EXISTS, keys=self._keys(call)))

    async def add(self, call: Call, answer: Message) -> None:
        """Keep the answer to a call. A second answer to the same request id violates answers_pkey."""
        await self._reader.run(_ADD, **answer_row(self._keyring, call, answer, self._reader.now))

    async def drop(self, before: datetime) -> int:
        """Forget answers given before a time; return how many."""
        return await self._reader.run(_DROP, before=before)

    def _keys(self, call: Call) -> list[bytes]:
        """Give the key under each master key: a new one in front must not make a retry a second change."""
        return self._keyring.macs(_KEY, _name(call), 32)


def answer_row(keyring: Keyring, call: Call, answer: Message, now: datetime) -> dict[str, Any]:
    """The columns of a call's first answer."""
    return {
        "request_key": keyring.mac(_KEY, _name(call), 32),
        # Keyed, because a request may hold a password: a plain hash of it could be tried offline.
        "request_mac": keyring.mac(_purpose(call), _request(call), 32),
        "answer_sealed": keyring.sealer(_purpose(call)).seal(answer.SerializeToString(), context=call.method),
        "create_time": now,
    }


def _purpose(call: Call) -> str:
    return f"answers/{call.idempotency_key}"


def _name(call: Call) -> bytes:
    # Who asks is part of the key, with what they may do: nobody gets an answer by its id that they would not have got
    # by asking, be it another caller's or that of a stronger key of the same account.
    permissions = ",".join(sorted(call.caller.permissions))
    parts = (call.caller.service_account_id, permissions, call.actor, call.method, call.idempotency_key)
    return "\n".join(parts).encode()


def _request(call: Call) -> bytes:
    return call.request.SerializeToString(deterministic=True) if call.request is not None else b""
