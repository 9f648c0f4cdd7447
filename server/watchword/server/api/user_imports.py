"""Users brought from elsewhere: what becomes of each, a message of them at a time.

Each user stands for itself. Whatever is wrong with one is told in its own result, and a message fails as a whole only
if the database does. An import that is repeated changes nothing, by the users' external ids: so it can be resumed
behind any answer, or just be sent again.

Threat: a thousand users take some 60 ms to read and to seal, in which nobody else would be served. So there is a pause
after each few of them.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

from google.protobuf.json_format import MessageToDict

from watchword.server.api import messages
from watchword.server.call import Call
from watchword.server.errors import Conflict
from watchword.server.foreign_hashes import ForeignHash, HashRefused, recognise
from watchword.server.storage import users as storage
from watchword.server.storage.database import Database
from watchword.server.storage.transaction import Reader, Tx
from watchword.server.storage.user_imports import NewUser, Sealed
from watchword.server.validation import checker, normalize_email, normalize_username
from watchword.v1 import errors_pb2
from watchword.v1 import users_pb2 as pb

T = TypeVar("T")

_TRIES: Final = 3
_AT_A_TIME: Final = 25
_check: Final = checker(pb.ImportedUser.DESCRIPTOR)
_FIRST_ID_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)  # ids count milliseconds from here
_NAMES: Final = {"external_id": "external id", "email": "e-mail address", "username": "username"}


@dataclass(frozen=True, slots=True)
class _Row:
    """A user who may be created, and what is known of the password hash."""

    user: NewUser
    names: Sequence[tuple[str, str]]
    hash: ForeignHash | None
    sealed: Sealed | None
    """What the user is created with; None if it is only tried."""

    def result(self, outcome: pb.ImportOutcome.ValueType, user_id: str = "") -> pb.UserImportResult:
        """Make the result."""
        return pb.UserImportResult(
            outcome=outcome,
            user_id=user_id,
            password_scheme=self.hash.scheme if self.hash else "",
            password_is_weak=self.hash is not None and self.hash.is_weak,
        )


@dataclass(frozen=True, slots=True)
class _Message:
    """A message that was read: the results of those who are refused for themselves, and the others, by their places."""

    validate_only: bool
    results: Mapping[int, pb.UserImportResult]
    rows: Mapping[int, _Row]


class UserImporter:
    """Imports users."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(
        self, requests: AsyncIterator[pb.ImportUsersRequest], call: Call
    ) -> AsyncIterator[pb.ImportUsersResponse]:
        """Import the users of each message in one transaction, or find out what would become of them."""
        async for message in _ahead(self._read_all(requests, call)):
            yield await (self._try(message) if message.validate_only else self._import(message, call))

    async def _read_all(self, requests: AsyncIterator[pb.ImportUsersRequest], call: Call) -> AsyncIterator[_Message]:
        async for request in requests:
            yield await _read(
                request, self._database.now(), None if request.validate_only else partial(self._seal, call)
            )

    def _seal(self, call: Call, user: NewUser) -> Sealed:
        return self._database.seal_for_new(max(user.create_time, _FIRST_ID_TIME), user.personal(), call)

    async def _try(self, message: _Message) -> pb.ImportUsersResponse:
        async with self._database.read() as reader:
            found = await _settle(reader, message.rows)
        would = {index: row.result(pb.IMPORT_OUTCOME_CREATED) for index, row in message.rows.items()}
        return pb.ImportUsersResponse(results=_in_order({**message.results, **would, **found}))

    async def _import(self, message: _Message, call: Call) -> pb.ImportUsersResponse:
        for attempt in range(1, _TRIES + 1):
            try:
                async with self._database.write(call) as tx:
                    results = {**message.results, **await _create(tx, message.rows)}
                    return pb.ImportUsersResponse(results=_in_order(results), revision=tx.revision)
            except Conflict:
                # Two imports of the same users, in another order. By now the other one may be through.
                if attempt == _TRIES:
                    raise
        raise AssertionError("unreachable")


async def _ahead(source: AsyncIterator[T]) -> AsyncIterator[T]:
    """Take the next item of a source already while the database works on one."""
    item = asyncio.ensure_future(anext(source, None))
    try:
        while (now := await item) is not None:
            item = asyncio.ensure_future(anext(source, None))
            yield now
    finally:
        item.cancel()
        await asyncio.gather(item, return_exceptions=True)


def _in_order(results: Mapping[int, pb.UserImportResult]) -> Iterator[pb.UserImportResult]:
    return (results[index] for index in sorted(results))


