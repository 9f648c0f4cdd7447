"""Django: what people may do. The real Django, under WSGI and ASGI, and the real server."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import PASSWORD
from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation
from django.test.utils import override_settings
from django_project import MIDDLEWARE, MODEL, Browser, Document, asking, site

from watchword.client import Client, Relationship, RelationshipKey
from watchword.client.testing import LocalServer


@pytest.fixture(autouse=True)
def ana(watchword: Client, watchword_server: LocalServer) -> Iterator[str]:
    """The only user, as the subject of relationships."""
    with site(watchword_server):
        watchword.permissions.write_model(dsl=MODEL)
        yield f"user:{watchword.users.create(username='ana', password=PASSWORD).user_id}"


@pytest.fixture(params=["wsgi", "asgi"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def browser(kind: str) -> Browser:
    return Browser(kind)


@pytest.fixture(params=["", "/async"], ids=["function", "coroutine"])
def prefix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bearer(watchword: Client) -> str:
    return f"Bearer {watchword.sign_in('ana', password=PASSWORD).access_token}"


def share(watchword: Client, subject: str, document: str) -> None:
    watchword.relationships.write([Relationship(subject, "editor", f"document:{document}")])


def unshare(watchword: Client, subject: str, document: str) -> None:
    watchword.relationships.write(deletes=[RelationshipKey(subject, "editor", f"document:{document}")])


async def until(status: int, browser: Browser, path: str, **headers: str) -> None:
    """Wait until the feed has brought a change."""
    async with asyncio.timeout(5):
        while (await browser.get(path, **headers)).status_code != status:
            pass


# --- views --------------------------------------------------------------------------------------------


async def test_a_view_is_for_those_who_have_the_relation(
    browser: Browser, prefix: str, watchword: Client, ana: str, bearer: str
):
    path = f"{prefix}/documents/1"
    assert (await browser.get(path)).status_code == 401
    assert (await browser.get(path, authorization=bearer)).status_code == 403
    share(watchword, ana, "1")
    await until(200, browser, path, authorization=bearer)
    assert (await browser.get(f"{prefix}/documents/2", authorization=bearer)).status_code == 403
    unshare(watchword, ana, "1")
    await until(403, browser, path, authorization=bearer)


async def test_what_no_object_can_be_called_is_refused(
    browser: Browser, prefix: str, watchword: Client, ana: str, bearer: str
):
    # The first two would be yes if the id were taken as it is.
    watchword.relationships.write([Relationship("user:*", "editor", "document:1")])
    for id_ in ("*", "1%23editor", "1%20", "a:b", "%7Bid%7D", "1%00", "1%0A", "é", "x" * 300):
        response = await browser.get(f"{prefix}/documents/{id_}", authorization=bearer)
        assert response.status_code == 403, id_
    assert (await browser.get(f"{prefix}/documents/1", authorization=bearer)).status_code == 200


async def test_class_based_views_and_the_clients_own_errors(browser: Browser, watchword: Client, ana: str, bearer: str):
    for path in ("/class/1", "/required/1"):
        assert (await browser.get(path, authorization=bearer)).status_code == 403
    share(watchword, ana, "1")
    for path in ("/class/1", "/required/1"):
        await until(200, browser, path, authorization=bearer)
    # A relation that the model lacks is the application's mistake, and lets nobody in.
    assert (await browser.get("/misspelled/1", authorization=bearer)).status_code == 500


async def test_djangos_cache_gives_nobody_what_is_somebodys(
    browser: Browser, kind: str, watchword: Client, ana: str, bearer: str
):
    share(watchword, ana, "1")
    await browser.sign_in("ana", PASSWORD)
    for path in ("/cached/1", "/async/cached/1", "/api/cached/1"):
        await until(200, browser, path)
        await until(200, browser, path, authorization=bearer)
        assert (await Browser(kind).get(path)).status_code == 401


async def test_a_coroutine_that_would_block_the_event_loop_is_told_so(bearer: str, caplog: pytest.LogCaptureFixture):
    assert (await Browser("asgi").get("/async/blocking", authorization=bearer)).status_code == 500
    assert any(record.exc_info and record.exc_info[0] is SynchronousOnlyOperation for record in caplog.records)


def test_an_object_must_be_named():
    from watchword.client.django import requires

    for name in ("document", "document:", "document:{a}/{b}", "{type}:1", "document:*"):
        with pytest.raises(ValueError, match="must be an object"):
            requires("can_edit", name)


# --- has_perm -----------------------------------------------------------------------------------------


def user(watchword: Client) -> Any:
    from django.contrib.auth import authenticate

    return authenticate(None, username="ana", password=PASSWORD)


def test_has_perm_asks_about_an_object(watchword: Client, ana: str):
    share(watchword, ana, "1")
    somebody = user(watchword)
    for thing in ("document:1", Document("1")):
        assert somebody.has_perm("can_edit", thing)
        assert somebody.has_perms(["can_edit", "can_view"], thing)
    for thing in (
        "document:2",
        Document("2"),
        None,
        "",
        "document",
        "document:*",
        "document:1#editor",
        1,
        Document("*"),
    ):
        assert not somebody.has_perm("can_edit", thing)
    assert not somebody.has_perm("", "document:1")
    assert not somebody.has_module_perms("documents")
    assert (somebody.is_staff, somebody.is_superuser) == (False, False)


def test_what_djangos_permissions_mean_is_said_in_the_settings(
    watchword: Client, watchword_server: LocalServer, ana: str
):
    share(watchword, ana, "1")
    permissions = {"documents.change_document": "can_edit", "documents.audit": ("can_view", "document:1")}
    with asking(watchword_server, PERMISSIONS=permissions):
        somebody = user(watchword)
        assert somebody.has_perm("documents.change_document", Document("1"))
        assert not somebody.has_perm("documents.change_document", Document("2"))
        assert not somebody.has_perm("documents.change_document")
        assert somebody.has_perm("documents.audit")
        assert not somebody.has_perm("documents.audit", Document("1"))
        assert not somebody.has_perm("documents.delete_document", Document("1"))


def test_users_of_djangos_own_go_on_beside(watchword: Client, ana: str):
    from django.contrib.auth import authenticate
    from django.contrib.auth.models import User
    from django.test import Client as DjangoClient

    from watchword.client.django import login
    from watchword.client.django.users import is_allowed

    class Linked(User):
        """One who has an account at Watchword."""

        watchword_subject = ana

        class Meta:
            proxy = True
            app_label = "auth"

    share(watchword, ana, "1")
    User.objects.create_superuser("root", password=PASSWORD)
    root = authenticate(None, username="root", password=PASSWORD)
    assert isinstance(root, User)
    django = DjangoClient()
    django.force_login(root)
    assert django.get("/who").json()["user"] == root.pk
    assert django.get("/documents/1").status_code == 403
    assert root.has_perm("can_edit", "document:1")  # Django asks nobody about superusers
    assert not is_allowed(root, "can_edit", "document:1")
    with pytest.raises(ValueError, match="WatchwordBackend"):
        login(SimpleNamespace(), root)  # type: ignore[arg-type]

    clerk = Linked.objects.create_user("clerk")
    assert clerk.has_perm("can_edit", "document:1")
    assert not clerk.has_perm("can_edit", "document:2")
    assert not clerk.has_perm("auth.add_user")
    clerk.is_active = False
    assert not clerk.has_perm("can_edit", "document:1")


async def test_a_bearer_token_and_a_session_of_djangos_are_not_mixed(watchword: Client, ana: str, bearer: str):
    from django.contrib.auth.models import User

    browser = Browser("wsgi")
    root = await User.objects.acreate(username="root", is_superuser=True)
    await asyncio.to_thread(browser.client.force_login, root)
    assert (await browser.get("/who")).json()["user"] == root.pk
    seen = (await browser.get("/who", authorization=bearer)).json()
    assert (seen["principal"], f"user:{seen['user']}") == (ana, ana)


# --- Django REST framework ----------------------------------------------------------------------------


async def test_rest_framework_asks_about_the_object_of_the_view(
    browser: Browser, watchword: Client, ana: str, bearer: str
):
    path = "/api/documents/1"
    anonymous = await browser.get(path)
    assert (anonymous.status_code, anonymous["WWW-Authenticate"]) == (401, "Bearer")
    assert (await browser.get(path, authorization=bearer)).status_code == 403
    share(watchword, ana, "1")
    await until(200, browser, path, authorization=bearer)
    assert (await browser.get(path, authorization=bearer)).json() == {"user": ana[5:], "principal": ana}
    assert (await browser.send("head", path, authorization=bearer)).status_code == 200
    # A method, and views, that do not say what they need.
    assert (await browser.send("delete", path, authorization=bearer)).status_code == 403
    for refused in ("/api/unnamed/1", "/api/list", "/api/children/2", "/api/children/*"):
        assert (await browser.get(refused, authorization=bearer)).status_code == 403
    assert (await browser.get("/api/children/1", authorization=bearer)).json() == ["1"]


async def test_rest_framework_needs_the_csrf_token_with_cookies_alone(
    browser: Browser, watchword: Client, ana: str, bearer: str
):
    share(watchword, ana, "1")
    await browser.sign_in("ana", PASSWORD)
    path = "/api/documents/1"
    await until(200, browser, path)
    origin = "https://testserver"
    forged = await browser.send("put", path, origin=origin)
    assert (forged.status_code, "CSRF" in forged.json()["detail"]) == (403, True)
    csrf = (await browser.get("/who")).json()["csrf"]
    assert (await browser.send("put", path, origin=origin, x_csrftoken=csrf)).status_code == 200
    assert (await browser.send("put", path, authorization=bearer)).status_code == 200


# --- settings -----------------------------------------------------------------------------------------


def found() -> list[str]:
    from django.core.checks import run_checks

    return [str(message.id) for message in run_checks() if str(message.id).startswith("watchword.")]


def test_settings_that_are_wrong_are_told(watchword_server: LocalServer, monkeypatch: pytest.MonkeyPatch):
    from django.core.checks import run_checks

    from watchword.client.django import get_client

    monkeypatch.delenv("WATCHWORD_API_KEY", raising=False)
    assert found() == []
    for wrong, text in (
        ({}, "WATCHWORD_API_KEY"),
        ({"API_KEY": "secret", "ADRESS": "x"}, "adress"),
        ({"API_KEY": "secret", "MAX_STALENESS": -1}, "max_staleness"),
    ):
        with override_settings(WATCHWORD=wrong):
            assert found() == ["watchword.E001"]
            (message,) = (each for each in run_checks() if each.id == "watchword.E001")
            assert text in message.msg
            assert "secret" not in message.msg
            with pytest.raises(ImproperlyConfigured, match=text):
                get_client()
    with override_settings(MIDDLEWARE=MIDDLEWARE[:3]):
        assert found() == ["watchword.E002"]
    with override_settings(MIDDLEWARE=[MIDDLEWARE[0], MIDDLEWARE[1], MIDDLEWARE[3], MIDDLEWARE[2]]):
        assert found() == ["watchword.E003"]
    with override_settings(MIDDLEWARE=[MIDDLEWARE[0], *MIDDLEWARE[2:]]):
        assert found() == ["watchword.E004"]
    with asking(watchword_server, SECURE_COOKIES=False):
        assert found() == ["watchword.W001"]
        with override_settings(DEBUG=True):
            assert found() == []
