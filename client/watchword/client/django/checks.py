"""What `manage.py check` says about the settings; Django runs it before it serves."""

from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name

from watchword.client.django.apps import get_config

_MIDDLEWARE: Final = "watchword.client.django.middleware.WatchwordMiddleware"
_AUTHENTICATION: Final = "django.contrib.auth.middleware.AuthenticationMiddleware"
_CSRF: Final = "django.middleware.csrf.CsrfViewMiddleware"


def check_settings(**_: Any) -> list[CheckMessage]:
    """Say what is wrong."""
    config, middleware, found = get_config(), list(settings.MIDDLEWARE), list[CheckMessage]()
    if config.problem:
        found.append(Error(f"The setting WATCHWORD is wrong: {config.problem}", id="watchword.E001"))
    if _MIDDLEWARE not in middleware:
        hint = f"Add {_MIDDLEWARE!r} to MIDDLEWARE."
        found.append(Error("No request is authenticated.", hint=hint, id="watchword.E002"))
    elif _AUTHENTICATION in middleware[middleware.index(_MIDDLEWARE) :]:
        hint = f"Put {_AUTHENTICATION!r} before {_MIDDLEWARE!r}."
        found.append(Error("Django's authentication overwrites request.user.", hint=hint, id="watchword.E003"))
    if _CSRF not in middleware:
        hint = f"Add {_CSRF!r} to MIDDLEWARE."
        found.append(Error("Other sites can use the sessions of this one.", hint=hint, id="watchword.E004"))
    if not config.settings.secure_cookies and not settings.DEBUG:
        hint = 'Remove WATCHWORD["SECURE_COOKIES"], and serve over HTTPS.'
        found.append(Warning("Cookies with tokens cross the network in clear.", hint=hint, id="watchword.W001"))
    return found
