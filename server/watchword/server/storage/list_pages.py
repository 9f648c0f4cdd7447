"""The further pages of long lists, put by for some minutes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import ARRAY, Integer, any_, bindparam, delete, select, text

from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

_c = t.list_pages.c
_ADD = Statement(
    text("""
    INSERT INTO list_pages (list_id, number, content, create_time)
    SELECT :list_id, number, content, :now
    FROM unnest(CAST(:numbers AS int[]), CAST(:contents AS bytea[])) AS page (number, content)
    """)
)
_GET = Statement(
    select(_c.number, _c.content).where(
        _c.list_id == bindparam("list_id"),
        _c.number == any_(bindparam("numbers", type_=ARRAY(Integer))),
        _c.create_time > bindparam("after"),
    )
)
_DROP = Statement(delete(t.list_pages).where(_c.create_time < bindparam("before")))


@dataclass(frozen=True, slots=True)
class _Page:
    number: int
    content: bytes


class ListPages:
    """The pages put by."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def add(self, list_id: UUID, pages: Sequence[tuple[int, bytes]]) -> None:
        """Put pages by."""
        await self._reader.run(
            _ADD,
            list_id=list_id,
            now=self._reader.now,
            numbers=[number for number, _ in pages],
            contents=[content for _, content in pages],
        )

    async def get(self, list_id: UUID, numbers: Sequence[int], *, after: datetime) -> dict[int, bytes]:
        """Get those of the pages that were put by after a time."""
        rows = await self._reader.all(_Page, _GET, list_id=list_id, numbers=list(numbers), after=after)
        return {row.number: row.content for row in rows}

    async def drop(self, before: datetime) -> int:
        """Forget pages put by before a time; return how many."""
        return await self._reader.run(_DROP, before=before)
