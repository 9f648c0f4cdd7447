"""Watchword in Flask: the real SDK, the real server, and requests as browsers and programs send them."""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import PASSWORD
from flask import Flask, Response, g, render_template_string, request, stream_with_context
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from watchword.client import Client, Relationship, RelationshipKey, SignInRefusedError
from watchword.client.cookies import CookieSessions, parse_cookies
from watchword.client.flask import Watchword, authenticated, requires
from watchword.client.testing import LocalServer
from watchword.server.config import Config

MODEL = """
model
  schema 1.1
type user
type document
  relations
    define editor: [user, user:*]
    define can_edit: editor
"""
ACCESS, REFRESH, CSRF, DEVICE = (f"__Host-watchword-{name}" for name in ("access", "refresh", "csrf", "device"))
PAGE = """<form method="post"><input type="hidden" name="csrf_token" value="{{ csrf_token() }}"></form>"""


def application(client: Client, *, with_cookies: bool = True, audience: str | None = None) -> Flask:
    app = Flask(__name__)
    sessions = CookieSessions(secret=b"a secret of the application") if with_cookies else None
    watchword = Watchword(app, client=client, sessions=sessions, audience=audience)

    @app.post("/sign-in")
    def sign_in() -> str:
        tokens = watchword.sign_in(request.json["name"], password=request.json["password"])
        assert g.principal.session_id == tokens.session.session_id
        return tokens.session.session_id

    @app.post("/sign-out")
    def sign_out() -> str:
        watchword.sign_out()
        assert g.principal is None
        return ""

    @app.get("/me")
    @authenticated
    def me() -> str:
        return g.principal.user_id

    @app.get("/page")
    @authenticated
    def page() -> str:
        return render_template_string(PAGE)

    @app.get("/open")
    def open_() -> str:
        return render_template_string(PAGE)

    @app.get("/broken")
    @authenticated
    def broken() -> str:
        raise RuntimeError(g.principal.token_id)

    @app.get("/public")
    @authenticated
    def public() -> Response:
        return Response("", headers={"Cache-Control": "public, max-age=60", "Vary": "Accept"})

    @app.get("/revision")
    def revision() -> str:
        return client.revision

    @app.get("/stream")
    @authenticated
    def stream() -> Response:
        return Response(stream_with_context(f"{g.principal.user_id}\n" for _ in range(2)))

    add_documents(app, watchword)
    return app


def add_documents(app: Flask, watchword: Watchword) -> None:
    client = watchword.client

    @app.route("/documents/<document_id>", methods=["GET", "POST"])
    @requires("can_edit", "document:{document_id}")
    def document(document_id: str) -> str:
        assert watchword.principal() is g.principal
        return document_id

    @app.get("/numbered/<int:number>")
    @requires("can_edit", "document:{number}")
    def numbered(number: int) -> str:
        return f"document:{number}"

    @app.get("/files/<path:name>")
    @requires("can_edit", "document:{name}")
    def file(name: str) -> str:
        return name

    @app.get("/misnamed/<name>")
    @requires("can_edit", "document:{document_id}")
    def misnamed(name: str) -> str:
        return name

    @app.get("/async/<document_id>")
    @authenticated
    @requires("can_edit", "document:{document_id}")
    async def asynchronous(document_id: str) -> str:
        await asyncio.sleep(0)
        return document_id

    @app.get("/required/<path:name>")
    @requires("can_edit", "document:fixed")
    def required(name: str) -> str:
        client.require(g.principal.subject, "can_edit", f"document:{name}")
        return name

    @app.post("/share/<document_id>")
    @authenticated
    def share(document_id: str) -> str:
        client.relationships.write([Relationship(g.principal.subject, "editor", f"document:{document_id}")])
        return ""


def browser(app: Flask) -> FlaskClient:
    client = app.test_client()
    # Cookies with "Secure" come back over HTTPS only.
    client.environ_base |= {"wsgi.url_scheme": "https", "HTTP_HOST": "app.example.com", "REMOTE_ADDR": "198.51.100.7"}
    return client


