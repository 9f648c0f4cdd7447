"""The authentication backend: passwords and permissions are Watchword's to judge.

It may stand beside Django's `ModelBackend`. It does not derive from Django's classes, which need the tables of
`django.contrib.auth`.
"""

from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from watchword.client import SignInRefusedError
from watchword.client._http import device, refusing_sign_in
from watchword.client.cookies import parse_cookies
from watchword.client.django.apps import get_client, get_config
from watchword.client.django.users import WatchwordUser, is_allowed


class WatchwordBackend:
    """Signs people in by password, and answers `has_perm`."""

    @sensitive_variables()
    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None
    ) -> WatchwordUser | None:
        """Begin a session; `login` puts its tokens into cookies. None if the sign-in is refused; it is not said why.

        Raises:
            UnavailableError: It cannot be known. The middleware answers 503.

        """
        if username is None or password is None:
            return None
        client, settings = get_client(), get_config().settings
        meta: dict[str, Any] = {} if request is None else request.META
        where = device(user_agent=meta.get("HTTP_USER_AGENT"), address=meta.get("REMOTE_ADDR"))
        audiences = () if settings.audience is None else (settings.audience,)
        known = settings.cookies.device_token(parse_cookies(meta.get("HTTP_COOKIE", "")))
        try:
            with refusing_sign_in():
                tokens = client.sign_in(
                    username, password=password, device=where, audiences=audiences, device_token=known
                )
        except SignInRefusedError:
            return None
        return WatchwordUser(client.authenticate(tokens.access_token, audience=settings.audience), tokens)

    def get_user(self, user_id: Any) -> None:
        """Nobody: a session of Django's own would outlive the session that it stands for."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Whether a user has a relation to an object, or a permission of Django's that the settings explain."""
        return is_allowed(user_obj, perm, obj)

    aauthenticate = sync_to_async(authenticate)
    aget_user = sync_to_async(get_user)
    ahas_perm = sync_to_async(has_perm)
