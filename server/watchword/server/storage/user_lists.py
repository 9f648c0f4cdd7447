"""Lists of users, page by page, that cost the same however many users there are and whatever is asked for.

Users of one status stand in an index in the order of a list. So a page reads as many rows of each status as it has
itself, and merges them; it never walks past users of other statuses. Those whose addresses begin alike are listed in
the order of addresses: in that of creation all of them would have to be read for the first page.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from sqlalchemy import text

from watchword.server.errors import InvalidPageToken
from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement
from watchword.server.storage.users import User

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

# The status is no parameter, lest PostgreSQL plans for the usual one.
_OF_STATUS: Final = """(
    SELECT {columns} FROM users WHERE status = '{status}' AND {range} ORDER BY {order} LIMIT :size
)"""
_PAGE: Final = "SELECT {columns}{more} FROM ({parts} ORDER BY {order} LIMIT :size) AS users{joined} ORDER BY {order}"
_KEY: Final = 'email_key COLLATE "C"'
_TIMES: Final = "create_time >= :first_time AND create_time < :until"
_ADDRESSES: Final = f"{_KEY} >= :first AND {_KEY} < :beyond"
# The orders, and what lies in them between two places.
_BY_CREATION: Final = (
    "users.create_time, users.user_id",
    "(create_time, user_id) >= (:first_time, :first_id) AND create_time < :until",
)
_BY_ADDRESS: Final = (f"users.{_KEY}", f"{_ADDRESSES} AND {_TIMES}")
# What comes with the users. A hash that is not asked for does not leave the database.
_NOTHING: Final = ("", "")
_PASSWORDS: Final = " LEFT JOIN credentials ON credentials.user_id = users.user_id AND credentials.kind = 'password'"
_SIGN_INS: Final = (", last_used_time AS last_sign_in_time, CAST(NULL AS text) AS password_hash", _PASSWORDS)
_HASHES: Final = (", last_used_time AS last_sign_in_time, password_hash", _PASSWORDS)
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
# The lowest and the highest character that a text can have; no address has them.
_LOWEST, _HIGHEST = "\x01", "\U0010ffff"


@cache  # of the seven sets of statuses
def _page(statuses: frozenset[str], place: tuple[str, str], brought: tuple[str, str]) -> Statement:
    (order, range_), (more, joined) = place, brought
    columns = ", ".join(f"users.{name}" for name in t.users.c.keys())  # noqa: SIM118
    parts = " UNION ALL ".join(
        _OF_STATUS.format(columns=columns, status=status, range=range_, order=order) for status in sorted(statuses)
    )
    merged = f"SELECT * FROM ({parts}) AS users"  # noqa: S608 - constants of this module
    return Statement(text(_PAGE.format(columns=columns, more=more, parts=merged, order=order, joined=joined)))


@cache
def _count(statuses: frozenset[str], range_: str) -> Statement:
    named = ", ".join(f"'{status}'" for status in sorted(statuses))
    return Statement(text(f"SELECT count(*) FROM users WHERE status IN ({named}) AND {range_}"))  # noqa: S608


@dataclass(frozen=True, slots=True)
class ExportedUser(User):
    """A user's row with what the password's tells."""

    last_sign_in_time: datetime | None
    password_hash: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class UserFilter:
    """Which users. All conditions must hold."""

    statuses: Sequence[str]
    email_prefix: str = field(default="", repr=False)
    """What the key of the address begins with; empty for any, or none."""
    create_time_from: datetime | None = None
    create_time_until: datetime | None = None

    def position(self, user: User) -> str:
        """Where in the order of the list a user stands."""
        if self.email_prefix:
            return user.email_key or ""
        return f"{user.create_time.isoformat()} {user.user_id}"

    def place(self) -> tuple[str, str]:
        """Give the order of the list in SQL, and what lies in it between two places."""
        return _BY_ADDRESS if self.email_prefix else _BY_CREATION

    def parameters(self, after: str = "") -> dict[str, Any]:
        """Give the values of the places: the end of the list, and behind a position, or else its beginning.

        Raises:
            InvalidPageToken: there is no such position. In tokens of before migration 0007 it is the id of a user.

        """
        values = {"first_time": self.create_time_from or _EARLIEST, "until": self.create_time_until or _LATEST}
        if self.email_prefix:
            if after and "@" not in after:
                raise InvalidPageToken
            first = after + _LOWEST if after else self.email_prefix
            return {**values, "first": first, "beyond": self.email_prefix + _HIGHEST}
        if after:
            time, _, user_id = after.partition(" ")
            try:
                behind = {"first_time": datetime.fromisoformat(time), "first_id": UUID(int=UUID(user_id).int + 1)}
            except ValueError:
                raise InvalidPageToken from None
            return {**values, **behind}
        return {**values, "first_id": UUID(int=0)}


class UserLists:
    """The users of a database, as lists."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def page(self, asked: UserFilter, *, after: str, size: int) -> list[User]:
        """List users, beginning behind a position."""
        statement = _page(frozenset(asked.statuses), asked.place(), _NOTHING)
        return await self._reader.all(User, statement, **asked.parameters(after), size=size)

    async def export(self, asked: UserFilter, *, hashes: bool, after: str, size: int) -> list[ExportedUser]:
        """List users with their last sign-ins, and with the hashes of their passwords if those are wanted."""
        statement = _page(frozenset(asked.statuses), asked.place(), _HASHES if hashes else _SIGN_INS)
        return await self._reader.all(ExportedUser, statement, **asked.parameters(after), size=size)

    async def count(self, asked: UserFilter) -> int:
        """Count users. It takes time in proportion to their number: a fifth of a second for a million."""
        _, range_ = asked.place()
        count: int = await self._reader.value(_count(frozenset(asked.statuses), range_), **asked.parameters())
        return count
