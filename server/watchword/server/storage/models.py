"""Permission models: rows, and the statements on them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import bindparam, insert, select

from watchword.server.errors import NotFound
from watchword.server.storage import tables as t
from watchword.server.storage.statement import Statement

if TYPE_CHECKING:
    from watchword.server.storage.transaction import Reader

_c = t.permission_models.c
_GET = Statement(select(t.permission_models).where(_c.model_id == bindparam("id")))
_NEWEST = Statement(select(t.permission_models).order_by(_c.sequence.desc()).limit(1))
_PAGE = select(t.permission_models).order_by(_c.sequence.desc())
_CREATE = Statement(
    insert(t.permission_models)
    .values({name: bindparam(name) for name in ("model_id", "openfga_json", "create_time")})
    .returning(t.permission_models)
)

STARTER = UUID(int=0)
"""The id of the model that is in force as long as none was written."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model's row."""

    model_id: UUID
    sequence: int
    openfga_json: str = field(repr=False)
    create_time: datetime


class Models:
    """The permission models of a database."""

    def __init__(self, reader: "Reader") -> None:
        self._reader = reader

    async def get(self, model_id: UUID) -> StoredModel:
        """Get a model.

        Raises:
            NotFound: there is none.

        """
        model = await self._reader.one(StoredModel, _GET, id=model_id)
        if model is None:
            raise NotFound("model", str(model_id))
        return model

    async def newest(self) -> StoredModel | None:
        """Get the model in force; None: the starter model."""
        return await self._reader.one(StoredModel, _NEWEST)

    async def page(self, *, before: int | None, size: int) -> list[StoredModel]:
        """List models, newest first, beginning behind one."""
        statement = _PAGE.limit(size) if before is None else _PAGE.where(_c.sequence < before).limit(size)
        return await self._reader.all(StoredModel, Statement(statement))

    async def create(self, openfga_json: str) -> StoredModel:
        """Put a model into force."""
        model = await self._reader.one(
            StoredModel,
            _CREATE,
            model_id=self._reader.new_id(),
            openfga_json=openfga_json,
            create_time=self._reader.now,
        )
        if model is None:
            raise AssertionError("INSERT … RETURNING gives the row")
        return model
