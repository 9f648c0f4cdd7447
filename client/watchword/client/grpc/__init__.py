"""gRPC: who is calling, and may they? Answered in the process that serves the call.

```python
methods = {
    "/notes.v1.Notes/CreateNote": AUTHENTICATED,
    "/notes.v1.Notes/GetNote": Requires("can_view", "note:{note_id}"),
    "/notes.v1.Notes/UpdateNote": Requires("can_edit", "note:{note.id}"),
    "/grpc.health.v1.Health/Check": PUBLIC,
}
server = grpc.server(pool, interceptors=[ServerInterceptor(client, methods)])
server = grpc.aio.server(interceptors=[AsyncServerInterceptor(async_client, methods)])
```

Callers send an access token in the metadata: `authorization: Bearer …`. Handlers know them by `current_principal()`.
A method that is not declared is refused. Of a service of which a method is declared that is not public, all methods
must be, or the interceptor is not made, so that the server does not start.

Whoever may not call is answered UNAUTHENTICATED or PERMISSION_DENIED; UNAVAILABLE if it cannot be known;
INVALID_ARGUMENT if the field that names the object is unset or holds what no id can be. An error of the SDK that a
handler lets pass is told alike.

Streams: the token and the permission are looked at again, in microseconds, before each message in either direction, so
that a stream ends when its session or the permission does; also when its access token expires. Where the request
streams, each message may name an object and must be allowed; one that names none is about the same as the one before
it. The first must name one, and the handler is called when it has come and is allowed. What is sent is looked at for
the object that was named last.

Revisions: what the metadata `watchword-revision` brings holds for the call, and what was written in the call goes out
with its trailing metadata. A channel to another service does its part by an interceptor too:

```python
channel = grpc.intercept_channel(channel, ClientInterceptor(client, token=current_token))
channel = grpc.aio.secure_channel(address, credentials, interceptors=async_client_interceptors(async_client))
```

The API key needs the permissions "verify_tokens", "check_permissions" and "watch".
"""

from watchword.client.grpc._aio_client import async_client_interceptors
from watchword.client.grpc._aio_server import AsyncServerInterceptor
from watchword.client.grpc._caller import current_principal, current_token
from watchword.client.grpc._client import ClientInterceptor
from watchword.client.grpc._methods import AUTHENTICATED, PUBLIC, Requires, Rule
from watchword.client.grpc._server import ServerInterceptor

__all__ = [
    "AUTHENTICATED",
    "PUBLIC",
    "AsyncServerInterceptor",
    "ClientInterceptor",
    "Requires",
    "Rule",
    "ServerInterceptor",
    "async_client_interceptors",
    "current_principal",
    "current_token",
]
