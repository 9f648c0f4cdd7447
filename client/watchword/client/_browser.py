"""Requests of browsers: what their cookies prove, and what their responses set. Without I/O, for every framework."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

from watchword.client._http import NotSignedInError, RequestForgedError
from watchword.client.cookies import CSRF_FIELD, CSRF_HEADER, SAFE_METHODS, Cookie, CookieSessions, parse_cookies
from watchword.client.errors import InvalidArgumentError, RefreshTokenInvalidError, RefreshTokenReusedError
from watchword.client.models import Principal, SessionTokens
from watchword.client.revisions import REVISION_HEADER

Headers = list[tuple[str, str]]

_CSRF_MAX_AGE: Final = 86_400


@dataclass(slots=True, kw_only=True)
class BrowserRequest:
    """A request that a browser may have sent.

    Attributes:
        sessions: How browsers are signed in.
        method: The request's method.
        host: Its Host header.
        origin: Its Origin header.
        site: Its Sec-Fetch-Site header.
        cookies: Its cookies, as `parse_cookies` reads them.
        submitted: Gives the CSRF token that it repeats. Called if there has to be one: it may have to read a form.

    """

    sessions: CookieSessions
    method: str
    host: str
    origin: str | None
    site: str | None
    cookies: Mapping[str, str]
    submitted: Callable[[], str | None]
    _csrf_token: str | None = None
    _to_set: dict[str, Cookie] = field(default_factory=dict[str, Cookie])

    @classmethod
    def of(
        cls,
        sessions: CookieSessions,
        method: str,
        header: Callable[[str], str | None],
        *,
        cookies: str,
        form: Callable[[], Mapping[str, str]] = dict[str, str],
    ) -> Self:
        """What a request says.

        Args:
            sessions: How browsers are signed in.
            method: Its method.
            header: Gives its headers.
            cookies: Its Cookie header.
            form: Reads its form, which may be large; so only if its headers lack the CSRF token.

        """
        return cls(
            sessions=sessions,
            method=method,
            host=header("Host") or "",
            origin=header("Origin"),
            site=header("Sec-Fetch-Site"),
            cookies=parse_cookies(cookies),
            submitted=lambda: header(CSRF_HEADER) or form().get(CSRF_FIELD),
        )

    @property
    def access_token(self) -> str | None:
        """The access token that it carries."""
        return self.cookies.get(self.sessions.cookies.access) or None

    @property
    def refresh_token(self) -> str | None:
        """The refresh token that it carries."""
        return self.cookies.get(self.sessions.cookies.refresh) or None

    @property
    def device_token(self) -> str:
        """The device token that it carries, or an empty one."""
        return self.sessions.cookies.device_token(self.cookies)

    @property
    def to_set(self) -> tuple[Cookie, ...]:
        """The cookies that its response sets, whatever the response is."""
        return tuple(self._to_set.values())

    @contextmanager
    def refreshing(self) -> Generator[str]:
        """Give the refresh token to the block that exchanges it. The server decides whether the session goes on.

        Requests that a browser sends at the same time all bring the same token, and within 30 seconds get the same
        successor: none of them ends the session.

        Raises:
            NotSignedInError: There is no session to go on with.
            RequestForgedError: A page of another origin wants to change something; its wish spends no token.

        """
        if self.refresh_token is None:
            raise NotSignedInError("This needs a session: sign in.")
        if not self._is_safe:
            self.check_source()
        try:
            yield self.refresh_token
        except (RefreshTokenInvalidError, RefreshTokenReusedError, InvalidArgumentError) as error:
            # The last one: the cookie holds something else. If no server can be reached the cookies stay.
            self.end()
            raise NotSignedInError("The session has ended: sign in again.") from error

    def begin(self, tokens: SessionTokens) -> None:
        """Set the cookies of a new session, with a new CSRF token: one that was planted before is worth nothing."""
        self._csrf_token = self.sessions.csrf.token(tokens.session.session_id)
        self._set(*self.sessions.cookies.carrying(tokens, csrf_token=self._csrf_token))

    def go_on(self, tokens: SessionTokens) -> None:
        """Set the cookies after a refresh. The CSRF token stays, so that open pages still work."""
        csrf_token = self._known_csrf_token(tokens.session.session_id)
        self._set(*self.sessions.cookies.carrying(tokens, csrf_token=csrf_token))

    def end(self) -> None:
        """Clear the cookies."""
        self._set(*self.sessions.cookies.cleared())

    def check_source(self) -> None:
        """Refuse what a page of another origin made a browser send.

        Raises:
            RequestForgedError: It did.

        """
        if not self.sessions.csrf.trusts_source(host=self.host, origin=self.origin, site=self.site):
            raise RequestForgedError("A page of another origin made the browser send this request.")

    def proven(self, principal: Principal) -> Principal:
        """Let a request be theirs whom its cookies name, if a page of the application sent it or it changes nothing.

        Raises:
            RequestForgedError: It does not prove that.

        """
        if self._is_safe:
            return principal
        self.check_source()
        cookie = self.cookies.get(self.sessions.cookies.csrf)
        if not self.sessions.csrf.accepts(principal.session_id, cookie=cookie, submitted=self.submitted()):
            raise RequestForgedError(
                f"The header {CSRF_HEADER} or the form field {CSRF_FIELD} must repeat the CSRF token of the session."
            )
        return principal

    def csrf_token(self, session_id: str) -> str:
        """The CSRF token for a page of a session. If its cookie is gone a new one is set."""
        is_new = self._csrf_token is None
        token = self._known_csrf_token(session_id)
        if is_new and token != self.cookies.get(self.sessions.cookies.csrf):
            self._set(self.sessions.cookies.carrying_csrf(token, max_age=_CSRF_MAX_AGE))
        return token

    @property
    def _is_safe(self) -> bool:
        return self.method in SAFE_METHODS

    def _known_csrf_token(self, session_id: str) -> str:
        if self._csrf_token is None:
            cookie, csrf = self.cookies.get(self.sessions.cookies.csrf), self.sessions.csrf
            self._csrf_token = cookie if cookie and csrf.is_for(session_id, cookie) else csrf.token(session_id)
        return self._csrf_token

    def _set(self, *cookies: Cookie) -> None:
        # By name: what is set last counts, so that a session that was refreshed and then ended is cleared once.
        self._to_set.update((cookie.name, cookie) for cookie in cookies)


@dataclass(slots=True)
class Exchange:
    """One request and its response."""

    integration: Any = None
    """The integration that serves it, where the framework does not keep it."""
    principal: Principal | None = None
    """Who sent it, once that is known."""
    browser: BrowserRequest | None = None
    """The browser that may have, once it was asked about."""
    is_personal: bool = False
    """Whether it was asked who sent it, so that the response is for them alone; also if it was nobody."""

    def signing_in(self) -> str:
        """Note that somebody tries to sign in; give the device token of their browser, or an empty one.

        Raises:
            RequestForgedError: A page of another origin does.

        """
        self.is_personal = True
        if self.browser is None:
            return ""
        self.browser.check_source()
        return self.browser.device_token

    def begin(self, principal: Principal, tokens: SessionTokens) -> None:
        """Go on as somebody who has signed in."""
        self.principal = principal
        if self.browser is not None:
            self.browser.begin(tokens)

    def end(self) -> None:
        """Go on as nobody."""
        self.principal = None
        if self.browser is not None:
            self.browser.end()

    def complete(self, headers: Headers, *, revision: str) -> Headers:
        """Give a response what belongs to it besides.

        Args:
            headers: Its headers.
            revision: The revision of what was written for it, if anything was.

        """
        cookies = self.browser.to_set if self.browser is not None else ()
        # Threat: a cache on the way, or the browser's own after the sign-out, that shows one person's page to the
        # next. An application may say that a page can be kept; then not for others, and never with new cookies.
        if cookies:
            headers = [header for header in headers if header[0].lower() != "cache-control"]
        if self.is_personal or cookies:
            headers = [*headers, ("Vary", "Authorization, Cookie")]
            if not any(name.lower() == "cache-control" for name, _ in headers):
                headers.append(("Cache-Control", "no-store"))
        headers = [*headers, *(("Set-Cookie", cookie.header()) for cookie in cookies)]
        return [*headers, (REVISION_HEADER, revision)] if revision else headers
