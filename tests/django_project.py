"""A Django project inside the process of the tests, and browsers that call it as WSGI and as ASGI servers do.

Its settings are set once and hold whatever test comes first; Django keeps all of its state to itself.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from django.test import AsyncClient, Client
from django.test.utils import override_settings

from watchword.client.testing import LocalServer

HOST = "testserver"
ACCESS, REFRESH = "__Host-watchword-access", "__Host-watchword-refresh"
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "watchword.client.django.middleware.WatchwordMiddleware",
]
MODEL = """
model
  schema 1.1
type user
type document
  relations
    define editor: [user, user:*]
    define can_view: editor
    define can_edit: editor
"""

_folder = tempfile.TemporaryDirectory(prefix="watchword-django-")


def set_up() -> None:
    """Configure Django, unless that has been done."""
    if settings.configured:
        return
    apps = [f"django.contrib.{app}" for app in ("auth", "contenttypes", "sessions")]
    # Of a file, so that all threads see one database.
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(_folder.name) / "database"}
    settings.configure(
        SECRET_KEY="a secret of the tests",
        ALLOWED_HOSTS=[HOST],
        ROOT_URLCONF="django_site",
        INSTALLED_APPS=[*apps, "rest_framework", "watchword.client.django"],
        MIDDLEWARE=MIDDLEWARE,
        AUTHENTICATION_BACKENDS=[
            "django.contrib.auth.backends.ModelBackend",
            "watchword.client.django.backend.WatchwordBackend",
        ],
        DATABASES={"default": database},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        LOGIN_URL="/sign-in",
        ADMINS=[("Operator", "operator@example.com")],
        EMAIL_BACKEND="django.core.mail.backends.locmem.EmailBackend",
        REST_FRAMEWORK={
            "DEFAULT_AUTHENTICATION_CLASSES": ["watchword.client.django.rest_framework.WatchwordAuthentication"],
            "DEFAULT_PERMISSION_CLASSES": ["watchword.client.django.rest_framework.HasRelation"],
        },
        LOGGING_CONFIG=None,  # that would be the whole process's
        TIME_ZONE="UTC",
        WATCHWORD={"API_KEY": "given by each test"},
    )
    django.setup()
    call_command("migrate", verbosity=0)


@contextmanager
def site(server: LocalServer) -> Iterator[None]:
    """Let the site ask a server; its database, and all that Django keeps, is empty."""
    from django.core.cache import cache

    set_up()
    call_command("flush", interactive=False, verbosity=0)
    cache.clear()
    with asking(server):
        yield
    connections.close_all()


def asking(server: LocalServer, **options: Any) -> override_settings:
    """Other settings of Watchword's, until the end of the block."""
    given = {"ADDRESS": server.address, "API_KEY": server.api_key, "CLOCK": server.time, **options}
    return override_settings(WATCHWORD=given)


class Document:
    """What a model of an application looks like to `has_perm`."""

    def __init__(self, pk: str) -> None:
        self.pk = pk

    @property
    def watchword_object(self) -> str:
        return f"document:{self.pk}"


class Browser:
    """A browser, over HTTPS; its server runs Django in threads (WSGI) or in an event loop (ASGI)."""

    def __init__(self, kind: str) -> None:
        self._is_async = kind == "asgi"
        make = AsyncClient if self._is_async else Client
        self.client: Any = make(enforce_csrf_checks=True, raise_request_exception=False)

    @property
    def cookies(self) -> Any:
        return self.client.cookies

    async def get(self, path: str, **headers: str) -> Any:
        return await self.send("get", path, **headers)

    async def post(self, path: str, data: Any = (), **headers: str) -> Any:
        """Send a form without a CSRF token."""
        headers = {"origin": f"https://{HOST}", **headers}
        return await self.send("post", path, dict(data), **headers)

    async def submit(self, path: str, data: Any = (), **headers: str) -> Any:
        """Send a form as a page of the site does."""
        page = await self.get("/who")
        return await self.post(path, data, x_csrftoken=page.json()["csrf"], **headers)

    async def sign_in(self, name: str, password: str, path: str = "/sign-in") -> Any:
        return await self.submit(path, {"username": name, "password": password})

    async def send(self, method: str, path: str, data: Any = None, **headers: str) -> Any:
        send = getattr(self.client, method)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if self._is_async:
            return await send(path, data, secure=True, headers=named)
        return await asyncio.to_thread(send, path, data, secure=True, headers=named)
