"""The application that Django installs: its settings, and the client of this process.

Both hang on the application's entry in Django's registry, which there is one of per process. The client connects when
it is first used, so each child of a fork has a connection and a feed of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, cast

from django.apps import AppConfig, apps
from django.conf import settings as django_settings
from django.core.checks import register
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.asyncio import async_unsafe

from watchword.client import Client
from watchword.client.cookies import SessionCookies


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What Django's setting WATCHWORD says, in names of capital letters, besides the arguments of `Client`.

    Without ADDRESS and API_KEY the client takes them from the environment, see `Client.from_environment`.

    Attributes:
        audience: What access tokens must be for. Default: the deployment's one default.
        secure_cookies: For HTTPS only. False is for development over plain HTTP.
        permissions: What Django's permissions mean. "documents.change_document" may be "can_edit", the relation to the
            object that is asked about, or ("can_audit", "organization:acme"), a relation and its object.

    """

    audience: str | None = None
    secure_cookies: bool = True
    permissions: Mapping[str, str | tuple[str, str]] = field(default_factory=dict[str, "str | tuple[str, str]"])

    @property
    def cookies(self) -> SessionCookies:
        """The cookies of a session."""
        return SessionCookies(secure=self.secure_cookies)


class WatchwordConfig(AppConfig):
    """Watchword, as an application of Django."""

    name = "watchword.client.django"
    label = "watchword"
    verbose_name = "Watchword"

    def ready(self) -> None:
        """Get ready; nothing is sent yet."""
        from watchword.client.django.checks import check_settings  # noqa: PLC0415 - it imports this module

        self._configure()
        register(check_settings)
        setting_changed.connect(self._on_change)

    def _configure(self) -> None:
        given = {name.lower(): value for name, value in getattr(django_settings, "WATCHWORD", {}).items()}
        own = {each.name: given.pop(each.name) for each in fields(Settings) if each.name in given}
        self.settings, self._client, self.problem = Settings(**own), None, ""
        try:
            self._client = Client.from_environment(**given)
        except (OSError, TypeError, ValueError) as error:
            # Not raised yet: building an image calls `manage.py collectstatic` without any secret.
            self.problem = str(error)

    @property
    def client(self) -> Client:
        """The client of this process."""
        if self._client is None:
            raise ImproperlyConfigured(f"The setting WATCHWORD is wrong: {self.problem}")
        return self._client

    def _on_change(self, *, setting: str, **_: Any) -> None:
        if setting == "WATCHWORD":  # a test overrides it
            if self._client is not None:
                self._client.close()
            self._configure()


def get_config() -> WatchwordConfig:
    """Watchword's entry in Django's registry."""
    return cast("WatchwordConfig", apps.get_app_config(WatchwordConfig.label))


@async_unsafe("Watchword's client waits for answers: call it through asgiref's sync_to_async, and ahas_perm, alogin.")
def get_client() -> Client:
    """The client of this process, the same for all its threads: what one of them writes, each of them sees.

    An `async` view calls what it needs through `sync_to_async`, as it does with much of Django.

    Raises:
        ImproperlyConfigured: The setting WATCHWORD is wrong.
        SynchronousOnlyOperation: It would make all requests of an event loop wait.

    """
    return get_config().client
