"""Who asks for what, and what all these applications know of it."""

import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import psycopg

from benchmarks.spine.stand import Stand
from benchmarks.world import MODEL
from watchword.client import AsyncClient, Relationship

OTHER_TOKENS: Final = 10_000
LOOK_UP: Final = "SELECT user_id FROM tokens WHERE hash = %s"


@dataclass(frozen=True, slots=True)
class Access:
    """A person who may view a document."""

    address: str
    api_key: str = field(repr=False)
    token: str = field(repr=False)
    opaque: str = field(repr=False)
    """A token that says nothing by itself, as it stands in a table."""
    document: str = "mine"

    @property
    def path(self) -> str:
        """The request's."""
        return f"/documents/{self.document}"


async def grant(stand: Stand, database_url: str) -> Access:
    """Let somebody view a document, by Watchword and by the table of tokens."""
    access = Access(
        stand.server.address, stand.watchword.api_key, stand.caller.signed_in.access[0], secrets.token_urlsafe()
    )
    async with AsyncClient(access.address, api_key=access.api_key) as client:
        await client.permissions.write_model(dsl=MODEL)
        subject = (await client.authenticate(access.token)).subject
        await client.relationships.write([Relationship(subject, "viewer", f"document:{access.document}")])
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE tokens (hash bytea PRIMARY KEY, user_id text NOT NULL)")
        others = "INSERT INTO tokens SELECT sha256(int4send(n)), 'u' || n FROM generate_series(1, %s) n"
        connection.execute(others, [OTHER_TOKENS])
        connection.execute("INSERT INTO tokens VALUES (%s, 'ana')", [hash_of(access.opaque)])
    return access


def hash_of(token: str) -> bytes:
    """Hash an opaque token as it is stored."""
    return sha256(token.encode()).digest()


def bearer(header: Any) -> str:
    """Read the token out of a header."""
    return str(header or "").removeprefix("Bearer ")
