"""FastAPI: Watchword; opaque tokens looked up with SQLAlchemy, as in FastAPI's own tutorial; tokens read by PyJWT."""

from collections.abc import Iterator
from typing import Annotated, Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import Depends, FastAPI, HTTPException, Request
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from benchmarks.asgi import get
from benchmarks.results import Results
from benchmarks.spine.alternatives.access import Access, bearer, hash_of
from benchmarks.spine.alternatives.turns import BARE, WATCHWORD, measure_async
from watchword.client import AsyncClient
from watchword.client.fastapi import Requires, Watchword

_REFUSED = 401


class _Base(DeclarativeBase):
    pass


class _Token(_Base):
    __tablename__ = "tokens"
    hash: Mapped[bytes] = mapped_column(primary_key=True)
    user_id: Mapped[str]


async def measure(access: Access, database_url: str, *, times: int, results: Results) -> None:
    """Measure the four."""
    engine = create_engine(database_url.replace("postgresql:", "postgresql+psycopg:", 1))
    key = Ed25519PrivateKey.generate()
    claims = jwt.decode(access.token, options={"verify_signature": False})
    async with AsyncClient(access.address, api_key=access.api_key) as client:
        await client.ready()
        guarded = _application(Requires("viewer", "document:{document_id}"))
        Watchword(client).install(guarded)
        requests = {
            BARE: get(_application(), access.path),
            WATCHWORD: get(guarded, access.path, access.token),
            "sqlalchemy": get(_application(Depends(_looked_up(engine))), access.path, access.opaque),
            "pyjwt": get(
                _application(Depends(_read(key, claims["aud"]))),
                access.path,
                jwt.encode(claims, key, algorithm="EdDSA"),
            ),
        }
        await measure_async("fastapi", requests, times, results)
    engine.dispose()


def _application(*dependencies: Any) -> FastAPI:
    app = FastAPI()

    @app.get("/documents/{document_id}", dependencies=dependencies)
    async def document(document_id: str) -> str:
        return document_id

    return app


def _looked_up(engine: Any) -> Any:
    def session() -> Iterator[Session]:
        with Session(engine) as opened:
            yield opened

    def user(request: Request, opened: Annotated[Session, Depends(session)]) -> str:
        found = opened.get(_Token, hash_of(bearer(request.headers.get("authorization"))))
        if found is None:
            raise HTTPException(_REFUSED)
        return found.user_id

    return user


def _read(key: Ed25519PrivateKey, audience: str) -> Any:
    public = key.public_key()

    async def user(request: Request) -> str:
        token = bearer(request.headers.get("authorization"))
        try:
            return str(jwt.decode(token, public, algorithms=["EdDSA"], audience=audience)["sub"])
        except jwt.InvalidTokenError:
            raise HTTPException(_REFUSED) from None

    return user
