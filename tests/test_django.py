"""Django: whose a request is. The real Django, under WSGI and ASGI, and the real server."""

import asyncio
import logging
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import PASSWORD
from django.core import mail
from django.test import Client as DjangoClient
from django.utils.log import AdminEmailHandler
from django_project import ACCESS, MODEL, REFRESH, Browser, asking, site

from watchword.client import Client, RelationshipFilter, SignInRefusedError
from watchword.client.testing import LocalServer
from watchword.server.config import Config


@pytest.fixture(autouse=True)
def project(watchword: Client, watchword_server: LocalServer) -> Iterator[None]:
    with site(watchword_server):
        watchword.permissions.write_model(dsl=MODEL)
        for name in ("ana", "ben"):
            watchword.users.create(username=name, password=PASSWORD)
        yield


@pytest.fixture(params=["wsgi", "asgi"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["", "/async"], ids=["function", "coroutine"])
def prefix(request: pytest.FixtureRequest) -> str:
    """Which of the views: the ordinary functions, or the `async` ones."""
    return str(request.param)


@pytest.fixture
def browser(kind: str) -> Browser:
    return Browser(kind)


def tokens(watchword: Client, name: str) -> Any:
    return watchword.sign_in(name, password=PASSWORD)


def user_id(watchword: Client, name: str) -> str:
    return watchword.users.get_by_username(name).user_id


def bearer(watchword: Client, name: str) -> str:
    return f"Bearer {tokens(watchword, name).access_token}"


def editors(watchword: Client, document: str) -> set[str]:
    return {each.subject for each in watchword.relationships.list(RelationshipFilter(object=document))}


# --- bearer tokens ------------------------------------------------------------------------------------


async def test_a_bearer_token_says_who_is_calling(browser: Browser, prefix: str, watchword: Client):
    nobody = (await browser.get(f"{prefix}/who")).json()
    assert (nobody["principal"], nobody["user"], nobody["signed in"]) == (None, None, False)
    ana = (await browser.get(f"{prefix}/who", authorization=bearer(watchword, "ana"))).json()
    id_ = user_id(watchword, "ana")
    assert (ana["principal"], ana["user"], ana["signed in"]) == (f"user:{id_}", id_, True)


async def test_what_is_no_token_is_refused(browser: Browser):
    for token in ("", "x", "a.b.c", "é", "x" * 5000, "eyJhbGciOiJub25lIn0.e30.", "a,Bearer b"):
        response = await browser.get("/who", authorization=f"Bearer {token}", accept="text/html")
        assert (response.status_code, response["WWW-Authenticate"]) == (401, 'Bearer error="invalid_token"')


async def test_a_token_of_an_ended_session_or_account_is_refused_at_once(browser: Browser, watchword: Client):
    ana, ben = tokens(watchword, "ana"), tokens(watchword, "ben")
    for each in (ana, ben):
        assert (await browser.get("/who", authorization=f"Bearer {each.access_token}")).status_code == 200
    watchword.sessions.revoke(ana.session.session_id)
    watchword.users.suspend(user_id(watchword, "ben"))
    for each in (ana, ben):
        await until_refused(browser, each.access_token)


async def until_refused(browser: Browser, token: str) -> None:
    async with asyncio.timeout(5):
        while (await browser.get("/still", authorization=f"Bearer {token}")).status_code != 401:
            pass


async def test_requests_at_the_same_time_are_not_mixed_up(browser: Browser, prefix: str, watchword: Client):
    of = {name: (bearer(watchword, name), user_id(watchword, name)) for name in ("ana", "ben")}
    names = ["ana", "ben"] * 20
    answers = await asyncio.gather(
        *(browser.get(f"{prefix}/page", authorization=of[name][0]) for name in names),
        *(browser.get(f"{prefix}/page") for _ in names),
    )
    assert [answer.content.decode() for answer in answers[:40]] == [of[name][1] for name in names]
    assert {answer.status_code for answer in answers[40:]} == {401}


async def test_while_it_cannot_be_known_nobody_is_served(browser: Browser, kind: str, watchword_server: LocalServer):
    await browser.sign_in("ana", PASSWORD)
    access = browser.cookies[ACCESS].value
    with asking(watchword_server, ADDRESS="127.0.0.1:1", TIMEOUT=0.3):
        response = await browser.get("/who")
        assert (response.status_code, response["Retry-After"]) == (503, "1")
        assert browser.cookies[ACCESS].value == access
        stranger = Browser(kind)
        assert (await stranger.get("/who")).status_code == 200
        assert (await stranger.sign_in("ana", PASSWORD)).status_code == 503


# --- cookies ------------------------------------------------------------------------------------------


async def test_signing_in_sets_cookies_that_only_the_server_can_read(browser: Browser, prefix: str, watchword: Client):
    response = await browser.sign_in("ana", PASSWORD, f"{prefix}/sign-in")
    assert response.json()["user"] == user_id(watchword, "ana")
    for name in (ACCESS, REFRESH):
        cookie = response.cookies[name]
        assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Lax")
        assert (cookie["path"], cookie["domain"]) == ("/", "")
        assert cookie["max-age"] > 0
    assert set(response["Cache-Control"].split(", ")) == {"private", "no-store"}
    seen = (await browser.get(f"{prefix}/who")).json()
    assert seen["principal"] == f"user:{user_id(watchword, 'ana')}"
    assert not {ACCESS, REFRESH} & set(seen["cookies"])


async def test_a_browser_that_has_signed_in_before_is_not_locked_out(
    browser: Browser, kind: str, prefix: str, watchword: Client
):
    await browser.sign_in("ana", PASSWORD, f"{prefix}/sign-in")
    assert browser.cookies["__Host-watchword-device"]["httponly"]
    for _ in range(Config().sign_in_failures_per_account):
        with pytest.raises(SignInRefusedError):
            await asyncio.to_thread(watchword.sign_in, "ana", password="wrong horse battery")
    assert (await Browser(kind).sign_in("ana", PASSWORD, f"{prefix}/sign-in")).status_code == 429
    assert (await browser.sign_in("ana", PASSWORD, f"{prefix}/sign-in")).status_code == 200


async def test_a_refused_sign_in_says_nothing_more(browser: Browser, prefix: str):
    for name, password in (("ana", "wrong"), ("nobody", PASSWORD), ("", ""), ("ana", "x" * 5000), ("a\0b", PASSWORD)):
        response = await browser.sign_in(name, password, f"{prefix}/sign-in")
        assert (response.status_code, response.content) == (401, b"")
    assert ACCESS not in browser.cookies


def test_what_is_no_text_signs_nobody_in():
    from watchword.client.django.backend import WatchwordBackend

    assert WatchwordBackend().authenticate(None, username="\ud800", password=PASSWORD) is None
    assert WatchwordBackend().authenticate(None, username="ana") is None


async def test_a_session_goes_on_when_its_access_token_has_run_out(
    browser: Browser, prefix: str, watchword: Client, watchword_server: LocalServer
):
    await browser.sign_in("ana", PASSWORD)
    first = browser.cookies[REFRESH].value
    watchword_server.advance(600)
    responses = await asyncio.gather(*(browser.get(f"{prefix}/documents/1") for _ in range(3)))
    # Also a refusal brings the new tokens: the old refresh token is used up.
    assert {response.status_code for response in responses} == {403}
    assert all(response.cookies[REFRESH].value != first for response in responses)
    assert "no-store" in responses[0]["Cache-Control"]
    watchword_server.advance(600)  # also the old one is forgotten
    response = await browser.get(f"{prefix}/page")  # which says that it may be kept
    assert response.content.decode() == user_id(watchword, "ana")
    assert {"no-store", "private"} <= set(response["Cache-Control"].split(", "))


async def test_cookies_that_hold_something_else_are_cleared(browser: Browser):
    for value in ("x", "a.b.c", "é", "x" * 3000):
        browser.cookies[ACCESS] = browser.cookies[REFRESH] = value
        response = await browser.get("/who")
        assert response.json()["principal"] is None
        assert {response.cookies[name]["max-age"] for name in (ACCESS, REFRESH)} == {0}


async def test_cookies_that_a_subdomain_may_set_are_not_ours(kind: str, watchword: Client):
    async def sent(cookies: str) -> str | None:
        principal: str | None = (await Browser(kind).get("/who", cookie=f"{cookies}; a=b")).json()["principal"]
        return principal

    evil = tokens(watchword, "ben").access_token
    for header in (f"\xa0{ACCESS}={evil}", f"{ACCESS}\x85={evil}", f"{ACCESS}={evil}; {ACCESS}={evil}"):
        assert await sent(header) is None
    assert await sent(f"{ACCESS}={evil}")


async def test_signing_out_ends_the_session_everywhere(browser: Browser, kind: str, prefix: str, watchword: Client):
    await browser.sign_in("ana", PASSWORD)
    access, refresh = browser.cookies[ACCESS].value, browser.cookies[REFRESH].value
    response = await browser.submit(f"{prefix}/sign-out")
    assert response.json() == {"user": None}
    assert {response.cookies[name].value for name in (ACCESS, REFRESH)} == {""}
    await until_refused(browser, access)
    thief = Browser(kind)
    thief.cookies[ACCESS], thief.cookies[REFRESH] = access, refresh
    assert (await thief.get("/who")).json()["principal"] is None


async def test_a_sign_out_that_fails_does_not_look_like_one(browser: Browser, watchword_server: LocalServer):
    await browser.sign_in("ana", PASSWORD)
    page = (await browser.get("/who")).json()
    with asking(watchword_server, ADDRESS="127.0.0.1:1", TIMEOUT=0.3):
        response = await browser.post("/sign-out", x_csrftoken=page["csrf"])
    assert response.status_code == 503
    assert browser.cookies[ACCESS].value


# --- forged requests ----------------------------------------------------------------------------------


async def test_a_request_with_cookies_needs_the_csrf_token(browser: Browser, prefix: str, watchword: Client):
    forged = await browser.post(f"{prefix}/sign-in", {"username": "ana", "password": PASSWORD})
    assert forged.status_code == 403
    await browser.sign_in("ana", PASSWORD)
    assert (await browser.post(f"{prefix}/write/1")).status_code == 403
    assert (await browser.submit(f"{prefix}/write/1", origin="https://evil.example.com")).status_code == 403
    assert (await browser.submit(f"{prefix}/write/1")).status_code == 200


async def test_a_good_bearer_token_needs_none_and_wins_over_cookies(browser: Browser, prefix: str, watchword: Client):
    await browser.sign_in("ana", PASSWORD)
    ben = bearer(watchword, "ben")
    assert (await browser.post(f"{prefix}/write/1", authorization=ben)).status_code == 200
    assert editors(watchword, "document:1") == {f"user:{user_id(watchword, 'ben')}"}


async def test_any_other_header_does_not_open_the_session_of_the_cookies(
    browser: Browser, prefix: str, watchword: Client
):
    await browser.sign_in("ana", PASSWORD)
    for header, status in (("Bearer x", 401), ("Bearer ", 401), ("Bearer", 403), ("Basic x", 403)):
        assert (await browser.post(f"{prefix}/write/1", authorization=header)).status_code == status
    assert not editors(watchword, "document:1")


async def test_nothing_of_before_the_sign_in_is_worth_anything_after_it(browser: Browser, prefix: str):
    planted = (await browser.get("/who")).json()["csrf"]  # also begins a session of Django's
    session, csrf = browser.cookies["sessionid"].value, browser.cookies["csrftoken"].value
    form = {"username": "ana", "password": PASSWORD}
    assert (await browser.post(f"{prefix}/sign-in", form, x_csrftoken=planted)).status_code == 200
    assert browser.cookies["sessionid"].value != session
    assert browser.cookies["csrftoken"].value != csrf
    assert (await browser.post(f"{prefix}/sign-out", x_csrftoken=planted)).status_code == 403


# --- what is kept, shown and cached -------------------------------------------------------------------


async def test_what_is_answered_to_somebody_is_for_them_alone(browser: Browser, prefix: str, watchword: Client):
    ana = bearer(watchword, "ana")
    # A view may say that they can keep it.
    for path, kept in (("/still", {"private", "no-store"}), (f"{prefix}/page", {"private", "max-age=60"})):
        response = await browser.get(path, authorization=ana)
        assert {"Authorization", "Cookie"} <= set(response["Vary"].split(", "))
        assert set(response["Cache-Control"].split(", ")) == kept
    assert not (await browser.get("/still")).has_header("Cache-Control")


async def test_who_opens_a_page_is_sent_to_sign_in(browser: Browser, prefix: str):
    response = await browser.get(f"{prefix}/page?a=b", accept="text/html")
    assert (response.status_code, response["Cache-Control"]) == (302, "no-store")
    assert response["Location"] == f"/sign-in?next={prefix.replace('/', '%2F')}%2Fpage%3Fa%3Db"
    for response in (
        await browser.get(f"{prefix}/page"),
        await browser.get(f"{prefix}/page", accept="application/json"),
    ):
        assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")


async def test_no_token_gets_into_an_error_report(browser: Browser, watchword: Client, watchword_server: LocalServer):
    await browser.sign_in("ana", PASSWORD)
    secrets = [browser.cookies[ACCESS].value, browser.cookies[REFRESH].value, tokens(watchword, "ana").access_token]
    handler, logger = AdminEmailHandler(include_html=True), logging.getLogger("django.request")
    mail.outbox = []
    logger.addHandler(handler)
    try:
        assert (await browser.get("/broken")).status_code == 500
        assert (await browser.get("/broken", authorization=f"Bearer {secrets[2]}")).status_code == 500
        with asking(watchword_server, API_KEY="wrong"):
            assert (await browser.get("/who")).status_code == 500
            assert (await browser.get("/who", authorization=f"Bearer {secrets[2]}")).status_code == 500
    finally:
        logger.removeHandler(handler)
    assert len(mail.outbox) == 4
    for each in mail.outbox:
        html = str(each.alternatives[0])
        assert "get_response" in html  # the local variables of the middleware are there
        assert not [secret for secret in secrets if secret in html or secret in each.body]


def test_a_user_is_not_kept(watchword: Client):
    from django.contrib.auth import authenticate

    user = authenticate(None, username="ana", password=PASSWORD)
    assert user is not None
    assert user.tokens.access_token not in repr(user)
    with pytest.raises(TypeError, match="keep the id"):
        pickle.dumps(user)


def test_authentication_asks_no_database(watchword: Client):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    django = DjangoClient()
    django.cookies[ACCESS] = tokens(watchword, "ana").access_token
    with CaptureQueriesContext(connection) as queries:
        assert django.get("/still", secure=True).json() == {"user": user_id(watchword, "ana")}
    assert not list(queries)


# --- revisions ----------------------------------------------------------------------------------------


async def test_revisions_come_and_go_with_requests(browser: Browser, prefix: str, watchword: Client):
    ana = bearer(watchword, "ana")
    assert not (await browser.get("/still")).has_header("Watchword-Revision")
    written = (await browser.post(f"{prefix}/write/1", authorization=ana))["Watchword-Revision"]
    assert written
    epoch, _, number = written.rpartition(".")
    newer = f"{epoch}.{int(number) + 1}"
    assert (await browser.get(f"{prefix}/revision", watchword_revision=newer)).content.decode() == newer
    # It counted for that request alone.
    assert (await browser.get(f"{prefix}/revision")).content.decode() == written
    assert (await browser.get(f"{prefix}/revision", watchword_revision="nonsense")).content.decode() == written


async def test_the_browser_of_who_has_written_says_so_to_the_process_that_it_comes_to_next(
    browser: Browser, watchword: Client
):
    await browser.sign_in("ana", PASSWORD)
    written = (await browser.submit("/write/1"))["Watchword-Revision"]
    cookie = browser.cookies["__Host-watchword-revision"]
    assert (cookie.value, cookie["httponly"], cookie["secure"], cookie["samesite"]) == (written, True, True, "Lax")
    epoch, _, number = written.rpartition(".")
    newer = browser.cookies["__Host-watchword-revision"] = f"{epoch}.{int(number) + 1}"
    assert (await browser.get("/revision")).content.decode() == newer
    # A page that anybody may keep, and what a program gets, sets no cookie.
    bearer_ = {"authorization": bearer(watchword, "ben")}
    for response in (await browser.get("/write/2"), await browser.post("/write/3", **bearer_)):
        assert response.has_header("Watchword-Revision")
        assert "__Host-watchword-revision" not in response.cookies
