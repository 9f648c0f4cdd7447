"""Signing people in and out: sessions in cookies."""

from typing import cast

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.middleware.csrf import rotate_token

from watchword.client.django.apps import get_client, get_config
from watchword.client.django.requests import WatchwordRequest, be
from watchword.client.django.users import WatchwordUser


def login(request: HttpRequest, user: WatchwordUser) -> None:
    """Sign in a user whom `django.contrib.auth.authenticate` has returned: the response will set the cookies.

    Users of other backends are signed in by Django's own `login`.

    Raises:
        ValueError: The user does not come from `WatchwordBackend`.

    """
    tokens = getattr(user, "tokens", None)
    if tokens is None:
        raise ValueError("Only a user from WatchwordBackend.authenticate can be signed in here.")
    _start_anew(request, user)
    cast("WatchwordRequest", request).new_cookies = get_config().settings.cookies.carrying(tokens)


def logout(request: HttpRequest) -> None:
    """End the session of the request, everywhere: the response will clear the cookies.

    Raises:
        UnavailableError: The session could not be ended. The cookies stay, as nobody should believe that it has.

    """
    principal = cast("WatchwordRequest", request).principal
    if principal is not None:
        get_client().sessions.revoke(principal.session_id)
    _start_anew(request, WatchwordUser())
    cast("WatchwordRequest", request).new_cookies = get_config().settings.cookies.cleared()


alogin = sync_to_async(login)
alogout = sync_to_async(logout)


def _start_anew(request: HttpRequest, user: WatchwordUser) -> None:
    if hasattr(request, "session"):
        # Threat: Django's own session holds what the one before has left, or an attacker has planted.
        request.session.flush()
    # Threat: a CSRF token that was planted, or read, before the sign-in would be good after it.
    rotate_token(request)
    be(request, user)
