"""Users taken elsewhere: all that is known of each, a message of them at a time.

Threat: the hashes of all passwords at once are what an intruder wants most. So they take a permission of their own, and
the log says who asked for them, when, and how many users that concerned, before the first of them leaves; if it
cannot be written, none does.
"""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Final

from watchword.server.api import messages
from watchword.server.api.pages import Pages
from watchword.server.call import Call
from watchword.server.storage.database import Database
from watchword.server.storage.events import Event, EventType
from watchword.server.storage.user_lists import ExportedUser, UserFilter
from watchword.v1 import users_pb2 as pb

# To write them takes some milliseconds, in which nobody else is served.
_PAGE: Final = 250
# Users with attributes may have 20 KiB each, and many callers take no messages of more than 4 MiB.
_MAX_BYTES: Final = 1024 * 1024
_OBJECT: Final = "watchword:deployment"


class UserExporter:
    """Exports users."""

    def __init__(self, database: Database, pages: Pages) -> None:
        self._database = database
        self._pages = pages

    async def run(self, request: pb.ExportUsersRequest, call: Call) -> AsyncIterator[pb.ExportUsersResponse]:
        """Give the users in messages, each with where to go on behind it."""
        asked = messages.user_filter(request.filter)
        page = self._pages.resumed(request, request.resume_token, call)
        hashes = request.include_password_hashes
        if hashes:
            await self._tell(asked, call, resumed=bool(page.after))
        after = page.after
        while True:
            async with self._database.read() as reader:
                rows = await reader.user_lists.export(asked, hashes=hashes, after=after, size=_PAGE)
            for last, users in _in_messages(rows):
                after = asked.position(last)
                yield pb.ExportUsersResponse(users=users, resume_token=self._pages.token(page, after))
            if len(rows) < _PAGE:
                return

    async def _tell(self, asked: UserFilter, call: Call, *, resumed: bool) -> None:
        async with self._database.read() as reader:
            count = await reader.user_lists.count(asked)
        payload: dict[str, object] = {"user_count": count, "resumed": resumed}
        async with self._database.write(call) as tx:
            tx.record(Event(EventType.PASSWORD_HASHES_EXPORTED, (_OBJECT,), payload=payload))


def _in_messages(rows: Sequence[ExportedUser]) -> Iterator[tuple[ExportedUser, list[pb.ExportedUser]]]:
    """Write a page as messages that are not too large, each with its last row."""
    users: list[pb.ExportedUser] = []
    size = 0
    for index, row in enumerate(rows):
        user = messages.exported_user(row)
        size += user.ByteSize()
        if users and size > _MAX_BYTES:
            yield rows[index - 1], users
            users, size = [], user.ByteSize()
        users.append(user)
    if rows:
        yield rows[-1], users