class Browser:
    """Keeps cookies as a browser does, to the letter, and sends them; `cookies` may be changed."""

    def __init__(self, app: Flask) -> None:
        self._client = app.test_client(use_cookies=False)
        self.cookies: dict[str, str] = {}
        self.headers: dict[str, str] = {}

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.send("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        return self.send("POST", path, **options)

    def send(self, method: str, path: str, *, headers: dict[str, Any] | None = None, **options: Any) -> TestResponse:
        sent = {"Host": "app.example.com", **self.headers, **(headers or {})}
        if self.cookies:
            sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), **sent}
        response = self._client.open(path, method=method, headers=sent, **options)
        for header in response.headers.getlist("Set-Cookie"):
            pair, _, attributes = header.partition(";")
            name, _, value = pair.partition("=")
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return response


@pytest.fixture
def app(watchword: Client) -> Flask:
    watchword.permissions.write_model(dsl=MODEL)
    for name in ("ana", "ben"):
        watchword.users.create(username=name, password=PASSWORD)
    return application(watchword)


@pytest.fixture
def ana(app: Flask) -> Browser:
    return signed_in(Browser(app), "ana")


@pytest.fixture
def service(watchword: Client, watchword_server: LocalServer) -> Iterator[Client]:
    """Another service: a client that has heard nothing of the first."""
    with Client(watchword_server.address, api_key=watchword_server.api_key, clock=watchword_server.time) as client:
        yield client


def signed_in(client: Browser, name: str) -> Browser:
    response = client.post("/sign-in", json={"name": name, "password": PASSWORD})
    assert response.status_code == 200, response.text
    client.headers["X-CSRF-Token"] = client.cookies[CSRF]
    return client


def allow(watchword: Client, name: str, document: str) -> None:
    watchword.relationships.write([Relationship(f"user:{user_id(watchword, name)}", "editor", document)])


def user_id(watchword: Client, name: str) -> str:
    return watchword.users.get_by_username(name).user_id