async def _create(tx: Tx, rows: Mapping[int, _Row]) -> dict[int, pb.UserImportResult]:
    """Create who can be created; give a result for each."""
    results = await _settle(tx, rows)
    left = {index: row for index, row in rows.items() if index not in results}
    if not left:
        return results
    sealed = {index: row.sealed for index, row in left.items() if row.sealed}
    created = await tx.user_imports.add([row.user for row in left.values()], list(sealed.values()), tx.call)
    for index, made in sealed.items():
        if made.user_id in created:
            results[index] = left.pop(index).result(pb.IMPORT_OUTCOME_CREATED, made.name)
    # Somebody else was faster with those that are left.
    results |= await _settle(tx, left)
    if left.keys() - results.keys():
        raise Conflict
    return results


async def _settle(reader: Reader, rows: Mapping[int, _Row]) -> dict[int, pb.UserImportResult]:
    """Give the results of those who are there already, or whose names somebody has."""
    results: dict[int, pb.UserImportResult] = {}
    if not rows:
        return results
    known = await reader.user_imports.known([row.user for row in rows.values()])
    for index, row in rows.items():
        taken = next(((name, known[name, key]) for name, key in row.names if (name, key) in known), None)
        if taken is None:
            continue
        name, user_id = taken
        if name == "external_id":
            results[index] = row.result(pb.IMPORT_OUTCOME_EXISTS, str(user_id))
        else:
            results[index] = _taken(name, f"is the {_NAMES[name]} of another user")
    return results


# ----- reading --------------------------------------------------------------------------------------------------------


async def _read(request: pb.ImportUsersRequest, now: datetime, seal: Callable[[NewUser], Sealed] | None) -> _Message:
    results: dict[int, pb.UserImportResult] = {}
    rows: dict[int, _Row] = {}
    seen: set[tuple[str, str]] = set()
    async for index, message in _with_pauses(list(enumerate(request.users))):
        row = _read_one(message, now, seal)
        if isinstance(row, _Row):
            repeated = next((name for name, key in row.names if (name, key) in seen), None)
            if repeated is None:
                seen.update(row.names)
                rows[index] = row
                continue
            row = _taken(repeated, f"is the {_NAMES[repeated]} of a user before this one")
        results[index] = row
    return _Message(request.validate_only, results, rows)


def _read_one(
    message: pb.ImportedUser, now: datetime, seal: Callable[[NewUser], Sealed] | None
) -> _Row | pb.UserImportResult:
    if violations := _check(message):
        return _invalid(*violations[0])
    times = {
        "create_time": messages.time(message.create_time) if message.HasField("create_time") else None,
        "last_sign_in_time": messages.time(message.last_sign_in_time)
        if message.HasField("last_sign_in_time")
        else None,
    }
    for name, time in times.items():
        if time is not None and time > now:
            return _invalid(name, "must not be in the future")
    try:
        hash_ = recognise(message.password_hash) if message.password_hash else None
    except HashRefused as refused:
        return _invalid("password_hash", str(refused))
    user = NewUser(
        external_id=message.external_id,
        email=message.email or None,
        email_key=normalize_email(message.email) if message.email else None,
        username=message.username or None,
        username_key=normalize_username(message.username) if message.username else None,
        display_name=message.display_name,
        locale=message.locale,
        attributes=_json(message),
        status=storage.SUSPENDED if message.suspended else storage.ACTIVE,
        create_time=times["create_time"] or now,
        password_hash=message.password_hash or None,
        last_used_time=times["last_sign_in_time"],
    )
    return _Row(user, user.identifiers(), hash_, seal(user) if seal else None)


def _json(message: pb.ImportedUser) -> Mapping[str, Any]:
    return MessageToDict(message.attributes) if message.HasField("attributes") else {}


def _invalid(field: str, description: str) -> pb.UserImportResult:
    return _refused(field, errors_pb2.ERROR_REASON_INVALID_FIELD, description)


def _taken(field: str, description: str) -> pb.UserImportResult:
    return _refused(field, errors_pb2.ERROR_REASON_ALREADY_EXISTS, description)


def _refused(field: str, reason: errors_pb2.ErrorReason.ValueType, description: str) -> pb.UserImportResult:
    return pb.UserImportResult(outcome=pb.IMPORT_OUTCOME_REFUSED, field=field, reason=reason, description=description)


async def _with_pauses(items: Sequence[T]) -> AsyncIterator[T]:
    for number, item in enumerate(items, start=1):
        yield item
        if number % _AT_A_TIME == 0:
            await asyncio.sleep(0)
