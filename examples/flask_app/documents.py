"""The application's own table, by SQLAlchemy on SQLite. Who may see a document is not here."""

import os
import uuid
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker


class Base(DeclarativeBase):
    """The tables."""


class Document(Base):
    """A document."""

    __tablename__ = "documents"

    id: Mapped[str] = mapped_column(primary_key=True, default=lambda: str(uuid.uuid4()))
    title: Mapped[str]
    text: Mapped[str] = mapped_column(default="")

    @property
    def name(self) -> str:
        """Its name in permissions."""
        return f"document:{self.id}"


# It connects when it is first used, so each process of gunicorn has connections of its own.
_path = os.environ.get("DOCUMENTS_DATABASE") or Path(__file__).with_name("documents.sqlite3")
engine = create_engine(f"sqlite:///{_path}")
Session = sessionmaker(engine, expire_on_commit=False)