def bearer(watchword: Client, name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {watchword.sign_in(name, password=PASSWORD).access_token}"}


# --- bearer tokens ------------------------------------------------------------------------------------


def test_nobody_is_told_to_come_with_a_token(app: Flask):
    response = Browser(app).get("/me")
    assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert response.is_json


@pytest.mark.parametrize("token", ["", " ", "x", "a.b.c", "\u00e9", "x" * 5000, "\x7f", "eyJhbGciOiJub25lIn0.e30."])
def test_what_is_no_token_is_refused(app: Flask, token: str):
    response = Browser(app).get("/documents/1", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_a_token_that_is_over_is_refused(app: Flask, watchword: Client, watchword_server: LocalServer):
    headers = bearer(watchword, "ana")
    assert Browser(app).get("/me", headers=headers).text == user_id(watchword, "ana")
    watchword_server.advance(3600)
    response = Browser(app).get("/me", headers=headers)
    assert response.status_code == 401
    assert response.json == {"detail": "The access token has expired."}


def test_allowed_and_denied(app: Flask, watchword: Client):
    allow(watchword, "ana", "document:1")
    client, ana, ben = Browser(app), bearer(watchword, "ana"), bearer(watchword, "ben")
    assert client.get("/documents/1", headers=ana).text == "1"
    assert client.get("/async/1", headers=ana).text == "1"
    # A program that shows a token itself needs no CSRF token.
    assert client.post("/documents/1", headers=ana).text == "1"
    for path, headers in (("/documents/2", ana), ("/documents/1", ben), ("/async/2", ana)):
        response = client.get(path, headers=headers)
        assert response.status_code == 403
        assert "WWW-Authenticate" not in response.headers
    assert client.get("/documents/1").status_code == 401


@pytest.mark.parametrize(
    "id_", ["*", "1%23can_edit", "1:2", "%20", "1%20", "1%00", "1%0A", "%C3%A4", "x" * 300, "%7B1%7D", "%FF"]
)
def test_a_path_names_an_object_and_nothing_else(app: Flask, watchword: Client, id_: str):
    # A grant to everybody would be found if the id could name one.
    watchword.relationships.write([Relationship("user:*", "editor", "document:1")])
    headers = bearer(watchword, "ana")
    assert Browser(app).get("/documents/1", headers=headers).status_code == 200
    assert Browser(app).get(f"/documents/{id_}", headers=headers).status_code == 403


def test_what_the_view_gets_is_what_was_asked_about(app: Flask, watchword: Client):
    allow(watchword, "ana", "document:7")
    client, headers = Browser(app), bearer(watchword, "ana")
    for path in ("/numbered/7", "/numbered/007"):
        assert client.get(path, headers=headers).text == "document:7"
    allow(watchword, "ana", "document:a/b")
    assert client.get("/files/a/b", headers=headers).text == "a/b"
    assert client.get("/files/a//b", headers=headers).status_code in {308, 403}
    assert client.get("/files/a/../a/b", headers=headers).status_code == 403


@pytest.mark.parametrize(
    "object_", ["document", "document:", "document:*", "document:{a}/{b}", "document:x{a}", ":{a}"]
)
def test_what_names_no_object_is_refused_at_once(object_: str):
    with pytest.raises(ValueError, match="must be an object"):
        requires("can_edit", object_)


def test_a_parameter_that_the_path_lacks_lets_nobody_in(app: Flask, watchword: Client):
    assert Browser(app).get("/misnamed/1", headers=bearer(watchword, "ana")).status_code == 500


def test_what_the_view_asks_itself_is_answered_alike(app: Flask, watchword: Client):
    allow(watchword, "ana", "document:fixed")
    client, headers = Browser(app), bearer(watchword, "ana")
    assert client.get("/required/fixed", headers=headers).status_code == 200
    assert client.get("/required/other", headers=headers).status_code == 403


@pytest.mark.parametrize("path", ["/documents/", "/required/", "/nothing/"])
def test_a_refusal_repeats_nothing_that_could_run_in_a_page(app: Flask, watchword: Client, path: str):
    allow(watchword, "ana", "document:fixed")
    headers = bearer(watchword, "ana") | {"Accept": "text/html", "X-CSRF-Token": "<script>"}
    for attempt in ("<script>alert(1)</script>", "%3Cimg%20src=x%20onerror=alert(1)%3E", "'\"><svg/onload=alert(1)>"):
        response = Browser(app).get(f"{path}{attempt}", headers=headers)
        assert response.status_code >= 400
        assert "alert" not in response.text
        assert response.is_json == (response.status_code == 403)  # the others are Flask's own


def test_a_missing_permission_of_the_application_is_not_the_callers_fault(
    app: Flask, watchword: Client, watchword_server: LocalServer
):
    watchword.service_accounts.create("weak")
    key = watchword.service_accounts.create_key("weak", permissions=["check_permissions"])
    with Client(watchword_server.address, api_key=key.api_key) as weak:
        response = Browser(application(weak)).post("/sign-in", json={"name": "ana", "password": PASSWORD})
    assert response.status_code == 500
    assert "permission" not in response.text


def test_cookies_count_only_where_they_are_asked_for(watchword: Client, ana: Browser):
    plain = Browser(application(watchword, with_cookies=False))
    plain.cookies = dict(ana.cookies)
    assert plain.get("/me").status_code == 401
    assert "Set-Cookie" not in plain.post("/sign-in", json={"name": "ana", "password": PASSWORD}).headers


def test_a_bad_token_is_not_made_up_for_by_a_good_cookie(ana: Browser):
    assert ana.get("/me", headers={"Authorization": "Bearer x"}).status_code == 401
    # Another scheme is somebody else's affair: a proxy's, say.
    assert ana.get("/me", headers={"Authorization": "Basic eDp4"}).status_code == 200


def test_an_application_without_it_lets_nobody_in():
    app = Flask(__name__)
    app.get("/")(authenticated(lambda: ""))
    response = app.test_client().get("/", headers={"Authorization": "Bearer x"})
    assert response.status_code == 500


@pytest.mark.parametrize("decorator", [authenticated, requires("can_edit", "document:1")])
def test_a_decorator_above_the_route_lets_nobody_in(app: Flask, watchword: Client, decorator: Any):
    @decorator
    @app.get("/upside-down")
    def upside_down() -> str:
        return "let in"

    response = Browser(app).get("/upside-down", headers=bearer(watchword, "ana"))
    assert response.status_code == 500
    assert "let in" not in response.text


def test_one_request_does_not_speak_for_the_next(app: Flask, watchword: Client):
    headers = bearer(watchword, "ana")
    with app.app_context():  # so that both requests share `g`
        assert Browser(app).get("/me", headers=headers).status_code == 200
        assert Browser(app).get("/me").status_code == 401
        assert Browser(app).get("/documents/1").status_code == 401
        assert 'value=""' in Browser(app).get("/open").text


def test_tokens_are_for_the_audience_of_the_application(watchword: Client, app: Flask):
    other = Browser(application(watchword, audience="billing"))
    assert signed_in(other, "ana").get("/me").status_code == 200
    # Tokens of one service are nothing to another.
    stranger = Browser(app)
    stranger.cookies = {ACCESS: other.cookies[ACCESS]}
    assert stranger.get("/me").status_code == 401
    assert other.get("/me", headers=bearer(watchword, "ana")).status_code == 401


# --- browsers -----------------------------------------------------------------------------------------


def test_sign_in_sets_cookies_that_sign_out_clears(app: Flask, ana: Browser, watchword: Client):
    assert set(ana.cookies) == {ACCESS, REFRESH, CSRF, DEVICE}
    assert ana.get("/me").text == user_id(watchword, "ana")
    thief = Browser(app)
    thief.cookies = dict(ana.cookies)
    assert ana.post("/sign-out").status_code == 200
    assert set(ana.cookies) == {DEVICE}  # it stays
    assert ana.get("/me").status_code == 401
    assert thief.get("/me").status_code == 401


def test_cookies_are_for_https_and_not_for_scripts(app: Flask):
    client = browser(app)
    response = client.post("/sign-in", json={"name": "ana", "password": PASSWORD})
    for header in response.headers.getlist("Set-Cookie"):
        assert header.startswith("__Host-")
        assert "; Path=/; " in header
        assert "; SameSite=Lax; Secure" in header
        assert "Domain" not in header
        assert ("HttpOnly" in header) == (not header.startswith(CSRF))
    assert client.get("/me").status_code == 200


def test_a_browser_that_has_signed_in_before_is_not_locked_out(app: Flask, ana: Browser, watchword: Client):
    assert ana.post("/sign-out").status_code == 200
    for _ in range(Config().sign_in_failures_per_account):
        with pytest.raises(SignInRefusedError):
            watchword.sign_in("ana", password="wrong horse battery")
    body = {"name": "ana", "password": PASSWORD}
    stranger = Browser(app)
    stranger.cookies[DEVICE] = "wwd_" + "x" * 600 + "\u00e9"
    assert stranger.post("/sign-in", json=body).status_code == 429
    assert ana.post("/sign-in", json=body).status_code == 200


def test_the_session_says_where_it_was_begun(app: Flask, watchword: Client):
    agent = "Mozilla/5.0 " + "x" * 2000
    response = browser(app).post(
        "/sign-in", json={"name": "ana", "password": PASSWORD}, headers={"User-Agent": agent, "X-Forwarded-For": "::1"}
    )
    device = watchword.sessions.get(response.text).device
    assert device.ip_address == "198.51.100.7"
    assert device.user_agent == agent[:512]


@pytest.mark.parametrize(
    ("path", "status"), [("/me", 200), ("/me", 401), ("/documents/1", 403), ("/sign-in", 401), ("/stream", 200)]
)
def test_what_is_for_one_person_is_kept_by_no_cache(app: Flask, ana: Browser, path: str, status: int):
    client = Browser(app) if status == 401 else ana
    method = "POST" if path == "/sign-in" else "GET"
    response = client.send(method, path, json={"name": "ana", "password": "wrong"} if method == "POST" else None)
    assert response.status_code == status
    assert response.headers.getlist("Cache-Control") == ["no-store"]
    assert response.headers.getlist("Vary") == ["Authorization, Cookie"]


def test_what_is_for_everybody_is_the_applications_affair(app: Flask, ana: Browser, watchword_server: LocalServer):
    assert "Cache-Control" not in ana.get("/open").headers
    response = ana.get("/public")
    assert response.headers["Cache-Control"] == "public, max-age=60"
    assert response.headers.getlist("Vary") == ["Accept", "Authorization, Cookie"]
    # New cookies are in no case for everybody.
    watchword_server.advance(600)
    response = ana.get("/public")
    assert REFRESH in str(response.headers.getlist("Set-Cookie"))
    assert response.headers.getlist("Cache-Control") == ["no-store"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "ana", "password": "wrong"},
        {"name": "nobody", "password": PASSWORD},
        {"name": "ana\0", "password": PASSWORD},
        {"name": "a" * 10_000, "password": PASSWORD},
        {"name": "", "password": ""},
        {"name": "ana", "password": "x" * 10_000},
        {"name": "ana", "password": "\ud800"},
    ],
)
def test_a_refused_sign_in_is_answered_alike(app: Flask, body: dict[str, str]):
    response = Browser(app).post("/sign-in", data=json.dumps(body), content_type="application/json")
    assert response.status_code == 401
    assert "Set-Cookie" not in response.headers
    assert body["password"] == "" or body["password"] not in response.text


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}]
)
def test_other_sites_cannot_sign_a_browser_in(app: Flask, headers: dict[str, str]):
    client = Browser(app)
    response = client.post("/sign-in", json={"name": "ana", "password": PASSWORD}, headers=headers)
    assert response.status_code == 403
    assert not client.cookies


