"""Watchword in FastAPI: tells who is calling, and whether they may.

```python
client = AsyncClient("localhost:7420", api_key=api_key)
watchword = Watchword(client, sessions=CookieSessions(secret=secret))
app = FastAPI(lifespan=watchword.lifespan)
watchword.install(app)

@app.get("/me")
async def me(principal: CurrentPrincipal): ...

@app.put("/documents/{document_id}", dependencies=[Requires("can_edit", "document:{document_id}")])
async def edit(document_id: str): ...
```

One dependency authenticates and checks, for FastAPI's own share of a dependency is more than that of both answers. What
the response carries besides (the revision, new cookies) is added by a middleware, because a refusal is a response too:
a session that was refreshed on the way to a 403 must not lose its new refresh token.

Callers show an access token in the Authorization header. With `sessions`, browsers may also be signed in with cookies;
what they send to change something then needs the CSRF token in the header X-CSRF-Token, and safe methods must not
change anything. To a WebSocket the dependencies let nobody in.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.responses import JSONResponse
from fastapi.security.base import SecurityBase

from watchword.client import _http
from watchword.client._asgi import EXCHANGE, Middleware
from watchword.client._async.client import AsyncClient
from watchword.client._browser import BrowserRequest, Exchange
from watchword.client.cookies import CookieSessions
from watchword.client.errors import TokenError, WatchwordError
from watchword.client.models import Principal, SessionTokens


class Watchword:
    """What the dependencies of an application answer from."""

    def __init__(
        self, client: AsyncClient, *, audience: str | None = None, sessions: CookieSessions | None = None
    ) -> None:
        """Nothing is sent yet.

        Args:
            client: The client.
            audience: What tokens must be for. Default: the deployment's default audience.
            sessions: How browsers are signed in. Default: not with cookies.

        """
        self.client = client
        self._audience = audience
        self._sessions = sessions

    def install(self, app: FastAPI) -> None:
        """Make an application, before it starts, use this."""
        app.add_middleware(Middleware, client=self.client, integration=self)
        app.add_exception_handler(WatchwordError, _refuse)

    @asynccontextmanager
    async def lifespan(self, _app: FastAPI) -> AsyncGenerator[None]:
        """A lifespan for the application: in the end it closes the client."""
        async with self.client:
            yield

    async def sign_in(self, request: Request, identifier: str, *, password: str) -> SessionTokens:
        """Sign a user in, and the browser that sent the request.

        Raises:
            SignInRefusedError: Unknown identifier, wrong password or disabled account. Unhandled it is answered 401.

        """
        exchange, _ = _exchange(request), self._browser(request)
        known = exchange.signing_in()
        address = request.client.host if request.client else None
        device = _http.device(user_agent=request.headers.get("user-agent"), address=address)
        audiences = () if self._audience is None else (self._audience,)
        with _http.refusing_sign_in():
            tokens = await self.client.sign_in(
                identifier, password=password, device=device, audiences=audiences, device_token=known
            )
        exchange.begin(await self.client.authenticate(tokens.access_token, audience=self._audience), tokens)
        return tokens

    async def sign_out(self, request: Request) -> None:
        """End the caller's session, everywhere, and clear the browser's cookies."""
        await self.client.sessions.revoke((await self.principal(request)).session_id)
        _exchange(request).end()

    async def principal(self, request: Request) -> Principal:
        """Who sent a request. Found out once per request, however many dependencies ask.

        Raises:
            WatchwordError: It is nobody, or it cannot be known. Unhandled it is answered 401, 403 or 503.

        """
        exchange = _exchange(request)
        if exchange.principal is None:
            exchange.is_personal = True
            token = _http.bearer_token(request.headers.get("authorization"))
            browser = self._browser(request)
            if token is not None:
                exchange.principal = await self.client.authenticate(token, audience=self._audience)
            elif browser is None:
                raise _http.NotSignedInError("This needs an access token.")
            else:
                exchange.principal = browser.proven(await self._by_cookies(browser))
        return exchange.principal

    async def _by_cookies(self, browser: BrowserRequest) -> Principal:
        if browser.access_token is not None:
            try:
                return await self.client.authenticate(browser.access_token, audience=self._audience)
            except TokenError:
                if browser.refresh_token is None:
                    raise
        with browser.refreshing() as refresh_token:
            tokens = await self.client.sessions.refresh(refresh_token)
        browser.go_on(tokens)  # before anything else can fail: the old refresh token is used up
        return await self.client.authenticate(tokens.access_token, audience=self._audience)

    def _browser(self, request: Request) -> BrowserRequest | None:
        exchange = _exchange(request)
        if exchange.browser is None and self._sessions is not None:
            headers = request.headers
            cookies = "; ".join(headers.getlist("cookie"))
            exchange.browser = BrowserRequest.of(self._sessions, request.method, headers.get, cookies=cookies)
        return exchange.browser


class _Guard(SecurityBase):
    """The dependency. FastAPI sees a security scheme in it and describes it in the OpenAPI document."""

    scheme_name = "bearer"
    model = HTTPBearer(bearerFormat="JWT")

    def __init__(self, relation: str = "", template: _http.ObjectTemplate | None = None) -> None:
        self._relation = relation
        self._template = template

    async def __call__(self, request: Request) -> Principal:
        watchword: Watchword = _exchange(request).integration
        principal = await watchword.principal(request)
        if self._template is not None:
            object_ = self._template.fill(request.path_params)
            await watchword.client.require(principal.subject, self._relation, object_)
        return principal


CurrentPrincipal = Annotated[Principal, Depends(_Guard())]
"""The type of a parameter that gets whoever is calling; nobody is answered 401."""


def Requires(relation: str, object: str) -> Any:  # noqa: A002, N802 - as it reads in a signature
    """A dependency on a permission: who lacks it is answered 403. It gives the principal.

    Args:
        relation: The relation that the caller must have, such as "can_edit".
        object: To what, with a parameter of the path in braces: "document:{document_id}". What counts is the text in
            the path, before a converter of the framework has made a number of it.

    Raises:
        ValueError: `object` is no such name.

    """
    return Depends(_Guard(relation, _http.ObjectTemplate.parse(object)))


def _exchange(request: Request) -> Exchange:
    exchange: Exchange | None = request.scope.get(EXCHANGE)
    if exchange is None:
        raise RuntimeError("This application lacks Watchword: call Watchword(client).install(app).")
    return exchange


async def _refuse(_request: Request, error: Exception) -> JSONResponse:
    refusal = _http.refusal(error) if isinstance(error, WatchwordError) else None
    if refusal is None:
        raise error
    return JSONResponse({"detail": refusal.detail}, refusal.status, dict(refusal.headers))
