"""The stream of an export, which is taken up again where it broke off."""

from collections.abc import AsyncIterator
from typing import Any, TypeVar

from google.protobuf.message import Message

from watchword.client._async.connection import AsyncConnection
from watchword.client._streams import MAX_RESUMPTIONS, AsyncPause
from watchword.client.errors import UnavailableError

R = TypeVar("R", bound=Message)


async def exported(connection: AsyncConnection, request: Any, response_type: type[R]) -> AsyncIterator[R]:
    """All messages of an export, on as many streams as that takes; its request and its messages have `resume_token`."""
    failures = 0
    while True:
        stream = connection.stream(request, response_type, is_only=True)
        try:
            while True:
                try:
                    response = await stream.receive()
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
            await stream.close()
        await AsyncPause.after(failures)
