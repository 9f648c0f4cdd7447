"""A request as views see it, and what goes for every response to somebody."""

from typing import Any, Final, TypeVar, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control

from watchword.client import Principal
from watchword.client.cookies import Cookie
from watchword.client.django.users import WatchwordUser

_PERSONAL: Final = "private, no-store"

R = TypeVar("R", bound=HttpResponseBase)


class WatchwordRequest(HttpRequest):
    """What the middleware adds; for type checkers.

    Attributes:
        principal: Who is calling; None for an anonymous user.
        user: The same as Django has it, or a user of the application's own.
        auser: The same for `async` views.
        new_cookies: What the response will set.

    """

    principal: Principal | None
    user: Any
    auser: Any
    new_cookies: tuple[Cookie, ...]


def be(request: HttpRequest, user: WatchwordUser) -> None:
    """Let the request be this user's."""

    async def auser() -> WatchwordUser:
        return user

    request = cast("WatchwordRequest", request)
    request.principal, request.user, request.auser = user.principal, user, auser


def personal(response: R) -> R:
    """Mark a response as one person's; a view may say that they can keep it.

    Threat: a cache on the way, Django's own, or after a sign-out the browser's, shows it to the next.
    """
    said = response.get("Cache-Control")
    if said is None:
        response["Cache-Control"] = _PERSONAL
    elif said != _PERSONAL:
        patch_cache_control(response, private=True)
    return response
