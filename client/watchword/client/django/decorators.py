"""Decorators of views. What they let in has been asked for; nobody else sees the view."""

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.exceptions import PermissionDenied

from watchword.client._http import NotSignedInError, ObjectTemplate
from watchword.client.django.requests import personal
from watchword.client.django.users import is_allowed

P = ParamSpec("P")
R = TypeVar("R")


def authenticated(view: Callable[P, R]) -> Callable[P, R]:
    """Let in who has signed in. Others get 401; who opens a page is sent to settings.LOGIN_URL."""
    return _guarded(view, lambda _user, _parameters: True)


def requires(relation: str, object: str) -> Callable[[Callable[P, R]], Callable[P, R]]:  # noqa: A002 - as in `check`
    """Let in who has a relation to the object that the URL names.

    ```python
    @requires("can_edit", "document:{document_id}")
    def edit(request, document_id): ...
    ```

    Others get 403, whether or not there is such an object, and those who have not signed in what `authenticated` gives
    them. A class-based view is decorated as a whole, `requires(...)(EditView.as_view())`.

    Args:
        relation: A relation of the permission model.
        object: Its object, with an argument of the URL in braces.

    Raises:
        ValueError: The object does not look like that.

    """
    template = ObjectTemplate.parse(object)
    return lambda view: _guarded(view, lambda user, parameters: is_allowed(user, relation, template.fill(parameters)))


def _guarded(view: Callable[P, R], allows: Callable[[Any, dict[str, Any]], bool]) -> Callable[P, R]:
    function = cast("Callable[..., Any]", view)

    def check(request: Any, parameters: dict[str, Any]) -> None:
        # The middleware answers; without it, nobody gets in either.
        if not request.user.is_authenticated:
            raise NotSignedInError("Sign in first.")
        if not allows(request.user, parameters):
            raise PermissionDenied

    @wraps(function)
    def guarded(request: Any, /, *args: Any, **kwargs: Any) -> Any:
        check(request, kwargs)
        return personal(function(request, *args, **kwargs))

    @wraps(function)
    async def aguarded(request: Any, /, *args: Any, **kwargs: Any) -> Any:
        await sync_to_async(check)(request, kwargs)
        return personal(await function(request, *args, **kwargs))

    # Not inspect's: before Python 3.12 that does not know what Django has marked, such as class-based views.
    is_async = iscoroutinefunction(function)  # pyright: ignore[reportDeprecated]
    return cast("Callable[P, R]", aguarded if is_async else guarded)
