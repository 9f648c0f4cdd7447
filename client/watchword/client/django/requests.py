"""A request as views see it, and what goes for every response to somebody."""

from typing import Any, TypeVar, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.cache import patch_cache_control, patch_vary_headers

from watchword.client import Principal
from watchword.client.cookies import Cookie
from watchword.client.django.users import WatchwordUser

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
    patch_vary_headers(response, ("Authorization", "Cookie"))
    patch_cache_control(response, private=True, **({} if response.has_header("Cache-Control") else {"no_store": True}))
    return response