def test_a_change_needs_the_token_of_this_session(app: Flask, ana: Browser, watchword: Client):
    allow(watchword, "ana", "document:1")
    assert ana.get("/documents/1", headers={"X-CSRF-Token": ""}).status_code == 200
    assert ana.post("/documents/1").status_code == 200
    for site in ("same-site", "cross-site"):
        assert ana.post("/documents/1", headers={"Sec-Fetch-Site": site}).status_code == 403
    other = signed_in(Browser(app), "ben")
    for submitted in ("", "x", "\u00e9", other.cookies[CSRF]):
        assert ana.post("/documents/1", headers={"X-CSRF-Token": submitted}).status_code == 403
    # The attacker's own pair, planted in the victim's browser.
    ana.cookies[CSRF] = other.cookies[CSRF]
    assert ana.post("/documents/1", headers={"X-CSRF-Token": other.cookies[CSRF]}).status_code == 403
    del ana.cookies[CSRF]
    assert ana.post("/documents/1").status_code == 403


def test_a_form_carries_the_token_that_its_page_was_given(ana: Browser, watchword: Client):
    allow(watchword, "ana", "document:1")
    del ana.headers["X-CSRF-Token"]
    token = ana.cookies[CSRF]
    assert f'value="{token}"' in ana.get("/page").text
    assert ana.post("/documents/1", data={"csrf_token": token}).status_code == 200
    assert ana.post("/documents/1", data={"csrf_token": token}, content_type="multipart/form-data").status_code == 200
    assert ana.post("/documents/1", data={"csrf_token": token[::-1]}).status_code == 403
    assert ana.post("/documents/1", data={}).status_code == 403
    # What other sites can send without asking first.
    assert ana.post("/documents/1", data=f"csrf_token={token}", content_type="text/plain").status_code == 403
    assert ana.post(f"/documents/1?csrf_token={token}").status_code == 403


