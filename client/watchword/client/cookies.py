"""Sessions of browsers: the cookies that carry their tokens, and the defence against forged requests that they need.

Pure data and functions, so that every web framework is served by the same rules. A browser sends its cookies along
with whatever request any page makes it send; so a request that changes something and is authenticated by a cookie must
also prove that a page of the application made it (`CsrfProtection`). A bearer token in a header needs no such proof:
no browser adds it by itself.

```python
cookies = SessionCookies()
for cookie in cookies.carrying(tokens):
    response.headers.append("set-cookie", cookie.header())
```
"""

import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from watchword.client.models import SessionTokens

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods that change nothing (RFC 9110 section 9.2.1): they need no proof, so they must keep to that."""

CSRF_HEADER: Final = "X-CSRF-Token"
CSRF_FIELD: Final = "csrf_token"

_RANDOM_BYTES: Final = 16
_MIN_SECRET_BYTES: Final = 16
_REVISION_MAX_AGE: Final = 60
_DEVICE_MAX_AGE: Final = 400 * 86_400
"""As long as browsers keep any cookie; the server judges for how long a device is known."""
_DEVICE_TOKEN: Final = re.compile(r"wwd_[0-9A-Za-z_-]{1,500}")
_COOKIE_VALUE: Final = re.compile(r"[!#-+\--:<-\[\]-~]*")
_BLANKS: Final = " \t"
_CSRF_TOKEN: Final = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """A cookie to be set, with the attributes that `set_cookie` of the frameworks takes."""

    name: str
    value: str = field(repr=False)
    max_age: int
    """Seconds; 0 deletes it."""
    secure: bool
    http_only: bool

    def header(self) -> str:
        """The value of the Set-Cookie header.

        Raises:
            ValueError: The value has characters that no cookie can have.

        """
        # Threat: a value with a semicolon or a line feed would write attributes or headers of its own.
        if not _COOKIE_VALUE.fullmatch(self.value):
            raise ValueError(f"The value of the cookie {self.name} has characters that no cookie can have.")
        flags = ("; Secure" if self.secure else "") + ("; HttpOnly" if self.http_only else "")
        # Lax: another site can link to the application, but its forms and scripts send no cookies. No Domain: the
        # cookie is for this host alone, not for its subdomains.
        return f"{self.name}={self.value}; Path=/; Max-Age={self.max_age}; SameSite=Lax{flags}"


def parse_cookies(header: str) -> dict[str, str]:
    """Read a Cookie header as RFC 6265 has it: a name is what the browser took it to be, to the letter.

    Threat: cookie tossing past the prefix `__Host-`. A subdomain may set a cookie whose name begins with some other
    blank of Unicode, for to the browser that is another name. The frameworks' own readers trim it off, or let a quoted
    value swallow the cookies that follow. One that comes twice counts as none: it cannot be known which is ours.
    """
    found: dict[str, str] = {}
    repeated: set[str] = set()
    for pair in header.split(";"):
        name, separator, value = pair.partition("=")
        name = name.strip(_BLANKS)
        if name in found:
            repeated.add(name)
        if separator:
            found[name] = value.strip(_BLANKS)
    return {name: value for name, value in found.items() if name not in repeated}


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCookies:
    """The cookies of a session, the access token, the refresh token and the CSRF token; and that of the device.

    The last one stays when the session ends. It opens nothing: by it the browser of somebody who has signed in before
    is told from an attacker's, and cannot be locked out by one who tries passwords.

    Attributes:
        secure: For HTTPS only. False is for development over plain HTTP.

    """

    secure: bool = True

    @property
    def access(self) -> str:
        """The name of the cookie with the access token."""
        return self._name("access")

    @property
    def refresh(self) -> str:
        """The name of the cookie with the refresh token."""
        return self._name("refresh")

    @property
    def csrf(self) -> str:
        """The name of the cookie with the CSRF token, which the application's scripts may read."""
        return self._name("csrf")

    @property
    def revision(self) -> str:
        """The name of the cookie with the revision of what the browser has just written."""
        return self._name("revision")

    @property
    def device(self) -> str:
        """The name of the cookie with the device token."""
        return self._name("device")

    def device_token(self, cookies: Mapping[str, str]) -> str:
        """The device token among cookies, to sign in with; empty if there is none, or something else stands there."""
        token = cookies.get(self.device, "")
        return token if _DEVICE_TOKEN.fullmatch(token) else ""

    def carrying(self, tokens: SessionTokens, *, csrf_token: str | None = None) -> tuple[Cookie, ...]:
        """What is set after a sign-in or a refresh; without a CSRF token that cookie stays as it is."""
        # Both times are the server's, so their difference is right whatever this machine's clock shows.
        session = tokens.session
        rest = min(session.idle_expire_time, session.expire_time) - session.last_active_time
        cookies: tuple[Cookie, ...] = (
            self._cookie(self.access, tokens.access_token, int(tokens.access_token_lifetime.total_seconds())),
            self._cookie(self.refresh, tokens.refresh_token, int(rest.total_seconds())),
        )
        if tokens.device_token:  # of a sign-in
            cookies = (*cookies, self._cookie(self.device, tokens.device_token, _DEVICE_MAX_AGE))
        if csrf_token is None:
            return cookies
        return (*cookies, self.carrying_csrf(csrf_token, max_age=int(rest.total_seconds())))

    def carrying_csrf(self, csrf_token: str, *, max_age: int) -> Cookie:
        """What is set for a CSRF token."""
        return self._cookie(self.csrf, csrf_token, max_age, http_only=False)

    def carrying_revision(self, revision: str) -> Cookie:
        """What is set after a write, so that the browser's next request sees it whichever process serves that.

        By the time that the cookie is gone the feed has told every process, or is too stale to be used.
        """
        return self._cookie(self.revision, revision, _REVISION_MAX_AGE)

    def cleared(self) -> tuple[Cookie, ...]:
        """What is set when a session has ended."""
        names = (self.access, self.refresh, self.csrf)
        return tuple(self._cookie(name, "", 0, http_only=name != self.csrf) for name in names)

    def _cookie(self, name: str, value: str, max_age: int, *, http_only: bool = True) -> Cookie:
        return Cookie(name=name, value=value, max_age=max(0, max_age), secure=self.secure, http_only=http_only)

    def _name(self, name: str) -> str:
        # Threat: cookie tossing. A subdomain, or anybody on the network over plain HTTP, sets cookies that the browser
        # sends here too: the attacker's session in place of the user's. A browser takes a cookie with this prefix only
        # from this host, over HTTPS.
        return f"__Host-watchword-{name}" if self.secure else f"watchword-{name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CsrfProtection:
    """Tells requests of the application's own pages from those that other sites made a browser send.

    The token is a signed double submit: sent in a cookie and, by a script or a form of the application, a second time
    in the request. Other sites can neither read nor, for want of the secret, make one. It is bound to the session, so
    an attacker's own token, planted in another's browser, is worth nothing there.

    Attributes:
        secret: The application's secret, at least 16 bytes, the same in all its processes.
        trusted_origins: Other origins whose pages may send requests, such as "https://admin.example.com".
        randomness: Where tokens come from.

    """

    secret: bytes = field(repr=False)
    trusted_origins: frozenset[str] = frozenset()
    randomness: Callable[[int], bytes] = field(default=secrets.token_bytes, repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < _MIN_SECRET_BYTES:
            raise ValueError(f"the secret of the CSRF protection must have at least {_MIN_SECRET_BYTES} bytes")

    def token(self, session_id: str) -> str:
        """A new token for a session."""
        nonce = self.randomness(_RANDOM_BYTES).hex()
        return f"{self._mac(session_id, nonce)}.{nonce}"

    def accepts(self, session_id: str, *, cookie: str | None, submitted: str | None) -> bool:
        """Whether a request proves that a page of the application made it.

        Args:
            session_id: The session that the request is authenticated by.
            cookie: The CSRF cookie that it carries.
            submitted: What it carries a second time, in the header or the form field.

        """
        if cookie is None or submitted is None:
            return False
        same = hmac.compare_digest(cookie.encode(errors="replace"), submitted.encode(errors="replace"))
        return same and self.is_for(session_id, submitted)

    def is_for(self, session_id: str, token: str) -> bool:
        """Whether a token was made for a session, with this secret."""
        if not _CSRF_TOKEN.fullmatch(token):
            return False
        mac, _, nonce = token.partition(".")
        return hmac.compare_digest(mac, self._mac(session_id, nonce))

    def trusts_source(self, *, host: str, origin: str | None, site: str | None) -> bool:
        """Whether the browser says that an own page, or nobody, made it send a request. The second line of defence.

        It is also all that a sign-in has, which no session exists for yet. Threat: login CSRF, where a page signs the
        user in to the attacker's account and reads there what the user then enters.

        Args:
            host: The Host header of the request.
            origin: Its Origin header.
            site: Its Sec-Fetch-Site header.

        """
        if origin is not None and origin in self.trusted_origins:
            return True
        if site is not None:
            # Not "same-site": a subdomain may belong to somebody else, or be taken over.
            return site in {"same-origin", "none"}
        # An older browser. A program that is no browser sends neither, and needs no protection from other pages.
        # The scheme is not compared: behind a proxy it is not known for sure.
        return origin is None or _authority(origin) == host.lower()

    def _mac(self, session_id: str, nonce: str) -> str:
        # With lengths, so that no two pairs make the same message.
        message = f"{len(session_id)}!{session_id}!{len(nonce)}!{nonce}"
        return hmac.digest(self.secret, b"watchword csrf\0" + message.encode(), "sha256").hex()


class CookieSessions:
    """Both together, as the integrations with FastAPI and Flask use them.

    Attributes:
        cookies: The cookies of a session.
        csrf: The defence that they need.

    """

    def __init__(self, *, secret: bytes, secure: bool = True, trusted_origins: Iterable[str] = ()) -> None:
        """Describe them.

        Args:
            secret: The application's secret, at least 16 bytes, the same in all its processes.
            secure: For HTTPS only. False is for development over plain HTTP.
            trusted_origins: Other origins whose pages may send requests, such as "https://admin.example.com".

        """
        self.cookies = SessionCookies(secure=secure)
        self.csrf = CsrfProtection(secret=secret, trusted_origins=frozenset(trusted_origins))


def _authority(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None  # None for "null", which sandboxed pages send
    except ValueError:
        return None
