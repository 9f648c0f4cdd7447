"""The middleware: finds out whose a request is, before any view sees it.

An access token comes in the Authorization header or in a cookie. One that has run out in a cookie is exchanged here,
with the refresh token of the other cookie. Several requests of one browser may do so at a time: the server gives them
all the same successor.

Every doubt ends in an anonymous request or in none at all. A token in a header that is no good is answered with 401;
whoever sent it meant to be somebody. While Watchword cannot say whether a token is good the answer is 503: served as
anonymous, the request would say "you are signed out" to somebody who is not.
"""

from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, cast
from urllib.parse import urlencode

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.cache import patch_cache_control, patch_vary_headers
from django.views.decorators.debug import sensitive_variables

from watchword.client import (
    InvalidArgumentError,
    Principal,
    RefreshTokenInvalidError,
    RefreshTokenReusedError,
    TokenError,
    WatchwordError,
)
from watchword.client._http import NotSignedInError, bearer_token, refusal
from watchword.client.cookies import SAFE_METHODS, Cookie, parse_cookies
from watchword.client.django.apps import get_client, get_config
from watchword.client.django.requests import WatchwordRequest, be, personal
from watchword.client.django.users import WatchwordUser
from watchword.client.revisions import REVISION_HEADER

# How a refresh fails if there is no session to go on with; the last one if the cookie holds something else.
_SESSION_ENDED: Final = (RefreshTokenInvalidError, RefreshTokenReusedError, InvalidArgumentError)
_FORBIDDEN: Final = 403


class WatchwordMiddleware:
    """Sets `request.principal` and `request.user`; lets revisions travel; keeps the cookies of sessions current.

    It belongs behind Django's `AuthenticationMiddleware`, if there is one.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self._get_response = get_response
        # Not inspect's: before Python 3.12 that does not know what Django has marked.
        self._is_async = iscoroutinefunction(get_response)  # pyright: ignore[reportDeprecated]
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Serve a request, as the handler of Django that is underneath does: in a thread or in its event loop."""
        if self._is_async:
            return self._in_event_loop(request)
        with _revisions(request) as finish:
            return finish(_begin(request) or self._get_response(request))

    async def _in_event_loop(self, request: HttpRequest) -> HttpResponseBase:
        with _revisions(request) as finish:
            return finish(await sync_to_async(_begin)(request) or await self._get_response(request))

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Answer for `requires`, and for views that ask Watchword themselves, also those of REST framework."""
        return _answer(request, exception) if isinstance(exception, WatchwordError) else None


@contextmanager
def _revisions(request: HttpRequest) -> Generator[Callable[[HttpResponseBase], HttpResponseBase]]:
    """Let the revision that came with a request count for it; what it has written goes out with its response."""
    client, cookies = get_config().client, get_config().settings.cookies
    with client.at_least(request.headers.get(REVISION_HEADER) or _cookies(request).get(cookies.revision, "")):
        before = client.revision

        def finish(response: HttpResponseBase) -> HttpResponseBase:
            new_cookies = cast("WatchwordRequest", request).new_cookies
            if client.revision != before:
                response[REVISION_HEADER] = client.revision
                if request.method not in SAFE_METHODS and "Authorization" not in request.headers:
                    # A browser, whose next request another process may serve.
                    new_cookies = (*new_cookies, cookies.carrying_revision(client.revision))
            return _finish(cast("WatchwordRequest", request), response, new_cookies)

        yield finish


@sensitive_variables()  # Threat: Django mails error reports with the local variables of each frame. These are tokens.
def _begin(request: HttpRequest) -> HttpResponse | None:
    """Find out whose the request is; a response if it goes no further."""
    request = cast("WatchwordRequest", request)
    request.principal, request.new_cookies = None, ()
    for name in (get_config().settings.cookies.access, get_config().settings.cookies.refresh):
        request.COOKIES.pop(name, None)  # so that they get into no error report; no view needs them
    token = bearer_token(request.headers.get("Authorization"))
    try:
        if token is None:
            principal = _from_cookies(request)
        else:
            principal = _authenticate(token)
            # Threat: cross-site request forgery lives on what browsers send by themselves. They do not send this
            # header, so a token in it that was found good proves that the caller's own program made the request.
            # Django's middleware, and that of REST framework, lets requests with this mark pass. It was made for tests;
            # if it were ever gone, such requests would be refused.
            setattr(request, "_dont_enforce_csrf_checks", True)  # noqa: B010 - unknown to type checkers
    except WatchwordError as error:
        answer = _answer(request, error)
        if answer is None:
            raise
        return answer
    if principal is not None or not hasattr(request, "user"):
        be(request, WatchwordUser(principal))
    return None


def _cookies(request: HttpRequest) -> dict[str, str]:
    return parse_cookies(request.META.get("HTTP_COOKIE", ""))  # not as Django reads them, see there


def _from_cookies(request: WatchwordRequest) -> Principal | None:
    cookies, found = get_config().settings.cookies, _cookies(request)
    access, refresh = found.get(cookies.access), found.get(cookies.refresh)
    if access:
        try:
            return _authenticate(access)
        except TokenError:
            pass  # most likely its time is over; the refresh token decides
    if refresh:
        try:
            tokens = get_client().sessions.refresh(refresh)
        except _SESSION_ENDED:
            pass
        else:
            # Before anything else can fail: the old refresh token is used up.
            request.new_cookies = cookies.carrying(tokens)
            return _authenticate(tokens.access_token)
    if access or refresh:
        request.new_cookies = cookies.cleared()
    return None


def _authenticate(token: str) -> Principal:
    return get_client().authenticate(token, audience=get_config().settings.audience)


def _answer(request: HttpRequest, error: WatchwordError) -> HttpResponse | None:
    """Tell an error in the form of REST framework's own; None if it is a mistake of the application."""
    refused = refusal(error)
    if refused is None:
        return None
    if refused.status == _FORBIDDEN:
        raise PermissionDenied from error  # the application may have a page for it
    opens_a_page = request.method in {"GET", "HEAD"} and "text/html" in request.headers.get("Accept", "")
    if isinstance(error, NotSignedInError) and opens_a_page and settings.LOGIN_URL:
        # The view there must look at `next` with Django's `url_has_allowed_host_and_scheme` before it goes on: others
        # can make links with a `next` of theirs.
        query = urlencode({"next": request.get_full_path()})
        response: HttpResponse = HttpResponseRedirect(f"{resolve_url(settings.LOGIN_URL)}?{query}")
    else:
        response = JsonResponse({"detail": refused.detail}, status=refused.status, headers=dict(refused.headers))
    response["Cache-Control"] = "no-store"
    return response


def _finish(request: WatchwordRequest, response: HttpResponseBase, cookies: Sequence[Cookie]) -> HttpResponseBase:
    for each in cookies:
        response.set_cookie(
            each.name, each.value, each.max_age, secure=each.secure, httponly=each.http_only, samesite="Lax"
        )
    if cookies:
        patch_cache_control(response, no_store=True)  # whatever the view said
    if cookies or request.principal is not None:
        patch_vary_headers(response, ("Authorization", "Cookie"))
        personal(response)
    return response
