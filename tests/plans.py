"""How PostgreSQL carries out the statements of the repositories, with their own parameters: read from its plans."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.sql import Literal

from watchword.server.storage.statement import Statement
from watchword.server.storage.transaction import Reader

TIME = datetime(2026, 7, 1, tzinfo=UTC)
_SCANS = ("Seq Scan", "Index Scan", "Index Only Scan", "Bitmap Index Scan", "Bitmap Heap Scan", "Sample Scan")
# One has one row, the other a few.
_SMALL = {"deployment", "signing_keys"}


@dataclass(frozen=True, repr=False)
class Plan:
    """A statement as it was carried out."""

    sql: str
    root: dict[str, Any]

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Give all nodes of the plan."""
        below = [self.root]
        while below:
            node = below.pop()
            yield node
            below += node.get("Plans", [])

    def scanned(self) -> set[str]:
        """Name the tables of which every row was read, one after the other."""
        return {node["Relation Name"] for node in self.nodes() if node["Node Type"] == "Seq Scan"} - _SMALL

    def indexes(self) -> set[str]:
        """Name the indexes that were asked."""
        return {node["Index Name"] for node in self.nodes() if "Index Name" in node}

    def rows_read(self) -> int:
        """Count the rows that were looked at, whether they were wanted or not."""
        read = 0.0
        for node in self.nodes():
            if node["Node Type"] in _SCANS:
                rows = node["Actual Rows"] + sum(node[name] for name in node if name.startswith("Rows Removed by"))
                read += rows * node["Actual Loops"]
        return round(read)

    def __repr__(self) -> str:
        told = ("Node Type", "Index Name", "Relation Name", "Actual Rows", "Index Cond", "Filter")
        lines = ["  ".join(str(node[name]) for name in told if name in node) for node in self.nodes()]
        return "\n".join([self.sql, *lines])


class PlanReader(Reader):
    """Carries out statements as their repositories do, and keeps the plans.

    Each statement both with a plan made for its values and with the one that PostgreSQL turns to when it has been asked
    often, made for any.
    """

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        super().__init__(connection, lambda: TIME, bytes)
        self.plans: list[Plan] = []

    async def one(self, row, statement: Statement, **values):
        await self._explain(statement, values)
        return await super().one(row, statement, **values)

    async def all(self, row, statement: Statement, **values):
        await self._explain(statement, values)
        return await super().all(row, statement, **values)

    async def value(self, statement: Statement, **values):
        await self._explain(statement, values)
        return await super().value(statement, **values)

    async def run(self, statement: Statement, **values):
        await self._explain(statement, values)
        return await super().run(statement, **values)

    async def _explain(self, statement: Statement, values: dict[str, Any]) -> None:
        given = statement.parameters(values)
        names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", statement.sql.decode())))
        numbered = re.sub(r"%\((\w+)\)s", lambda match: f"${names.index(match[1]) + 1}", statement.sql.decode())
        literals = ", ".join(Literal(given[name]).as_string(self._connection) for name in names)
        # What a statement writes must not be there when it is carried out in earnest.
        async with self._connection.transaction(force_rollback=True):
            await self._connection.execute(f"PREPARE explained AS {numbered.replace('%%', '%')}".encode())
        call = f"explained({literals})" if names else "explained"
        for mode in ("force_custom_plan", "force_generic_plan"):
            async with self._connection.transaction(force_rollback=True):
                await self._connection.execute(f"SET LOCAL plan_cache_mode = {mode}".encode())
                explain = f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING off) EXECUTE {call}"
                cursor = await self._connection.execute(explain.encode())
                ((((found,),),),) = ((await cursor.fetchall(),),)
            self.plans.append(Plan(statement.sql.decode(), found[0]["Plan"]))
        await self._connection.execute(b"DEALLOCATE explained")
