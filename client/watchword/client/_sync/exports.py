# Made by client/make_sync.py from client/watchword/client/_async/exports.py: do not edit.
"""The stream of an export, which is taken up again where it broke off."""

from collections.abc import Iterator
from typing import Any, TypeVar

from google.protobuf.message import Message

from watchword.client._streams import MAX_RESUMPTIONS, Pause
from watchword.client._sync.connection import Connection
from watchword.client.errors import UnavailableError

R = TypeVar("R", bound=Message)


def exported(connection: Connection, request: Any, response_type: type[R]) -> Iterator[R]:
    """All messages of an export, on as many streams as that takes; its request and its messages have `resume_token`."""
    failures = 0
    while True:
        stream = connection.stream(request, response_type, is_only=True)
        try:
            while True:
                try:
                    response = stream.receive()
                except UnavailableError:
                    failures += 1
                    if failures > MAX_RESUMPTIONS:
                        raise
                    break
                if response is None:
                    return
                failures = 0
                request.resume_token = getattr(response, "resume_token")  # noqa: B009 - unknown to the type of messages
                yield response
        finally:
            stream.close()
        Pause.after(failures)
