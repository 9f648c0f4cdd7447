"""What the server would say to users, found out without one, by the server's own rules."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from typing import Final

from watchword.client import ImportedUser
from watchword.client._convert import imported_user_message
from watchword.server.validation import checker, normalize_email, normalize_username
from watchword.v1 import users_pb2

_NAMES: Final = {"external_id": "id", "email": "e-mail address", "username": "username"}
_check: Final = checker(users_pb2.ImportedUser.DESCRIPTOR)


class Trial:
    """Looks at users one after the other, and remembers the names of those who may come.

    In a temporary file of SQLite: the names of millions of users do not fit into the memory. It holds digests only.
    """

    def __init__(self, names: sqlite3.Connection) -> None:
        self._names = names

    def refusal(self, user: ImportedUser, source_id: str) -> tuple[str, str] | None:
        """Tell the field for which a user is refused, and why; None if there is nothing wrong."""
        if violations := _check(imported_user_message(user)):
            return violations[0]
        digests = {field: _digest(field, key) for field, key in _identifiers(user)}
        for field, digest in digests.items():
            found = self._names.execute("SELECT source_id FROM names WHERE digest = ?", (digest,)).fetchone()
            if found is not None:
                return field, f"is the {_NAMES[field]} of another user of the source, too"
        self._names.executemany("INSERT INTO names VALUES (?, ?)", [(digest, source_id) for digest in digests.values()])
        return None


@contextmanager
def trial() -> Iterator[Trial]:
    """Begin a trial."""
    names = sqlite3.connect("", isolation_level=None)  # deleted by SQLite when it is closed
    try:
        names.execute("PRAGMA journal_mode = OFF")
        names.execute("PRAGMA cache_size = -32768")
        names.execute("CREATE TABLE names (digest BLOB PRIMARY KEY, source_id TEXT NOT NULL) WITHOUT ROWID")
        names.execute("BEGIN")
        yield Trial(names)
    finally:
        names.close()


def _identifiers(user: ImportedUser) -> Iterator[tuple[str, str]]:
    yield "external_id", user.external_id
    if user.email:
        yield "email", normalize_email(user.email)
    if user.username:
        yield "username", normalize_username(user.username)


def _digest(field: str, key: str) -> bytes:
    return blake2b(key.encode(), digest_size=16, person=field.encode()).digest()
