"""The user of a request, and what they may do."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from asgiref.sync import sync_to_async

from watchword.client import AccessDeniedError, Principal, SessionTokens
from watchword.client._http import ObjectTemplate
from watchword.client.django.apps import get_client, get_config


@dataclass(slots=True, eq=False)  # not frozen: Django's `authenticate` sets `backend`
class WatchwordUser:
    """Who a request comes from, in the shape that Django and its templates know; without a row in a table.

    Nobody is staff or superuser: those flags open Django's doors without asking Watchword.

    Attributes:
        principal: Who the access token speaks for; None for an anonymous user.
        tokens: What `login` puts into cookies; only after `authenticate`.
        backend: The path of the backend that has authenticated.

    """

    principal: Principal | None = None
    tokens: SessionTokens | None = field(default=None, repr=False)
    backend: str = ""

    is_staff = False
    is_superuser = False

    @property
    def watchword_subject(self) -> str | None:
        """Who asks: "user:<id>"; None for an anonymous user."""
        return self.principal.subject if self.principal is not None else None

    @property
    def pk(self) -> str | None:
        """The user's id."""
        return self.principal.user_id if self.principal is not None else None

    id = pk

    @property
    def is_authenticated(self) -> bool:
        """Whether the request came with a good token. Suspended and deleted users have none."""
        return self.principal is not None

    is_active = is_authenticated

    @property
    def is_anonymous(self) -> bool:
        """The opposite."""
        return self.principal is None

    def get_username(self) -> str:
        """The user's id: a token holds no names."""
        return self.pk or ""

    __str__ = get_username

    def __reduce__(self) -> NoReturn:
        # Threat: taken out of a session or a cache, a user would be signed in whose session has ended since.
        raise TypeError("A user is one request's: keep the id, not the user.")

    def has_perm(self, perm: str, obj: Any = None) -> bool:
        """Whether the user has a relation to an object, or a permission of Django's that the settings explain."""
        return is_allowed(self, perm, obj)

    ahas_perm = sync_to_async(has_perm)

    def has_perms(self, perm_list: Iterable[str], obj: Any = None) -> bool:
        """Whether the user has them all."""
        return all(self.has_perm(perm, obj) for perm in perm_list)

    def has_module_perms(self, app_label: str) -> bool:  # noqa: ARG002 - Django's signature
        """Whether the user has any permission in an application of Django: nothing that Watchword knows."""
        return False


def is_allowed(user: Any, permission: str, thing: Any = None) -> bool:
    """Ask whether a user may do something. Only Watchword is asked: Django's superusers are nobody here."""
    subject = getattr(user, "watchword_subject", None)
    if not subject or not user.is_active:
        return False
    # A permission of Django's that the settings do not explain, "admin.view_logentry", is no relation.
    relation = get_config().settings.permissions.get(permission, "" if "." in permission else permission)
    if isinstance(relation, tuple):
        if thing is not None:
            return False  # the permission is about one object, and this is another one
        relation, thing = relation
    name = object_name(thing)
    return bool(relation and name and get_client().check(subject, relation, name))


def object_name(thing: Any) -> str | None:
    """The object that something is: a name, or whatever has one as its `watchword_object`.

    None for everything else, and for what can be no object: nobody has a relation to it. Threat: the id may come from
    the caller, and "*" would be everybody, "1#owner" a set.
    """
    name = thing if isinstance(thing, str) else getattr(thing, "watchword_object", None)
    type_, _, id_ = str(name).partition(":")
    try:
        return ObjectTemplate(f"{type_}:", "id").fill({"id": id_})
    except AccessDeniedError:
        return None
