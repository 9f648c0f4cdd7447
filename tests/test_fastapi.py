"""Watchword in FastAPI: the real SDK, the real server, and requests as browsers and programs send them."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any

import httpx
import pytest
from conftest import PASSWORD
from fastapi import FastAPI, Request, Response, WebSocket
from pydantic import BaseModel

from watchword.client import AsyncClient, Client, Principal, Relationship, RelationshipKey, SignInRefusedError
from watchword.client.cookies import CookieSessions
from watchword.client.fastapi import CurrentPrincipal, Requires, Watchword
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


class SignIn(BaseModel):
    name: str
    password: str


def application(
    client: AsyncClient, *, with_cookies: bool = True, audience: str | None = None, passing_through: bool = False
) -> FastAPI:
    sessions = CookieSessions(secret=b"a secret of the application") if with_cookies else None
    watchword = Watchword(client, sessions=sessions, audience=audience)
    app = FastAPI(lifespan=watchword.lifespan)
    if passing_through:

        @app.middleware("http")  # it runs what is behind it in a task, and so in a context, of its own
        async def pass_through(request: Request, call_next: Any) -> Any:
            return await call_next(request)

    watchword.install(app)

    @app.post("/sign-in")
    async def sign_in(body: SignIn, request: Request) -> str:
        tokens = await watchword.sign_in(request, body.name, password=body.password)
        assert (await watchword.principal(request)).session_id == tokens.session.session_id
        return tokens.session.session_id

    @app.post("/sign-out")
    async def sign_out(request: Request) -> None:
        await watchword.sign_out(request)

    @app.get("/me")
    async def me(principal: CurrentPrincipal) -> str:
        return principal.user_id

    @app.get("/broken")
    async def broken(principal: CurrentPrincipal) -> None:
        raise RuntimeError(principal.token_id)

    @app.get("/revision")
    async def revision() -> str:
        await asyncio.sleep(0)
        return client.revision

    add_documents(app, client)
    return app


def add_documents(app: FastAPI, client: AsyncClient) -> None:
    @app.get("/documents/{document_id}")
    @app.post("/documents/{document_id}")
    async def document(
        document_id: str,
        principal: Annotated[Principal, Requires("can_edit", "document:{document_id}")],
        same: CurrentPrincipal,
    ) -> str:
        assert same is principal
        return document_id

    @app.get("/public")
    async def public(_principal: CurrentPrincipal, response: Response) -> None:
        response.headers.update({"Cache-Control": "public, max-age=60", "Vary": "Accept"})

    @app.get("/misnamed/{name}", dependencies=[Requires("can_edit", "document:{document_id}")])
    async def misnamed(name: str) -> str:
        return name

    @app.get("/required/{name}", dependencies=[Requires("can_edit", "document:fixed")])
    async def required(name: str, principal: CurrentPrincipal) -> str:
        await client.require(principal.subject, "can_edit", f"document:{name}")
        return name

    @app.post("/share/{document_id}")
    async def share(document_id: str, principal: CurrentPrincipal) -> None:
        await client.relationships.write([Relationship(principal.subject, "editor", f"document:{document_id}")])


def browser(app: FastAPI, **options: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, **options)
    return httpx.AsyncClient(transport=transport, base_url="https://app.example.com")


@pytest.fixture
async def app(watchword: Client, watchword_async: AsyncClient) -> AsyncIterator[FastAPI]:
    watchword.permissions.write_model(dsl=MODEL)
    for name in ("ana", "ben"):
        watchword.users.create(username=name, password=PASSWORD)
    async with watchword_async:
        yield application(watchword_async)


@pytest.fixture
async def ana(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with browser(app) as ana:
        yield await signed_in(ana, "ana")


async def signed_in(client: httpx.AsyncClient, name: str) -> httpx.AsyncClient:
    response = await client.post("/sign-in", json={"name": name, "password": PASSWORD})
    assert response.status_code == 200, response.text
    client.headers["x-csrf-token"] = client.cookies[CSRF]
    return client


def allow(watchword: Client, name: str, document: str) -> None:
    subject = f"user:{user_id(watchword, name)}"
    watchword.relationships.write([Relationship(subject, "editor", document)])


def user_id(watchword: Client, name: str) -> str:
    return watchword.sign_in(name, password=PASSWORD).session.user_id


def bearer(watchword: Client, name: str) -> dict[str, str]:
    return {"authorization": f"Bearer {watchword.sign_in(name, password=PASSWORD).access_token}"}


def carrying(cookies: Mapping[str, str]) -> dict[str, str]:
    return {"cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}


# --- bearer tokens ------------------------------------------------------------------------------------


async def test_nobody_is_told_to_come_with_a_token(app: FastAPI):
    async with browser(app) as client:
        response = await client.get("/me")
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize("token", ["", " ", "x", "a.b.c", "é", "x" * 5000, "\x7f", "eyJhbGciOiJub25lIn0.e30."])
async def test_what_is_no_token_is_refused(app: FastAPI, token: str):
    async with browser(app) as client:
        headers = [(b"authorization", b"Bearer " + token.encode())]
        response = await client.get("/documents/1", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'


async def test_a_token_that_is_over_is_refused(app: FastAPI, watchword: Client, watchword_server: LocalServer):
    async with browser(app) as client:
        headers = bearer(watchword, "ana")
        assert (await client.get("/me", headers=headers)).json() == user_id(watchword, "ana")
        watchword_server.advance(3600)
        response = await client.get("/me", headers=headers)
    assert response.status_code == 401
    assert response.json() == {"detail": "The access token has expired."}


async def test_allowed_and_denied(app: FastAPI, watchword: Client):
    allow(watchword, "ana", "document:1")
    async with browser(app) as client:
        ana, ben = bearer(watchword, "ana"), bearer(watchword, "ben")
        assert (await client.get("/documents/1", headers=ana)).json() == "1"
        # A program that shows a token itself needs no CSRF token.
        assert (await client.post("/documents/1", headers=ana)).json() == "1"
        for path, headers in (("/documents/2", ana), ("/documents/1", ben)):
            response = await client.get(path, headers=headers)
            assert response.status_code == 403
            assert "www-authenticate" not in response.headers
        assert (await client.get("/documents/1")).status_code == 401


@pytest.mark.parametrize(
    "id_", ["*", "1%23can_edit", "1:2", "%20", "1%20", "1%00", "1%0A", "%C3%A4", "x" * 300, "%7B1%7D"]
)
async def test_a_path_names_an_object_and_nothing_else(app: FastAPI, watchword: Client, id_: str):
    # A grant to everybody would be found if the id could name one.
    watchword.relationships.write([Relationship("user:*", "editor", "document:1")])
    async with browser(app) as client:
        headers = bearer(watchword, "ana")
        assert (await client.get("/documents/1", headers=headers)).status_code == 200
        response = await client.get(f"/documents/{id_}", headers=headers)
    assert response.status_code == 403


@pytest.mark.parametrize(
    "object_", ["document", "document:", "document:*", "document:{a}/{b}", "document:x{a}", ":{a}"]
)
def test_what_names_no_object_is_refused_at_once(object_: str):
    with pytest.raises(ValueError, match="must be an object"):
        Requires("can_edit", object_)


async def test_what_the_endpoint_asks_itself_is_answered_alike(app: FastAPI, watchword: Client):
    allow(watchword, "ana", "document:fixed")
    async with browser(app) as client:
        headers = bearer(watchword, "ana")
        assert (await client.get("/required/fixed", headers=headers)).status_code == 200
        assert (await client.get("/required/other", headers=headers)).status_code == 403


async def test_a_parameter_that_the_path_lacks_lets_nobody_in(app: FastAPI, watchword: Client):
    async with browser(app, raise_app_exceptions=False) as client:
        assert (await client.get("/misnamed/1", headers=bearer(watchword, "ana"))).status_code == 500


@pytest.mark.parametrize("attempt", ["<script>alert(1)<script>", "%3Cimg%20src=x%20onerror=alert(1)%3E", "'\"><svg>"])
async def test_a_refusal_repeats_nothing_that_could_run_in_a_page(app: FastAPI, watchword: Client, attempt: str):
    async with browser(app) as client:
        for headers in (bearer(watchword, "ana"), {"authorization": f"Bearer {attempt}"}):
            response = await client.get(f"/documents/{attempt}", headers=headers)
            assert response.status_code in {401, 403}
            assert response.headers["content-type"] == "application/json"
            assert "alert" not in response.text


async def test_tokens_are_for_the_audience_of_the_application(
    watchword: Client, watchword_async: AsyncClient, app: FastAPI
):
    async with browser(application(watchword_async, audience="billing")) as other, browser(app) as stranger:
        await signed_in(other, "ana")
        assert (await other.get("/me")).status_code == 200
        # Tokens of one service are nothing to another.
        stranger.cookies.set(ACCESS, other.cookies[ACCESS])
        assert (await stranger.get("/me")).status_code == 401
        assert (await other.get("/me", headers=bearer(watchword, "ana"))).status_code == 401


async def test_a_bad_token_is_not_made_up_for_by_a_good_cookie(ana: httpx.AsyncClient):
    assert (await ana.get("/me", headers={"authorization": "Bearer x"})).status_code == 401
    # Another scheme is somebody else's affair: a proxy's, say.
    assert (await ana.get("/me", headers={"authorization": "Basic eDp4"})).status_code == 200


async def test_a_missing_permission_of_the_application_is_not_the_callers_fault(
    app: FastAPI, watchword: Client, watchword_server: LocalServer
):
    watchword.service_accounts.create("weak")
    key = watchword.service_accounts.create_key("weak", permissions=["check_permissions"])
    weak = AsyncClient(watchword_server.address, api_key=key.api_key)
    async with weak, browser(application(weak), raise_app_exceptions=False) as client:
        response = await client.post("/sign-in", json={"name": "ana", "password": PASSWORD})
    assert response.status_code == 500


async def test_cookies_count_only_where_they_are_asked_for(
    watchword: Client, watchword_async: AsyncClient, ana: httpx.AsyncClient
):
    async with browser(application(watchword_async, with_cookies=False)) as client:
        response = await client.get("/me", headers={"cookie": f"{ACCESS}={ana.cookies[ACCESS]}"})
        assert response.status_code == 401
        signed_in = await client.post("/sign-in", json={"name": "ana", "password": PASSWORD})
        assert "set-cookie" not in signed_in.headers


async def test_a_guard_lets_nobody_into_a_web_socket(app: FastAPI, watchword: Client):
    @app.websocket("/socket", dependencies=[Requires("can_edit", "document:1")])
    async def socket(connection: WebSocket) -> None:
        await connection.accept()

    allow(watchword, "ana", "document:1")
    headers = [(name.encode(), value.encode()) for name, value in bearer(watchword, "ana").items()]
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/socket", "query_string": b"", "headers": headers}
    with pytest.raises(TypeError, match="request"):
        await app(scope, receive, send)
    assert "websocket.accept" not in [message["type"] for message in sent]


async def test_an_application_without_it_lets_nobody_in():
    app = FastAPI()

    @app.get("/")
    async def index(_principal: CurrentPrincipal) -> None: ...

    async with browser(app) as client:
        with pytest.raises(RuntimeError, match="install"):
            await client.get("/", headers={"authorization": "Bearer x"})


def test_the_description_names_the_scheme(watchword_async: AsyncClient):
    description = application(watchword_async).openapi()
    assert description["components"]["securitySchemes"] == {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    assert description["paths"]["/me"]["get"]["security"] == [{"bearer": []}]
    assert description["paths"]["/documents/{document_id}"]["post"]["security"] == [{"bearer": []}]
    assert "security" not in description["paths"]["/revision"]["get"]


# --- browsers -----------------------------------------------------------------------------------------


async def test_sign_in_sets_cookies_that_sign_out_clears(app: FastAPI, ana: httpx.AsyncClient, watchword: Client):
    assert set(ana.cookies) == {ACCESS, REFRESH, CSRF, DEVICE}
    assert (await ana.get("/me")).json() == user_id(watchword, "ana")
    stolen = dict(ana.cookies)
    assert (await ana.post("/sign-out")).status_code == 200
    assert set(ana.cookies) == {DEVICE}  # it stays
    assert (await ana.get("/me")).status_code == 401
    async with browser(app) as thief:
        thief.cookies.update(stolen)
        assert (await thief.get("/me")).status_code == 401


async def test_a_browser_that_has_signed_in_before_is_not_locked_out(
    app: FastAPI, ana: httpx.AsyncClient, watchword: Client
):
    assert (await ana.post("/sign-out")).status_code == 200
    for _ in range(Config().sign_in_failures_per_account):
        with pytest.raises(SignInRefusedError):
            await asyncio.to_thread(watchword.sign_in, "ana", password="wrong horse battery")
    body = {"name": "ana", "password": PASSWORD}
    async with browser(app) as stranger:
        header = {"cookie": f"{DEVICE}=wwd_{'x' * 600}\u00e9".encode()}
        assert (await stranger.post("/sign-in", json=body, headers=header)).status_code == 429
    assert (await ana.post("/sign-in", json=body)).status_code == 200


@pytest.mark.parametrize(("path", "status"), [("/me", 200), ("/me", 401), ("/documents/1", 403), ("/sign-in", 401)])
async def test_what_is_for_one_person_is_kept_by_no_cache(app: FastAPI, ana: httpx.AsyncClient, path: str, status: int):
    async with browser(app) as nobody:
        client = nobody if status == 401 else ana
        if path == "/sign-in":
            response = await client.post(path, json={"name": "ana", "password": "wrong"})
        else:
            response = await client.get(path)
    assert response.status_code == status
    assert response.headers.get_list("cache-control") == ["no-store"]
    assert response.headers.get_list("vary") == ["Authorization, Cookie"]


async def test_what_is_for_everybody_is_the_applications_affair(ana: httpx.AsyncClient, watchword_server: LocalServer):
    assert "cache-control" not in (await ana.get("/revision")).headers
    response = await ana.get("/public")
    assert response.headers["cache-control"] == "public, max-age=60"
    assert response.headers.get_list("vary") == ["Accept", "Authorization, Cookie"]
    # New cookies are in no case for everybody.
    watchword_server.advance(600)
    response = await ana.get("/public")
    assert REFRESH in response.cookies
    assert response.headers.get_list("cache-control") == ["no-store"]


@pytest.mark.parametrize(
    "body",
    [
        {"name": "ana", "password": "wrong"},
        {"name": "nobody", "password": PASSWORD},
        {"name": "ana\0", "password": PASSWORD},
        {"name": "a" * 10_000, "password": PASSWORD},
        {"name": "", "password": ""},
        {"name": "ana", "password": "x" * 10_000},
    ],
)
async def test_a_refused_sign_in_is_answered_alike(app: FastAPI, body: dict[str, str]):
    async with browser(app) as client:
        response = await client.post("/sign-in", json=body)
    assert response.status_code == 401
    assert "set-cookie" not in response.headers


async def test_a_password_that_is_no_unicode_is_refused(app: FastAPI):
    async with browser(app) as client:
        response = await client.post(
            "/sign-in", content=rb'{"name": "ana", "password": "\ud800"}', headers={"content-type": "application/json"}
        )
    assert response.status_code in {401, 422}


async def test_other_sites_cannot_sign_a_browser_in(app: FastAPI):
    async with browser(app) as client:
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
            body = {"name": "ana", "password": PASSWORD}
            response = await client.post("/sign-in", json=body, headers=headers)
            assert response.status_code == 403
            assert not client.cookies


async def test_a_change_needs_the_token_of_this_session(app: FastAPI, ana: httpx.AsyncClient, watchword: Client):
    allow(watchword, "ana", "document:1")
    assert (await ana.get("/documents/1", headers={"x-csrf-token": ""})).status_code == 200
    assert (await ana.post("/documents/1")).status_code == 200
    assert (await ana.post("/documents/1", headers={"sec-fetch-site": "same-site"})).status_code == 403
    async with browser(app) as other:
        await signed_in(other, "ben")
        for submitted in ("", "x", "é".encode(), other.cookies[CSRF]):
            response = await ana.post("/documents/1", headers={"x-csrf-token": submitted})
            assert response.status_code == 403
        # The attacker's own pair, planted in the victim's browser.
        ana.cookies.delete(CSRF)
        cookie = {"cookie": f"{ACCESS}={ana.cookies[ACCESS]}; {CSRF}={other.cookies[CSRF]}"}
        response = await ana.post("/documents/1", headers={"x-csrf-token": other.cookies[CSRF], **cookie})
        assert response.status_code == 403


async def test_an_access_token_that_is_over_is_refreshed(ana: httpx.AsyncClient, watchword_server: LocalServer):
    before = dict(ana.cookies)
    watchword_server.advance(600)
    response = await ana.get("/me")
    assert response.status_code == 200
    assert ana.cookies[ACCESS] != before[ACCESS]
    assert ana.cookies[REFRESH] != before[REFRESH]
    assert ana.cookies[CSRF] == before[CSRF]  # open pages go on working
    watchword_server.advance(600)
    response = await ana.post("/sign-out")
    assert response.status_code == 200
    assert len(response.headers.get_list("set-cookie")) == 3  # not also those of the refresh
    assert set(ana.cookies) == {DEVICE}  # it stays


async def test_other_sites_spend_no_refresh_token(ana: httpx.AsyncClient, watchword_server: LocalServer):
    watchword_server.advance(600)
    response = await ana.post("/sign-out", headers={"sec-fetch-site": "cross-site"})
    assert response.status_code == 403
    assert "set-cookie" not in response.headers


async def test_requests_at_the_same_time_do_not_end_the_session(
    ana: httpx.AsyncClient, app: FastAPI, watchword_server: LocalServer
):
    for _ in range(3):
        watchword_server.advance(600)
        sent = dict(ana.cookies)
        async with browser(app) as tabs:
            answers = await asyncio.gather(*(tabs.get("/me", headers=carrying(sent)) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}
        successors = {answer.cookies[REFRESH] for answer in answers}
        assert len(successors) == 1
        ana.cookies.update(answers[-1].cookies)
    assert (await ana.get("/me")).status_code == 200


@pytest.mark.parametrize(("path", "status"), [("/documents/not-mine", 403), ("/broken", 500), ("/documents/*", 403)])
async def test_a_refusal_does_not_lose_the_new_refresh_token(
    app: FastAPI, ana: httpx.AsyncClient, watchword_server: LocalServer, path: str, status: int
):
    watchword_server.advance(600)
    async with browser(app, raise_app_exceptions=False) as other:
        other.cookies.update(ana.cookies)
        response = await other.get(path)
        assert response.status_code == status
        assert REFRESH in response.cookies
        # Long after the grace in which the old one would still do.
        watchword_server.advance(600)
        other.cookies.update(response.cookies)
        assert (await other.get("/me", headers=carrying(response.cookies))).status_code == 200


async def test_a_request_refreshes_once(ana: httpx.AsyncClient, watchword: Client, watchword_server: LocalServer):
    allow(watchword, "ana", "document:1")
    watchword_server.advance(600)
    response = await ana.get("/documents/1")
    assert response.status_code == 200
    assert len(response.headers.get_list("set-cookie")) == 3


async def test_cookies_of_a_session_that_has_ended_are_cleared(ana: httpx.AsyncClient, watchword: Client):
    session_id = (await watchword_session(watchword, "ana")).session_id
    await asyncio.to_thread(watchword.sessions.revoke, session_id)
    deadline = time.monotonic() + 10
    while (response := await ana.get("/me")).status_code == 200:
        assert time.monotonic() < deadline, "the session was revoked"
        await asyncio.sleep(0.01)
    assert response.status_code == 401
    assert set(ana.cookies) == {DEVICE}  # it stays


@pytest.mark.parametrize("value", ["x", "wwr_x", "é", "x" * 4000, '"a b"'])
async def test_cookies_that_hold_something_else_are_nobodys(app: FastAPI, value: str):
    async with browser(app) as client:
        header = {"cookie": f"{ACCESS}={value}; {REFRESH}={value}".encode()}
        response = await client.get("/me", headers=header)
    assert response.status_code == 401
    assert f"{REFRESH}=; Path=/; Max-Age=0" in response.headers.get_list("set-cookie")[1]


async def test_a_cookie_that_a_subdomain_could_set_is_nobodys(app: FastAPI, ana: httpx.AsyncClient):
    sent = [f"{name}={value}" for name, value in ana.cookies.items()]
    async with browser(app) as victim:

        async def status_of(header: str) -> int:
            return (await victim.get("/me", headers={"cookie": header.encode("latin-1")})).status_code

        assert await status_of("; ".join(sent)) == 200
        for blank in ("\u00a0", "\u0085", "\u00e2\u0080\u0080", "\x1f"):
            assert await status_of("; ".join(f"{blank}{pair}" for pair in sent)) == 401
        # A second one of the same name: it cannot be known which is the user's.
        assert await status_of("; ".join([*sent, *sent])) == 401
        # A quote in a cookie of somebody else's hides none of ours.
        assert await status_of("; ".join(['x="', *sent, 'y="'])) == 200


async def watchword_session(watchword: Client, name: str) -> Any:
    return list(watchword.sessions.list(user_id(watchword, name)))[-1]


# --- when Watchword is gone ----------------------------------------------------------------------------


async def test_without_a_server_nobody_gets_in_and_no_session_is_lost(ana: httpx.AsyncClient, watchword: Client):
    gone = AsyncClient("localhost:1", api_key="k", timeout=0.3)
    async with gone, browser(application(gone)) as client:
        client.cookies.update(ana.cookies)
        for send in (
            client.get("/me"),
            client.get("/me", headers=bearer(watchword, "ana")),
            client.get("/documents/1"),
            client.get("/me", headers=carrying({REFRESH: ana.cookies[REFRESH]})),
            client.post("/sign-in", json={"name": "ana", "password": PASSWORD}),
        ):
            response = await send
            assert response.status_code == 503
            assert response.headers["retry-after"] == "1"
            assert "set-cookie" not in response.headers


# --- revisions ----------------------------------------------------------------------------------------


async def test_a_revision_counts_in_the_endpoint_and_in_no_other_request(app: FastAPI, watchword: Client):
    revision = watchword.relationships.write([Relationship("user:x", "editor", "document:1")])
    async with browser(app) as client:
        told, untold = await asyncio.gather(
            client.get("/revision", headers={"watchword-revision": revision}), client.get("/revision")
        )
        assert (told.json(), untold.json()) == (revision, "")
        for bogus in ("x", "é".encode(), "1" * 1000, ""):
            response = await client.get("/revision", headers={"watchword-revision": bogus})
            assert (response.status_code, response.json()) == (200, "")


async def test_what_was_written_is_told(app: FastAPI, watchword: Client, watchword_server: LocalServer):
    async with browser(app) as client:
        headers = bearer(watchword, "ana")
        assert "watchword-revision" not in (await client.get("/me", headers=headers)).headers
        written = await client.post("/share/1", headers=headers)
        assert written.status_code == 200
        assert (await client.get("/documents/1", headers=headers)).status_code == 200  # its own write
        # Another service that gets the revision sees the write too.
        other = AsyncClient(watchword_server.address, api_key=watchword_server.api_key, clock=watchword_server.time)
        async with other, browser(application(other)) as service:
            headers["watchword-revision"] = written.headers["watchword-revision"]
            assert (await service.get("/documents/1", headers=headers)).status_code == 200


async def test_what_was_written_behind_another_middleware_is_told(
    app: FastAPI, watchword: Client, watchword_async: AsyncClient
):
    earlier = watchword.relationships.write([Relationship("user:x", "editor", "document:1")])
    async with browser(application(watchword_async, passing_through=True)) as client:
        headers = bearer(watchword, "ana") | {"watchword-revision": earlier}
        written = await client.post("/share/1", headers=headers)
        assert written.status_code == 200
        assert written.headers["watchword-revision"] not in {"", earlier}


async def test_unsharing_is_seen_at_once_by_who_did_it(app: FastAPI, watchword: Client, watchword_async: AsyncClient):
    allow(watchword, "ana", "document:1")
    subject = f"user:{user_id(watchword, 'ana')}"
    async with browser(app) as client:
        headers = bearer(watchword, "ana")
        assert (await client.get("/documents/1", headers=headers)).status_code == 200
        await watchword_async.relationships.write(deletes=[RelationshipKey(subject, "editor", "document:1")])
        assert (await client.get("/documents/1", headers=headers)).status_code == 403