def test_a_page_sets_the_token_anew_if_its_cookie_is_gone(ana: Browser, watchword: Client):
    allow(watchword, "ana", "document:1")
    for lost in ("", "x", "0" * 64 + "." + "0" * 32):
        ana.cookies[CSRF] = lost
        page = ana.get("/page")
        assert f'value="{ana.cookies[CSRF]}"' in page.text
        assert page.headers["Cache-Control"] == "no-store"
        del ana.headers["X-CSRF-Token"]
        assert ana.post("/documents/1", data={"csrf_token": ana.cookies[CSRF]}).status_code == 200
        ana.headers["X-CSRF-Token"] = ana.cookies[CSRF]


def test_an_access_token_that_is_over_is_refreshed(ana: Browser, watchword_server: LocalServer):
    before = dict(ana.cookies)
    watchword_server.advance(600)
    response = ana.get("/me")
    assert response.status_code == 200
    assert len(response.headers.getlist("Set-Cookie")) == 3
    assert ana.cookies[ACCESS] != before[ACCESS]
    assert ana.cookies[REFRESH] != before[REFRESH]
    assert ana.cookies[CSRF] == before[CSRF]  # open pages go on working
    watchword_server.advance(600)
    response = ana.post("/sign-out")
    assert response.status_code == 200
    assert len(response.headers.getlist("Set-Cookie")) == 3  # not also those of the refresh
    assert set(ana.cookies) == {DEVICE}  # it stays


