"""Writes relationships: those of calls that come at the same time by one statement, and in one transaction.

A commit costs the same for one relationship as for thirty, and so do a connection, a statement and a look of the feed.
Each call's part stays atomic, has its own event and its own answer, and fails by itself: if a transaction fails because
of one part, all of its parts are written again, each on its own.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from watchword.server.errors import DatabaseUnavailable
from watchword.server.permissions.relationships import Relationship
from watchword.server.storage.database import Database, Told
from watchword.server.storage.models import STARTER
from watchword.server.storage.relationships import WRITE, Key, Part, columns_of
from watchword.server.together import Together

MAX_ITEMS = 1_000
"""Relationships in one call, and in a transaction of several calls."""
_LOCK_TIMEOUT = "100ms"
"""How long several calls wait for a lock that perhaps only one of them needs; one alone waits as long as all do."""


@dataclass(frozen=True, slots=True)
class Write:
    """A part that fits a model, and what is told of it."""

    part: Part
    told: Told
    model_id: UUID

    @property
    def keys(self) -> frozenset[tuple[str, str, str]]:
        """The relationships that it changes."""
        rows: list[Relationship | Key] = [*self.part.writes, *self.part.deletes]
        return frozenset((row.object, row.relation, row.subject) for row in rows)


class RelationshipWriter:
    """Writes, if the model by which a part was checked is in force. Gives the answer its revision."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._together: Together[Write, bool] = Together(self._round)

    async def write(self, write: Write) -> bool:
        """Write, perhaps together with others; tell whether the model was still in force.

        Raises:
            As `Database.write`.

        """
        return await self._together.ask(write)

    async def write_alone(self, write: Write) -> bool:
        """Write what is large enough for a transaction of its own."""
        return await self._commit((write,))

    async def _round(self, writes: Sequence[Write]) -> list[bool | Exception]:
        parts = groups(writes)
        done = await asyncio.gather(*(self._settle([writes[number] for number in group]) for group in parts))
        outcomes: dict[int, bool | Exception] = {}
        for group, outcome in zip(parts, done, strict=True):
            outcomes.update(zip(group, outcome, strict=True))
        return [outcomes[number] for number in range(len(writes))]

    async def _settle(self, writes: Sequence[Write]) -> list[bool | Exception]:
        try:
            return [await self._commit(writes)] * len(writes)
        except DatabaseUnavailable as error:
            # Not again: nobody knows whether it was committed.
            return [error] * len(writes)
        except Exception as error:  # noqa: BLE001 - it is for whoever asked
            if len(writes) == 1:
                return [error]
        alone = await asyncio.gather(*(self._settle((write,)) for write in writes))
        return [outcome for (outcome,) in alone]

    async def _commit(self, writes: Sequence[Write]) -> bool:
        values = columns_of([write.part for write in writes])
        lock_timeout = _LOCK_TIMEOUT if len(writes) > 1 else None
        values |= {"model_id": writes[0].model_id, "starter": STARTER, "lock_timeout": lock_timeout}
        return bool(await self._database.write_at_once(WRITE, values, [write.told for write in writes]))


def groups(writes: Sequence[Write]) -> list[list[int]]:
    """Put together what may stand in one statement: of one model, not too much, and no relationship twice.

    Who writes what another one deletes must come before or after, and PostgreSQL writes no row twice by one statement.
    """
    found: list[tuple[UUID, set[tuple[str, str, str]], list[int]]] = []
    for number, write in enumerate(writes):
        keys = write.keys
        for model_id, taken, members in found:
            if model_id == write.model_id and len(taken) + len(keys) <= MAX_ITEMS and taken.isdisjoint(keys):
                taken.update(keys)
                members.append(number)
                break
        else:
            found.append((write.model_id, set(keys), [number]))
    return [members for _, _, members in found]
