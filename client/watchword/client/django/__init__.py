"""Django: who is calling, and may they? Answered in the process that serves the request.

```python
INSTALLED_APPS = [..., "watchword.client.django"]
MIDDLEWARE = [..., "watchword.client.django.middleware.WatchwordMiddleware"]
AUTHENTICATION_BACKENDS = ["watchword.client.django.backend.WatchwordBackend"]
WATCHWORD = {"ADDRESS": "watchword.internal:7420", "API_KEY": os.environ["WATCHWORD_API_KEY"]}


@requires("can_edit", "document:{document_id}")
async def edit(request, document_id): ...
```

`request.principal` is who a verified token speaks for and None for everybody else, `request.user` the same in the shape
that Django knows. `request.user.has_perm("can_edit", document)` asks about an object: its name, or whatever has it as
`watchword_object`, such as a model with a property that returns f"document:{self.pk}".

No table is needed, also not those of `django.contrib.auth`: a row per user would be a copy of the account that goes on
saying "active" when the account no longer is, and keeps personal data where its erasure does not reach. An application
refers to users by their id. If it has users of its own beside, such as those of the admin, both kinds work; a browser
that has signed in as both is Watchword's user. A user model with a `watchword_subject` ("user:<id>") has that user's
permissions. Being staff or a superuser counts for nothing in `requires`.

The API key needs the permissions "sign_in", "write_sessions", "verify_tokens", "check_permissions" and "watch".
"""

from watchword.client.django.apps import get_client
from watchword.client.django.decorators import authenticated, requires
from watchword.client.django.requests import WatchwordRequest
from watchword.client.django.sessions import alogin, alogout, login, logout
from watchword.client.django.users import WatchwordUser

__all__ = [
    "WatchwordRequest",
    "WatchwordUser",
    "alogin",
    "alogout",
    "authenticated",
    "get_client",
    "login",
    "logout",
    "requires",
]
