"""A FastAPI application with fastapi-users, run as a process: its models make the table, its manager the users.

Runs in an environment of its own, for fastapi-users wants an older SQLAlchemy than we do.
"""

import asyncio
import json
import sys
import uuid

from fastapi_users import BaseUserManager, UUIDIDMixin, schemas
from fastapi_users.db import SQLAlchemyBaseUserTableUUID, SQLAlchemyUserDatabase
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase


class Base(DeclarativeBase):
    pass


class User(SQLAlchemyBaseUserTableUUID, Base):
    pass


class Manager(UUIDIDMixin, BaseUserManager[User, uuid.UUID]):
    pass


async def main() -> None:
    order = json.load(sys.stdin)
    engine = create_async_engine(order["database"])
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    async with AsyncSession(engine, expire_on_commit=False) as session:
        manager = Manager(SQLAlchemyUserDatabase(session, User))
        for given in order["users"]:
            fields = {name: value for name, value in given.items() if name != "text"}
            await manager.create(schemas.BaseUserCreate(password=given["text"], **fields), safe=False)
    await engine.dispose()


asyncio.run(main())
