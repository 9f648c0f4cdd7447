"""The pages, and the same documents for programs. `gunicorn --preload examples.flask_app.application:app` serves it.

WATCHWORD_ADDRESS and WATCHWORD_API_KEY say where Watchword is.
"""

import os
import secrets

from flask import Flask, abort, g, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from examples.flask_app.documents import Document, Session
from watchword.client import (
    Client,
    InvalidArgumentError,
    NotFoundError,
    Relationship,
    RelationshipKey,
    SignInRefusedError,
    UnauthenticatedError,
)
from watchword.client.cookies import CookieSessions
from watchword.client.flask import Watchword, authenticated, requires

app = Flask(__name__)
client = Client.from_environment()
# Of one process and those that are forked from it; a deployment sets one that all its hosts share.
secret = os.environ.get("DOCUMENTS_SECRET", "").encode() or secrets.token_bytes(32)
# Without HTTPS, on this machine, cookies cannot be for HTTPS only.
sessions = CookieSessions(secret=secret, secure=os.environ.get("DOCUMENTS_HTTPS") == "1")
watchword = Watchword(app, client=client, sessions=sessions)


@app.route("/sign-in", methods=["GET", "POST"])
def sign_in() -> ResponseReturnValue:
    """Sign in."""
    if request.method == "GET":
        return render_template("sign_in.html", refused=False)
    try:
        watchword.sign_in(request.form.get("name", ""), password=request.form.get("password", ""))
    except SignInRefusedError:
        return render_template("sign_in.html", refused=True), 401
    return redirect(url_for("index"), 303)


@app.post("/sign-out")
def sign_out() -> ResponseReturnValue:
    """End the session, everywhere."""
    watchword.sign_out()
    return redirect(url_for("sign_in"), 303)


@app.get("/")
@authenticated
def index() -> ResponseReturnValue:
    """List the documents that the user may see."""
    with Session() as session:
        documents = {each.name: each for each in session.scalars(select(Document).order_by(Document.title))}
    visible = client.filter(g.principal.subject, "can_view", documents)
    return render_template("index.html", documents=[documents[name] for name in visible])


@app.post("/documents")
@authenticated
def create() -> ResponseReturnValue:
    """Create a document and own it: both or nothing, since what nobody owns nobody could ever see."""
    with Session.begin() as session:
        document = Document(title=request.form.get("title", "")[:200])
        session.add(document)
        session.flush()
        client.relationships.write([Relationship(g.principal.subject, "owner", document.name)])
    return redirect(url_for("show", document_id=document.id), 303)


@app.get("/documents/<document_id>")
@requires("can_view", "document:{document_id}")
def show(document_id: str) -> ResponseReturnValue:
    """Show a document, with what the user may do about it."""
    document, subject = _found(document_id), g.principal.subject
    may = {relation: client.check(subject, relation, document.name) for relation in ("can_edit", "can_share")}
    return render_template("show.html", document=document, **may)


@app.post("/documents/<document_id>")
@requires("can_edit", "document:{document_id}")
def edit(document_id: str) -> ResponseReturnValue:
    """Change the text."""
    with Session.begin() as session:
        document = session.get(Document, document_id) or abort(404)
        document.text = request.form.get("text", "")
    return redirect(url_for("show", document_id=document_id), 303)


@app.post("/documents/<document_id>/share")
@requires("can_share", "document:{document_id}")
def share(document_id: str) -> ResponseReturnValue:
    """Let somebody view or edit."""
    relation = request.form.get("relation", "viewer")
    if relation not in {"viewer", "editor"}:
        abort(400)
    client.relationships.write([Relationship(_named(), relation, f"document:{document_id}")])
    return redirect(url_for("show", document_id=document_id), 303)


@app.post("/documents/<document_id>/unshare")
@requires("can_share", "document:{document_id}")
def unshare(document_id: str) -> ResponseReturnValue:
    """Take it back."""
    subject, name = _named(), f"document:{document_id}"
    client.relationships.write(deletes=[RelationshipKey(subject, each, name) for each in ("viewer", "editor")])
    return redirect(url_for("show", document_id=document_id), 303)


@app.get("/api/documents/<document_id>")
@requires("can_view", "document:{document_id}")
def read(document_id: str) -> ResponseReturnValue:
    """The same for programs."""
    document = _found(document_id)
    return {"id": document.id, "title": document.title, "text": document.text}


@app.get("/ready")
def ready() -> ResponseReturnValue:
    """Tell whoever balances the load that this process answers by itself; if it does not, the answer is 503."""
    client.ready(seconds=2)
    return {"process": os.getpid()}


@app.errorhandler(UnauthenticatedError)
def sign_in_first(error: UnauthenticatedError) -> ResponseReturnValue:
    """Show people who open a page where to sign in."""
    if request.method == "GET" and request.accept_mimetypes.accept_html and not request.path.startswith("/api/"):
        return redirect(url_for("sign_in"), 303)
    return {"detail": error.message}, 401, {"WWW-Authenticate": "Bearer"}


def _found(document_id: str) -> Document:
    with Session() as session:
        return session.get(Document, document_id) or abort(404)


def _named() -> str:
    try:
        return f"user:{client.users.get_by_username(request.form.get('name', '')).user_id}"
    except (NotFoundError, InvalidArgumentError):  # nobody has this name, or nobody can
        abort(400)
