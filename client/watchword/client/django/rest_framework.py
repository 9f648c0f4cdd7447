"""Django REST framework: an authentication and a permission class, which build on the middleware.

```python
class DocumentView(RetrieveUpdateAPIView):
    authentication_classes = [WatchwordAuthentication]
    permission_classes = [HasRelation]
    watchword_relation = {"GET": "can_view", "PUT": "can_edit", "PATCH": "can_edit"}
```
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission

from watchword.client import AccessDeniedError
from watchword.client._http import ObjectTemplate
from watchword.client.django.users import is_allowed

if TYPE_CHECKING:  # REST framework imports this module, named in its settings, while it imports its own
    from rest_framework.request import Request
    from rest_framework.views import APIView


class WatchwordAuthentication(SessionAuthentication):
    """Takes over whom the middleware has found; `request.auth` is the principal.

    REST framework exempts its views from Django's defence against forged requests. So it is made up for here, for
    callers who were authenticated by a cookie.
    """

    def authenticate(self, request: "Request") -> tuple[Any, Any] | None:
        """Tell the user, and the principal; None for an anonymous user."""
        principal = getattr(request._request, "principal", None)  # noqa: SLF001 - documented so for authentication
        if principal is None:
            return None
        self.enforce_csrf(request)
        return request._request.user, principal  # noqa: SLF001

    def authenticate_header(self, request: "Request") -> str:  # noqa: ARG002 - REST framework's signature
        """Ask for a token: with this the answer to an anonymous caller is 401, not 403."""
        return "Bearer"


class HasRelation(BasePermission):
    """Lets in who has the relation that the view names in `watchword_relation` to its object.

    That is a relation, or one for each method: {"GET": "can_view", "PUT": "can_edit"}; a method that is not there is
    refused, as is a view that names none. The object is the one that the view looks up (see `users.object_name`). A
    view that looks up none, such as a list, names it by an argument of the URL: `watchword_object =
    "folder:{folder_id}"`. Without that it is refused, for REST framework would never ask about an object.
    """

    def has_permission(self, request: "Request", view: "APIView") -> bool:
        """Whether to go on before there is an object."""
        # Threat: `cache_page` around the view would give the answer to everybody. This is how it knows what to keep.
        setattr(request._request, "_cache_update_cache", False)  # noqa: B010, SLF001 - unknown to type checkers
        template = getattr(view, "watchword_object", None)
        if template is not None:
            try:
                return _allows(request, view, ObjectTemplate.parse(template).fill(view.kwargs))
            except AccessDeniedError:
                return False  # no object can have the id in the URL
        argument = getattr(view, "lookup_url_kwarg", None) or getattr(view, "lookup_field", None)
        return argument in view.kwargs and bool(request.user and request.user.is_authenticated)

    def has_object_permission(self, request: "Request", view: "APIView", obj: Any) -> bool:
        """Whether the caller has the relation to the object."""
        return getattr(view, "watchword_object", None) is not None or _allows(request, view, obj)


def _allows(request: "Request", view: "APIView", thing: Any) -> bool:
    relation: str | Mapping[str, str] | None = getattr(view, "watchword_relation", None)
    if isinstance(relation, Mapping):
        relation = relation.get("GET" if request.method == "HEAD" else str(request.method))
    return relation is not None and is_allowed(request.user, relation, thing)
