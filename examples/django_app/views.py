"""The pages."""

import os
from typing import Any
from uuid import UUID

from django.contrib.auth import authenticate
from django.db import transaction
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render, resolve_url
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from examples.django_app.models import Document
from watchword.client import InvalidArgumentError, NotFoundError, Relationship, RelationshipKey
from watchword.client.django import WatchwordRequest, authenticated, get_client, login, logout, requires


def ready(request: WatchwordRequest) -> HttpResponse:  # noqa: ARG001 - Django passes it
    """Tell whoever balances the load that this process answers by itself; if it does not, the answer is 503."""
    get_client().ready(seconds=2)
    return JsonResponse({"process": os.getpid()})


@require_http_methods(["GET", "POST"])
def sign_in(request: WatchwordRequest) -> HttpResponse:
    """Sign in, and go where the link that led here was meant to lead."""
    if request.method == "GET":
        return render(request, "sign_in.html")
    user: Any = authenticate(request, username=request.POST.get("name"), password=request.POST.get("password"))
    if user is None:
        return render(request, "sign_in.html", {"refused": True}, status=401)
    login(request, user)
    target = request.GET.get("next", "")
    # Anybody can make a link with a `next` that leads to a page of theirs.
    is_ours = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return redirect(target if is_ours else resolve_url("index"))


@require_POST
def sign_out(request: WatchwordRequest) -> HttpResponse:
    """End the session, everywhere."""
    logout(request)
    return redirect("sign_in")


@require_GET
@authenticated
def index(request: WatchwordRequest) -> HttpResponse:
    """List the documents that the user may see."""
    documents = {each.watchword_object: each for each in Document.objects.order_by("title")}
    visible = get_client().filter(request.user.watchword_subject, "can_view", documents)
    return render(request, "index.html", {"documents": [documents[name] for name in visible]})


@require_POST
@authenticated
def create(request: WatchwordRequest) -> HttpResponse:
    """Create a document and own it: both or nothing, since what nobody owns nobody could ever see."""
    with transaction.atomic():
        document = Document.objects.create(title=request.POST.get("title", "")[:200])
        owns = Relationship(request.user.watchword_subject, "owner", document.watchword_object)
        get_client().relationships.write([owns])
    return redirect("show", document.id)


@require_GET
@requires("can_view", "document:{document_id}")
def show(request: WatchwordRequest, document_id: UUID) -> HttpResponse:
    """Show a document, with what the user may do about it."""
    document = get_object_or_404(Document, id=document_id)
    may = {relation: request.user.has_perm(relation, document) for relation in ("can_edit", "can_share")}
    return render(request, "show.html", {"document": document, **may})


@require_GET
@requires("can_view", "document:{document_id}")
async def text(request: WatchwordRequest, document_id: UUID) -> HttpResponse:  # noqa: ARG001 - Django passes it
    """Give the text alone."""
    document = await Document.objects.aget(id=document_id)
    return HttpResponse(document.text, content_type="text/plain; charset=utf-8")


@require_POST
@requires("can_edit", "document:{document_id}")
def edit(request: WatchwordRequest, document_id: UUID) -> HttpResponse:
    """Change the text."""
    Document.objects.filter(id=document_id).update(text=request.POST.get("text", ""))
    return redirect("show", document_id)


@require_POST
@requires("can_share", "document:{document_id}")
def share(request: WatchwordRequest, document_id: UUID) -> HttpResponse:
    """Let somebody view or edit."""
    relation = "editor" if request.POST.get("relation") == "editor" else "viewer"
    get_client().relationships.write([Relationship(_named(request), relation, f"document:{document_id}")])
    return redirect("show", document_id)


@require_POST
@requires("can_share", "document:{document_id}")
def unshare(request: WatchwordRequest, document_id: UUID) -> HttpResponse:
    """Take it back."""
    subject, document = _named(request), f"document:{document_id}"
    shared = [RelationshipKey(subject, relation, document) for relation in ("viewer", "editor")]
    get_client().relationships.write(deletes=shared)
    return redirect("show", document_id)


def _named(request: WatchwordRequest) -> str:
    try:
        return f"user:{get_client().users.get_by_username(request.POST.get('name', '')).user_id}"
    except (InvalidArgumentError, NotFoundError) as error:
        raise Http404("There is nobody of that name.") from error
