"""Django: Watchword; and its own sessions, users and permissions, by has_perm with each request."""

from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

import django
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.decorators import permission_required
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path

from benchmarks.results import Results
from benchmarks.spine.alternatives import turns
from benchmarks.spine.alternatives.access import Access
from benchmarks.spine.alternatives.wsgi import get
from watchword.client.django import requires

_BACKEND = "django.contrib.auth.backends.ModelBackend"
_SESSIONS = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)
_WATCHWORD = ("watchword.client.django.middleware.WatchwordMiddleware",)


def measure(access: Access, database_url: str, *, times: int, results: Results) -> None:
    """Measure the three."""
    _configure(access, database_url)
    try:
        call_command("migrate", verbosity=0)
        cookie = f"{settings.SESSION_COOKIE_NAME}={_signed_in()}"
        requests = {
            turns.BARE: get(_handler(), "/bare/mine"),
            turns.WATCHWORD: get(_handler(*_WATCHWORD), access.path, access.token),
            "sessions": get(_handler(*_SESSIONS), "/permitted/mine", cookie=cookie),
        }
        turns.measure("django", requests, times, results)
    finally:
        connections.close_all()
        _close_client()


def _configure(access: Access, database_url: str) -> None:
    where = urlsplit(database_url)
    query = parse_qs(where.query)
    settings.configure(
        SECRET_KEY=access.opaque,
        ALLOWED_HOSTS=["localhost"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "watchword.client.django",
        ],
        AUTHENTICATION_BACKENDS=[_BACKEND],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": where.path.removeprefix("/"),
                "USER": where.username,
                "HOST": query["host"][0],
                "PORT": query["port"][0],
                "CONN_MAX_AGE": None,
            }
        },
        WATCHWORD={"ADDRESS": access.address, "API_KEY": access.api_key},
    )
    django.setup()


def _signed_in() -> str:
    """Sign somebody in who has a permission by a group, as most do; return the session's key."""
    from django.contrib.auth.models import Group, Permission, User  # noqa: PLC0415 - after the settings
    from django.contrib.sessions.backends.db import SessionStore  # noqa: PLC0415

    group = Group.objects.create(name="readers")
    group.permissions.add(Permission.objects.get(codename="view_user"))
    user = User.objects.create_user("ana")
    user.groups.add(group)
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = _BACKEND
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return str(session.session_key)


def _handler(*middleware: str) -> Any:
    with override_settings(MIDDLEWARE=middleware):
        return WSGIHandler()


def _close_client() -> None:
    from watchword.client.django import get_client  # noqa: PLC0415 - after the settings

    get_client().close()


def _bare(_request: HttpRequest, document_id: str) -> HttpResponse:
    return HttpResponse(document_id)


urlpatterns = [
    path("bare/<document_id>", _bare),
    path("documents/<document_id>", cast("Any", requires("viewer", "document:{document_id}")(_bare))),
    path("permitted/<document_id>", permission_required("auth.view_user", raise_exception=True)(_bare)),
]