def test_other_sites_spend_no_refresh_token(ana: Browser, watchword_server: LocalServer):
    watchword_server.advance(600)
    response = ana.post("/sign-out", headers={"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 403
    assert "Set-Cookie" not in response.headers


def test_requests_at_the_same_time_do_not_end_the_session(app: Flask, ana: Browser, watchword_server: LocalServer):
    def in_a_tab(cookies: dict[str, str]) -> tuple[int, dict[str, str]]:
        tab = Browser(app)
        tab.cookies = dict(cookies)
        return tab.get("/me").status_code, tab.cookies

    with ThreadPoolExecutor(8) as tabs:
        for _ in range(3):
            watchword_server.advance(600)
            answers = list(tabs.map(in_a_tab, [ana.cookies] * 8))
            assert {status for status, _ in answers} == {200}
            assert len({cookies[REFRESH] for _, cookies in answers}) == 1
            ana.cookies = answers[-1][1]
    assert ana.get("/me").status_code == 200


@pytest.mark.parametrize(
    ("path", "status"), [("/documents/not-mine", 403), ("/broken", 500), ("/documents/*", 403), ("/misnamed/1", 500)]
)
def test_a_refusal_does_not_lose_the_new_refresh_token(
    ana: Browser, watchword_server: LocalServer, path: str, status: int
):
    watchword_server.advance(600)
    before = ana.cookies[REFRESH]
    response = ana.get(path)
    assert response.status_code == status
    assert ana.cookies[REFRESH] != before
    # Long after the grace in which the old one would still do.
    watchword_server.advance(600)
    assert ana.get("/me").status_code == 200


def test_cookies_of_a_session_that_has_ended_are_cleared(ana: Browser, service: Client, watchword: Client):
    (session,) = watchword.sessions.list(user_id(watchword, "ana"))
    service.sessions.revoke(session.session_id)
    deadline = time.monotonic() + 10
    while (response := ana.get("/me")).status_code == 200:
        assert time.monotonic() < deadline, "the session was revoked"
        time.sleep(0.01)
    assert response.status_code == 401
    assert set(ana.cookies) == {DEVICE}  # it stays


@pytest.mark.parametrize("value", ["x", "wwr_x", "\u00e9", "x" * 4000, '"a b"'])
def test_cookies_that_hold_something_else_are_nobodys(app: Flask, value: str):
    client = Browser(app)
    client.cookies = {ACCESS: value, REFRESH: value}
    response = client.get("/me")
    assert response.status_code == 401
    assert f"{REFRESH}=; Path=/; Max-Age=0" in response.headers.getlist("Set-Cookie")[1]


@pytest.mark.parametrize("blank", ["\u2000", "\u00a0", "\u0085", "\u3000"])
def test_a_cookie_that_a_subdomain_could_set_is_nobodys(app: Flask, ana: Browser, blank: str):
    victim = Browser(app)
    victim.cookies = {f"{blank}{name}".encode().decode("latin-1"): value for name, value in ana.cookies.items()}
    assert victim.get("/me").status_code == 401
    # In raw bytes, which are no UTF-8 and which Werkzeug fails on.
    header = "; ".join(f"\u00a0{name}={value}" for name, value in ana.cookies.items())
    assert Browser(app).get("/me", headers={"Cookie": header}).status_code == 401
    # A second one of the same name: it cannot be known which is the user's.
    twice = f"{ACCESS}={ana.cookies[ACCESS]}; {ACCESS}={ana.cookies[ACCESS]}"
    assert Browser(app).get("/me", headers={"Cookie": twice}).status_code == 401
    # A quote in a cookie of somebody else's hides none of ours.
    header = 'x="; ' + "; ".join(f"{name}={value}" for name, value in ana.cookies.items())
    assert set(parse_cookies(header)) == {"x", *ana.cookies}
    assert Browser(app).get("/me", headers={"Cookie": header}).status_code == 200


# --- when Watchword is gone ----------------------------------------------------------------------------


def test_without_a_server_nobody_gets_in_and_no_session_is_lost(ana: Browser, watchword: Client):
    with Client("localhost:1", api_key="k", timeout=0.3) as gone:
        client = Browser(application(gone))
        client.cookies = dict(ana.cookies)
        for send in (
            lambda: client.get("/me"),
            lambda: client.get("/me", headers=bearer(watchword, "ana")),
            lambda: client.get("/documents/1"),
            lambda: client.get("/me", headers={"Cookie": f"{REFRESH}={ana.cookies[REFRESH]}"}),
            lambda: client.post("/sign-in", json={"name": "ana", "password": PASSWORD}),
        ):
            response = send()
            assert response.status_code == 503
            assert response.is_json
            assert response.headers["Retry-After"] == "1"
            assert "Set-Cookie" not in response.headers


# --- revisions ----------------------------------------------------------------------------------------


def test_a_revision_counts_in_the_view_and_in_no_other_request(app: Flask, watchword: Client, service: Client):
    revision = watchword.relationships.write([Relationship("user:x", "editor", "document:1")])
    client = Browser(application(service))
    assert client.get("/revision", headers={"Watchword-Revision": revision}).text == revision
    assert client.get("/revision").text == ""
    for bogus in ("x", "\u00e9", "1" * 1000, ""):
        response = client.get("/revision", headers={"Watchword-Revision": bogus})
        assert (response.status_code, response.text) == (200, "")


def test_what_was_written_is_told(app: Flask, watchword: Client, service: Client):
    client, headers = Browser(app), bearer(watchword, "ana")
    assert "Watchword-Revision" not in client.get("/me", headers=headers).headers
    written = client.post("/share/1", headers=headers)
    assert written.status_code == 200
    assert client.get("/documents/1", headers=headers).status_code == 200  # its own write
    # Another service that gets the revision sees the write too.
    headers["Watchword-Revision"] = written.headers["Watchword-Revision"]
    assert Browser(application(service)).get("/documents/1", headers=headers).status_code == 200
    again = client.post("/share/2", headers=headers)
    assert again.headers["Watchword-Revision"] != written.headers["Watchword-Revision"]


def test_unsharing_is_seen_at_once_by_who_did_it(app: Flask, watchword: Client):
    allow(watchword, "ana", "document:1")
    subject = f"user:{user_id(watchword, 'ana')}"
    client, headers = Browser(app), bearer(watchword, "ana")
    assert client.get("/documents/1", headers=headers).status_code == 200
    watchword.relationships.write(deletes=[RelationshipKey(subject, "editor", "document:1")])
    assert client.get("/documents/1", headers=headers).status_code == 403
