"""The views of the site that the tests of the Django integration call, for threads and for event loops."""

from typing import Any, ClassVar

from asgiref.sync import sync_to_async
from django.contrib.auth import aauthenticate, authenticate
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import get_token
from django.urls import path
from django.views import View
from django.views.decorators.cache import cache_page
from django_project import Document
from rest_framework.generics import GenericAPIView
from rest_framework.response import Response

from watchword.client import Relationship
from watchword.client.django import alogin, alogout, authenticated, get_client, login, logout, requires


def who(request: Any) -> HttpResponse:
    principal = request.principal and request.principal.subject
    request.session["seen"] = True
    return JsonResponse(
        {"principal": principal, "user": request.user.pk, "signed in": request.user.is_authenticated}
        | {"csrf": get_token(request), "cookies": [*request.COOKIES]}
    )


async def awho(request: Any) -> HttpResponse:
    assert (await request.auser()).pk == await sync_to_async(lambda: request.user.pk)()
    return await sync_to_async(who)(request)


def still(request: Any) -> HttpResponse:
    return JsonResponse({"user": request.user.pk})


def sign_in(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.POST["username"], password=request.POST["password"])
    if user is None:
        return HttpResponse(status=401)
    login(request, user)
    return who(request)


async def asign_in(request: HttpRequest) -> HttpResponse:
    user = await aauthenticate(request, username=request.POST["username"], password=request.POST["password"])
    if user is None:
        return HttpResponse(status=401)
    await alogin(request, user)
    return await awho(request)


def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return still(request)


async def asign_out(request: HttpRequest) -> HttpResponse:
    await alogout(request)
    return still(request)


@requires("can_edit", "document:{document_id}")
def document(request: Any, document_id: str) -> HttpResponse:
    assert request.user.has_perm("can_edit", Document(document_id))
    return HttpResponse(document_id)


@requires("can_edit", "document:{document_id}")
async def adocument(request: Any, document_id: str) -> HttpResponse:
    assert await request.user.ahas_perm("can_edit", Document(document_id))
    return HttpResponse(document_id)


@authenticated
def page(request: Any) -> HttpResponse:
    return HttpResponse(request.user.pk, headers={"Cache-Control": "public, max-age=60"})


@authenticated
async def apage(request: Any) -> HttpResponse:
    return HttpResponse(request.user.pk, headers={"Cache-Control": "public, max-age=60"})


class AsyncView(View):
    async def get(self, request: Any, document_id: str) -> HttpResponse:
        return HttpResponse(document_id)


@requires("can_misspell", "document:{document_id}")
def misspelled(request: Any, document_id: str) -> HttpResponse:
    return HttpResponse(document_id)


def write(request: Any, document_id: str) -> HttpResponse:
    get_client().relationships.write([Relationship(request.principal.subject, "editor", f"document:{document_id}")])
    return HttpResponse()


async def awrite(request: Any, document_id: str) -> HttpResponse:
    return await sync_to_async(write)(request, document_id)


def revision(request: Any) -> HttpResponse:
    return HttpResponse(get_client().revision)


async def arevision(request: Any) -> HttpResponse:
    return HttpResponse(await sync_to_async(lambda: get_client().revision)())


def required(request: Any, document_id: str) -> HttpResponse:
    get_client().require(request.principal.subject, "can_edit", f"document:{document_id}")
    return HttpResponse(document_id)


def broken(request: Any) -> HttpResponse:
    raise RuntimeError("broken")


async def blocking(request: Any) -> HttpResponse:
    return HttpResponse(request.user.has_perm("can_edit", "document:1"))


class DocumentView(GenericAPIView[Any]):
    watchword_relation: ClassVar[Any] = {"GET": "can_view", "PUT": "can_edit"}
    lookup_url_kwarg = "document_id"

    def get(self, request: Any, document_id: str) -> Response:
        found = Document(document_id)
        self.check_object_permissions(request, found)
        return Response({"user": request.user.pk, "principal": request.auth.subject})

    put = delete = get


class UnnamedView(DocumentView):
    watchword_relation = None


class ChildrenView(GenericAPIView[Any]):
    watchword_relation = "can_view"
    watchword_object = "document:{document_id}"

    def get(self, request: Any, document_id: str) -> Response:
        return Response([document_id])


class ListView(GenericAPIView[Any]):
    watchword_relation = "can_view"

    def get(self, request: Any) -> Response:
        return Response([])


urlpatterns = [
    path("who", who),
    path("async/who", awho),
    path("still", still),
    path("sign-in", sign_in),
    path("async/sign-in", asign_in),
    path("sign-out", sign_out),
    path("async/sign-out", asign_out),
    path("documents/<document_id>", document),
    path("async/documents/<document_id>", adocument),
    path("page", page),
    path("async/page", apage),
    path("class/<document_id>", requires("can_edit", "document:{document_id}")(AsyncView.as_view())),
    path("cached/<document_id>", cache_page(60)(document)),
    path("async/cached/<document_id>", cache_page(60)(adocument)),
    path("misspelled/<document_id>", misspelled),
    path("write/<document_id>", write),
    path("async/write/<document_id>", awrite),
    path("revision", revision),
    path("async/revision", arevision),
    path("required/<document_id>", required),
    path("broken", broken),
    path("async/blocking", blocking),
    path("api/documents/<document_id>", DocumentView.as_view()),
    path("api/cached/<document_id>", cache_page(60)(DocumentView.as_view())),
    path("api/unnamed/<document_id>", UnnamedView.as_view()),
    path("api/children/<document_id>", ChildrenView.as_view()),
    path("api/list", ListView.as_view()),
]
