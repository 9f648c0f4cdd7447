"""First answers to mutations, so that a retry changes nothing and hears the same (AIP-155).

An answer may hold personal data, tokens or keys. So it is sealed under a key derived from the master key and
the request id, and neither the id nor a hash that could be tried without the master key is stored.
"""

import hmac
from datetime import datetime
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from sqlalchemy import bindparam, delete, exists, insert, select

from watchword.server.call import Call
from watchword.server.errors import RequestIdReused
from watchword.server.sealing import Keyring
from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.database import Reader

_FIND = Statement(
    select(t.answers.c.request_mac, t.answers.c.answer_sealed).where(t.answers.c.request_key == bindparam("key"))
)
_EXISTS = Statement(select(exists().where(t.answers.c.request_key == bindparam("key"))))
_ADD = Statement(insert(t.answers).values({c: bindparam(c) for c in t.answers.c.keys()}))  # noqa: SIM118
_DROP = Statement(delete(t.answers).where(t.answers.c.create_time < bindparam("before")))


class _Row:
    __slots__ = ("answer_sealed", "request_mac")

    def __init__(self, request_mac: bytes, answer_sealed: bytes) -> None:
        self.request_mac = request_mac
        self.answer_sealed = answer_sealed


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
        row = await self._reader.one(_Row, _FIND, key=self._key(call))
        if row is None:
            return None
        if not hmac.compare_digest(row.request_mac, self._mac(call)):
            raise RequestIdReused
        sealed = self._keyring.sealer(f"answers/{call.idempotency_key}").open(row.answer_sealed, context=call.method)
        return answer.FromString(sealed)

    async def exists(self, call: Call) -> bool:
        """Tell whether a call with this request id was answered, whatever its request."""
        return bool(await self._reader.value(_EXISTS, key=self._key(call)))

    async def add(self, call: Call, answer: Message) -> None:
        """Keep the answer to a call. A second answer to the same request id violates answers_pkey."""
        sealer = self._keyring.sealer(f"answers/{call.idempotency_key}")
        await self._reader.run(
            _ADD,
            request_key=self._key(call),
            request_mac=self._mac(call),
            answer_sealed=sealer.seal(answer.SerializeToString(), context=call.method),
            create_time=self._reader.now,
        )

    async def drop(self, before: datetime) -> int:
        """Forget answers given before a time; return how many."""
        return await self._reader.run(_DROP, before=before)

    def _key(self, call: Call) -> bytes:
        # The caller is part of the key: nobody gets the answer to somebody else's request by its id.
        name = f"{call.caller.service_account_id}\n{call.actor}\n{call.method}\n{call.idempotency_key}"
        return self._keyring.mac("answers/key", name.encode(), 32)

    def _mac(self, call: Call) -> bytes:
        # Keyed, because a request may hold a password: a plain hash of it could be tried offline.
        request = call.request.SerializeToString(deterministic=True) if call.request is not None else b""
        return self._keyring.mac(f"answers/{call.idempotency_key}", request, 32)
