"""The documents for programs, and a page that uses them. `uvicorn examples.fastapi_app.application:app` serves it.

WATCHWORD_ADDRESS and WATCHWORD_API_KEY say where Watchword is.
"""

import os
import secrets
import uuid
from pathlib import Path
from typing import Annotated, Literal

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field, SecretStr

from watchword.client import AsyncClient, InvalidArgumentError, NotFoundError, Relationship, RelationshipKey
from watchword.client.cookies import CookieSessions
from watchword.client.fastapi import CurrentPrincipal, Requires, Watchword

client = AsyncClient.from_environment()
# Of one process; a deployment sets one that all its processes share.
secret = os.environ.get("DOCUMENTS_SECRET", "").encode() or secrets.token_bytes(32)
# Without HTTPS, on this machine, cookies cannot be for HTTPS only.
sessions = CookieSessions(secret=secret, secure=os.environ.get("DOCUMENTS_HTTPS") == "1")
watchword = Watchword(client, sessions=sessions)
app = FastAPI(title="Documents", lifespan=watchword.lifespan)
watchword.install(app)


class SignIn(BaseModel):
    """What a person signs in with."""

    name: str
    password: SecretStr


class Draft(BaseModel):
    """What a person writes."""

    title: Annotated[str, Field(max_length=200)]
    text: str = ""


class Document(Draft):
    """A document. Who may see it is not here."""

    id: str


class Share(BaseModel):
    """What somebody is let do."""

    relation: Literal["viewer", "editor"]


documents: dict[str, Document] = {}
"""In place of a database."""

CanView = Requires("can_view", "document:{document_id}")
CanEdit = Requires("can_edit", "document:{document_id}")
CanShare = Requires("can_share", "document:{document_id}")


@app.post("/session", status_code=204)
async def sign_in(body: SignIn, request: Request) -> None:
    """Sign in. Whoever is refused is answered 401."""
    await watchword.sign_in(request, body.name, password=body.password.get_secret_value())


@app.get("/session")
async def whoami(principal: CurrentPrincipal) -> dict[str, str]:
    """Tell who is calling."""
    return {"subject": principal.subject}


@app.delete("/session", status_code=204)
async def sign_out(request: Request) -> None:
    """End the session, everywhere."""
    await watchword.sign_out(request)


@app.get("/documents")
async def index(principal: CurrentPrincipal) -> list[Document]:
    """List the documents that the caller may see."""
    names = [f"document:{id_}" for id_ in documents]
    visible = await client.filter(principal.subject, "can_view", names)
    return [documents[name.removeprefix("document:")] for name in visible]


@app.post("/documents", status_code=201)
async def create(draft: Draft, principal: CurrentPrincipal) -> Document:
    """Create a document and own it. The owner comes first: what nobody owns nobody could ever see."""
    document = Document(id=str(uuid.uuid4()), title=draft.title, text=draft.text)
    await client.relationships.write([Relationship(principal.subject, "owner", f"document:{document.id}")])
    documents[document.id] = document
    return document


@app.get("/documents/{document_id}", dependencies=[CanView])
async def show(document_id: str) -> Document:
    """Show a document."""
    if document_id not in documents:
        raise HTTPException(404)
    return documents[document_id]


@app.put("/documents/{document_id}", dependencies=[CanEdit])
async def edit(document_id: str, draft: Draft) -> Document:
    """Change a document."""
    if document_id not in documents:
        raise HTTPException(404)
    documents[document_id] = Document(id=document_id, title=draft.title, text=draft.text)
    return documents[document_id]


@app.put("/documents/{document_id}/shares/{name}", status_code=204, dependencies=[CanShare])
async def share(document_id: str, name: str, body: Share) -> None:
    """Let somebody view or edit."""
    await client.relationships.write([Relationship(await _subject(name), body.relation, f"document:{document_id}")])


@app.delete("/documents/{document_id}/shares/{name}", status_code=204, dependencies=[CanShare])
async def unshare(document_id: str, name: str) -> None:
    """Take it back."""
    subject, document = await _subject(name), f"document:{document_id}"
    await client.relationships.write(
        deletes=[RelationshipKey(subject, each, document) for each in ("viewer", "editor")]
    )


@app.get("/ready")
async def ready() -> dict[str, int]:
    """Tell whoever balances the load that this process answers by itself; if it does not, the answer is 503."""
    await client.ready(seconds=2)
    return {"process": os.getpid()}


@app.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The page. It brings no script but its own file: what people write into documents cannot run in it."""
    return FileResponse(
        Path(__file__).with_name("page.html"), headers={"Content-Security-Policy": "default-src 'self'"}
    )


@app.get("/page.js", include_in_schema=False)
async def script() -> FileResponse:
    """Its script."""
    return FileResponse(Path(__file__).with_name("page.js"))


async def _subject(name: str) -> str:
    try:
        return f"user:{(await client.users.get_by_username(name)).user_id}"
    except (NotFoundError, InvalidArgumentError) as error:  # nobody has this name, or nobody can
        raise HTTPException(422, "Nobody has this name.") from error
