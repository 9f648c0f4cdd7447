"""What the integrations with web frameworks have in common: objects named by paths, and refusals told over HTTP."""

import ipaddress
import math
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

from watchword.client.errors import (
    AccessDeniedError,
    DeadlineExceededError,
    InvalidArgumentError,
    OnBehalfOfInvalidError,
    PermissionDeniedError,
    RefreshTokenInvalidError,
    RefreshTokenReusedError,
    ResourceExhaustedError,
    SignInRefusedError,
    SignInThrottledError,
    TokenError,
    UnauthenticatedError,
    UnavailableError,
    WatchwordError,
)
from watchword.client.models import Device

_OBJECT: Final = re.compile(r"[^\s:#@*{}]+:([A-Za-z0-9_|@.+/-][A-Za-z0-9_|*@.+/-]*)")
_TEMPLATE: Final = re.compile(r"([^\s:#@*{}]+:)\{(\w+)\}")
_MAX_OBJECT: Final = 256
_MAX_USER_AGENT: Final = 512


class NotSignedInError(UnauthenticatedError):
    """The request carries nothing that says whose it is."""


class RequestForgedError(PermissionDeniedError):
    """The request is authenticated by a cookie, and does not prove that a page of the application made it."""


@dataclass(frozen=True, slots=True)
class ObjectTemplate:
    """The name of an object, with a parameter of the path in braces: "document:{document_id}"."""

    prefix: str
    parameter: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a template.

        Raises:
            ValueError: It is none. The whole id is one parameter: of "document:{a}/{b}", two paths would name one
                object.

        """
        match = _TEMPLATE.fullmatch(text)
        if match is None and _OBJECT.fullmatch(text) is None:
            raise ValueError(f'{text!r} must be an object or name one by a parameter of the path: "document:{{id}}"')
        return cls(text, None) if match is None else cls(match[1], match[2])

    def fill(self, parameters: Mapping[str, Any]) -> str:
        """The object that a path names.

        Raises:
            AccessDeniedError: No object can have this id.
            LookupError: The path has no such parameter.

        """
        if self.parameter is None:
            return self.prefix
        if self.parameter not in parameters:
            raise LookupError(f"The object is named by {self.parameter!r}, which is no parameter of this path.")
        name = f"{self.prefix}{parameters[self.parameter]}"
        # Threat: "*" would name everybody, "a#owner" a set. Answered as an object that nobody has a relation to, which
        # is true of it.
        if len(name) > _MAX_OBJECT or not _OBJECT.fullmatch(name):
            raise AccessDeniedError("No object can have the id that the path names.")
        return name


@dataclass(frozen=True, slots=True)
class Refusal:
    """How an error is told over HTTP."""

    status: int
    detail: str
    """For people. It is of the SDK's own making, so no secret is in it."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


def refusal(error: WatchwordError) -> Refusal | None:
    """How an error is told; None if it is a mistake of the application and not the caller's affair.

    A lack of a permission of the application's own API key, say, must not look as if the caller were to blame.
    """
    match error:
        case TokenError() | OnBehalfOfInvalidError() | RefreshTokenInvalidError() | RefreshTokenReusedError():
            # RFC 6750 section 3: the error is named only if something was presented.
            return Refusal(401, error.message, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        case NotSignedInError() | SignInRefusedError():
            return Refusal(401, error.message, {"WWW-Authenticate": "Bearer"})
        case AccessDeniedError() | RequestForgedError():
            return Refusal(403, error.message)
        case SignInThrottledError():
            return Refusal(429, "Too many sign-ins have failed. Try again later.", _retry_after(error))
        case UnavailableError() | DeadlineExceededError() | ResourceExhaustedError():
            # It cannot be known whether they may, so they may not.
            return Refusal(503, "It cannot be told at the moment who may do this.", _retry_after(error))
        case _:
            return None


def _retry_after(error: WatchwordError) -> Mapping[str, str]:
    seconds = math.ceil(error.retry_after.total_seconds()) if error.retry_after else 1
    return {"Retry-After": str(seconds)}


@contextmanager
def refusing_sign_in() -> Generator[None]:
    """Let a name or password that nobody can have be refused like one that nobody has.

    Raises:
        SignInRefusedError: In place of the error about the form.

    """
    try:
        yield
    except (InvalidArgumentError, UnicodeError):
        # Not chained: the error of a text that is no Unicode holds the whole text, perhaps the password.
        raise SignInRefusedError("The name or the password is wrong.") from None


def bearer_token(authorization: str | None) -> str | None:
    """The token of an Authorization header; None if there is none of the scheme Bearer."""
    if authorization is None or authorization[:7].lower() != "bearer ":
        return None
    return authorization[7:].strip(" ")


def device(*, user_agent: str | None, address: str | None) -> Device:
    """Where a request comes from, as far as Watchword takes it: callers write into headers what they like."""
    text = "".join(filter(str.isprintable, user_agent or ""))
    return Device(
        user_agent=text.encode(errors="ignore")[:_MAX_USER_AGENT].decode(errors="ignore") or None,
        ip_address=address if address is not None and _is_address(address) else None,
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
