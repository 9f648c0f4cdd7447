"""Watchword in Flask: tells who is calling, and whether they may.

```python
app = Flask(__name__)
watchword = Watchword(app, client=Client(...), sessions=CookieSessions(secret=secret))

@app.get("/me")
@authenticated
def me(): return g.principal.user_id

@app.post("/documents/<document_id>")
@requires("can_edit", "document:{document_id}")
def edit(document_id): ...
```

The client connects when it is first used, so it may be made before gunicorn forks. A view without one of these
decorators, which stand under the route, is open to everybody and acts for nobody.

Callers show an access token in the Authorization header. With `sessions`, browsers may also be signed in with cookies;
what they send to change something then needs the CSRF token, in the header X-CSRF-Token or in a form:

    <input type="hidden" name="csrf_token" value="{{ csrf_token() }}">
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar, cast
from weakref import WeakSet

from flask import Flask, Response, current_app, g, jsonify, request

from watchword.client import _http
from watchword.client._browser import BrowserRequest, Exchange
from watchword.client._sync.client import Client
from watchword.client._wsgi import EXCHANGE, Middleware
from watchword.client.cookies import CookieSessions
from watchword.client.errors import TokenError, WatchwordError
from watchword.client.models import Principal, SessionTokens

P = ParamSpec("P")
T = TypeVar("T")

_EXTENSION: Final = "watchword"
_BARE: Final = WeakSet[Callable[..., Any]]()  # the views as they are without their decorator


class Watchword:
    """The extension."""

    def __init__(
        self,
        app: Flask | None = None,
        *,
        client: Client | None = None,
        audience: str | None = None,
        sessions: CookieSessions | None = None,
    ) -> None:
        """Nothing is sent yet.

        Args:
            app: The application. Default: to be given to `init_app`.
            client: The client. Default: `Client.from_environment()`.
            audience: What tokens must be for. Default: the deployment's default audience.
            sessions: How browsers are signed in. Default: not with cookies.

        """
        self.client = Client.from_environment() if client is None else client
        self._audience = audience
        self._sessions = sessions
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Make an application use this."""
        app.extensions[_EXTENSION] = self
        app.register_error_handler(WatchwordError, _refuse)
        app.before_request(_check_is_guarded)
        app.add_template_global(self.csrf_token, "csrf_token")
        app.wsgi_app = Middleware(app.wsgi_app, self.client)  # type: ignore[method-assign]  # Flask's own way

    def principal(self) -> Principal:
        """Who sent the request. Found out once per request, and then in `g.principal`.

        Raises:
            WatchwordError: It is nobody, or it cannot be known. Unhandled it is answered 401, 403 or 503.

        """
        exchange = _exchange()
        if exchange.principal is None:
            exchange.is_personal = True
            token, browser = _http.bearer_token(request.headers.get("Authorization")), self._browser()
            if token is not None:
                exchange.principal = self.client.authenticate(token, audience=self._audience)
            elif browser is None:
                raise _http.NotSignedInError("This needs an access token.")
            else:
                exchange.principal = browser.proven(self._by_cookies(browser))
        g.principal = exchange.principal
        return exchange.principal

    def sign_in(self, identifier: str, *, password: str) -> SessionTokens:
        """Sign a user in, and the browser that sent the request.

        Raises:
            SignInRefusedError: Unknown identifier, wrong password or disabled account. Unhandled it is answered 401.

        """
        exchange, _ = _exchange(), self._browser()
        known = exchange.signing_in()
        device = _http.device(user_agent=request.headers.get("User-Agent"), address=request.remote_addr)
        audiences = () if self._audience is None else (self._audience,)
        with _http.refusing_sign_in():
            tokens = self.client.sign_in(
                identifier, password=password, device=device, audiences=audiences, device_token=known
            )
        g.principal = self.client.authenticate(tokens.access_token, audience=self._audience)
        exchange.begin(g.principal, tokens)
        return tokens

    def sign_out(self) -> None:
        """End the caller's session, everywhere, and clear the browser's cookies."""
        self.client.sessions.revoke(self.principal().session_id)
        g.principal = None
        _exchange().end()

    def csrf_token(self) -> str:
        """The token that forms of this page carry; empty if nobody has been authenticated for it."""
        principal, browser = _exchange().principal, self._browser()
        return "" if browser is None or principal is None else browser.csrf_token(principal.session_id)

    def _by_cookies(self, browser: BrowserRequest) -> Principal:
        if browser.access_token is not None:
            try:
                return self.client.authenticate(browser.access_token, audience=self._audience)
            except TokenError:
                if browser.refresh_token is None:
                    raise
        with browser.refreshing() as refresh_token:
            tokens = self.client.sessions.refresh(refresh_token)
        browser.go_on(tokens)  # before anything else can fail: the old refresh token is used up
        return self.client.authenticate(tokens.access_token, audience=self._audience)

    def _browser(self) -> BrowserRequest | None:
        exchange = _exchange()
        if exchange.browser is None and self._sessions is not None:
            header = request.headers.get
            exchange.browser = BrowserRequest.of(
                self._sessions, request.method, header, cookies=header("Cookie", ""), form=lambda: request.form
            )
        return exchange.browser


def authenticated(view: Callable[P, T]) -> Callable[P, T]:
    """Let a view be for whoever is signed in, and know them by `g.principal`; anybody else is answered 401."""
    return _guarded(view, Watchword.principal)


def requires(relation: str, object: str) -> Callable[[Callable[P, T]], Callable[P, T]]:  # noqa: A002 - as in the SDK
    """Let a view be for those who have a relation, and know them by `g.principal`; anybody else is answered 403.

    The object is named with a parameter of the path: "document:{document_id}". What is none is refused: ValueError.
    """
    template = _http.ObjectTemplate.parse(object)

    def check(watchword: Watchword) -> None:
        subject = watchword.principal().subject
        watchword.client.require(subject, relation, template.fill(request.view_args or {}))

    return lambda view: _guarded(view, check)


def _guarded(view: Callable[P, T], check: Callable[[Watchword], object]) -> Callable[P, T]:
    _BARE.add(view)

    @wraps(view)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
        check(current_app.extensions[_EXTENSION])
        return cast("T", current_app.ensure_sync(view)(*args, **kwargs))

    return guarded


def _check_is_guarded() -> None:
    # Threat: a decorator above the route guards nothing, as the route has already taken the bare view. Nobody gets in.
    if current_app.view_functions.get(request.endpoint or "") in _BARE:
        raise RuntimeError(f"The decorator of the view {request.endpoint!r} must stand under its route.")


def _exchange() -> Exchange:
    # In the request itself. Threat: what `g` holds outlives the request where an application context was pushed around
    # several, as tests do, and would make the next caller the one before.
    return cast("Exchange", request.environ.setdefault(EXCHANGE, Exchange()))


def _refuse(error: WatchwordError) -> tuple[Response, int, dict[str, str]]:
    refusal = _http.refusal(error)
    if refusal is None:
        raise error
    return jsonify(detail=refusal.detail), refusal.status, dict(refusal.headers)
